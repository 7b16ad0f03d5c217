"""Delegated proxies: requests, what comes of them, and proxies made of stored ones (RFC 3820, sheet 4.1).

Nothing here does I/O but for ``Authorities``, which reads their directory.  All of it takes milliseconds, and
a new key up to seconds: to be called in a thread.  The libraries' verification of chains knows no proxies, so
each step is taken here: who signed whom, names, dates, and up to an authority that is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from legacy_rpc.credentials import (
    DIRAC_GROUP,
    PROXY_INFORMATION,
    UNREADABLE,
    credential_from_chain,
    openssl_dn,
)
from legacy_rpc.files import Stamp, stamps
from legacy_rpc.messages import Credential, PeerError

REQUEST_BITS = 2048
LEAST_BITS = 1024  # clients of 7.3 ask with as many
LONGEST_CHAIN = 20
LARGEST_CHAIN = 64 * 1024  # characters of PEM
CLOCKS_DIFFER = timedelta(minutes=5)

VOMS_ATTRIBUTES = x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")

# DER: proxy information with the policy languages "inherit all" and "limited"; the tag of a group's text.
INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")
LIMITED = bytes.fromhex("300f300d060b2b060104019b5001010109")
IA5_STRING = 0x16

# OpenSSL's names of authorities' certificates.
AUTHORITY_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Refused(Exception):
    """A chain or request is not what it must be; the text says how, for who sent it."""


class Unreadable(Refused):
    """It is no PEM of certificates, or of a request."""


class NoProxy(Refused):
    """The certificates are no proxy with its issuers."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to sign a proxy for a new key, both in PEM; the key is a secret."""

    request: str
    key: bytes = field(repr=False)


def new_request() -> Request:
    """A key made here, and the request with which its proxy is to be signed."""
    key = rsa.generate_private_key(65537, REQUEST_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Request(request.public_bytes(Encoding.PEM).decode(), pem)


class Authorities:
    """The trusted authorities of a directory, as they are now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamps: Mapping[Path, Stamp] = {}
        self._by_subject: Mapping[bytes, Sequence[x509.Certificate]] = {}

    def named(self, name: x509.Name) -> Sequence[x509.Certificate]:
        """Those of a name.  Raises OSError if the directory cannot be listed."""
        found = stamps(self._directory, AUTHORITY_NAME)
        if found != self._stamps:
            self._by_subject = _by_subject(found)
            self._stamps = found
        return self._by_subject.get(name.public_bytes(), ())


def _by_subject(files: Iterable[Path]) -> dict[bytes, list[x509.Certificate]]:
    """What can be read of the files, by subject."""
    found: dict[bytes, list[x509.Certificate]] = {}
    for file in files:
        try:
            certificates = x509.load_pem_x509_certificates(file.read_bytes())
        except (OSError, *UNREADABLE):
            continue  # TLS has no use for it either
        for certificate in certificates:
            found.setdefault(certificate.subject.public_bytes(), []).append(certificate)
    return found


CheckRevoked = Callable[[Sequence[bytes]], None]


def verified_delegation(
    pem: str, key: bytes, authorities: Authorities, now: datetime, check_revoked: CheckRevoked
) -> tuple[str, Credential]:
    """The chain that a client made for our key, in PEM and without authorities, and what it proves.

    ``check_revoked`` is given the end entity and its authorities, DER, up to the root, and raises PeerError.
    Raises Refused for a chain that is not good: made for another key, no proxy, with attributes of a VO, not
    valid now, not from a trusted authority, or revoked.  Who it is for, whether it is limited, has a group or
    ends too soon, the credential tells.
    """
    certificates = _certificates(pem)
    credential = _credential(certificates)
    if not credential.is_proxy:
        raise NoProxy("Chain is not a proxy")
    if certificates[0].public_key() != load_pem_private_key(key, None).public_key():
        raise Refused("The proxy was made for another key than that of the request")
    path = _path(certificates, credential)
    if any(_has(certificate, VOMS_ATTRIBUTES) for certificate in path):
        raise Refused("Proxies with VOMS extensions are not allowed to be uploaded")
    _check_dates(path, now)
    trust = _trust(path[-1], certificates[len(path) :], authorities, now)
    try:
        check_revoked([each.public_bytes(Encoding.DER) for each in trust])
    except PeerError as error:
        raise Refused(str(error)) from error
    text = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in path)
    return text, credential


def _certificates(pem: str) -> list[x509.Certificate]:
    if len(pem) > LARGEST_CHAIN:
        raise Unreadable("it is too long")
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except UNREADABLE as error:
        raise Unreadable(str(error)) from error
    if len(certificates) > LONGEST_CHAIN:
        raise Refused(f"A chain may have {LONGEST_CHAIN} certificates at most")
    return certificates


def _credential(certificates: Sequence[x509.Certificate]) -> Credential:
    try:
        certificates[0].public_key()
        return credential_from_chain([each.public_bytes(Encoding.DER) for each in certificates])
    except (PeerError, *UNREADABLE) as error:
        raise Unreadable(str(error)) from error


def _path(certificates: Sequence[x509.Certificate], credential: Credential) -> list[x509.Certificate]:
    """From the proxy to the end entity, whose names and signatures the credential vouches for."""
    names = [openssl_dn(each.subject) for each in certificates]
    return list(certificates[: names.index(credential.dn) + 1])


def _has(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bool:
    return any(extension.oid == oid for extension in certificate.extensions)


def _check_dates(certificates: Iterable[x509.Certificate], now: datetime) -> None:
    for certificate in certificates:
        if certificate.not_valid_after_utc <= now:
            raise Refused("The chain has expired")
        if certificate.not_valid_before_utc > now + CLOCKS_DIFFER:
            raise Refused("The chain is not valid yet: look at the clocks")


def _trust(
    certificate: x509.Certificate,
    given: Sequence[x509.Certificate],
    authorities: Authorities,
    now: datetime,
) -> list[x509.Certificate]:
    """The way from an end entity to a self-signed authority of the directory, both included.

    Authorities in between may come with the chain or stand in the directory.
    """
    way = [certificate]
    for _ in range(LONGEST_CHAIN):
        trusted = _issuer(certificate, authorities.named(certificate.issuer))
        issuer = trusted or _issuer(certificate, given)
        if issuer is None:
            break
        _check_dates([issuer], now)
        way.append(issuer)
        if trusted is not None and issuer.subject == issuer.issuer:
            return way
        certificate = issuer
    raise Refused("The chain does not lead to an authority that is trusted here")


def _issuer(certificate: x509.Certificate, candidates: Iterable[x509.Certificate]) -> x509.Certificate | None:
    return next((each for each in candidates if _issued(each, certificate)), None)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if not _may_issue(issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    """Whether it is an authority's; very old roots do not say so."""
    try:
        extensions = certificate.extensions
    except UNREADABLE:
        return False
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=False):
                return False
            case x509.KeyUsage(key_cert_sign=False):
                return False
    return certificate.subject == certificate.issuer or _has(certificate, x509.BasicConstraints.oid)


def strength(chain: str) -> int:
    """The bits of a proxy's key."""
    key = x509.load_pem_x509_certificates(chain.encode())[0].public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return key.key_size


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a proxy is to be like that is made of a stored one.

    ``expires`` is cut to the end of the stored one.
    """

    group: str
    limited: bool
    expires: datetime


def sign_request(request_pem: str, wanted: Wanted, chain: str, key: bytes, now: datetime) -> str:
    """A proxy for the key of a client's request, made of a stored one (its chain and key in PEM).

    The answer is PEM: the proxy and the stored chain, no key.  It is limited too if the request's name is
    ``limited proxy``.  Raises Refused for a request that is not good.
    """
    request = _signing_request(request_pem)
    stored = x509.load_pem_x509_certificates(chain.encode())
    issuer = stored[0]
    signing = load_pem_private_key(key, None)
    assert isinstance(signing, PrivateKey)
    serial = x509.random_serial_number()
    own_name = x509.NameAttribute(NameOID.COMMON_NAME, str(serial))
    limited = wanted.limited or _asks_for_limited(request)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*issuer.subject.rdns, x509.RelativeDistinguishedName([own_name])]))
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(serial)
        .not_valid_before(max(now - CLOCKS_DIFFER, issuer.not_valid_before_utc))
        .not_valid_after(min(wanted.expires, *(each.not_valid_after_utc for each in stored)))
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(
            x509.UnrecognizedExtension(PROXY_INFORMATION, LIMITED if limited else INHERIT_ALL), critical=True
        )
        .add_extension(x509.UnrecognizedExtension(DIRAC_GROUP, _ia5(wanted.group)), critical=False)
    )
    return builder.sign(signing, hashes.SHA256()).public_bytes(Encoding.PEM).decode() + chain


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=True,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _signing_request(pem: str) -> x509.CertificateSigningRequest:
    if len(pem) > LARGEST_CHAIN:
        raise Unreadable("it is too long")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed, public = request.is_signature_valid, request.public_key()
    except UNREADABLE as error:
        raise Unreadable(str(error)) from error
    if not signed:
        raise Refused("The request is not signed with its own key")
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < LEAST_BITS:
            raise Refused(f"The request's key is too short: make it with {REQUEST_BITS} bits")
    elif not isinstance(public, ec.EllipticCurvePublicKey):
        raise Refused("The request's key must be an RSA key")
    return request


def _asks_for_limited(request: x509.CertificateSigningRequest) -> bool:
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return any(name.value == "limited proxy" for name in names)


def _ia5(text: str) -> bytes:
    if not text.isascii() or len(text) > 127:
        raise Refused("A group can stand in a proxy only with a name of up to 127 ASCII characters")
    content = text.encode("ascii")
    return bytes([IA5_STRING, len(content)]) + content
