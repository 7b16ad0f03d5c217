"""A throw-away grid: an authority, host and user certificates, and RFC 3820 proxies with DIRAC groups.

For the demo grid and for tests; formats: reference sheet ``legacy-wire.md`` sections 4.1 and 4.5.

    authority = Authority.create("Demo CA")
    authority.write_directory(Path("pki/ca"))
    alice = authority.issue_user("alice")
    make_proxy(alice, "demo_user").write(Path("pki/alice.demo_user.proxy"))

Whatever makes a certificate takes ``lifetime``, counted from now and negative for an expired one (it
starts 15 minutes ago, so not below that), and ``key``, so that keys can be made beforehand, many at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = timedelta(minutes=15)  # clocks differ; DIRAC's own proxies start as early
DAY = timedelta(days=1)
YEAR = timedelta(days=365)

PROXY_INFORMATION = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
DIRAC_GROUP = x509.ObjectIdentifier("1.2.42.42")
INHERIT_ALL = x509.ObjectIdentifier("1.3.6.1.5.5.7.21.1")
LIMITED = x509.ObjectIdentifier("1.3.6.1.4.1.3536.1.1.1.9")

# Tags of DER elements.
OBJECT_IDENTIFIER, UTF8_STRING, IA5_STRING, SEQUENCE, SET = 0x06, 0x0C, 0x16, 0x30, 0x31

# Where authorities are when only a CN is asked for.
GRID = tuple(x509.NameAttribute(NameOID.DOMAIN_COMPONENT, part) for part in ("org", "wherry"))

Key = rsa.RSAPrivateKey
Extension = tuple[x509.ExtensionType, bool]  # and whether it is critical


def make_key(bits: int = 2048) -> Key:
    """One RSA key."""
    return rsa.generate_private_key(65537, bits)


def make_keys(count: int, bits: int = 2048) -> list[Key]:
    """Several RSA keys, made on all processors: they take nearly all the time that a grid takes."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(make_key, [bits] * count))


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key; ``chain`` leads from it towards the authority, which is left out."""

    certificate: x509.Certificate
    key: Key = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    def pem(self) -> bytes:
        """The content of a proxy file: certificate, key, chain."""
        return self.certificate_pem() + self.key_pem() + b"".join(map(_pem, self.chain))

    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return _pem(self.certificate)

    def key_pem(self) -> bytes:
        """The key, not encrypted, in the form that the oldest grid clients read."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    def write(self, path: Path) -> Path:
        """Write ``pem()`` to a file that only its owner may read, in place of an older one."""
        return _write(path, self.pem(), 0o600)

    def write_pair(self, certificate: Path, key: Path) -> None:
        """Write certificate and key to a file each, as hosts and users keep them."""
        _write(certificate, self.certificate_pem(), 0o644)
        _write(key, self.key_pem(), 0o600)


@dataclass(frozen=True)
class Authority(KeyPair):
    """A certificate authority.  A second one of the same name is what a forger would make."""

    @classmethod
    def create(
        cls, name: str | x509.Name, *, lifetime: timedelta = 10 * YEAR, key: Key | None = None
    ) -> Authority:
        """A self-signed authority; a plain name stands for ``/DC=org/DC=wherry/CN=<name>``."""
        if isinstance(name, str):
            name = x509.Name([*GRID, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key = key or make_key()
        extensions: list[Extension] = [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (_key_usage(signs_certificates=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ]
        return cls(_build(name, key, name, lifetime, extensions).sign(key, hashes.SHA256()), key)

    def issue_user(self, cn: str, *, lifetime: timedelta = YEAR, key: Key | None = None) -> KeyPair:
        """A user's certificate; the subject has ``/OU=people/CN=<cn>`` where the authority's has its CN."""
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self.issue(self._sibling("people", cn), [(usages, False)], lifetime=lifetime, key=key)

    def issue_host(self, fqdn: str, *, lifetime: timedelta = YEAR, key: Key | None = None) -> KeyPair:
        """A host's certificate, ``.../OU=hosts/CN=<fqdn>``; it serves and calls, also as ``localhost``."""
        names = [x509.DNSName(name) for name in dict.fromkeys(["localhost", fqdn])]
        addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        extensions = [(x509.SubjectAlternativeName([*names, *addresses]), False), (usages, False)]
        return self.issue(self._sibling("hosts", fqdn), extensions, lifetime=lifetime, key=key)

    def issue(
        self,
        subject: x509.Name,
        extensions: Iterable[Extension] = (),
        *,
        lifetime: timedelta = YEAR,
        key: Key | None = None,
    ) -> KeyPair:
        """An end entity's certificate of any name, with these extensions beside the usual ones."""
        key = key or make_key()
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        usual: list[Extension] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_key_usage(), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (authority_key, False),  # VERIFY_X509_STRICT, Python 3.13's default in clients, insists on it
        ]
        builder = _build(subject, key, self.certificate.subject, lifetime, [*usual, *extensions])
        return KeyPair(builder.sign(self.key, hashes.SHA256()), key)

    def write_directory(self, directory: Path) -> Path:
        """Put the certificate into a directory of trusted ones, under the name that OpenSSL looks for."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{subject_hash(self.certificate.subject)}.0"
        return _write(path, self.certificate_pem(), 0o644)

    def write_crl(
        self,
        directory: Path,
        revoked: Iterable[KeyPair | x509.Certificate] = (),
        *,
        lifetime: timedelta = 30 * DAY,
    ) -> Path:
        """Put the list of revoked certificates into the directory, ``<hash>.r0``, in place of an older one.

        ``lifetime`` counts from now to the list's next update; a negative one makes a list out of date.
        """
        now = datetime.now(UTC)
        issued = min(now, now + lifetime) - BACKDATED
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(issued)
            .next_update(now + lifetime)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), False)
        )
        for each in revoked:
            certificate = each.certificate if isinstance(each, KeyPair) else each
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(issued).build())
        text = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return _write(directory / f"{subject_hash(self.certificate.subject)}.r0", text, 0o644)

    def _sibling(self, unit: str, common_name: str) -> x509.Name:
        names = {NameOID.ORGANIZATIONAL_UNIT_NAME: unit, NameOID.COMMON_NAME: common_name}
        return _extended(self.certificate.subject.rdns[:-1], names)


def make_proxy(
    owner: KeyPair,
    group: str | None = None,
    *,
    limited: bool = False,
    lifetime: timedelta = DAY,
    key: Key | None = None,
) -> KeyPair:
    """An RFC 3820 proxy of a user, a host or another proxy, with a DIRAC group if one is given."""
    key = key or make_key()
    serial = x509.random_serial_number()
    issuer = owner.certificate.subject
    extensions: list[Extension] = [(_key_usage(), True), (_proxy_information(limited=limited), True)]
    if group is not None:
        text = _der(IA5_STRING, group.encode("ascii"))
        extensions.append((x509.UnrecognizedExtension(DIRAC_GROUP, text), False))
    subject = _extended(issuer.rdns, {NameOID.COMMON_NAME: str(serial)})
    builder = _build(subject, key, issuer, lifetime, extensions, serial)
    return KeyPair(builder.sign(owner.key, hashes.SHA256()), key, (owner.certificate, *owner.chain))


def subject_hash(name: x509.Name) -> str:
    """OpenSSL's hash of a name, ``openssl x509 -noout -hash``, by which it finds certificates in a directory.

    The first four bytes, little endian, of the SHA-1 of the name's parts in canonical form: UTF-8,
    ASCII letters lower case, blanks trimmed and folded.
    """
    canonical = b"".join(_der(SET, b"".join(sorted(map(_canonical_attribute, rdn)))) for rdn in name.rdns)
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical_attribute(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    assert isinstance(attribute.value, str)  # all but x500UniqueIdentifier, which no authority has
    # The methods of bytes know ASCII's blanks and letters only, as OpenSSL does.
    text = b" ".join(attribute.value.encode().split()).lower()
    return _der(SEQUENCE, _der_oid(attribute.oid) + _der(UTF8_STRING, text))


def _build(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    lifetime: timedelta,
    extensions: Iterable[Extension],
    serial: int | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .issuer_name(issuer)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _extended(
    rdns: Iterable[x509.RelativeDistinguishedName], names: dict[x509.ObjectIdentifier, str]
) -> x509.Name:
    """A name with further parts at its end."""
    more = (x509.RelativeDistinguishedName([x509.NameAttribute(*item)]) for item in names.items())
    return x509.Name([*rdns, *more])


def _key_usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=not signs_certificates,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _proxy_information(*, limited: bool) -> x509.UnrecognizedExtension:
    policy = _der(SEQUENCE, _der_oid(LIMITED if limited else INHERIT_ALL))
    return x509.UnrecognizedExtension(PROXY_INFORMATION, _der(SEQUENCE, policy))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _der_oid(oid: x509.ObjectIdentifier) -> bytes:
    first, second, *rest = map(int, oid.dotted_string.split("."))
    return _der(OBJECT_IDENTIFIER, b"".join(map(_base128, [first * 40 + second, *rest])))


def _base128(number: int) -> bytes:
    """Seven bits a byte, the highest bit set in all but the last."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> Path:
    """Write a new file that has its mode from the start, so that a key is never readable to others."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    return path
