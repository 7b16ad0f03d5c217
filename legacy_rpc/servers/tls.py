"""TLS as every listener speaks it: grid proxies are let in, certificates are followed (sheet, 4.4)."""

from __future__ import annotations

import logging
import re
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from legacy_rpc.files import Stamp, stamps
from legacy_rpc.messages import PeerError
from legacy_rpc.revocation import Mode, Revocations

logger = logging.getLogger(__name__)

MakeContext = Callable[[], ssl.SSLContext]

# OpenSSL's name of an authority's certificate in their directory.
AUTHORITY_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")

# OpenSSL keeps 20,000 sessions of clients of TLS 1.2, which nobody may resume, with certificates, 12 KiB
# each.  There is no way to say no; a context that has more than so many is replaced.
MOST_SESSIONS = 500


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the contexts of listeners differ in."""

    optional: bool
    protocols: tuple[str, ...]


class ServerTls:
    """The contexts of all listeners, from one certificate, key and directory of authorities.

    ``revocations`` are the CRLs of that directory; None where ``crls`` is ``off``.  All of it is followed:
    what ``refresh`` finds holds for new connections, and what was revoked for open ones too.  Raises OSError
    when a file is not there.
    """

    def __init__(
        self, certificate: Path, key: Path, ca_path: Path, crls: Mode | Literal["off"] = "if-present"
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._ca_path = ca_path
        self._files = self._stamps()
        self._problem = ""
        self._looks = 0
        self._contexts: dict[_Wanted, ssl.SSLContext] = {}
        self.revocations = None if crls == "off" else Revocations(ca_path, crls)

    def contexts(self, *, optional: bool = False, protocols: Sequence[str] = ()) -> MakeContext:
        """What gives the context for each new connection of a listener.

        ``optional``: callers may come without a certificate (and show a token).  ``protocols`` are offered by
        ALPN.  Raises OSError or ssl.SSLError when a file cannot be used.
        """
        wanted = _Wanted(optional, tuple(protocols))
        self._contexts.setdefault(wanted, self._make(wanted))
        return lambda: self._contexts[wanted]

    def refresh(self) -> None:
        """Take up what changed in the files.  To be called in a thread, by one at a time; raises nothing.

        What cannot be used is logged, and what was good before stays in force.
        """
        problem = ""
        try:
            self._take_up()
        except OSError as error:  # ssl.SSLError is one
            problem = str(error)
        self._looks = self._looks + 1 if problem == self._problem else 1
        self._problem = problem
        # At the second look: a pair is replaced one file after the other.
        if problem and self._looks == 2:
            logger.error("%s, %s or %s cannot be used: %s", *self._places, problem)

    def _take_up(self) -> None:
        if self.revocations is not None and self.revocations.refresh():
            logger.info("the CRLs of %s took effect", self._ca_path)
        files = self._stamps()
        if files != self._files or self._crowded:
            # New ones also when an authority changed: OpenSSL never forgets one that it has read.
            self._contexts = {wanted: self._make(wanted) for wanted in self._contexts}
        if files != self._files:
            self._files = files
            logger.info("%s, %s and the authorities of %s took effect", *self._places)

    @property
    def _crowded(self) -> bool:
        return any(each.session_stats()["number"] > MOST_SESSIONS for each in self._contexts.values())

    @property
    def _places(self) -> tuple[Path, Path, Path]:
        return self._certificate, self._key, self._ca_path

    def _stamps(self) -> dict[Path, Stamp]:
        """Of every file that a context is made of.  Raises OSError."""
        own = {path: Stamp.of(path) for path in (self._certificate, self._key)}
        return own | stamps(self._ca_path, AUTHORITY_NAME)

    def _make(self, wanted: _Wanted) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a passphrase OpenSSL would ask the terminal for it.
        context.load_cert_chain(self._certificate, self._key, password="")
        context.load_verify_locations(capath=self._ca_path)
        context.verify_mode = ssl.CERT_OPTIONAL if wanted.optional else ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # refuses DIRAC's proxies
        context.set_ciphers("DEFAULT:@SECLEVEL=1")  # 1024-bit proxies of 7.3 clients
        # A resumed session has no certificate chain.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        # One connection, one caller.  OpenSSL before 3 lets a client shake hands again as often as it likes.
        context.options |= ssl.OP_NO_RENEGOTIATION
        if wanted.protocols:
            context.set_alpn_protocols(list(wanted.protocols))
        return context


def verified_chain(ssl_object: Any) -> Sequence[bytes]:
    """The certificates that TLS verified, DER, leaf first; none for a peer that showed none.

    A resumed TLS 1.2 session has none either, whoever began it.
    """
    if sys.version_info >= (3, 13):
        return list(ssl_object.get_verified_chain() or ())
    import _ssl

    certificates = ssl_object._sslobj.get_verified_chain() or ()  # noqa: SLF001 - public only from 3.13
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in certificates]


def required_chain(ssl_object: Any) -> Sequence[bytes]:
    """The verified certificates of a peer that must have some.  Raises PeerError for a resumed session."""
    chain = verified_chain(ssl_object)
    if not chain:
        raise PeerError("a resumed TLS session carries no certificates")
    return chain
