"""``wherry call``: a legacy call from the shell."""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from wherry.cli_common import FAILED, OneLine, run


@click.command()
@click.argument("service")
@click.argument("method")
@click.argument("arguments", nargs=-1)
@click.option("--url", required=True, help="dips:// or https://HOST:PORT, or the service's whole URL.")
@click.option(
    "--proxy",
    type=click.Path(path_type=Path),
    envvar="X509_USER_PROXY",
    default=lambda: Path(f"/tmp/x509up_u{os.getuid()}"),  # noqa: S108 - the grid's own convention
    help="A proxy file (or X509_USER_PROXY).",
)
@click.option(
    "--token",
    envvar="WHERRY_TOKEN",
    help="A bearer token (or WHERRY_TOKEN) in place of the proxy; for https only.",
)
@click.option(
    "--ca-path",
    type=click.Path(path_type=Path),
    envvar="X509_CERT_DIR",
    default=Path("/etc/grid-security/certificates"),
    help="A directory of CA certificates (or X509_CERT_DIR).",
)
@click.option("--timeout", "seconds", type=float, default=600.0, show_default=True, help="Seconds.")
@click.option(
    "--encoding",
    type=click.Choice(["json", "dencode"]),
    default="json",
    show_default=True,
    help="How values are written: json as 9.x clients do, dencode as 7.3 and 8.0 do.",
)
def call(
    service: str,
    method: str,
    arguments: tuple[str, ...],
    url: str,
    proxy: Path,
    token: str | None,
    ca_path: Path,
    seconds: float,
    encoding: str,
) -> None:
    """Make a legacy call: SERVICE METHOD [JSON...].

    Prints the answer as JSON; exits with 1 on S_ERROR, with 2 when there was no answer.  An argument that
    does not look like JSON is taken as text.
    """
    from legacy_rpc.client.diset import CallError

    url = url if _names_service(url) else f"{url.rstrip('/')}/{service}"
    by_https = url.startswith("https:")
    if token and not by_https:
        raise OneLine("a token (--token, WHERRY_TOKEN) is for https:// only: DISET has no place for it")
    values = [_argument(text) for text in arguments]
    try:
        if by_https:
            answer = run(_call_by_https(url, method, values, proxy, token, ca_path, seconds))
        else:
            answer = run(_call_by_diset(url, method, values, proxy, ca_path, seconds, encoding))
    except CallError as error:
        raise OneLine(str(error)) from error
    click.echo(json.dumps(answer, indent=2, default=_printable, ensure_ascii=False))
    if not answer.get("OK"):
        sys.exit(FAILED)


async def _call_by_diset(
    url: str, method: str, arguments: list[Any], proxy: Path, ca_path: Path, seconds: float, encoding: str
) -> dict[str, Any]:
    from legacy_rpc.client.diset import Endpoint, call, client_tls
    from legacy_rpc.codecs.encodings import DENCODE, JENCODE

    return await call(
        Endpoint.parse(url),
        method,
        arguments,
        client_tls(proxy, ca_path),
        encoding=JENCODE if encoding == "json" else DENCODE,
        seconds=seconds,
    )


async def _call_by_https(
    url: str,
    method: str,
    arguments: list[Any],
    proxy: Path,
    token: str | None,
    ca_path: Path,
    seconds: float,
) -> dict[str, Any]:
    from legacy_rpc.client.diset import client_tls
    from legacy_rpc.client.https import HttpsClient

    async with HttpsClient() as client:
        tls = client_tls(None if token else proxy, ca_path)
        return await client.call(url, method, arguments, tls, token=token or "", seconds=seconds)


def _names_service(url: str) -> bool:
    return "/" in url.partition("://")[2].rstrip("/")


def _argument(text: str) -> Any:
    """An argument: JSON, or a text that does not look like it."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text[:1] in '[{"' and text:
            raise OneLine(
                f"argument {text!r} is no JSON ({error}): mend it, or quote it as a text"
            ) from error
        return text


def _printable(value: Any) -> str:
    if isinstance(value, datetime | date):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
