"""One small client per legacy wire, independent of our codecs where a library speaks the wire.

Each is a blocking function ``(place, credentials, service, method, arguments) -> dictionary``: what a DIRAC
client would see, ``{"OK": True, "Value": ...}`` or ``{"OK": False, "Errno": ..., "Message": ...}``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import msgpack

from legacy_rpc.client.diset import Endpoint, call, client_tls
from legacy_rpc.codecs import jencode
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import read_value, write_value

SECONDS = 30.0


@dataclass(frozen=True)
class Caller:
    """Who calls, by a proxy file."""

    proxy: Path
    ca_path: Path

    @property
    def tls(self) -> ssl.SSLContext:
        """Shows the proxy."""
        return client_tls(self.proxy, self.ca_path)


Ask = Callable[[str, Caller, str, str, Sequence[Any]], dict[str, Any]]


def diset(
    encoding: Encoding, place: str, caller: Caller, service: str, method: str, arguments: Sequence[Any]
) -> dict[str, Any]:
    """DISET, in either encoding."""
    endpoint = Endpoint.parse(f"{place}/{service}")
    return asyncio.run(call(endpoint, method, arguments, caller.tls, encoding=encoding, seconds=SECONDS))


def https(place: str, caller: Caller, service: str, method: str, arguments: Sequence[Any]) -> dict[str, Any]:
    """DIRAC's JSON over HTTPS, as TornadoClient sends it."""
    form = {"method": method, "args": jencode.encode(arguments).decode(), "clientVO": "demo"}
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=caller.tls))
    try:
        with opener.open(f"{place}/{service}", urlencode(form).encode(), SECONDS) as answer:
            result = jencode.decode(answer.read())
    except urllib.error.HTTPError as error:
        return {"OK": False, "Errno": 1111 if error.code == 401 else 0, "Message": error.read().decode()}
    assert isinstance(result, dict)
    return result


def xml_rpc(
    place: str, caller: Caller, service: str, method: str, arguments: Sequence[Any]
) -> dict[str, Any]:
    """The standard library's client."""
    with xmlrpc.client.ServerProxy(
        place, context=caller.tls, allow_none=True, use_builtin_types=True
    ) as server:
        try:
            value = getattr(server, f"{service.replace('/', '.')}.{method}")(*arguments)
        except xmlrpc.client.Fault as fault:
            return {"OK": False, "Errno": fault.faultCode, "Message": fault.faultString}
    return {"OK": True, "Value": value}


def msgpack_rpc(
    place: str, caller: Caller, service: str, method: str, arguments: Sequence[Any]
) -> dict[str, Any]:
    """One request of the specification, packed with its library."""
    parts = urlsplit(place)
    request = msgpack.packb([0, 7, f"{service}.{method}", list(arguments)], datetime=False)
    unpacker = msgpack.Unpacker(timestamp=3, strict_map_key=False)
    with (
        socket.create_connection((parts.hostname, parts.port), SECONDS) as plain,
        caller.tls.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(request)
        while data := secured.recv(65536):
            unpacker.feed(data)
            for kind, number, error, result in unpacker:
                assert (kind, number) == (1, 7)
                return {"OK": True, "Value": result} if error is None else {"OK": False, **error}
    raise AssertionError("the server closed the connection without an answer")


class GrpcClient:
    """The generic service."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def __call__(
        self, place: str, caller: Caller, service: str, method: str, arguments: Sequence[Any]
    ) -> dict[str, Any]:
        """One call."""
        request = self._schema.call_request(service=service, method=method)
        for argument in arguments:
            write_value(request.arguments.add(), argument)
        authority = b"".join(file.read_bytes() for file in sorted(caller.ca_path.glob("*.0")))
        proxy = caller.proxy.read_bytes()
        credentials = grpc.ssl_channel_credentials(authority, private_key=proxy, certificate_chain=proxy)
        with grpc.secure_channel(urlsplit(place).netloc, credentials) as channel:
            ask = channel.unary_unary(
                "/wherry.v1.LegacyRpc/Call",
                request_serializer=type(request).SerializeToString,
                response_deserializer=self._schema.reply.FromString,
            )
            try:
                reply = ask(request, SECONDS)
            except grpc.RpcError as error:
                return self._error(error)
        return {"OK": True, "Value": read_value(reply.value, 100)}

    def _error(self, raised: Any) -> dict[str, Any]:
        metadata = dict(raised.trailing_metadata())
        error = self._schema.error.FromString(metadata["wherry-error-bin"])
        return {"OK": False, "Errno": error.errno, "Message": error.message}


def clients(schema: Schema) -> dict[str, tuple[str, Ask]]:
    """By name: the wire, and its client."""
    return {
        "dips-dencode": ("dips", partial(diset, DENCODE)),
        "dips-json": ("dips", partial(diset, JENCODE)),
        "https": ("https", https),
        "xmlrpc": ("xmlrpc", xml_rpc),
        "msgpack": ("msgpack", msgpack_rpc),
        "grpc": ("grpc", GrpcClient(schema)),
    }
