"""The REST listener's TLS, which takes up a renewed certificate without a restart.

It imports nothing of the legacy side, which a site may have deleted.
"""

from __future__ import annotations

import logging
import ssl

from wherry.config import ConfigError, Tls

logger = logging.getLogger(__name__)


class RestTls:
    """One context for the life of the listener; what it shows is replaced within."""

    def __init__(self, tls: Tls) -> None:
        """Raises ConfigError when the files cannot be used."""
        self._files = tls.certificate, tls.key
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._problem = ""
        self._looks = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._take_up()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"`tls`: {tls.certificate} and its key cannot be used: {error}") from error

    def refresh(self) -> None:
        """Take up files that changed.  A pair that cannot be used is logged; the last one stays in force."""
        problem = ""
        try:
            self._take_up()
        except OSError as error:
            problem = str(error)
        self._looks = self._looks + 1 if problem == self._problem else 1
        self._problem = problem
        # At the second look: a pair is replaced one file after the other.
        if problem and self._looks == 2:
            logger.error("%s or %s cannot be used for REST: %s", *self._files, problem)

    def _take_up(self) -> None:
        seen = tuple(
            (status.st_ctime_ns, status.st_size, status.st_ino)
            for status in (file.stat() for file in self._files)
        )
        if seen == self._seen:
            return
        # Apart first: half of a pair would be left in a context that is in use.  Without a passphrase
        # OpenSSL would ask the terminal for it.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
            context.load_cert_chain(*self._files, password="")
        if self._seen:
            logger.info("%s and %s took effect for REST", *self._files)
        self._seen = seen
