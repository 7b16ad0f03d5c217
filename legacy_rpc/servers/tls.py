"""TLS as every listener speaks it: grid proxies are let in, certificates are followed (sheet, 4.4)."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from legacy_rpc.messages import PeerError

MakeContext = Callable[[], ssl.SSLContext]


class ServerTls:
    """The contexts of all listeners, from one certificate, key and directory of authorities."""

    def __init__(self, certificate: Path, key: Path, ca_path: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._ca_path = ca_path

    def contexts(self, *, optional: bool = False, protocols: Sequence[str] = ()) -> MakeContext:
        """What gives the context for each new connection of a listener.

        ``optional``: callers may come without a certificate (and show a token).  ``protocols`` are offered by
        ALPN.  Raises OSError or ssl.SSLError when a file cannot be used.
        """
        context = self._make(optional=optional, protocols=protocols)
        return lambda: context

    def _make(self, *, optional: bool, protocols: Sequence[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        context.load_verify_locations(capath=self._ca_path)
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # refuses DIRAC's proxies
        context.set_ciphers("DEFAULT:@SECLEVEL=1")  # 1024-bit proxies of 7.3 clients
        # A resumed session has no certificate chain.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        if protocols:
            context.set_alpn_protocols(list(protocols))
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
