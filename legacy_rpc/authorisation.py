"""May this caller call this method, and as whom: credential + registry + rule -> Identity.

Source: reference sheet ``legacy-wire.md`` section 4.3, checked against DIRAC 9.1.22.  Rules are values
and never change.  Where DIRAC 9.1.22 lets in more callers than its rules say, this module does not:

- group membership is asked at every call; DIRAC remembers a DN's first answer for every group;
- a ``vo:`` rule whose VO has no groups admits nobody; DIRAC then drops the restriction;
- an empty rule means ``authenticated``; in DIRAC it admits everyone;
- an anonymous caller has no properties, whatever group the proxy claims, and satisfies no
  ``group:`` or ``vo:`` rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from legacy_rpc.credentials import Directory
from legacy_rpc.messages import AnyCredential, Credential, Errno, Failure, Identity, TokenCredential

HOSTS = "hosts"
VISITOR = "visitor"
ANONYMOUS = "anonymous"
TRUSTED_HOST = "TrustedHost"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method.

    ``anyone`` admits unknown callers too.  ``properties`` (lower case) are alternatives; none means
    every known caller.  ``groups`` and ``vos`` restrict either to members of one of them.
    """

    anyone: bool = False
    properties: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    vos: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Rule:
        """A rule from DIRAC's form: ``("Operator", "GenericPilot")``, ``("all",)``, ``("group:x", "vo:y")``.

        Properties and the words any, all and authenticated are case-insensitive; group and VO names
        are not, nor are their prefixes.  ``any`` and ``authenticated`` outweigh properties beside them.
        """
        names, groups, vos = set(), set(), set()
        for entry in (entry.strip() for entry in entries):
            prefix, colon, name = entry.partition(":")
            if colon and prefix == "group":
                groups.add(name.strip())
            elif colon and prefix == "vo":
                vos.add(name.strip())
            elif entry:
                names.add(entry.lower())
        anyone = not names.isdisjoint({"any", "all"})
        properties = set() if anyone or "authenticated" in names else names
        return cls(anyone, frozenset(properties), frozenset(groups), frozenset(vos))

    def admits(self, identity: Identity, directory: Directory) -> bool:
        """Whether the identity may call (sheet 4.3 steps 1, 6-8)."""
        if identity.kind == ANONYMOUS:
            return self.anyone and not (self.groups or self.vos)
        if not self._includes(identity.group, directory):
            return False
        if self.anyone or not self.properties:
            return True
        return any(name.lower() in self.properties for name in identity.properties)

    def _includes(self, group: str, directory: Directory) -> bool:
        if not self.groups and not self.vos:
            return True
        return group in self.groups or any(group in directory.groups_of_vo(vo) for vo in self.vos)


# Far more than all the rules that a registry writes down.
_parsed_rule = lru_cache(maxsize=1024)(Rule.parse)


def rule_in_force(
    written: Mapping[str, Sequence[str]], name: str, declared: Rule, *, hard_coded: bool
) -> Rule:
    """The rule of a method or transfer (sheet 4.3, "Rule lookup").

    ``written`` is the registry's ``Authorization`` section of the service, lists by name, and outweighs
    everything; then comes what is ``declared``, if the method itself does so (``hard_coded``); then the
    registry's ``Default``, a transfer's being ``FileTransfer/Default``; then what the service declares.
    Names are case-sensitive, and an empty list counts as not written (oracle).
    """
    kind, slash, _ = name.partition("/")
    default = f"{kind}/Default" if slash else "Default"
    entries = written.get(name)
    if not entries and not hard_coded:
        entries = written.get(default)
    return _parsed_rule(tuple(entries)) if entries else declared


def identify(
    credential: AnyCredential | None, extra_credentials: Any, rule: Rule, directory: Directory
) -> Identity:
    """Who calls, if the rule admits them (sheet 4.3).

    ``credential``: what the certificates or the token prove, None without any.  ``extra_credentials``: as
    the client sent it; ``""`` or another false value, ``"hosts"``, a requested group, or the pair (DN,
    group) that a trusted host calls for.  Raises ``Failure`` with ENOAUTH otherwise.
    """
    identity = _caller(credential, extra_credentials, directory)
    if not rule.admits(identity, directory):
        raise _refusal()
    return identity


def _refusal() -> Failure:
    return Failure.of(Errno.ENOAUTH, "Unauthorized query")


def _caller(credential: AnyCredential | None, extra: Any, directory: Directory) -> Identity:
    if credential is None:
        return Identity(ANONYMOUS, VISITOR, kind=ANONYMOUS)
    if isinstance(credential, TokenCredential):
        return _bearer(credential, extra, directory)
    if not extra:
        return _lookup(credential, credential.dn, _own_group(credential, "", directory), "", directory)
    if isinstance(extra, str):
        return _lookup(credential, credential.dn, _own_group(credential, extra, directory), extra, directory)
    dn, group = _delegated(credential, extra, directory)
    return _lookup(credential, dn, group, "", directory)


def _bearer(token: TokenCredential, extra: Any, directory: Directory) -> Identity:
    """The user of a token, as the registry knows them now; nobody calls for others with one."""
    if extra and not isinstance(extra, str):
        raise _refusal()
    for dn in directory.dns_of(token.username):
        if directory.username(dn, token.group) == token.username:
            return Identity(
                token.username,
                token.group,
                dn=dn,
                vo=directory.vo_of(token.group),
                properties=directory.properties_of(token.group),
                credential=token,
            )
    return Identity(ANONYMOUS, VISITOR, kind=ANONYMOUS, credential=token)


def _own_group(credential: Credential, requested: str, directory: Directory) -> str:
    """The group of a caller who calls in their own name (steps 3 and 4).

    A proxy without a group gets its user's default group *before* the request is looked at (oracle);
    so a requested group counts for plain certificates only.
    """
    if requested == HOSTS:
        return HOSTS
    default = directory.default_group(credential.dn)
    if credential.is_proxy:
        return credential.group or default or requested or VISITOR
    return requested or default or VISITOR


def _delegated(credential: Credential, extra: Any, directory: Directory) -> tuple[str, str]:
    """The (DN, group) that a trusted host calls for (step 2); nobody else may send one."""
    host = directory.host(credential.dn)
    if host is None or TRUSTED_HOST not in host.properties:
        raise _refusal()
    match extra:
        case [str(dn), str(group)]:
            return dn, group
    raise _refusal()


def _lookup(credential: Credential, dn: str, group: str, requested: str, directory: Directory) -> Identity:
    """The registry's entry for a DN in a group (steps 5 and 6), or else an anonymous identity."""
    caller = partial(Identity, dn=dn, credential=credential, extra_credentials=requested)
    if group == HOSTS:
        host = directory.host(dn)
        if host is not None:
            return caller(host.name, HOSTS, kind="host", properties=host.properties)
    else:
        username = directory.username(dn, group)
        if username is not None:
            return caller(
                username, group, vo=directory.vo_of(group), properties=directory.properties_of(group)
            )
    return caller(ANONYMOUS, VISITOR, kind=ANONYMOUS)


def whoami(identity: Identity, directory: Directory, now: datetime | None = None) -> dict[str, Any]:
    """What the method ``whoami`` returns, keys in DIRAC's order (sheet 4.3).

    ``group`` and ``VO`` stand early where the proxy has a group or its user a default one; that ``VO``
    is the claimed group's, also for an anonymous caller.  ``now`` is for ``secondsLeft``.
    """
    credential = identity.credential
    if credential is None:
        return {"properties": []}
    if isinstance(credential, TokenCredential):
        return _whoami_by_token(identity, credential, now)
    value: dict[str, Any] = {
        "subject": credential.subject,
        "issuer": credential.issuer,
        "secondsLeft": credential.seconds_left(now),
        "isProxy": credential.is_proxy,
        "isLimitedProxy": credential.limited,
        "validDN": False,
        "validGroup": False,
        "DN": identity.dn,
    }
    if credential.is_proxy:
        value["identity"] = credential.dn
        claimed = credential.group or directory.default_group(credential.dn)
        if claimed:
            value |= {"group": identity.group, "VO": directory.vo_of(claimed) or ""}
    if identity.extra_credentials:
        value["extraCredentials"] = identity.extra_credentials
    return value | {
        "properties": list(identity.properties),
        "group": identity.group,
        "username": identity.username,
    }


def _whoami_by_token(identity: Identity, token: TokenCredential, now: datetime | None) -> dict[str, Any]:
    return {
        "issuer": token.issuer,
        "secondsLeft": token.seconds_left(now),
        "isProxy": False,
        "isLimitedProxy": False,
        "validDN": False,
        "validGroup": False,
        "DN": identity.dn,
        "VO": identity.vo or "",
        "properties": list(identity.properties),
        "group": identity.group,
        "username": identity.username,
    }
