"""The configuration, as DiracX's clients read it (rest-diracx.md, section 8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from rest_backend.conditional import conditional
from rest_backend.models.configuration import Conditional
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.served_configuration import Document, served_configuration
from shared_db.cfg import CfgSection


@dataclass(slots=True)
class _Kept:
    """The document of the configuration asked for last; that is one object until its file changes."""

    cfg: CfgSection
    document: Document


_kept = _Kept(CfgSection(), Document(b"{}", ""))


async def serve_config(context: Context, _body: None, _parameters: Conditional) -> Answer:
    """The whole configuration; 304 for a client that has it already.

    It changes when the administrators' registry file does.
    """
    document = await _document(context)
    modified = context.resources.cfg_modified()
    body = orjson.Fragment(document.json)
    return conditional(context.request.headers, body, document.etag, modified)


async def _document(context: Context) -> Document:
    resources = context.resources
    cfg = resources.cfg()
    if _kept.cfg is not cfg:
        # Thousands of users take their time, in which others are served.
        document = await asyncio.to_thread(
            served_configuration, cfg, resources.registry(), resources.settings.auth.providers
        )
        _kept.document, _kept.cfg = document, cfg
        return document
    return _kept.document


OPERATIONS = (
    Operation(
        "config_serve_config",
        "GET",
        "/api/config/",
        serve_config,
        AUTHENTICATED,
        parameters=Conditional,
        response=Any,
        statuses=(200, 304),
    ),
)
