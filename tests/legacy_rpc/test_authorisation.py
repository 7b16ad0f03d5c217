"""Who is admitted, and as whom (reference sheet ``legacy-wire.md`` section 4.3).

The table of rules and the texts of ``whoami`` were seen at a DIRAC 9.1.22 server with the same registry;
where this project differs on purpose, a test says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.authorisation import Rule, identify, rule_in_force, whoami
from legacy_rpc.messages import Credential, Errno, Failure, Identity, TokenCredential

PEOPLE, MACHINES = "/C=CH/O=Grid/OU=people/CN=", "/C=CH/O=Grid/OU=hosts/CN="
ALICE, BOB, MALLORY = (PEOPLE + name for name in ("alice", "bob", "mallory"))
BRIDGE, WORKER = (MACHINES + name for name in ("bridge.example.org", "worker.example.org"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Group:
    """A group of the registry."""

    members: tuple[str, ...]
    properties: tuple[str, ...]
    vo: str | None


@dataclass(frozen=True)
class Host:
    """A host of the registry."""

    name: str
    properties: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """A registry in memory."""

    users: Mapping[str, str] = field(default_factory=lambda: {ALICE: "alice", BOB: "bob"})
    hosts: Mapping[str, Host] = field(
        default_factory=lambda: {
            BRIDGE: Host("bridge.example.org", ("TrustedHost", "FullDelegation")),
            WORKER: Host("worker.example.org", ("GenericPilot",)),
        }
    )
    groups: Mapping[str, Group] = field(
        default_factory=lambda: {
            "lab_user": Group((ALICE, BOB), ("NormalUser",), "lab"),
            "lab_admin": Group((ALICE,), ("Operator", "NormalUser"), "lab"),
            "other_user": Group((ALICE,), ("NormalUser",), "other"),
            "no_vo": Group((ALICE,), ("NormalUser",), None),
        }
    )

    def username(self, dn: str, group: str) -> str | None:
        return self.users.get(dn) if group in self.groups and dn in self.groups[group].members else None

    def default_group(self, dn: str) -> str | None:
        return "lab_user" if dn in self.users else None

    def vo_of(self, group: str) -> str | None:
        return self.groups[group].vo if group in self.groups else None

    def properties_of(self, group: str) -> tuple[str, ...]:
        return self.groups[group].properties if group in self.groups else ()

    def groups_of_vo(self, vo: str) -> tuple[str, ...]:
        return tuple(name for name, group in self.groups.items() if group.vo == vo)

    def host(self, dn: str) -> Host | None:
        return self.hosts.get(dn)

    def dns_of(self, username: str) -> tuple[str, ...]:
        return tuple(dn for dn, name in self.users.items() if name == username)

    def authorization(self, _service: str) -> Mapping[str, tuple[str, ...]]:
        return {}


REGISTRY = Registry()
ANYONE = Rule.parse(["all"])
AUTHENTICATED = Rule.parse(["authenticated"])


def certificate(dn: str) -> Credential:
    """What a certificate without proxy proves."""
    return Credential(dn, dn, "/C=CH/O=Grid/OU=Lab/CN=Oracle CA", NOW + timedelta(days=1))


def proxy(dn: str, group: str | None = None) -> Credential:
    """What a proxy proves."""
    return replace(certificate(dn), subject=f"{dn}/CN=77", issuer=dn, is_proxy=True, group=group)


def refused(*arguments) -> bool:
    """Whether `identify` refuses, with DIRAC's number and text."""
    try:
        identify(*arguments, REGISTRY)
    except Failure as failure:
        assert (failure.errno, failure.message) == (
            Errno.ENOAUTH,
            "Unauthorized query ( 1111 : Unauthorized query)",
        )
        return True
    return False


# --- rules

CALLERS = {
    "admin": (proxy(ALICE, "lab_admin"), ""),
    "user": (proxy(BOB, "lab_user"), ""),
    "other": (proxy(ALICE, "other_user"), ""),
    "no vo": (proxy(ALICE, "no_vo"), ""),
    "host": (certificate(BRIDGE), "hosts"),
    "delegated": (certificate(BRIDGE), [ALICE, "lab_admin"]),
    "unknown": (proxy(MALLORY), ""),
    "impostor": (proxy(MALLORY, "lab_admin"), ""),
    "not a member": (proxy(BOB, "lab_admin"), ""),
    "host that does not say so": (certificate(BRIDGE), ""),
    "delegated unknown": (certificate(BRIDGE), [MALLORY, "lab_admin"]),
    "no certificate": (None, ""),
}
EVERYBODY = set(CALLERS)
USERS = {"admin", "user", "other", "no vo", "delegated"}
KNOWN = {*USERS, "host"}
ADMINS = {"admin", "delegated"}
LAB = {*ADMINS, "user"}
NOBODY: set[str] = set()

RULES = [
    ("any", EVERYBODY),
    ("All", EVERYBODY),
    ("any, Operator", EVERYBODY),
    ("authenticated", KNOWN),
    ("Authenticated, Operator", KNOWN),
    ("authenticated, nonsense", KNOWN),
    ("", KNOWN),
    ("Operator", ADMINS),
    ("operator", ADMINS),
    ("NormalUser, Operator", USERS),
    ("TrustedHost", {"host"}),
    ("nonsense", NOBODY),
    ("group:lab_admin", ADMINS),
    ("group:lab_admin, group:lab_user", LAB),
    ("group:lab_admin, Operator", ADMINS),
    ("group:lab_user, Operator", NOBODY),
    ("ANY, group:lab_admin", ADMINS),
    ("authenticated, group:lab_admin", ADMINS),
    ("TrustedHost, group:hosts", {"host"}),
    ("group:hosts", {"host"}),
    ("group:LAB_ADMIN", NOBODY),
    ("GROUP:lab_user", NOBODY),
    ("group:", NOBODY),
    ("vo:lab", LAB),
    ("VO:lab", NOBODY),
    ("any, vo:lab", LAB),
    ("authenticated, vo:lab", LAB),
    ("Operator, vo:lab", ADMINS),
    ("Operator, vo:other", NOBODY),
    ("vo:other", {"other"}),
    ("vo:lab, vo:other", {*LAB, "other"}),
    ("group:nosuch, vo:lab", LAB),
    ("group:other_user, vo:lab", {*LAB, "other"}),
]


@pytest.mark.parametrize(("rule", "admitted"), RULES, ids=[text for text, _ in RULES])
def test_who_a_rule_admits(rule, admitted):
    """Every rule admits exactly the callers that DIRAC admits."""
    parsed = Rule.parse(rule.split(","))
    assert {name for name, caller in CALLERS.items() if not refused(*caller, parsed)} == admitted


@pytest.mark.parametrize(
    "rule", ["vo:nosuch", "vo:", "any, vo:nosuch", "group:visitor", "any, group:visitor"]
)
def test_rules_where_dirac_is_laxer(rule):
    """A VO without groups and the group of the anonymous admit nobody; DIRAC opens the method to all."""
    parsed = Rule.parse(rule.split(","))
    assert all(refused(*caller, parsed) for caller in CALLERS.values())


def test_a_rule_is_not_used_up():
    """The second caller is restricted like the first; in DIRAC the first one removes `group:` entries."""
    entries = ["any", "group:lab_admin"]
    rule = Rule.parse(entries)
    for _ in range(2):
        assert not refused(*CALLERS["admin"], rule)
        assert refused(*CALLERS["user"], rule)
    assert entries == ["any", "group:lab_admin"]


@given(
    names=st.lists(st.sampled_from(["any", "authenticated", "Operator", "group:lab_user", "vo:lab"])),
    caller=st.sampled_from(sorted(CALLERS)),
)
def test_the_order_of_a_rule_does_not_matter(names, caller):
    """A rule is a set: order and repetition change nothing."""
    rules = (Rule.parse(names), Rule.parse([*reversed(names), *names]))
    assert len({refused(*CALLERS[caller], rule) for rule in rules}) == 1


# --- identities


def test_a_proxy_with_a_group():
    """The identity has the registry's name, the proxy's group, and all properties and the VO of it."""
    credential = proxy(ALICE, "lab_admin")
    assert identify(credential, "", Rule.parse(["Operator"]), REGISTRY) == Identity(
        username="alice",
        group="lab_admin",
        kind="user",
        dn=ALICE,
        vo="lab",
        properties=("Operator", "NormalUser"),
        credential=credential,
        extra_credentials="",
    )


def test_a_host():
    """A host that says so has the group `hosts`, its own properties, and no VO."""
    credential = certificate(BRIDGE)
    assert identify(credential, "hosts", AUTHENTICATED, REGISTRY) == Identity(
        username="bridge.example.org",
        group="hosts",
        kind="host",
        dn=BRIDGE,
        vo=None,
        properties=("TrustedHost", "FullDelegation"),
        credential=credential,
        extra_credentials="hosts",
    )


def test_no_certificate():
    """Plain `dip` has no identity at all."""
    assert identify(None, "", ANYONE, REGISTRY) == Identity("anonymous", "visitor", "anonymous")


@pytest.mark.parametrize("extra", ["hosts", [ALICE, "lab_admin"], {"a": 1}])
def test_no_certificate_but_claims(extra):
    """Without a certificate nothing that the client says counts."""
    assert identify(None, extra, ANYONE, REGISTRY).kind == "anonymous"


def test_the_claims_of_an_impostor():
    """An unknown user whose proxy claims a group is anonymous and has none of its properties."""
    credential = proxy(MALLORY, "lab_admin")
    assert identify(credential, "", ANYONE, REGISTRY) == Identity(
        "anonymous", "visitor", "anonymous", MALLORY, None, (), credential
    )


GROUPS = [
    (proxy(ALICE, "lab_admin"), "", "lab_admin"),
    (proxy(ALICE), "", "lab_user"),
    (proxy(ALICE), "lab_admin", "lab_user"),
    (proxy(ALICE, "lab_admin"), "lab_user", "lab_admin"),
    (certificate(ALICE), "", "lab_user"),
    (certificate(ALICE), "lab_admin", "lab_admin"),
    (certificate(ALICE), "nosuch", "visitor"),
    (certificate(BOB), "lab_admin", "visitor"),
    (proxy(BOB, "lab_admin"), "", "visitor"),
    (proxy(ALICE, "LAB_ADMIN"), "", "visitor"),
    (proxy(ALICE, "hosts"), "", "visitor"),
    (proxy(ALICE, "lab_user"), "hosts", "visitor"),
    (certificate(ALICE), "hosts", "visitor"),
    (certificate(MALLORY), "lab_user", "visitor"),
    (proxy(MALLORY), "lab_user", "visitor"),
    (certificate(BRIDGE), "", "visitor"),
    (certificate(BRIDGE), "lab_user", "visitor"),
    (certificate(BRIDGE), "hosts", "hosts"),
    (proxy(BRIDGE), "", "visitor"),
    (proxy(BRIDGE), "hosts", "hosts"),
    (proxy(BRIDGE, "hosts"), "", "hosts"),
    (proxy(BRIDGE, "lab_admin"), "", "visitor"),
]


@pytest.mark.parametrize(("credential", "extra", "group"), GROUPS)
def test_which_group(credential, extra, group):
    """A proxy's group, else the user's default; certificates may ask for one; only members get it."""
    identity = identify(credential, extra, ANYONE, REGISTRY)
    assert identity.group == group
    assert (identity.kind == "anonymous") is (group == "visitor")
    assert identity.extra_credentials == extra


@pytest.mark.parametrize("extra", ["", None, False, [], (), {}, 0])
def test_extra_credentials_that_say_nothing(extra):
    """An empty value of any type is as good as none."""
    assert identify(proxy(ALICE, "lab_admin"), extra, AUTHENTICATED, REGISTRY).extra_credentials == ""


# --- delegation


@pytest.mark.parametrize("pair", [[ALICE, "lab_admin"], (ALICE, "lab_admin")])
@pytest.mark.parametrize("credential", [certificate(BRIDGE), proxy(BRIDGE)], ids=["host", "proxy of a host"])
def test_a_trusted_host_calls_for_a_user(credential, pair):
    """The identity is the user's; the credential stays the host's, and nothing else of the host does."""
    assert identify(credential, pair, AUTHENTICATED, REGISTRY) == Identity(
        "alice", "lab_admin", "user", ALICE, "lab", ("Operator", "NormalUser"), credential
    )


def test_a_trusted_host_calls_for_another_host():
    """The group `hosts` is a group that can be called for."""
    identity = identify(certificate(BRIDGE), [WORKER, "hosts"], AUTHENTICATED, REGISTRY)
    assert (identity.username, identity.kind, identity.properties) == (
        "worker.example.org",
        "host",
        ("GenericPilot",),
    )


@pytest.mark.parametrize(
    "pair", [[MALLORY, "lab_user"], [BOB, "lab_admin"], [ALICE, ""], [ALICE, "hosts"], ["", ""]]
)
def test_a_trusted_host_calls_for_nobody(pair):
    """A user who is not in the group is anonymous for a trusted host as well."""
    identity = identify(certificate(BRIDGE), pair, ANYONE, REGISTRY)
    assert (identity.kind, identity.dn, identity.properties) == ("anonymous", pair[0], ())
    assert refused(certificate(BRIDGE), pair, AUTHENTICATED)


@pytest.mark.parametrize(
    "credential",
    [
        proxy(ALICE, "lab_admin"),
        certificate(ALICE),
        certificate(WORKER),
        proxy(MALLORY),
        certificate(MALLORY),
    ],
    ids=["proxy", "user", "host", "unknown proxy", "unknown"],
)
def test_only_trusted_hosts_call_for_others(credential):
    """Anybody else who sends a pair is refused, even by methods that are open to all."""
    assert refused(credential, [ALICE, "lab_user"], ANYONE)


@pytest.mark.parametrize(
    "extra", [["a"], [ALICE, "lab_user", "x"], [ALICE, None], [1, 2], {ALICE: "lab_user"}, 5, True, b"hosts"]
)
@pytest.mark.parametrize("credential", [certificate(BRIDGE), proxy(ALICE)], ids=["trusted host", "user"])
def test_malformed_extra_credentials(credential, extra):
    """Whatever is neither text nor a pair of texts is refused."""
    assert refused(credential, extra, ANYONE)


# --- whoami


def told(credential: Credential | None, extra: object = "") -> list[tuple[str, object]]:
    """The answer of `whoami`, with the order of its keys."""
    identity = identify(credential, extra, ANYONE, REGISTRY)
    return list(whoami(identity, REGISTRY, now=NOW).items())


def test_whoami_of_a_proxy():
    """Group and VO follow the DN."""
    assert told(proxy(ALICE, "lab_admin")) == [
        ("subject", f"{ALICE}/CN=77"),
        ("issuer", ALICE),
        ("secondsLeft", 86400),
        ("isProxy", True),
        ("isLimitedProxy", False),
        ("validDN", False),
        ("validGroup", False),
        ("DN", ALICE),
        ("identity", ALICE),
        ("group", "lab_admin"),
        ("VO", "lab"),
        ("properties", ["Operator", "NormalUser"]),
        ("username", "alice"),
    ]


@pytest.mark.parametrize(
    ("credential", "extra", "rest"),
    [
        (
            proxy(ALICE),
            "nosuch",
            [
                ("identity", ALICE),
                ("group", "lab_user"),
                ("VO", "lab"),
                ("extraCredentials", "nosuch"),
                ("properties", ["NormalUser"]),
                ("username", "alice"),
            ],
        ),
        (
            proxy(ALICE, "no_vo"),
            "",
            [
                ("identity", ALICE),
                ("group", "no_vo"),
                ("VO", ""),
                ("properties", ["NormalUser"]),
                ("username", "alice"),
            ],
        ),
        (
            certificate(ALICE),
            "",
            [("properties", ["NormalUser"]), ("group", "lab_user"), ("username", "alice")],
        ),
        (
            certificate(BRIDGE),
            "hosts",
            [
                ("extraCredentials", "hosts"),
                ("properties", ["TrustedHost", "FullDelegation"]),
                ("group", "hosts"),
                ("username", "bridge.example.org"),
            ],
        ),
        (
            certificate(BRIDGE),
            [ALICE, "lab_admin"],
            [("properties", ["Operator", "NormalUser"]), ("group", "lab_admin"), ("username", "alice")],
        ),
        (
            proxy(BRIDGE),
            [ALICE, "lab_admin"],
            [
                ("identity", BRIDGE),
                ("properties", ["Operator", "NormalUser"]),
                ("group", "lab_admin"),
                ("username", "alice"),
            ],
        ),
        (
            proxy(MALLORY, "lab_user"),
            "",
            [
                ("identity", MALLORY),
                ("group", "visitor"),
                ("VO", "lab"),
                ("properties", []),
                ("username", "anonymous"),
            ],
        ),
        (
            proxy(MALLORY),
            "",
            [
                ("identity", MALLORY),
                ("properties", []),
                ("group", "visitor"),
                ("username", "anonymous"),
            ],
        ),
    ],
    ids=[
        "default group",
        "no VO",
        "certificate",
        "host",
        "delegated",
        "delegated by a proxy",
        "impostor",
        "unknown",
    ],
)
def test_whoami_after_the_dn(credential, extra, rest):
    """What follows the DN depends on how the caller came."""
    dn = extra[0] if isinstance(extra, list) else credential.dn
    answer = told(credential, extra)
    assert answer[7:] == [("DN", dn), *rest]
    assert answer[0] == ("subject", credential.subject)


def test_whoami_without_certificate():
    """Plain `dip` learns nothing."""
    assert told(None) == [("properties", [])]


def test_whoami_of_a_limited_proxy_in_its_last_second():
    """Limited is told, and seconds are whole and never negative."""
    credential = replace(proxy(ALICE, "lab_user"), limited=True, expires=NOW - timedelta(seconds=1))
    answer = dict(told(credential))
    assert (answer["isLimitedProxy"], answer["secondsLeft"]) == (True, 0)


# --- which rule


def written(text: str) -> dict[str, tuple[str, ...]]:
    """An Authorization section, ``name = entry, entry; name = ...``."""
    options = (option.split("=") for option in text.split(";") if option)
    return {
        name.strip(): tuple(entry.strip() for entry in entries.split(",") if entry.strip())
        for name, entries in options
    }


@dataclass(frozen=True)
class Case:
    """What is written, asked and hard-coded (None: nothing), and what holds; None: the service's own rule."""

    written: str
    name: str
    hard_coded: str | None
    holds: str | None


# All seen at DIRAC 9.1.22; where no rule holds it lets everybody in, and here the service's own rule does.
CASES = [
    Case("", "get", None, None),
    Case("", "get", "Operator", "Operator"),
    Case("get = Operator", "get", None, "Operator"),
    Case("get = Operator", "get", "all", "Operator"),
    Case("get = all", "get", "Operator", "all"),
    Case("get = OPERATOR", "get", None, "operator"),
    Case("get = none", "get", "all", "none"),
    Case("get = group:lab_user", "get", "all", "group:lab_user"),
    Case("get = Operator, vo:lab", "get", "all", "Operator, vo:lab"),
    # an empty list counts as not written
    Case("get =", "get", "Operator", "Operator"),
    Case("get =", "get", None, None),
    Case("get =; Default = Operator", "get", None, "Operator"),
    Case("Default =", "get", None, None),
    # the registry's Default is weaker than what is hard-coded
    Case("Default = Operator", "get", None, "Operator"),
    Case("Default = Operator", "get", "all", "all"),
    Case("Default = Operator; get = all", "get", None, "all"),
    # names are case-sensitive
    Case("GET = Operator", "get", "authenticated", "authenticated"),
    Case("default = Operator", "get", None, None),
    # transfers have a Default of their own
    Case("FileTransfer/ToClient = Operator", "FileTransfer/ToClient", "all", "Operator"),
    Case("FileTransfer/Default = Operator", "FileTransfer/ToClient", None, "Operator"),
    Case("FileTransfer/Default = Operator", "FileTransfer/ToClient", "all", "all"),
    Case("FileTransfer/Default = all; Default = Operator", "get", None, "Operator"),
    Case("Default = all", "FileTransfer/ToClient", None, None),
    Case("ToClient = all", "FileTransfer/ToClient", None, None),
    Case("FileTransfer/toClient = all", "FileTransfer/ToClient", None, None),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_which_rule_holds(case):
    """The method's in the registry, its own, the registry's Default, the service's: in this order."""
    own = Rule.parse(["ServiceAdministrator"])
    declared = own if case.hard_coded is None else Rule.parse(case.hard_coded.split(","))
    rule = rule_in_force(written(case.written), case.name, declared, hard_coded=case.hard_coded is not None)
    assert rule == (own if case.holds is None else Rule.parse(case.holds.split(",")))


def test_the_registrys_lists_are_not_used_up():
    """The second caller meets the same list as the first; in DIRAC `group:` and `vo:` entries are gone."""
    rules = {"get": ["any", "group:lab_admin", "vo:lab"], "Default": ["vo:other"]}
    for _ in range(2):
        for name, admitted in (("get", "admin"), ("other", "other")):
            rule = rule_in_force(rules, name, AUTHENTICATED, hard_coded=False)
            assert not refused(*CALLERS[admitted], rule)
            assert refused(*CALLERS["no vo"], rule)
            assert refused(*CALLERS["unknown"], rule)
    assert rules == {"get": ["any", "group:lab_admin", "vo:lab"], "Default": ["vo:other"]}


# --- tokens


def token(username: str = "alice", group: str = "lab_admin") -> TokenCredential:
    """What a token of our own issuer proves."""
    return TokenCredential(username, group, "lab", "https://rest.example.org/", NOW + timedelta(minutes=20))


def test_the_user_of_a_token():
    """The registry says who they are now: DN, VO and properties of the token's group."""
    credential = token()
    assert identify(credential, "", Rule.parse(["Operator"]), REGISTRY) == Identity(
        username="alice",
        group="lab_admin",
        kind="user",
        dn=ALICE,
        vo="lab",
        properties=("Operator", "NormalUser"),
        credential=credential,
        extra_credentials="",
    )


def test_a_token_of_a_user_with_two_dns():
    """The group counts the one that is a member."""
    second = PEOPLE + "alice 2"
    registry = replace(
        REGISTRY,
        users={second: "alice", ALICE: "alice"},
        groups={"lab_user": Group((ALICE,), ("NormalUser",), "lab")},
    )
    assert identify(token(group="lab_user"), "", AUTHENTICATED, registry).dn == ALICE


@pytest.mark.parametrize(
    "credential",
    [token("mallory"), token("bob", "lab_admin"), token(group="nosuch"), token(group="hosts"), token("", "")],
    ids=["unknown user", "no member", "unknown group", "hosts", "nobody"],
)
def test_a_token_that_the_registry_no_longer_knows(credential):
    """Whoever was removed after the token was issued is anonymous, with no property left of it."""
    assert refused(credential, "", AUTHENTICATED)
    assert refused(credential, "", Rule.parse(["Operator"]))
    assert refused(credential, "", Rule.parse(["any", "vo:lab"]))
    identity = identify(credential, "", ANYONE, REGISTRY)
    assert (identity.kind, identity.username, identity.group) == ("anonymous", "anonymous", "visitor")
    assert (identity.dn, identity.vo, identity.properties) == ("", None, ())


@pytest.mark.parametrize("extra", [[ALICE, "lab_admin"], [BRIDGE, "hosts"], ["a"], {"a": 1}, 5, True, b"x"])
def test_nobody_calls_for_others_with_a_token(extra):
    """Delegation is for hosts with a certificate."""
    assert refused(token(), extra, ANYONE)


@pytest.mark.parametrize("extra", ["hosts", "lab_user", "nosuch", "", None, [], ()])
def test_a_token_holds_its_group(extra):
    """Neither `hosts` nor another group can be asked for."""
    identity = identify(token(), extra, AUTHENTICATED, REGISTRY)
    assert (identity.username, identity.group, identity.kind) == ("alice", "lab_admin", "user")
    assert identity.extra_credentials == ""


@pytest.mark.parametrize(
    ("credential", "who"),
    [
        (
            token(),
            [
                ("DN", ALICE),
                ("VO", "lab"),
                ("properties", ["Operator", "NormalUser"]),
                ("group", "lab_admin"),
                ("username", "alice"),
            ],
        ),
        (
            token("mallory"),
            [
                ("DN", ""),
                ("VO", ""),
                ("properties", []),
                ("group", "visitor"),
                ("username", "anonymous"),
            ],
        ),
    ],
    ids=["alice", "unknown"],
)
def test_whoami_with_a_token(credential, who):
    """There is no subject, and the issuer is the token's."""
    assert told(credential) == [
        ("issuer", "https://rest.example.org/"),
        ("secondsLeft", 1200),
        ("isProxy", False),
        ("isLimitedProxy", False),
        ("validDN", False),
        ("validGroup", False),
        *who,
    ]
