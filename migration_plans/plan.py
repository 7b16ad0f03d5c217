"""The plan: which side answers each legacy method (design.md, The plan).

A plan is an immutable snapshot; :func:`read_plan` makes one from YAML and names the line and the nearest
valid word for everything it does not understand.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import yaml

from shared_db.followed_file import FileError


class State(enum.StrEnum):
    """Where a method stands in its migration."""

    LEGACY = "legacy"
    LIVE = "live"


class Old(enum.StrEnum):
    """Where the old side of a method is: here, or in an existing DIRAC service."""

    NATIVE = "native"
    UPSTREAM = "upstream"


# The design's other states: their names are known, so that a plan written for a later version says so.
LATER_STATES = ("check", "shadow", "canary", "sealed", "retired")


# In a plan: the services that have no method table here.  In a configuration: those that it does not name.
OTHERS = "*"


class PlanError(FileError):
    """A plan cannot be used; the text names the line and the mend."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a plan may name: services with their methods, and which methods have an adaptor.

    ``transfers`` are those of services; of one without an adaptor a plan can say where the old side is.
    ``only`` has the services whose old side is in one place only.  ``upstreams``: the services for which the
    configuration names an upstream, ``*`` for all; None where no configuration was read.
    """

    services: Mapping[str, Collection[str]]
    adapted: Collection[tuple[str, str]]
    transfers: Mapping[str, Collection[str]] = field(default_factory=dict)
    only: Mapping[str, Old] = field(default_factory=dict)
    upstreams: Collection[str] | None = None

    def old(self, service: str) -> Old:
        """Where a service's old side is, unless the plan says otherwise."""
        return self.only.get(service, Old.NATIVE)

    def has_upstream(self, service: str) -> bool:
        """Whether the configuration names an upstream for a service; ``*``: for any without methods here."""
        if self.upstreams is None or OTHERS in self.upstreams:
            return True
        if service == OTHERS:
            return any(each not in self.services for each in self.upstreams)
        return service in self.upstreams


@dataclass(frozen=True, slots=True)
class Entry:
    """What the plan says of a method; ``line`` is 0 where it says nothing (the default is legacy).

    ``old_line`` is that of ``old``, and 0 where the default holds.
    """

    state: State = State.LEGACY
    because: str = ""
    line: int = 0
    old: Old = Old.NATIVE
    old_line: int = 0


NOT_NAMED = Entry()


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot of the plan; ``generation`` is a hash of its text, equal in all workers.

    ``services``: where the old side of each service is that has methods here, as far as its methods have no
    entry; ``others``: that of all other services.  ``written``: when its file was, equal in all workers.
    """

    entries: Mapping[tuple[str, str], Entry] = field(default_factory=dict)
    generation: str = ""
    services: Mapping[str, Old] = field(default_factory=dict)
    others: Old = Old.NATIVE
    written: datetime | None = None

    def entry(self, service: str, method: str) -> Entry:
        """What the plan says of a method."""
        return self.entries.get((service, method), NOT_NAMED)

    def old(self, service: str, method: str) -> Old:
        """Where the old side of a method, a transfer or what every service has is."""
        entry = self.entries.get((service, method))
        return entry.old if entry is not None else self.services.get(service, self.others)


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
        services = self._top_services(top["services"]) if "services" in top else {}
        others = services.pop(OTHERS, None)
        entries: dict[tuple[str, str], Entry] = {}
        old = {service: self._catalogue.old(service) for service in self._catalogue.services}
        for service, node in services.items():
            whole, methods = self._service(service, node)
            old[service] = whole.old
            entries |= methods
        self._check_adapted(entries)
        generation = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return Plan(entries, generation, old, self._others(others) if others else Old.NATIVE)

    def _top_services(self, node: yaml.Node) -> dict[str, yaml.Node]:
        return self._mapping(node, "service", (*self._catalogue.services, OTHERS))

    def _service(self, service: str, node: yaml.Node) -> tuple[Entry, dict[tuple[str, str], Entry]]:
        """What holds for a whole service, and for its methods."""
        methods = self._catalogue.services[service]
        transfers = self._catalogue.transfers.get(service, ())
        # The other transfers only have an old side.
        movable = [each for each in transfers if (service, each) in self._catalogue.adapted]
        keys = self._mapping(node, "key", ("state", "because", "old", "methods"))
        entries = {}
        whole = Entry(old=self._catalogue.old(service))
        if "state" in keys or "old" in keys:
            whole = self._entry(service, node, keys, whole)
            entries = {(service, method): whole for method in (*methods, *movable)}
        elif "because" in keys:
            raise self._error(keys["because"], "`because` explains a state: add `state: legacy`")
        if "methods" in keys:
            named = self._mapping(keys["methods"], f"method of {service}", (*methods, *transfers))
            for method, settings in named.items():
                inner = self._mapping(settings, "key", ("state", "because", "old"))
                stays = method in transfers and method not in movable
                above = replace(whole, state=State.LEGACY, line=0) if stays else whole
                entries[service, method] = self._entry(service, settings, inner, above)
        return whole, entries

    def _entry(self, service: str, node: yaml.Node, keys: Mapping[str, yaml.Node], above: Entry) -> Entry:
        """What some keys say; what they leave out is as ``above``."""
        if "state" not in keys and "old" not in keys:
            raise self._error(node, f"a state is needed: `state: {'` or `state: '.join(State)}`")
        entry = above
        if "old" in keys:
            line = _line(keys["old"])
            entry = replace(
                entry, old=self._old(service, keys["old"]), old_line=line, line=entry.line or line
            )
        if "state" in keys:
            state = self._state(keys["state"])
            entry = replace(entry, state=state, because="", line=_line(keys["state"]))
        if "because" in keys:
            entry = replace(entry, because=self._scalar(keys["because"], "because"))
        return entry

    def _state(self, node: yaml.Node) -> State:
        word = self._scalar(node, "state")
        if word in LATER_STATES:
            raise self._error(node, f"state '{word}' is not in this version: use {' or '.join(State)}")
        if word not in list(State):
            raise self._unknown(node, "state", word, list(State))
        return State(word)

    def _old(self, service: str, node: yaml.Node) -> Old:
        """Where a service's old side is to be; it must be able to be there."""
        word = self._scalar(node, "old")
        if word not in list(Old):
            raise self._unknown(node, "old side", word, list(Old))
        only = self._catalogue.only.get(service)
        if only is Old.UPSTREAM and word != only:
            raise self._error(node, f"{service} has no native handlers: write `old: upstream`")
        if only is Old.NATIVE and word != only:
            raise self._error(
                node, f"{service} is answered here, since clients learn from it to come here: leave out `old`"
            )
        if word == Old.UPSTREAM and not self._catalogue.has_upstream(service):
            raise self._no_upstream(service, node)
        return Old(word)

    def _no_upstream(self, service: str, node: yaml.Node) -> PlanError:
        if service == OTHERS:
            return self._error(
                node,
                "services without methods here are to go upstream, and wherry.yaml names no upstream of any:"
                ' add `upstream: {"*": "dips://HOST:PORT"}` there',
            )
        return self._error(
            node,
            f"{service} is to go upstream, and wherry.yaml names no upstream of it:"
            f' add `upstream: {{{service}: "dips://HOST:PORT/{service}"}}` there',
        )

    def _others(self, node: yaml.Node) -> Old:
        """Where services without methods here go: nothing can be moved of them."""
        keys = self._mapping(node, "key", ("old", "state", "because"))
        if "state" in keys and self._state(keys["state"]) is not State.LEGACY:
            raise self._error(
                keys["state"],
                f"'{OTHERS}' is the services without methods here, which have no adaptors:"
                " write `old: upstream` without a state",
            )
        if "old" not in keys:
            raise self._error(node, f"'{OTHERS}' says where other services go: write `old: upstream`")
        return self._old(OTHERS, keys["old"])

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
            if isinstance(node, yaml.ScalarNode) and node.value in list(Old):
                raise self._error(node, f"a side stands in a mapping: write `{{old: {node.value}}}`")
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
        return PlanError(f"{self._source}, line {_line(node)}: {text}")


def _line(node: yaml.Node) -> int:
    """Where a node stands, counted from 1."""
    line: int = node.start_mark.line
    return line + 1
