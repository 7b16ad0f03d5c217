"""What an administrator asks at the shell: where would a call go, and a token please."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from legacy_rpc.authorisation import Rule, rule_in_force
from legacy_rpc.messages import Identity
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.upstream import upstream_url
from migration_plans.plan import Old, Plan
from migration_plans.routing import REST, UPSTREAM, Decision, decide
from shared_db.registry import Registry
from wherry.build import (
    legacy_catalogue,
    load_keys,
    load_plan,
    load_registry,
    make_issuer,
    principal_of,
    rest_url,
)
from wherry.config import Config


class Unexplained(Exception):
    """The question names something that is not there; the text is one line and names the mend."""


def explained(
    config: Config, method: str, *, vo: str | None, group: str | None, dn: str | None
) -> Iterator[str]:
    """Lines that say where a call of a method goes, for a caller.  Raises Unexplained, ConfigError."""
    registry = load_registry(config).current
    plan = load_plan(config).current
    elsewhere = _elsewhere(config, plan, method)
    service, name = elsewhere or _method(method)
    record = all_services().method(service, name)
    identity = _identity(registry, vo, group, dn)
    yield f"method: {service}.{name}"
    yield f"caller: {identity.username or 'any member'} in group {identity.group}, VO {identity.vo or 'none'}"
    if elsewhere or record is None:
        yield f"route: {UPSTREAM} ({upstream_url(config.upstream, service)}, which says who may)"
        return
    rule = rule_in_force(registry.authorization(service), name, record.rule, hard_coded=record.hard_coded)
    if not rule.admits(identity, registry):
        yield f"route: refused ({_needs(rule, registry)})"
        return
    available = principal_of(identity, registry) is not None
    decision = decide(plan, service, name, token_available=available)
    line = plan.entry(service, name).line
    yield f"route: {decision.route}" + _where(config, decision, service)
    yield f"reason: {decision.reason}" + (f" ({config.plan}, line {line})" if line else "")


def _elsewhere(config: Config, plan: Plan, text: str) -> tuple[str, str] | None:
    """Service and method of `System/Component.method`, if it has no record here and is passed through."""
    service, _, name = text.rpartition(".")
    record = all_services().method(service, name)
    if "/" not in service or not (record is None or record.builtin):
        return None
    passed = plan.old(service, name) is Old.UPSTREAM and upstream_url(config.upstream, service)
    return (service, name) if passed else None


def _where(config: Config, decision: Decision, service: str) -> str:
    """Of a call that goes to another program: where to."""
    if decision.route == REST and config.rest is not None and config.rest.elsewhere:
        return f" ({config.rest.target}, where it has the routes: `wherry plan check` asks it)"
    if decision.route != UPSTREAM:
        return ""
    url = upstream_url(config.upstream, service)
    return f" ({url or f'none: name one of {service} under `upstream` in wherry.yaml'})"


def _needs(rule: Rule, registry: Registry) -> str:
    """What a rule asks for, in the registry's spelling."""
    if rule.groups or rule.vos:
        members = [*(f"group {name}" for name in rule.groups), *(f"VO {name}" for name in rule.vos)]
        return f"needs one of {', '.join(sorted(members))}"
    if not rule.properties:
        return "not known"
    spelt = {name.lower(): name for group in registry.groups.values() for name in group.properties}
    return (
        f"needs one of the properties {', '.join(sorted(spelt.get(each, each) for each in rule.properties))}"
    )


def _method(text: str) -> tuple[str, str]:
    """``getPilotInfo``, ``PilotManager.getPilotInfo`` or ``System/PilotManager.getPilotInfo``."""
    wanted, _, name = text.rpartition(".")
    services = legacy_catalogue().services
    found = [
        service
        for service, methods in services.items()
        if name in methods and (not wanted or wanted in (service, service.partition("/")[2]))
    ]
    if len(found) == 1:
        return found[0], name
    if found:
        choices = ", ".join(f"{service}.{name}" for service in found)
        raise Unexplained(f"{text} is a method of several services: name one of {choices}")
    if name in all_services().service(next(iter(services))).methods:  # type: ignore[union-attr]
        raise Unexplained(f"{name} is about the service itself: it is always answered natively")
    near = difflib.get_close_matches(name, [each for methods in services.values() for each in methods], n=1)
    raise Unexplained(f"unknown method '{text}'" + (f": did you mean '{near[0]}'?" if near else ""))


def _identity(registry: Registry, vo: str | None, group: str | None, dn: str | None) -> Identity:
    """The caller that the options describe."""
    if group is None and dn is not None:
        group = registry.default_group(dn)
        if group is None:
            raise Unexplained(f"no user has the DN {dn}: look into the registry")
    if group is None and vo is not None:
        if vo not in registry.vos:
            raise Unexplained(f"unknown VO '{vo}': known are {', '.join(registry.vos)}")
        group = registry.vos[vo].default_group or next(iter(registry.groups_of_vo(vo)), None)
    if group is None:
        raise Unexplained("say who calls: --dn, --group or --vo")
    if vo is not None and registry.vo_of(group) not in (None, vo):
        raise Unexplained(f"group '{group}' is not in VO '{vo}': leave out one of --group and --vo")
    if group not in registry.groups:
        raise Unexplained(f"unknown group '{group}': known are {', '.join(registry.groups)}")
    username = registry.username(dn, group) if dn is not None else ""
    if username is None:
        raise Unexplained(f"the user of {dn} is not in group '{group}'")
    return Identity(
        username=username,
        group=group,
        dn=dn or "",
        vo=registry.vo_of(group),
        properties=registry.properties_of(group),
    )


def token_for(config: Config, user: str, group: str | None) -> str:
    """An access token for a user in a group.  Raises Unexplained, ConfigError."""
    registry = load_registry(config).current
    if user not in registry.users:
        raise Unexplained(f"unknown user '{user}': known are {', '.join(registry.users)}")
    groups = registry.groups_of_user(user)
    if group is None:
        dns = registry.dns_of(user)
        group = registry.default_group(dns[0]) if dns else None
    if group not in groups:
        raise Unexplained(f"{user} is not in group '{group}': name one of {', '.join(groups)} with --group")
    identity = _identity(registry, None, group, next(iter(registry.dns_of(user)), None))
    principal = principal_of(identity, registry)
    listen = config.rest.listen if config.rest else None
    if config.rest is not None and not (config.auth.issuer or config.rest.url or (listen and listen.port)):
        raise Unexplained("the issuer depends on the port that is bound: give auth.issuer or rest.url")
    if principal is None:
        raise Unexplained(f"group '{group}' has no VO, and tokens are a VO's: give it one in the registry")
    return make_issuer(config, rest_url(config), load_keys(config)).mint(principal).text
