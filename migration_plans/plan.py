"""The plan: which side answers each legacy method (design.md, The plan).

A plan is an immutable snapshot; :func:`read_plan` makes one from YAML and names the line and the nearest
valid word for everything it does not understand.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from shared_db.followed_file import FileError


class State(enum.StrEnum):
    """Where a method stands in its migration."""

    LEGACY = "legacy"
    LIVE = "live"


# The design's other states: their names are known, so that a plan written for a later version says so.
LATER_STATES = ("check", "shadow", "canary", "sealed", "retired")


class PlanError(FileError):
    """A plan cannot be used; the text names the line and the mend."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a plan may name: services with their methods, and which methods have an adaptor."""

    services: Mapping[str, Collection[str]]
    adapted: Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the plan says of a method; ``line`` is 0 where it says nothing (the default is legacy)."""

    state: State = State.LEGACY
    because: str = ""
    line: int = 0


NOT_NAMED = Entry()


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot of the plan; ``generation`` is a hash of its text, equal in all workers."""

    entries: Mapping[tuple[str, str], Entry] = field(default_factory=dict)
    generation: str = ""

    def entry(self, service: str, method: str) -> Entry:
        """What the plan says of a method."""
        return self.entries.get((service, method), NOT_NAMED)


def read_plan(text: str, source: str, catalogue: Catalogue) -> Plan:
    """The plan in a YAML text.  Raises PlanError: ``source, line N: what is wrong: the mend``."""
    return _Reader(source, catalogue).read(text)


class _Reader:
    """Walks the YAML nodes, which know their lines and whose words are all texts (``off`` is a word)."""

    def __init__(self, source: str, catalogue: Catalogue) -> None:
        self._source = source
        self._catalogue = catalogue

    def read(self, text: str) -> Plan:
        try:
            root = yaml.compose(text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise PlanError(f"{self._source}, line {line}: no YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise PlanError(f"{self._source}: no YAML: {error}") from error
        if root is None:
            raise PlanError(f"{self._source}: is empty: a plan begins with `plan: 1`")
        top = self._mapping(root, "key", ("plan", "services"))
        if "plan" not in top:
            raise self._error(root, "the plan has no version: begin it with `plan: 1`")
        if self._scalar(top["plan"], "plan") != "1":
            raise self._error(top["plan"], "this version reads plans of version 1: write `plan: 1`")
        entries = dict(self._services(top["services"])) if "services" in top else {}
        self._check_adapted(entries)
        return Plan(entries, hashlib.blake2b(text.encode(), digest_size=8).hexdigest())

    def _services(self, node: yaml.Node) -> Iterator[tuple[tuple[str, str], Entry]]:
        for service, inner in self._mapping(node, "service", self._catalogue.services).items():
            methods = self._catalogue.services[service]
            keys = self._mapping(inner, "key", ("state", "because", "methods"))
            if "state" in keys:
                entry = self._entry(inner, keys)
                for method in methods:
                    yield (service, method), entry
            elif "because" in keys:
                raise self._error(keys["because"], "`because` explains a state: add `state: legacy`")
            if "methods" in keys:
                named = self._mapping(keys["methods"], f"method of {service}", methods)
                for method, settings in named.items():
                    entry = self._entry(settings, self._mapping(settings, "key", ("state", "because")))
                    yield (service, method), entry

    def _entry(self, node: yaml.Node, keys: Mapping[str, yaml.Node]) -> Entry:
        if "state" not in keys:
            raise self._error(node, f"a state is needed: `state: {'` or `state: '.join(State)}`")
        word = self._scalar(keys["state"], "state")
        if word in LATER_STATES:
            raise self._error(
                keys["state"], f"state '{word}' is not in this version: use {' or '.join(State)}"
            )
        if word not in list(State):
            raise self._unknown(keys["state"], "state", word, list(State))
        because = self._scalar(keys["because"], "because") if "because" in keys else ""
        return Entry(State(word), because, keys["state"].start_mark.line + 1)

    def _check_adapted(self, entries: Mapping[tuple[str, str], Entry]) -> None:
        """Refuse live methods that have no adaptor; what overrides a service's state has been counted in."""
        for (service, method), entry in entries.items():
            if entry.state is State.LIVE and (service, method) not in self._catalogue.adapted:
                raise PlanError(
                    f"{self._source}, line {entry.line}: {method} of {service}"
                    " has no adaptor, so it cannot be live: write `state: legacy` for it"
                )

    def _mapping(self, node: yaml.Node, what: str, known: Collection[str]) -> dict[str, yaml.Node]:
        """The items of a mapping whose keys must be known and stand once."""
        if isinstance(node, yaml.ScalarNode) and node.value in (*State, *LATER_STATES):
            raise self._error(node, f"a state stands in a mapping: write `{{state: {node.value}}}`")
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"expected `name: value` lines ({what}: {', '.join(known)})")
        items: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._scalar(key, what)
            if name not in known:
                raise self._unknown(key, what, name, known)
            if name in items:
                raise self._error(key, f"'{name}' stands twice: keep one")
            items[name] = value
        return items

    def _scalar(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"expected one word for {what}")
        return str(node.value)

    def _unknown(self, node: yaml.Node, what: str, word: str, known: Collection[str]) -> PlanError:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
        mend = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
        return self._error(node, f"unknown {what} '{word}': {mend}")

    def _error(self, node: yaml.Node, text: str) -> PlanError:
        return PlanError(f"{self._source}, line {node.start_mark.line + 1}: {text}")
