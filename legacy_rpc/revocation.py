"""Which certificates their authorities have revoked: the CRLs that lie beside the authorities' certificates.

OpenSSL is not asked: it cannot honour just the CRLs that are there, reads them in the event loop, keeps them
for ever, and does not look again at a connection that stays open (docs/decisions/0011-crls.md).  A chain
comes here after TLS has verified it, so this module only has to find the issuer's CRL and look the serial up.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from legacy_rpc.credentials import PROXY_INFORMATION, UNREADABLE, openssl_dn, split_der
from legacy_rpc.files import Stamp, stamps
from legacy_rpc.messages import PeerError

logger = logging.getLogger(__name__)

Mode = Literal["if-present", "required"]
CanonicalName = tuple[frozenset[tuple[str, str]], ...]

# OpenSSL's name of a CRL in a directory of authorities, and how an authority's is made of the same hash.
CRL_NAME = re.compile(r"([0-9a-f]{8})\.r[0-9]+")
PEM_BEGIN, PEM_END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
# Of base64, decoded at once: longer texts would keep the interpreter from the event loop.  A multiple of 4.
PEM_PIECE = 256 * 1024


class CrlError(Exception):
    """A file is no CRL, or one of a kind that cannot be judged by."""


@dataclass(eq=False)
class Crl:
    """One CRL.  ``serials`` are those that it revokes."""

    parsed: x509.CertificateRevocationList = field(repr=False)
    serials: frozenset[int] = field(repr=False)
    signed: bytes = field(repr=False)
    """What the signature is over: the digest, or the very content where the algorithm takes no digest."""
    _signers: dict[bytes, bool] = field(default_factory=dict, repr=False)
    _reasons: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, der: bytes) -> Crl:
        """A CRL in DER.  Raises CrlError.

        May take a second for a long one, hardly any of it without letting other threads run.
        """
        try:
            parsed = x509.load_der_x509_crl(der)
            _check_scope(parsed)
            algorithm = parsed.signature_hash_algorithm
            _, content, _ = split_der(der)
            _, _, behind = split_der(content)
            signed = content[: len(content) - len(behind)]
            return cls(
                parsed,
                frozenset(entry.serial_number for entry in parsed),
                hashlib.new(algorithm.name, signed).digest() if algorithm else signed,
            )
        except UNREADABLE as problem:
            raise CrlError(f"it cannot be read: {problem}") from problem

    @property
    def authority(self) -> str:
        """The DN of the authority."""
        return openssl_dn(self.parsed.issuer)

    def outdated(self, now: datetime) -> bool:
        """Whether a newer one should be there."""
        end = self.parsed.next_update_utc
        return end is not None and end <= now

    def is_of(self, authority: x509.Certificate) -> bool:
        """Whether this authority signed it, and not another of the same name."""
        key = authority.public_bytes(Encoding.DER)
        if key not in self._signers:
            self._signers[key] = self._verifies(authority)
        return self._signers[key]

    def _verifies(self, authority: x509.Certificate) -> bool:
        algorithm, signature = self.parsed.signature_hash_algorithm, self.parsed.signature
        try:
            match authority.public_key(), algorithm:
                case rsa.RSAPublicKey() as key, hashed if hashed is not None:
                    padding = self.parsed.signature_algorithm_parameters
                    key.verify(signature, self.signed, padding, Prehashed(hashed))  # type: ignore[arg-type]
                case ec.EllipticCurvePublicKey() as key, hashed if hashed is not None:
                    key.verify(signature, self.signed, ec.ECDSA(Prehashed(hashed)))
                case (ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey()) as key, None:
                    key.verify(signature, self.signed)
                case _:
                    return False
        except (InvalidSignature, *UNREADABLE):
            return False
        return True

    def reason(self, serial: int) -> str:
        """When and why a serial that it has was revoked, in words."""
        if serial not in self._reasons:  # finding the entry takes milliseconds in a long CRL
            self._reasons[serial] = _reason(self.parsed.get_revoked_certificate_by_serial_number(serial))
        return self._reasons[serial]


def _reason(entry: x509.RevokedCertificate | None) -> str:
    assert entry is not None
    when = f"{entry.revocation_date_utc:%Y-%m-%d}"
    with suppress(x509.ExtensionNotFound, *UNREADABLE):
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        return f"{when}, {reason.value}"
    return when


def _check_scope(crl: x509.CertificateRevocationList) -> None:
    """Raise CrlError for a CRL whose entries mean something else than "this authority revokes this"."""
    with suppress(x509.ExtensionNotFound):
        crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
        raise CrlError("it is a delta CRL: put the whole one there")
    with suppress(x509.ExtensionNotFound):
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        if point.indirect_crl:
            raise CrlError("it is an indirect CRL: put the authority's own there")


def _now() -> datetime:
    return datetime.now(UTC)


class Revocations:
    """The CRLs of a directory of authorities, as they are now.

    ``if-present``: what a CRL says is honoured, also when it is out of date; an authority without one is
    trusted all the same.  ``required``: every authority of a chain but the root must have one that is not out
    of date.  ``generation`` changes with every change of the answers.
    """

    def __init__(self, directory: Path, mode: Mode, clock: Callable[[], datetime] = _now) -> None:
        self.generation = 0
        self._clock = clock
        self._directory = directory
        self._mode = mode
        self._read: dict[Path, tuple[Stamp, tuple[Crl, ...]]] = {}
        self._by_issuer: Mapping[CanonicalName, Sequence[Crl]] = {}
        self._outdated: frozenset[Crl] = frozenset()
        self.refresh()

    def refresh(self) -> bool:
        """Read what changed in the directory; True when the answers did.

        A CRL that cannot be read is logged, and what was read from its file before stays in force.  Raises
        OSError if the directory cannot be listed.  To be called in a thread, by one at a time.
        """
        read = self._read_again(stamps(self._directory, CRL_NAME))
        crls = {crl: None for _, lists in read.values() for crl in lists}
        now = self._clock()
        outdated = frozenset(crl for crl in crls if crl.outdated(now))
        if read == self._read and outdated == self._outdated:
            return False
        for crl in outdated - self._outdated:
            self._tell_outdated(crl)
        by_issuer: dict[CanonicalName, list[Crl]] = {}
        for crl in crls:
            by_issuer.setdefault(_canonical(crl.parsed.issuer), []).append(crl)
        self._read, self._by_issuer, self._outdated = read, by_issuer, outdated
        self.generation += 1
        return True

    def _read_again(self, found: Mapping[Path, Stamp]) -> dict[Path, tuple[Stamp, tuple[Crl, ...]]]:
        """Every file's CRLs.  Names of one file, as links have them, share what was read."""
        known = dict(self._read.values())
        read = {}
        for path, stamp in found.items():
            if stamp not in known:
                known[stamp] = self._from_file(path)
            read[path] = stamp, known[stamp]
        return read

    def _from_file(self, path: Path) -> tuple[Crl, ...]:
        try:
            crls = tuple(Crl.read(der) for der in _ders(path.read_bytes()))
        except (OSError, CrlError) as error:
            _, before = self._read.get(path, (None, ()))
            stays = " (the one before stays in force)" if before else ""
            logger.error("the CRL %s is not used: %s%s", path, error, stays)
            return before
        for crl in crls:
            # Verified now, so that the first connection need not wait for it.
            if not any(crl.is_of(authority) for authority in _authorities_beside(path)):
                logger.warning("the CRL %s is signed by no authority of that name there", path)
        return crls

    def _tell_outdated(self, crl: Crl) -> None:
        end = crl.parsed.next_update_utc
        consequence = "its users are refused" if self._mode == "required" else "what it says still holds"
        logger.warning("the CRL of %s is out of date since %s: %s", crl.authority, end, consequence)

    def check(self, chain: Sequence[bytes]) -> None:
        """Raise PeerError, with the DN and the reason, if a certificate of a verified chain is revoked.

        ``chain``: DER, leaf first, root included.  Proxies are passed over: nobody keeps lists of them.
        """
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        for certificate, authority in pairwise(certificates):
            if not _is_proxy(certificate):
                self._check_one(certificate, authority)

    def _check_one(self, certificate: x509.Certificate, authority: x509.Certificate) -> None:
        named = self._by_issuer.get(_canonical(authority.subject), ())
        crls = [crl for crl in named if crl.is_of(authority)]
        serial = certificate.serial_number
        for crl in crls:
            if serial in crl.serials:
                raise PeerError(
                    f"the certificate of {openssl_dn(certificate.subject)} is revoked"
                    f" by {crl.authority} ({crl.reason(serial)})"
                )
        if self._mode == "required" and all(crl in self._outdated for crl in crls):
            lack = "out of date" if crls else "not there"
            raise PeerError(
                f"whether the certificate of {openssl_dn(certificate.subject)} is revoked is not known:"
                f" the CRL of {openssl_dn(authority.subject)} is {lack}"
            )


def _canonical(name: x509.Name) -> CanonicalName:
    """What is equal for spellings of one name: some authorities write it otherwise in their CRLs."""
    return tuple(
        frozenset((each.oid.dotted_string, " ".join(str(each.value).split()).lower()) for each in rdn)
        for rdn in name.rdns
    )


def _is_proxy(certificate: x509.Certificate) -> bool:
    """TLS let the chain pass, so only a proxy has this extension."""
    with suppress(x509.ExtensionNotFound, *UNREADABLE):
        certificate.extensions.get_extension_for_oid(PROXY_INFORMATION)
        return True
    return False


def _ders(content: bytes) -> Iterator[bytes]:
    """The CRLs of a file, which is PEM or DER.  Raises CrlError."""
    start = content.find(PEM_BEGIN)
    if start < 0:
        yield content
        return
    while start >= 0:
        end = content.find(PEM_END, start)
        if end < 0:
            raise CrlError("it is cut short")
        yield _decoded(content[start + len(PEM_BEGIN) : end].translate(None, b" \t\r\n"))
        start = content.find(PEM_BEGIN, end)


def _decoded(text: bytes) -> bytes:
    try:
        pieces = (text[start : start + PEM_PIECE] for start in range(0, len(text), PEM_PIECE))
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except ValueError as problem:
        raise CrlError(f"it cannot be read: {problem}") from problem


def _authorities_beside(path: Path) -> Iterator[x509.Certificate]:
    """The certificates that OpenSSL finds by the same hash of a name."""
    for other in path.parent.glob(f"{path.stem}.[0-9]"):
        with suppress(OSError, *UNREADABLE):
            yield x509.load_pem_x509_certificate(other.read_bytes())
