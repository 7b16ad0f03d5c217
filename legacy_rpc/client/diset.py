"""A DISET client: one call, one connection, as DIRAC's own clients do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from legacy_rpc.codecs.diset import ClientConversation
from legacy_rpc.codecs.encodings import JENCODE, Encoding
from legacy_rpc.messages import PeerError, Proposal


class CallError(Exception):
    """The call could not be made or was not answered; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is: ``dips://host:port/System/Component``."""

    host: str
    port: int
    service: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Raises CallError for anything but a ``dips`` URL with host, port and service."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise CallError(f"{url}: {error}") from error
        service = parts.path.strip("/")
        if parts.scheme != "dips" or not parts.hostname or not port or not service:
            raise CallError(f"{url}: a service's URL has the form dips://HOST:PORT/System/Component")
        return cls(parts.hostname, port, service)


def client_tls(credentials: Path, ca_path: Path, key: Path | None = None) -> ssl.SSLContext:
    """A context that shows a proxy (or a certificate with its key) and checks the server by a CA directory.

    Raises CallError naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ca_path.is_dir():
        raise CallError(f"{ca_path}: no CA directory: name one with --ca-path or X509_CERT_DIR")
    context.load_verify_locations(capath=str(ca_path))
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    try:
        context.load_cert_chain(str(credentials), str(key or credentials))
    except (OSError, ssl.SSLError) as error:
        raise CallError(
            f"{credentials}: no usable proxy ({error}): name one with --proxy or X509_USER_PROXY"
        ) from error
    return context


async def call(
    endpoint: Endpoint,
    method: str,
    arguments: Sequence[Any],
    tls: ssl.SSLContext,
    *,
    encoding: Encoding = JENCODE,
    client_version: str = "",
    seconds: float = 600.0,
) -> dict[str, Any]:
    """The server's ``S_OK`` or ``S_ERROR`` dictionary.  Raises CallError when there is none."""
    proposal = Proposal(
        endpoint.service, "RPC", method, client_version=client_version, setup="None", vo="unknown"
    )
    conversation = ClientConversation(proposal, arguments, encoding)
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=tls)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                writer.write(conversation.start())
                while conversation.result is None:
                    data = await reader.read(65536)
                    if not data:
                        raise CallError(f"{where} closed the connection without an answer")
                    writer.write(conversation.feed(data))
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise CallError(f"{where} did not answer within {seconds:g} s") from error
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError
        raise CallError(f"{where} cannot be called: {error}") from error
    except PeerError as error:
        raise CallError(f"{where} answered nonsense: {error}") from error
    return conversation.result
