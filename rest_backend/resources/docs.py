"""The page on which people read the OpenAPI document and try it: Swagger UI from a package, no internet."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from rest_backend.operations import Answer, Context, Operation, Raw
from rest_backend.policies.common import PUBLIC

SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
START = "start.js"

_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Wherry: the REST API</title>
<link rel="stylesheet" href="/api/docs/{STYLE}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/api/docs/{SCRIPT}"></script>
<script src="/api/docs/{START}"></script>
</body>
</html>
"""

_START = """window.onload = () => SwaggerUIBundle({
  url: "/api/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
});
"""

# Swagger UI writes styles into its elements; scripts come from here only.
_SECURITY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)
_KEPT = {"Cache-Control": "public, max-age=3600"}


class Asset(BaseModel):
    """A file of the page."""

    asset: Literal["swagger-ui-bundle.js", "swagger-ui.css", "start.js"]


async def docs(_context: Context, _body: None, _parameters: None) -> Answer:
    """The page."""
    headers = {"Content-Security-Policy": _SECURITY}
    return Answer(Raw(_PAGE.encode(), "text/html; charset=utf-8"), headers=headers)


async def docs_asset(_context: Context, _body: None, parameters: Asset) -> Answer:
    """A script or a style of the page."""
    name = parameters.asset
    kind = "text/css" if name == STYLE else "text/javascript"
    content = _START.encode() if name == START else await asyncio.to_thread(_packaged, name)
    return Answer(Raw(content, f"{kind}; charset=utf-8"), headers=_KEPT)


@cache
def _packaged(name: str) -> bytes:
    """A file of the package, which need not be imported for it."""
    package = find_spec("swagger_ui")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0], "static", name).read_bytes()


OPERATIONS = (
    Operation(
        "docs",
        "GET",
        "/api/docs",
        docs,
        PUBLIC,
        content_type="text/html",
        transactional=False,
        documented=False,
    ),
    Operation(
        "docs_asset",
        "GET",
        "/api/docs/{asset}",
        docs_asset,
        PUBLIC,
        parameters=Asset,
        content_type="text/javascript",
        transactional=False,
        documented=False,
    ),
)
