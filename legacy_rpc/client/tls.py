"""How we show ourselves to the services that calls are passed through to."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from legacy_rpc.client.diset import CallError, client_tls
from legacy_rpc.files import Stamp

logger = logging.getLogger(__name__)


class HostTls:
    """A TLS context with the host's certificate, which is followed.

    Raises CallError when a file cannot be used, OSError when one is not there.
    """

    def __init__(self, certificate: Path, key: Path, ca_path: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._ca_path = ca_path
        self._stamps = self._look()
        self.context = self._make()

    def refresh(self) -> None:
        """Take up a renewed certificate; what cannot be used changes nothing.  To be called in a thread."""
        try:
            stamps = self._look()
            if stamps != self._stamps:
                self.context = self._make()
                self._stamps = stamps
        except (CallError, OSError) as error:  # the listeners' own look says so in the log
            logger.debug("the certificate for upstreams is not renewed: %s", error)

    def _look(self) -> tuple[Stamp, Stamp]:
        return Stamp.of(self._certificate), Stamp.of(self._key)

    def _make(self) -> ssl.SSLContext:
        return client_tls(self._certificate, self._ca_path, self._key)
