r"""What a caller's certificates prove: a DN, whether a proxy speaks for it, and the DIRAC group it carries.

TLS has verified the chain before it comes here (``VERIFY_ALLOW_PROXY_CERTS``).  This module only reads
it: nothing a client merely *says* plays a part.  Source of the rules: reference sheet ``legacy-wire.md``
sections 4.1 and 4.2, and the oracle where a comment says so.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from legacy_rpc.messages import Credential, PeerError

# A chain is read once per proxy, not once per call; a busy site has a few thousand proxies alive.
CACHED_CHAINS = 4096

PROXY_INFORMATION = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
DIRAC_GROUP = x509.ObjectIdentifier("1.2.42.42")
# What a proxy inherits of its issuer's rights.  One with another policy ("independent", say) inherits none.
INHERIT_ALL_POLICY = bytes.fromhex("2b06010505071501")  # 1.3.6.1.5.5.7.21.1
LIMITED_POLICY = bytes.fromhex("2b060104019b5001010109")  # 1.3.6.1.4.1.3536.1.1.1.9
POLICIES = {INHERIT_ALL_POLICY: False, LIMITED_POLICY: True}

# Proxies from before RFC 3820 say what they are by their last CN; the value tells whether limited.
LEGACY_PROXY_NAMES: dict[str | bytes, bool] = {"proxy": False, "limited proxy": True}

# Tags of DER elements.
SEQUENCE, INTEGER, OBJECT_IDENTIFIER, IA5_STRING = 0x30, 0x02, 0x06, 0x16

# cryptography has no common base for what malformed certificates make it raise.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

# OpenSSL's short names; any other attribute is printed with its dotted number.
SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
}


def _printed(byte: int) -> str:
    if not 0x20 <= byte <= 0x7E:
        return f"\\x{byte:02X}"
    character = chr(byte)
    return f"\\{character}" if character in "/+" else character


PRINTED_BYTES = [_printed(byte) for byte in range(256)]


class HostEntry(Protocol):
    """A host of the registry: its nickname and its DIRAC properties."""

    @property
    def name(self) -> str: ...

    @property
    def properties(self) -> tuple[str, ...]: ...


class Directory(Protocol):
    r"""The registry's look-ups that authorisation asks for.

    DNs come in OpenSSL 3's spelling (``\/`` and ``\+``); registries written with OpenSSL 1.1 have them
    bare, so an implementation finds both.  DNs and groups it does not know are no error.
    """

    def username(self, dn: str, group: str) -> str | None:
        """The user who has this DN, is a member of the group and is not suspended in the group's VO."""

    def default_group(self, dn: str) -> str | None:
        """The group of a user who names none; None for an unknown DN or a user in no group."""

    def vo_of(self, group: str) -> str | None:
        """The VO of the group."""

    def properties_of(self, group: str) -> tuple[str, ...]:
        """The properties of the group, in the registry's order."""

    def groups_of_vo(self, vo: str) -> tuple[str, ...]:
        """The groups of the VO."""

    def host(self, dn: str) -> HostEntry | None:
        """The host that has this DN."""

    def dns_of(self, username: str) -> tuple[str, ...]:
        """The DNs of a user."""

    def authorization(self, service: str) -> Mapping[str, tuple[str, ...]]:
        """The rules that the registry writes down for a service: lists by method, or ``Default``.

        Transfers are ``FileTransfer/ToClient`` and the like.
        """


def openssl_dn(name: x509.Name) -> str:
    """The name as OpenSSL 3 prints it on one line: ``/C=ch/O=DIRAC/CN=a b+UID=u1`` (sheet 4.2)."""
    return "".join("/" + "+".join(map(_attribute_text, rdn)) for rdn in name.rdns)


def _attribute_text(attribute: x509.NameAttribute[str | bytes]) -> str:
    dotted = attribute.oid.dotted_string
    value = "".join(PRINTED_BYTES[byte] for byte in _encoded_value(attribute))
    return f"{SHORT_NAMES.get(dotted, dotted)}={value}"


def _encoded_value(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    """The value's bytes in the certificate, which OpenSSL prints whatever string type they have."""
    _, rdn, _ = split_der(x509.Name([attribute]).public_bytes())
    _, pair, _ = split_der(rdn)
    _, type_and_value, _ = split_der(pair)
    _, _, value = split_der(type_and_value)
    return split_der(value)[1]


def split_der(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and content of the first DER element, and what follows it; ValueError if it is cut short."""
    tag, length, start = data[:1], data[1:2], 2
    if length >= b"\x80":
        start += length[0] & 0x7F
        length = data[2:start]
    end = start + int.from_bytes(length, "big")
    if end > len(data):
        raise ValueError("a DER element is cut short")
    return tag[0], data[start:end], data[end:]


def credential_from_chain(chain: Sequence[bytes]) -> Credential:
    """What a chain proves (sheet 4.2): DER certificates, leaf first, as TLS verified them (root included).

    Expired certificates are no error here: ``Credential.expires`` tells.  Raises PeerError for an empty
    chain and for certificates that cannot be read.
    """
    if not chain:
        raise PeerError("the peer showed no certificate")
    try:
        return _credential([x509.load_der_x509_certificate(der) for der in chain])
    except UNREADABLE as problem:
        raise PeerError(f"the peer's certificates cannot be read: {problem}") from problem


def _credential(certificates: Sequence[x509.Certificate]) -> Credential:
    leaf = certificates[0]
    steps = _proxy_steps(certificates)
    path = certificates[: len(steps) + 1]
    return Credential(
        dn=openssl_dn(path[-1].subject),
        subject=openssl_dn(leaf.subject),
        issuer=openssl_dn(leaf.issuer),
        expires=min(certificate.not_valid_after_utc for certificate in certificates),
        is_proxy=bool(steps),
        limited=any(steps),
        group=_group(path) if steps else None,
    )


def _proxy_steps(certificates: Sequence[x509.Certificate]) -> list[bool]:
    """Whether each proxy from the leaf to the end entity is limited.

    Empty for an end entity alone, and where a full proxy was made of a limited one: DIRAC takes such a
    leaf for an end entity, whom the registry does not know.
    """
    steps: list[bool] = []
    for certificate, issuer in pairwise(certificates):
        limited = _limited(certificate)
        if limited is None or not _delegates(issuer, certificate):
            break
        steps.append(limited)
    limited_ones_first = sorted(steps, reverse=True)
    return steps if steps == limited_ones_first else []


def _limited(certificate: x509.Certificate) -> bool | None:
    """Whether a proxy certificate is limited; None for one that does not speak for its issuer."""
    information = _extension(certificate, PROXY_INFORMATION)
    if information is not None:
        return POLICIES.get(_policy(information))
    names = [attribute for rdn in certificate.subject.rdns[-1:] for attribute in rdn]
    if len(names) == 1 and names[0].oid == NameOID.COMMON_NAME:
        return LEGACY_PROXY_NAMES.get(names[0].value)
    return None


def _policy(information: bytes) -> bytes:
    """The policy language in ``SEQUENCE { pathLength INTEGER OPTIONAL, SEQUENCE { language OID, ... } }``."""
    tag, content, _ = split_der(information)
    inner, policy, rest = split_der(content)
    if inner == INTEGER:
        inner, policy, _ = split_der(rest)
    language, identifier, _ = split_der(policy)
    if (tag, inner, language) != (SEQUENCE, SEQUENCE, OBJECT_IDENTIFIER):
        raise ValueError("the proxy information is malformed")
    return identifier


def _delegates(issuer: x509.Certificate, proxy: x509.Certificate) -> bool:
    """Whether the proxy is the issuer's: its name with one RDN more, signed with its key, and it no CA.

    An authority issues identities and delegates none; without that, a user named ``CN=proxy`` would
    be taken for the authority.
    """
    if proxy.subject.rdns[:-1] != issuer.subject.rdns or _is_authority(issuer):
        return False
    try:
        proxy.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _group(path: Sequence[x509.Certificate]) -> str | None:
    """The DIRAC group of a proxy path (leaf first, end entity last): the one nearest to the end entity.

    Whoever re-delegates a proxy must not be able to change its group.  Certificates above the end
    entity are not asked.  An empty group counts as none (the oracle does the same).
    """
    for certificate in reversed(path):
        extension = _extension(certificate, DIRAC_GROUP)
        if extension is not None and (group := _ia5_text(extension)):
            return group
    return None


def _ia5_text(data: bytes) -> str:
    tag, content, _ = split_der(data)
    if tag != IA5_STRING:
        raise ValueError("the DIRAC group is not an IA5String")
    return content.decode("ascii")


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    """The DER value of an extension."""
    try:
        return certificate.extensions.get_extension_for_oid(oid).value.public_bytes()
    except x509.ExtensionNotFound:
        return None


def _now() -> datetime:
    return datetime.now(UTC)


class Revoked(Protocol):
    """Which certificates were revoked."""

    @property
    def generation(self) -> int:
        """Changes whenever ``check`` may have another answer than before."""

    def check(self, chain: Sequence[bytes]) -> None:
        """Raise PeerError if a certificate of a verified chain was revoked."""


@dataclass(frozen=True, slots=True)
class _Known:
    credential: Credential
    generation: int


class ChainCache:
    """Credentials by the SHA-256 of their chain, so that a proxy is read once and not at every call.

    The least recently used of more than ``size`` entries is dropped.  ``revoked`` is asked about a chain when
    it is new, and about every chain again after each change of what was revoked; None: nothing ever is.
    ``clock`` gives aware UTC times.
    """

    def __init__(
        self,
        size: int = CACHED_CHAINS,
        clock: Callable[[], datetime] = _now,
        revoked: Revoked | None = None,
    ) -> None:
        self._size = size
        self._clock = clock
        self._revoked = revoked
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, chain: Sequence[bytes]) -> Credential:
        """The credential of a chain, as ``credential_from_chain``.

        Raises PeerError also when the chain has expired or was revoked, which TLS notices at the handshake at
        best: a connection that is kept alive must not outlive its proxy.
        """
        key = hashlib.sha256(b"".join(chain)).digest()
        known = self._known.pop(key, None)  # and put back as the latest, if it is still good
        credential = known.credential if known else credential_from_chain(chain)
        if credential.expires <= self._clock():
            raise PeerError(f"the peer's certificates expired at {credential.expires:%Y-%m-%d %H:%M:%S} UTC")
        if self._revoked is not None:
            generation = self._revoked.generation  # before the check: a change meanwhile means another check
            if known is None or known.generation != generation:
                self._revoked.check(chain)
                known = _Known(credential, generation)
        self._known[key] = known or _Known(credential, 0)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return credential
