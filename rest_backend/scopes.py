"""What a token is asked for, and what it may say (rest-diracx.md, section 3: scope grammar, minting)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rest_backend.errors import Forbidden, RestError
from rest_backend.principals import Principal
from shared_db.registry import Registry, User

PROPERTIES = frozenset(
    (
        "AccountingMonitor",
        "AlarmsManagement",
        "BookkeepingManagement",
        "CSAdministrator",
        "FileCatalogManagement",
        "FullDelegation",
        "GenericPilot",
        "JobAdministrator",
        "JobMonitor",
        "JobSharing",
        "LimitedDelegation",
        "NormalUser",
        "Operator",
        "PPGAuthority",
        "Pilot",
        "PrivateLimitedDelegation",
        "ProductionManagement",
        "ProxyManagement",
        "ServiceAdministrator",
        "SiteManager",
        "StageAllowed",
        "TrustedHost",
        "UserManager",
    )
)
"""Those that DIRAC knows; a registry may have more."""

_KINDS = ("vo", "group", "property")


class BadScope(RestError):
    """A scope that asks for what there is not: 400."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a scope asks for; ``properties`` beyond those of the group, in the order asked for."""

    vo: str
    group: str
    properties: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, registry: Registry) -> Scope:
        """The scope that words mean: ``vo:X``, ``group:G``, ``property:P``.  Raises BadScope."""
        words: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        unknown = []
        for word in text.split(" "):
            kind, colon, value = word.partition(":")
            if colon and kind in words:
                words[kind].append(value)
            else:
                unknown.append(word)
        if unknown:
            raise BadScope(f"Unrecognised scopes: {unknown}")
        vo = _vo(words["vo"], registry)
        group = _group(words["group"], vo, registry)
        strange = set(words["property"]) - _known_properties(registry)
        if strange:
            raise BadScope(f"{_as_set(strange)} are not valid properties")
        return cls(vo, group, tuple(dict.fromkeys(words["property"])))


def _vo(asked: list[str], registry: Registry) -> str:
    if not asked:
        available = " ".join(f"'vo:{name}'" for name in registry.vos)
        raise BadScope(f"No vo scope requested, available values: {available}")
    if len(asked) > 1:
        raise BadScope(f"Only one vo is allowed but got {asked}")
    if asked[0] not in registry.vos:
        raise BadScope(f"VO {asked[0]} is not known to this installation")
    return asked[0]


def _group(asked: list[str], vo: str, registry: Registry) -> str:
    if len(asked) > 1:
        raise BadScope(f"Only one DIRAC group allowed but got {asked}")
    group = asked[0] if asked else registry.default_group_of_vo(vo)
    if group is None:
        raise BadScope(f"{vo} has no group: add one to the registry")
    if group not in registry.groups_of_vo(vo):
        raise BadScope(f"{group} not in {vo} groups")
    return group


def _known_properties(registry: Registry) -> frozenset[str]:
    return PROPERTIES.union(*(group.properties for group in registry.groups.values()))


def _as_set(names: Iterable[str]) -> str:
    """As Python writes a set, but always in the same order."""
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


def user_of(registry: Registry, subject: str, vo: str, namespace: str = "") -> User:
    """The user whom an identity provider means.  Raises Forbidden, naming the mend.

    ``namespace``: whose subject it is; '': the VO's own.
    """
    user = registry.user_with_subject(subject, vo, namespace)
    if user is None:
        place = f"Subjects/{namespace}" if namespace else "Subject"
        raise Forbidden(
            f"The registry has no user of VO {vo} with the subject {subject}: ask an administrator to"
            f" add it as the {place} of one, and the user to a group of the VO"
        )
    return user


def granted(registry: Registry, user: User, scope: Scope) -> Principal:
    """What a user may have of a scope.  Raises Forbidden.

    A user may ask for any property of any group that he is in.
    """
    if scope.vo in user.suspended_vos:
        raise Forbidden(f"User {user.name} is suspended in VO {scope.vo}")
    groups = [name for name in registry.groups_of_user(user.name) if registry.vo_of(name) == scope.vo]
    if scope.group not in groups:
        raise Forbidden(f"User is not a member of the requested group ({user.name}, {scope.group})")
    own = registry.properties_of(scope.group)
    others = (name for group in groups for name in registry.properties_of(group))
    available = dict.fromkeys((*own, *others))
    _require(available, scope.properties, user)
    return Principal(
        subject=registry.subject(user.name, scope.vo),
        vo=scope.vo,
        group=scope.group,
        username=user.name,
        properties=tuple(dict.fromkeys((*own, *scope.properties))),
    )


def _require(available: Collection[str], asked: Iterable[str], user: User) -> None:
    refused = [name for name in asked if name not in available]
    if refused:
        raise Forbidden(
            f"{' '.join(refused)} are not valid properties for user {user.name},"
            f" available values: {' '.join(available)}"
        )
