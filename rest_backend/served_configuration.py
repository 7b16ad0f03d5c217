"""DIRAC's configuration file in the form that DiracX's clients read (rest-diracx.md, section 8)."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from rest_backend.models.configuration import (
    ComputingSection,
    DiracSection,
    GroupSection,
    IdPSection,
    OperationsSection,
    RegistrySection,
    ResourcesSection,
    ServedConfig,
    SupportSection,
    UserSection,
)
from rest_backend.settings import Provider
from shared_db.cfg import CfgDict, CfgSection
from shared_db.registry import Registry

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

DEFAULTS = "Defaults"
# Options that hold a secret, wherever they stand.
_SECRET = re.compile("(?i)passw|secret|api_?key|private_?key")


@dataclass(frozen=True, slots=True)
class Document:
    """JSON, and the tag that all copies of the same JSON have."""

    json: bytes
    etag: str


def served_configuration(
    cfg: CfgSection, registry: Registry, providers: Mapping[str, Sequence[Provider]]
) -> Document:
    """What DiracX would serve.

    An option whose value DiracX could not read is left to its default, and a line of the log says so.  Users
    are those in some group of the VO.  ``providers`` go before what the file says of identity providers.
    """
    config = ServedConfig(
        DIRAC=_read(DiracSection, "DIRAC", _section(cfg, "DIRAC")),
        Operations={vo: _operations(cfg, vo) for vo in registry.vos},
        Registry={vo: _registry(cfg, registry, vo, providers.get(vo, ())) for vo in registry.vos},
        Resources=ResourcesSection(Computing=_computing(cfg)),
        **{name: _anything(cfg, name) for name in ("LocalSite", "LogLevel", "Systems", "WebApp")},
        MCTestingDestination=_anything(cfg, "MCTestingDestination"),
    )
    json = orjson.dumps(config.model_dump(), option=orjson.OPT_SORT_KEYS)
    return Document(json, hashlib.blake2b(json, digest_size=20).hexdigest())


def _registry(cfg: CfgSection, registry: Registry, vo: str, providers: Sequence[Provider]) -> RegistrySection:
    options = _section(cfg, f"Registry/VO/{vo}")
    known = registry.vos[vo]
    section = _read(
        RegistrySection,
        f"Registry/VO/{vo}",
        {name: value for name, value in options.items() if isinstance(value, str)},
    )
    idp = _read(IdPSection, f"Registry/VO/{vo}/IdP", _inner(options, "IdP"))
    if providers:
        # DiracX knows of one: that whose subjects are the VO's own, where one is.
        provider = max(providers, key=lambda each: each.main)
        idp = IdPSection(URL=provider.url, ClientID=provider.client_id)
    members = {
        name: [user for user in registry.groups[name].users if user in registry.users]
        for name in known.groups
    }
    names = sorted({user for users in members.values() for user in users})
    return section.model_copy(
        update={
            "IdP": idp,
            "Support": _read(SupportSection, f"Registry/VO/{vo}/Support", _inner(options, "Support")),
            "DefaultGroup": registry.default_group_of_vo(vo) or "",
            "Users": {registry.subject(name, vo): _user(cfg, registry, name) for name in names},
            "Groups": {name: _group(cfg, registry, vo, name, users) for name, users in members.items()},
        }
    )


def _user(cfg: CfgSection, registry: Registry, name: str) -> UserSection:
    options = _section(cfg, f"Registry/Users/{name}")
    user = registry.users[name]
    told: dict[str, Any] = {
        "PreferedUsername": name,
        "DNs": list(user.dns),
        "Suspended": list(user.suspended_vos),
    }
    return _read(UserSection, f"Registry/Users/{name}", {**options, **told})


def _group(cfg: CfgSection, registry: Registry, vo: str, name: str, users: list[str]) -> GroupSection:
    options = _section(cfg, f"Registry/Groups/{name}")
    subjects = [registry.subject(user, vo) for user in users]
    return _read(GroupSection, f"Registry/Groups/{name}", {**options, "Users": subjects})


def _operations(cfg: CfgSection, vo: str) -> OperationsSection:
    """A VO's operations: what is said for all, for its setup, for it, and for it in its setup."""
    setup = cfg.get("DIRAC/Setup", "")
    merged: dict[str, Any] = {}
    for place in (DEFAULTS, setup, vo, f"{vo}/{DEFAULTS}", f"{vo}/{setup}" if setup else ""):
        merged = _merged(merged, _section(cfg, f"Operations/{place}")) if place else merged
    return _read(OperationsSection, f"Operations/{vo}", merged)


def _computing(cfg: CfgSection) -> ComputingSection:
    return _read(ComputingSection, "Resources/Computing", _section(cfg, "Resources/Computing"))


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(before, value)
        else:
            merged[name] = value
    return merged


def _section(cfg: CfgSection, path: str) -> CfgDict:
    section = cfg.section(path)
    return _without_secrets(section.to_dict()) if section else {}


def _without_secrets(options: CfgDict) -> CfgDict:
    """The options that all with a token may know, pilots too: where databases are, not their passwords."""
    return {
        name: value if isinstance(value, str) else _without_secrets(value)
        for name, value in options.items()
        if not _SECRET.search(name)
    }


def _inner(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = options.get(name, {})
    return inner if isinstance(inner, Mapping) else {}


def _anything(cfg: CfgSection, name: str) -> Any:
    """A section or an option of which DiracX says nothing more; None where there is none."""
    return _section(cfg, name) or cfg.get(name)


def _read(model: type[M], place: str, options: Mapping[str, Any]) -> M:
    """A section, without the options that cannot be read."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        readable: Mapping[str, Any] = options
        for problem in error.errors(include_url=False):
            path = [str(part) for part in problem["loc"]]
            logger.warning("%s/%s: %s: the default is served", place, "/".join(path), problem["msg"])
            readable = _without(readable, path)
        return model.model_validate(readable)


def _without(options: Any, path: list[str]) -> Any:
    """The options without the one at a path; without what it is in, where that is no section."""
    name, *inner = path
    kept = dict(options)
    if inner and isinstance(kept.get(name), Mapping):
        kept[name] = _without(kept[name], inner)
    else:
        kept.pop(name, None)
    return kept
