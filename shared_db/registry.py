"""Who is who: the users, groups, hosts and VOs of the `Registry` section of DIRAC's configuration.

The rules are those of the sheet legacy-wire.md, sections 4.2 (spellings of a DN) and 4.3 (default group,
hosts, membership, suspension); where the sheet is silent, a real DIRAC 9.1.22 was asked and the answer
stands beside the rule. `hosts` and `visitor` are DIRAC's names for "a host" and "nobody"; they are no
groups here, so nobody is a member of them.
"""

from __future__ import annotations

import math
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import TypeVar

from shared_db.cfg import CfgError, CfgSection, parse_cfg
from shared_db.followed_file import FileError, FollowedFile

# Subjects derived under it are in issued tokens and stored rows: it must never change.
SUBJECT_NAMESPACE = uuid.UUID("06aa8fa6-f3f5-463a-a44c-2c60c9b6263a")

_T = TypeVar("_T")

_ESCAPED_SEPARATOR = re.compile(r"\\([/+])(?![A-Za-z0-9.-]+=)")
_DIRACS_DEFAULT_GROUPS = ("user",)  # where Registry/DefaultGroup is absent
_RESERVED_GROUPS = ("hosts", "visitor")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RegistryError(FileError):
    """The registry cannot be read or lacks what it must have; the text names the place and the mend."""


@dataclass(frozen=True, slots=True)
class User:
    """A person or robot: `Registry/Users/<name>`.

    `other_subjects`: from `Subjects`, by identity provider, beside the VO's own `subject`.
    """

    name: str
    dns: tuple[str, ...]
    email: str | None = None
    default_groups: tuple[str, ...] = ()
    suspended_vos: tuple[str, ...] = ()
    subject: str | None = None
    other_subjects: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A role: `Registry/Groups/<name>`. `users` and `properties` are as written; `vo` is the effective VO."""

    name: str
    users: tuple[str, ...]
    properties: tuple[str, ...]
    vo: str | None = None
    job_share: float | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that calls with its own certificate: `Registry/Hosts/<name>`."""

    name: str
    dns: tuple[str, ...]
    properties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VO:
    """A virtual organisation, from `Registry/VO/<name>`, a group's `VO` or `/DIRAC/VirtualOrganization`."""

    name: str
    admins: tuple[str, ...]
    default_group: str | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Indexes:
    """Answers prepared once, so that every look-up is one access to a dictionary. DNs are canonical."""

    user_by_dn_and_group: Mapping[tuple[str, str], User]
    default_group_by_dn: Mapping[str, str]
    host_by_dn: Mapping[str, Host]
    groups_by_user: Mapping[str, tuple[str, ...]]
    user_by_subject: Mapping[tuple[str, str, str], User]
    """By VO, whose subject it is ('': the VO's own), and subject."""


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """Everything known about who may call; immutable. Mappings are in file order.

    `warnings` are sentences about entries that look like mistakes but leave the rest usable.
    """

    users: Mapping[str, User]
    groups: Mapping[str, Group]
    hosts: Mapping[str, Host]
    vos: Mapping[str, VO]
    default_groups: tuple[str, ...]
    warnings: tuple[str, ...]
    site_by_ce: Mapping[str, str]
    setup: str | None
    """DIRAC's setup, which releases before 9 write into their rows."""
    authorizations: Mapping[str, Mapping[str, tuple[str, ...]]]
    """By service: its section `Authorization`, lists by method (`FileTransfer/ToClient` is one too)."""
    subjects: Mapping[tuple[str, str], str]
    """By VO and user name: what DIRAC's synchronisation with an identity provider wrote down."""
    _indexes: _Indexes = field(repr=False)

    @classmethod
    def from_cfg(cls, cfg: CfgSection) -> Registry:
        """The registry in a whole configuration; raises RegistryError if it has no section `Registry`."""
        section = cfg.section("Registry")
        if section is None:
            raise RegistryError("the configuration has no section 'Registry': add one with Users and Groups")
        own_vo = cfg.get("DIRAC/VirtualOrganization") or None
        users = _records(section, "Users", _user)
        groups = _records(section, "Groups", lambda name, entry: _group(name, entry, own_vo))
        hosts = _records(section, "Hosts", _host)
        vos = _vos(section, groups, own_vo)
        default_groups = tuple(section.get_list("DefaultGroup")) or _DIRACS_DEFAULT_GROUPS
        subjects = _subjects(cfg)
        return cls(
            users=MappingProxyType(users),
            groups=MappingProxyType(groups),
            hosts=MappingProxyType(hosts),
            vos=MappingProxyType(vos),
            default_groups=default_groups,
            warnings=tuple(_doubts(section, users, groups, vos, subjects)),
            site_by_ce=MappingProxyType(_site_by_ce(cfg)),
            setup=cfg.get("DIRAC/Setup") or None,
            authorizations=MappingProxyType(_authorizations(cfg)),
            subjects=MappingProxyType(subjects),
            _indexes=_index(users, groups, hosts, default_groups, subjects),
        )

    @classmethod
    @cache
    def empty(cls) -> Registry:
        """A registry that knows nobody."""
        return cls.from_cfg(parse_cfg("Registry\n{\n}\n"))

    def username(self, dn: str, group: str) -> str | None:
        """The user who has this DN and is in the group, unless suspended in the group's VO (4.3 step 5)."""
        user = self._indexes.user_by_dn_and_group.get((canonical_dn(dn), group))
        if user is None or self.vo_of(group) in user.suspended_vos:
            return None
        return user.name

    def default_group(self, dn: str) -> str | None:
        """The group of a caller who names none (4.3 step 4); None for an unknown DN or a user in no group.

        The first of the user's and then the registry's default groups that the user is in, else the
        first of the user's groups by name. Suspension is not asked here, as in DIRAC: `username` does.
        """
        return self._indexes.default_group_by_dn.get(canonical_dn(dn))

    def vo_of(self, group: str) -> str | None:
        """The group's VO: its own, else `/DIRAC/VirtualOrganization`; None for an unknown group."""
        known = self.groups.get(group)
        return None if known is None else known.vo

    def properties_of(self, group: str) -> tuple[str, ...]:
        """The group's properties in file order; () for an unknown group."""
        known = self.groups.get(group)
        return () if known is None else known.properties

    def groups_of_vo(self, vo: str) -> tuple[str, ...]:
        """The VO's groups by name; () for an unknown VO."""
        known = self.vos.get(vo)
        return () if known is None else known.groups

    def host(self, dn: str) -> Host | None:
        """The host that has this DN."""
        return self._indexes.host_by_dn.get(canonical_dn(dn))

    def authorization(self, service: str) -> Mapping[str, tuple[str, ...]]:
        """The rules written down for a service (`System/Component`); {} where there are none."""
        return self.authorizations.get(service, {})

    def groups_of_user(self, username: str) -> tuple[str, ...]:
        """The groups the user is in, by name; () for an unknown user."""
        return self._indexes.groups_by_user.get(username, ())

    def dns_of(self, username: str) -> tuple[str, ...]:
        """The user's DNs as the registry spells them; () for an unknown user."""
        known = self.users.get(username)
        return () if known is None else known.dns

    def subject(self, username: str, vo: str) -> str:
        """The user's `sub` in tokens.

        That of the VO's identity provider (`DiracX/CsSync/VOs/VO/UserSubjects/USER`, where DIRAC's
        VOMS2CSSynchronizer writes it), else the user's `Subject`, else a UUIDv5 of VO and user name.
        """
        return _subject(self.users.get(username), username, vo, self.subjects)

    def user_with_subject(self, subject: str, vo: str, namespace: str = "") -> User | None:
        """The user who has this `sub` and is in a group of the VO; suspension is not asked.

        `namespace`: the identity provider whose `sub` it is; '': the VO's own.
        """
        return self._indexes.user_by_subject.get((vo, namespace, subject))

    def may_act(self, username: str, group: str) -> bool:
        """Whether a user is in a group, and not suspended in the group's VO."""
        user = self.users.get(username)
        if user is None or group not in self.groups_of_user(username):
            return False
        return self.vo_of(group) not in user.suspended_vos

    def default_group_of_vo(self, vo: str) -> str | None:
        """The group of a token for which none was asked; None for a VO without groups.

        The VO's `DefaultGroup`, else the first of the registry's default groups that is the VO's, else the
        first of the VO's groups by name.
        """
        groups = self.groups_of_vo(vo)
        own = self.vos[vo].default_group if vo in self.vos else None
        preferred = (own, *self.default_groups)
        return next((group for group in preferred if group in groups), next(iter(groups), None))


def _subjects(cfg: CfgSection) -> dict[tuple[str, str], str]:
    """The subjects that identity providers have given, by VO and user name."""
    found: dict[tuple[str, str], str] = {}
    for vo in _names(cfg, "DiracX/CsSync/VOs"):
        section = cfg.section(f"DiracX/CsSync/VOs/{vo}/UserSubjects") or CfgSection()
        found |= {(vo, name): subject for name, subject in section.options.items() if subject}
    return found


def _subject(user: User | None, username: str, vo: str, subjects: Mapping[tuple[str, str], str]) -> str:
    given = subjects.get((vo, username))
    if given is None and user is not None:
        given = user.subject
    return given or str(uuid.uuid5(SUBJECT_NAMESPACE, f"{vo}:{username}"))


def _site_by_ce(cfg: CfgSection) -> dict[str, str]:
    """Which site each computing element belongs to, from `Resources/Sites/GRID/SITE/CEs/CE`."""
    grids = cfg.section("Resources/Sites")
    return {
        ce: name
        for grid in (grids.sections.values() if grids else ())
        for name, site in grid.sections.items()
        for ce in _names(site, "CEs")
    }


def _authorizations(cfg: CfgSection) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """`Systems/SYSTEM/Services/COMPONENT/Authorization`, and in the setup's instance where there is one.

    What the instance of the releases before 9 says outweighs the flat layout, which only 9 has. DIRAC's HTTPS
    services have sections of their own (`TornadoJobManager`), which count where `JobManager` says nothing.
    """
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    systems = cfg.section("Systems") or CfgSection()
    for system, section in systems.sections.items():
        instance = cfg.get(f"DIRAC/Setups/{cfg.get('DIRAC/Setup', '')}/{system}") or ""
        places = (section, section.section(instance) if instance else None)
        for place in filter(None, places):
            for component in _names(place, "Services"):
                lists = _lists(place.section(f"Services/{component}/Authorization") or CfgSection())
                plain = component.removeprefix("Tornado")
                name = f"{system}/{plain}"
                before = found.get(name, {})
                found[name] = {**before, **lists} if plain == component else {**lists, **before}
    return found


def _lists(section: CfgSection, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """Every list of a section and of those within, by path."""
    found = {f"{prefix}{name}": tuple(section.get_list(name)) for name in section.options}
    for name, inner in section.sections.items():
        found |= _lists(inner, f"{prefix}{name}/")
    return found


def _names(section: CfgSection, path: str) -> Iterable[str]:
    inner = section.section(path)
    return inner.sections if inner else ()


def canonical_dn(dn: str) -> str:
    r"""The DN with `\/` and `\+` unescaped, so that OpenSSL 1.1.1's and 3's spellings compare equal (4.2).

    What would then read as a further RDN stays escaped: a certificate whose CN *contains* `x/CN=boss`
    must never become the user `/CN=x/CN=boss`. Such a DN is registered in its escaped spelling.
    """
    return _ESCAPED_SEPARATOR.sub(r"\1", dn)


def _records(registry: CfgSection, kind: str, make: Callable[[str, CfgSection], _T]) -> dict[str, _T]:
    section = registry.section(kind) or CfgSection()
    return {name: make(name, entry) for name, entry in section.sections.items()}


def _user(name: str, entry: CfgSection) -> User:
    return User(
        name=name,
        dns=tuple(entry.get_list("DN")),
        email=entry.get("Email") or None,
        default_groups=tuple(entry.get_list("DefaultGroup")),
        suspended_vos=tuple(entry.get_list("Suspended")),
        subject=entry.get("Subject") or None,
        other_subjects=_other_subjects(entry),
    )


def _other_subjects(entry: CfgSection) -> tuple[tuple[str, str], ...]:
    section = entry.section("Subjects") or CfgSection()
    return tuple((provider, subject) for provider, subject in section.options.items() if subject)


def _group(name: str, entry: CfgSection, own_vo: str | None) -> Group:
    return Group(
        name=name,
        users=tuple(entry.get_list("Users")),
        properties=tuple(entry.get_list("Properties")),
        vo=entry.get("VO") or own_vo,
        job_share=_number(entry.get("JobShare", "")),
    )


def _host(name: str, entry: CfgSection) -> Host:
    return Host(name, tuple(entry.get_list("DN")), tuple(entry.get_list("Properties")))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _vos(registry: CfgSection, groups: Mapping[str, Group], own_vo: str | None) -> dict[str, VO]:
    section = registry.section("VO") or CfgSection()
    members: dict[str, list[str]] = {name: [] for name in section.sections}
    if own_vo:
        members.setdefault(own_vo, [])
    for group in groups.values():
        if group.vo:
            members.setdefault(group.vo, []).append(group.name)
    return {
        name: VO(
            name=name,
            admins=tuple(section.get_list(f"{name}/VOAdmin")),
            default_group=section.get(f"{name}/DefaultGroup") or None,
            groups=tuple(sorted(names)),
        )
        for name, names in members.items()
    }


def _index(
    users: Mapping[str, User],
    groups: Mapping[str, Group],
    hosts: Mapping[str, Host],
    default_groups: tuple[str, ...],
    subjects: Mapping[tuple[str, str], str],
) -> _Indexes:
    memberships = [
        (group.name, users[name]) for group in groups.values() for name in group.users if name in users
    ]
    # Of two users who share a DN, DIRAC takes the one whom the group lists first ...
    members: dict[tuple[str, str], User] = {}
    groups_of: dict[str, set[str]] = {}
    for group, user in memberships:
        groups_of.setdefault(user.name, set()).add(group)
        for dn in user.dns:
            members.setdefault((canonical_dn(dn), group), user)
    # ... and where no group is named, the one who stands first among the users.
    owners: dict[str, User] = {}
    for user in users.values():
        for dn in user.dns:
            owners.setdefault(canonical_dn(dn), user)
    hosts_by_dn: dict[str, Host] = {}
    for host in hosts.values():
        for dn in host.dns:
            hosts_by_dn.setdefault(canonical_dn(dn), host)
    defaults = {
        dn: _first_group(groups_of[user.name], user.default_groups + default_groups)
        for dn, user in owners.items()
        if user.name in groups_of
    }
    return _Indexes(
        user_by_dn_and_group=members,
        default_group_by_dn=defaults,
        host_by_dn=hosts_by_dn,
        groups_by_user={name: tuple(sorted(names)) for name, names in groups_of.items()},
        user_by_subject=_users_by_subject(users, groups, subjects),
    )


def _users_by_subject(
    users: Mapping[str, User], groups: Mapping[str, Group], subjects: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str, str], User]:
    """Of two users who share a subject the first is meant; `_doubts` names them."""
    found: dict[tuple[str, str, str], User] = {}
    for user, vo in _members_of_vos(users, groups):
        for namespace, subject in _all_subjects(user, vo, subjects):
            found.setdefault((vo, namespace, subject), user)
    return found


def _all_subjects(user: User, vo: str, subjects: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
    """The user's subject in a VO, and those that other identity providers know the user by."""
    yield "", _subject(user, user.name, vo, subjects)
    yield from user.other_subjects


def _members_of_vos(users: Mapping[str, User], groups: Mapping[str, Group]) -> Iterator[tuple[User, str]]:
    """Users with each VO in a group of which they are, in file order."""
    vos_of: dict[str, dict[str, None]] = {}
    for group in groups.values():
        for name in group.users if group.vo else ():
            vos_of.setdefault(name, {})[group.vo or ""] = None
    for user in users.values():
        for vo in vos_of.get(user.name, ()):
            yield user, vo


def _first_group(groups: set[str], preferred: tuple[str, ...]) -> str:
    return next((group for group in preferred if group in groups), min(groups))


def _doubts(
    registry: CfgSection,
    users: Mapping[str, User],
    groups: Mapping[str, Group],
    vos: Mapping[str, VO],
    subjects: Mapping[tuple[str, str], str],
) -> Iterator[str]:
    """Sentences about what looks like a mistake; DIRAC passes over all of it in silence."""
    for kind in ("Users", "Groups", "Hosts", "VO"):
        yield from _doubts_about_section(registry, kind)
    for kind in ("Users", "Hosts"):
        yield from _doubts_about_dns(registry, kind)
    for group in groups.values():
        yield from _doubts_about_group(registry, group, users)
    yield from _doubts_about_defaults(registry, users, groups, vos)
    yield from _doubts_about_subjects(users, groups, subjects)
    for user in users.values():
        # A misspelt VO here would leave a suspended user at work.
        for name in user.suspended_vos:
            if name not in vos:
                yield f"user {user.name!r}: Suspended names {name!r}, which is no VO"


def _doubts_about_defaults(
    registry: CfgSection, users: Mapping[str, User], groups: Mapping[str, Group], vos: Mapping[str, VO]
) -> Iterator[str]:
    named = {"Registry": tuple(registry.get_list("DefaultGroup"))}
    named |= {f"user {user.name!r}": user.default_groups for user in users.values()}
    named |= {f"VO {vo.name!r}": (vo.default_group,) for vo in vos.values() if vo.default_group}
    for owner, names in named.items():
        for name in names:
            if name not in groups:
                yield f"{owner}: DefaultGroup names {name!r}, which is no group"


def _doubts_about_subjects(
    users: Mapping[str, User], groups: Mapping[str, Group], subjects: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    owners: dict[tuple[str, str, str], str] = {}
    for user, vo in _members_of_vos(users, groups):
        for namespace, subject in _all_subjects(user, vo, subjects):
            owner = owners.setdefault((vo, namespace, subject), user.name)
            if owner != user.name:
                place = f"Subjects/{namespace}" if namespace else "Subject"
                yield (
                    f"VO {vo!r}: {owner!r} and {user.name!r} have the same {place} {subject}:"
                    f" {owner!r} has it"
                )


def _doubts_about_section(registry: CfgSection, kind: str) -> Iterator[str]:
    if kind in registry.options:
        yield f"Registry/{kind} is an option and is ignored: it must be a section"
    section = registry.section(kind) or CfgSection()
    for name in section.options:
        yield f"Registry/{kind}/{name} is an option and is ignored: it must be a section"


def _doubts_about_dns(registry: CfgSection, kind: str) -> Iterator[str]:
    section = registry.section(kind) or CfgSection()
    owners: dict[str, str] = {}
    for name, entry in section.sections.items():
        dns = entry.get_list("DN")
        if not dns:
            yield f"Registry/{kind}/{name} has no DN: no certificate can act as it"
        for dn in dns:
            owner = owners.setdefault(canonical_dn(dn), name)
            if owner != name:
                yield f"Registry/{kind}: {owner!r} and {name!r} have the same DN {dn}"


def _doubts_about_group(registry: CfgSection, group: Group, users: Mapping[str, User]) -> Iterator[str]:
    for name in group.users:
        if name not in users:
            yield f"group {group.name!r} lists {name!r}, who is no user"
    if group.name in _RESERVED_GROUPS:
        yield f"group {group.name!r}: DIRAC reserves this name and never asks for its users"
    share = registry.get(f"Groups/{group.name}/JobShare", "")
    if share and group.job_share is None:
        yield f"group {group.name!r}: JobShare {share!r} is not a number and is ignored"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """``settled``: no later edit can have the file's time again."""

    text: str
    cfg: CfgSection
    registry: Registry
    moment: datetime
    settled: bool


# Several edits within one tick of the file system's clock leave the same time; ticks are 10 ms at most.
_TICK = timedelta(milliseconds=50)


class RegistryFile(FollowedFile[_Loaded]):
    """The registry as its file has it now.

    Its version is a function of the file, so that all workers have the same one.  It is the later of the
    times of its modification and of its change (which a restored back-up, whose modification is old, has
    anew), in the form that DIRAC's clients compare as text (sheet 7.1): they download only what is newer.
    Content read within a tick of that time might be followed by other content of the same time: it is in
    force at once, under a version a little lower, and is read again when the tick is over.
    """

    kind = "registry file"
    setting = "registry"

    @property
    def current(self) -> Registry:
        """The registry in force. Raises RegistryError before the first `load()`, like the next two."""
        return self.content.registry

    @property
    def warnings(self) -> tuple[str, ...]:
        """Entries that look like mistakes but leave the rest usable."""
        return self.current.warnings

    @property
    def cfg(self) -> CfgSection:
        """The whole configuration in force; take a `copy()` before changing it."""
        return self.content.cfg

    @property
    def modified(self) -> datetime:
        """The moment that `version` tells."""
        return self.content.moment

    @property
    def version(self) -> str:
        """The configuration's version, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC.

        It never falls here, whatever the clock does: content that comes with an older time counts as one
        microsecond newer than the last.
        """
        return f"{self.content.moment:%Y-%m-%d %H:%M:%S.%f}"

    def refresh(self) -> bool:
        """Read the file if it changed; True when other content took effect, or an error is mended."""
        before, error = self._content, self.error
        if not super().refresh():
            return False
        return error is not None or before is None or before.text != self.content.text

    def _changed(self) -> bool:
        loaded = self._content
        return (loaded is not None and not loaded.settled) or super()._changed()

    def parse(self, text: str, status: os.stat_result) -> _Loaded:
        """The registry in a CFG text. Raises RegistryError naming file, line and mend."""
        last = self._content
        if last is not None and last.text == text:
            cfg, registry = last.cfg, last.registry
        else:
            cfg, registry = self._read(text)
        moment, settled = _moment(status)
        if last is not None and moment <= last.moment:
            moment = last.moment if text == last.text else last.moment + _MICROSECOND
        return _Loaded(text, cfg, registry, moment, settled)

    def _read(self, text: str) -> tuple[CfgSection, Registry]:
        try:
            cfg = parse_cfg(text, str(self.path))
            return cfg, Registry.from_cfg(cfg)
        except CfgError as problem:
            raise RegistryError(f"registry file {problem}") from problem
        except RegistryError as problem:
            raise RegistryError(f"registry file {self.path}: {problem}") from problem


def _moment(status: os.stat_result) -> tuple[datetime, bool]:
    """The time of a file that was just read, and whether its tick is over."""
    moment = _EPOCH + timedelta(microseconds=max(status.st_mtime_ns, status.st_ctime_ns) // 1000)
    # A file system's clock may be ahead of ours, by far if it is not ours: then there is nothing to wait for.
    fresh = timedelta(0) <= datetime.now(UTC) - moment < _TICK
    return (moment - _TICK, False) if fresh else (moment, True)
