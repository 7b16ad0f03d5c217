"""Framework/ProxyManager: what may be left here, and who gets what of it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sqlalchemy import update

from legacy_rpc.credentials import credential_from_chain
from legacy_rpc.messages import Call, Credential, Identity, TokenCredential
from legacy_rpc.revocation import Revocations
from legacy_rpc.services.table import Common, TokenPair
from shared_db.administration import upgrade_own
from shared_db.connection import Databases, open_databases
from shared_db.registry import RegistryFile
from shared_db.rules import clock
from shared_db.schema.wherry_db import WHERRY_DB, proxies
from shared_db.sealing import Seal, SealingKey
from wherry.demo.pki import DAY, GRID, Authority, KeyPair, make_keys, make_proxy

SERVICE = "Framework/ProxyManager"
DN = "/DC=org/DC=wherry/OU=people/CN="
HOUR = timedelta(hours=1)
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"

GROUPS = {
    "demo_user": ("alice, bob", "NormalUser"),
    "demo_admin": ("alice", "NormalUser, FullDelegation, ProxyManagement"),
    "demo_pilot": ("pilot", "GenericPilot, LimitedDelegation"),
    "demo_own": ("alice, bob", "PrivateLimitedDelegation"),
    "closed": ("alice", "NormalUser"),
    "without_vo": ("alice", "NormalUser"),
}


def registry_text() -> str:
    """The registry of these tests."""
    users = "".join(f"{name}\n{{\nDN = {DN}{name}\n}}\n" for name in ("alice", "bob", "pilot"))
    groups = "".join(
        f"{name}\n{{\nUsers = {members}\nProperties = {properties}\n"
        + ("DownloadableProxy = no\n" if name == "closed" else "")
        + ("VOMSRole = /demo\n" if name == "demo_admin" else "")
        + ("" if name == "without_vo" else "VO = demo\n")
        + "}\n"
        for name, (members, properties) in GROUPS.items()
    )
    host = "host\n{\nDN = /DC=org/DC=wherry/OU=hosts/CN=wherry.example.org\nProperties = TrustedHost\n}\n"
    return f"Registry\n{{\nUsers\n{{\n{users}}}\nGroups\n{{\n{groups}}}\nHosts\n{{\n{host}}}\n}}\n"


class People:
    """An authority, users, and one of the same name that nobody trusts."""

    def __init__(self, directory: Path) -> None:
        keys = iter(make_keys(7))
        authority = Authority.create("Test CA", key=next(keys))
        forger = Authority.create("Test CA", key=next(keys))
        middle_key = next(keys)
        name = x509.Name([*GRID, x509.NameAttribute(NameOID.COMMON_NAME, "Middle CA")])
        middle = authority.issue(name, key=middle_key)  # says that it is no authority
        self.authority = authority
        self.ca_path = authority.write_directory(directory / "ca").parent
        users_key = next(keys)
        self.alice, self.bob = (authority.issue_user(each, key=users_key) for each in ("alice", "bob"))
        self.forged = forger.issue_user("alice", key=users_key)
        self.by_no_authority = replace(
            Authority(middle.certificate, middle_key).issue_user("alice", key=users_key),
            chain=(middle.certificate,),
        )
        self.key = next(keys)
        self.other_key = next(keys)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """One grid for all tests."""
    return People(tmp_path_factory.mktemp("people"))


@pytest.fixture
def registry(tmp_path: Path) -> RegistryFile:
    """In place of that of the other services' tests."""
    path = tmp_path / "registry.cfg"
    path.write_text(registry_text())
    registry = RegistryFile(path)
    registry.load()
    return registry


@pytest.fixture
async def databases(tmp_path: Path) -> AsyncIterator[Databases]:
    """Our own tables, empty."""
    opened = open_databases(f"sqlite:///{tmp_path / 'wherry.db'}", create=True)
    await upgrade_own(opened)
    yield opened
    await opened.dispose()


class Manager:
    """The service, as a client uses it."""

    def __init__(self, side: Any, people: People) -> None:
        self.side = side
        self.people = people
        self.version = "9.1.22"

    async def call(self, who: str, method: str, *arguments: Any) -> dict[str, Any]:
        """What a client sees; ``who`` is ``user group``."""
        name, _, group = who.partition(" ")
        dn = DN + name
        expires = datetime.now(UTC) + HOUR
        caller = Credential(dn, f"{dn}/CN=1", dn, expires, is_proxy=True, group=group or "demo_user")
        try:
            identity = self.side.admit(SERVICE, method, caller)
        except Exception as refused:  # noqa: BLE001 - a Failure, as the client sees it
            return cast(Any, refused).as_result()
        call = Call(SERVICE, method, arguments, identity, "dips", self.version, "127.0.0.1")
        return cast("dict[str, Any]", (await self.side.front_door.handle(call)).as_result())

    async def value(self, who: str, method: str, *arguments: Any) -> Any:
        """The value of a call that must succeed."""
        answer = await self.call(who, method, *arguments)
        assert answer["OK"], answer
        return answer["Value"]

    async def problem(self, who: str, method: str, *arguments: Any) -> str:
        """The text of a call that must fail."""
        answer = await self.call(who, method, *arguments)
        assert not answer["OK"], answer
        return str(answer["Message"])

    async def upload(self, who: str = "alice", owner: KeyPair | None = None, **proxy: Any) -> dict[str, Any]:
        """What a client sees of the upload of a proxy, which is made as it says."""
        asked = await self.value(who, "requestDelegationUpload")
        pem = delegated(asked["request"], owner or getattr(self.people, who), **proxy)
        return await self.call(who, "completeDelegationUpload", asked["id"], pem)


@pytest.fixture
def revocations(people: People) -> Revocations:
    """The CRLs, of which there are none."""
    return Revocations(people.ca_path, "if-present")


@pytest.fixture
def manager(
    make_old_side: Any,
    databases: Databases,
    registry: RegistryFile,
    people: People,
    revocations: Revocations,
) -> Manager:
    """The service over an empty database."""

    async def issue(identity: Identity) -> TokenPair:
        return TokenPair(f"access of {identity.username}", 1200, "a.refresh.token")

    common = Common(
        databases,
        registry,
        str,
        issue_tokens=issue,
        ca_path=people.ca_path,
        seal=Seal([SealingKey.generate()]),
        check_revoked=revocations.check,
    )
    return Manager(make_old_side(common=common), people)


def delegated(request: str, owner: KeyPair, **proxy: Any) -> str:
    """The chain that a client makes for a request: PEM, the proxy first, no key."""
    key = cast("rsa.RSAPrivateKey", x509.load_pem_x509_csr(request.encode()))  # it has a public_key() too
    made = make_proxy(owner, key=key, **{"lifetime": 2 * DAY, **proxy})
    return pem_of([made.certificate, *made.chain])


def pem_of(certificates: Any) -> str:
    """Certificates one after the other."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


def csr(key: rsa.RSAPrivateKey, name: str = "proxy") -> str:
    """A client's request."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def read(pem: str) -> tuple[Credential, list[x509.Certificate]]:
    """What a chain proves, and its certificates."""
    certificates = x509.load_pem_x509_certificates(pem.encode())
    return credential_from_chain(
        [each.public_bytes(serialization.Encoding.DER) for each in certificates]
    ), certificates


# --- uploads


async def test_upload(manager: Manager, tmp_path: Path) -> None:
    """A proxy is stored and seen by its owner, in the shape of the client's release; its key is sealed."""
    assert await manager.value("alice", "getUserProxiesInfo") == {}
    stored = await manager.upload()
    end = stored["Value"][f"{DN}alice"]
    assert end.tzinfo is None
    assert end.microsecond == 0
    assert abs(end - (datetime.now(UTC) + 2 * DAY).replace(tzinfo=None)) < timedelta(minutes=1)
    assert stored["Value"] == await manager.value("alice", "getUserProxiesInfo") == {f"{DN}alice": end}
    for manager.version in ("8.0.86", "7.3.38", "v7r3p38"):
        assert await manager.value("alice", "getUserProxiesInfo") == {f"{DN}alice": {"": end}}
    for manager.version in ("unknown", "", "10.0.1"):
        assert await manager.value("alice", "getUserProxiesInfo") == {f"{DN}alice": end}
    assert await manager.value("bob", "getUserProxiesInfo") == {}
    files = b"".join(file.read_bytes() for file in tmp_path.glob("wherry.db*"))
    assert b"BEGIN CERTIFICATE" in files
    assert b"PRIVATE KEY" not in files


async def test_request(manager: Manager) -> None:
    """A request is for a key of 2048 bits; 7.3 says how long and for which group, which is not heeded."""
    asked = await manager.value("alice", "requestDelegationUpload", 3600, "demo_user")
    assert list(asked) == ["id", "request"]
    request = x509.load_pem_x509_csr(asked["request"].encode())
    assert request.is_signature_valid
    public = request.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048


VOMS = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5"), b"\x30\x00")
Bad = Callable[[People], dict[str, Any]]
BAD: dict[str, tuple[Bad, str]] = {
    "another's": (lambda people: {"owner": people.bob}, f"Mismatch in the user DN. Proxy says {DN}bob and"),
    "limited": (lambda _people: {"limited": True}, "Limited proxies are not allowed to be stored"),
    "with a group": (
        lambda _people: {"group": "demo_user"},
        "Proxies with DIRAC group extensions not allowed to be uploaded",
    ),
    "of one with a group": (
        lambda people: {"owner": make_proxy(people.alice, "demo_user", key=people.key)},
        "Proxies with DIRAC group extensions not allowed to be uploaded",
    ),
    "of a limited one": (
        lambda people: {"owner": make_proxy(people.alice, limited=True, key=people.key)},
        "No chain loaded ( 1106 : Chain is not a proxy)",
    ),
    "too short": (
        lambda _people: {"lifetime": timedelta(minutes=59)},
        "Cannot store proxy, remaining secs 35",
    ),
    "expired": (lambda _people: {"lifetime": timedelta(minutes=-1)}, "The chain has expired"),
    "of an expired one": (
        lambda people: {"owner": make_proxy(people.alice, lifetime=timedelta(minutes=-1), key=people.key)},
        "The chain has expired",
    ),
    "of a false authority": (lambda people: {"owner": people.forged}, "does not lead to an authority"),
    "of no authority": (lambda people: {"owner": people.by_no_authority}, "does not lead to an authority"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_bad_proxy(manager: Manager, kind: str) -> None:
    """What is not a good proxy of the caller's is refused, and not stored; the request stays good."""
    make, text = BAD[kind]
    answer = await manager.upload("alice", **make(manager.people))
    assert not answer["OK"]
    assert text in answer["Message"]
    assert await manager.value("alice", "getUserProxiesInfo") == {}


def certificate_alone(people: People, _chain: str) -> str:
    """No proxy at all."""
    return pem_of([people.alice.certificate])


def for_another_key(people: People, _chain: str) -> str:
    """A good proxy, for which somebody else has the key."""
    made = make_proxy(people.alice, key=people.other_key)
    return pem_of([made.certificate, *made.chain])


def without_end_entity(_people: People, chain: str) -> str:
    """The proxy alone."""
    return chain[: chain.index("-----END CERTIFICATE-----") + 26]


def with_voms(people: People, chain: str) -> str:
    """A proxy with attributes of a VO."""
    proxy = x509.load_pem_x509_certificates(chain.encode())[0]
    builder = (
        x509.CertificateBuilder()
        .subject_name(proxy.subject)
        .issuer_name(proxy.issuer)
        .public_key(proxy.public_key())
        .serial_number(proxy.serial_number)
        .not_valid_before(proxy.not_valid_before_utc)
        .not_valid_after(proxy.not_valid_after_utc)
        .add_extension(VOMS, critical=False)
    )
    for extension in proxy.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return pem_of([builder.sign(people.alice.key, hashes.SHA256()), people.alice.certificate])


def signed_by_another(people: People, chain: str) -> str:
    """The names are right and the signature is not."""
    proxy = x509.load_pem_x509_certificates(chain.encode())[0]
    return pem_of([proxy, people.bob.certificate])


@pytest.mark.parametrize(
    ("mangle", "text"),
    [
        (lambda _people, _chain: "garbage", "Generic Error with X509 ( 1100 : "),
        (lambda _people, _chain: "", "Generic Error with X509 ( 1100 : "),
        (lambda _people, chain: chain * 100, "Generic Error with X509 ( 1100 : it is too long)"),
        (certificate_alone, "No chain loaded ( 1106 : Chain is not a proxy)"),
        (without_end_entity, "No chain loaded ( 1106 : Chain is not a proxy)"),
        (signed_by_another, "No chain loaded ( 1106 : Chain is not a proxy)"),
        (for_another_key, "made for another key"),
        (with_voms, "Proxies with VOMS extensions are not allowed to be uploaded"),
    ],
)
async def test_bad_chain(manager: Manager, mangle: Callable[[People, str], str], text: str) -> None:
    """What is no chain for the request's key is refused, with DIRAC's numbers."""
    asked = await manager.value("alice", "requestDelegationUpload")
    good = delegated(asked["request"], manager.people.alice)
    bad = mangle(manager.people, good)
    assert text in await manager.problem("alice", "completeDelegationUpload", asked["id"], bad)
    assert await manager.value("alice", "completeDelegationUpload", asked["id"], good), "it can be mended"


async def test_revoked(manager: Manager, revocations: Revocations) -> None:
    """A proxy of a revoked certificate is not kept, whoever its owner was let in as."""
    people = manager.people
    crl = people.authority.write_crl(people.ca_path, [people.alice])
    try:
        assert revocations.refresh()
    finally:
        crl.unlink()
    answer = await manager.upload("alice")
    assert f"the certificate of {DN}alice is revoked by" in answer["Message"]
    assert await manager.value("alice", "getUserProxiesInfo") == {}
    assert (await manager.upload("bob"))["OK"]


async def test_delegation_of_a_delegation(manager: Manager) -> None:
    """A proxy of a proxy is as good, also when the authority's certificate comes along."""
    people = manager.people
    answer = await manager.upload("alice", owner=make_proxy(people.alice, key=people.key, lifetime=3 * DAY))
    assert list(answer["Value"]) == [f"{DN}alice"]


async def test_request_is_one_callers_and_for_one_proxy(manager: Manager) -> None:
    """Nobody else can use it, nor anybody twice."""
    asked = await manager.value("alice", "requestDelegationUpload")
    chain = delegated(asked["request"], manager.people.alice)
    none = f"No requests with id {asked['id']}"
    assert await manager.problem("bob", "completeDelegationUpload", asked["id"], chain) == none
    assert await manager.value("alice", "completeDelegationUpload", asked["id"], chain)
    assert await manager.problem("alice", "completeDelegationUpload", asked["id"], chain) == none


async def test_request_lives_for_300_seconds(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """After that its key is gone."""
    asked = await manager.value("alice", "requestDelegationUpload")
    chain = delegated(asked["request"], manager.people.alice)
    later = datetime.now(UTC) + timedelta(seconds=301)
    monkeypatch.setattr(clock, "utc_now", lambda: later)
    problem = await manager.problem("alice", "completeDelegationUpload", asked["id"], chain)
    assert problem == f"No requests with id {asked['id']}"


async def test_the_longer_proxy_is_kept(manager: Manager) -> None:
    """A shorter one is accepted and not stored; a longer one takes its place."""
    first = (await manager.upload(lifetime=2 * DAY))["Value"]
    assert (await manager.upload(lifetime=DAY))["Value"] == first
    longer = (await manager.upload(lifetime=3 * DAY))["Value"]
    assert longer[f"{DN}alice"] - first[f"{DN}alice"] > timedelta(hours=23)


# --- downloads


@pytest.mark.parametrize(
    ("who", "limited"), [("alice demo_admin", False), ("pilot demo_pilot", True), ("alice demo_own", True)]
)
async def test_download(manager: Manager, tmp_path: Path, who: str, limited: bool) -> None:
    """A proxy with the group for the request's key, which OpenSSL takes; limited as the caller's rights."""
    await manager.upload()
    group = "demo_own" if who == "alice demo_own" else "demo_user"
    request = csr(manager.people.key)
    pem = await manager.value(who, "getProxy", f"{DN}alice", group, request, 1000)
    assert "PRIVATE" not in pem
    proved, certificates = read(pem)
    assert (proved.dn, proved.group, proved.limited) == (f"{DN}alice", group, limited)
    assert 1490 <= proved.seconds_left() <= 1500, "half as much again"
    assert certificates[0].public_key() == manager.people.key.public_key()
    leaf, rest = (tmp_path / name for name in ("leaf.pem", "rest.pem"))
    leaf.write_text(pem_of(certificates[:1]))
    rest.write_text(pem_of(certificates[1:]))
    command = ["openssl", "verify", "-allow_proxy_certs", "-CApath", str(manager.people.ca_path)]
    done = subprocess.run([*command, "-untrusted", str(rest), str(leaf)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_download_with_a_request_for_a_limited_proxy(manager: Manager) -> None:
    """Who asks for a limited proxy gets one."""
    await manager.upload()
    request = csr(manager.people.key, "limited proxy")
    pem = await manager.value("alice demo_admin", "getProxy", f"{DN}alice", "demo_user", request, 1000)
    assert read(pem)[0].limited


async def test_download_lasts_no_longer_than_what_is_stored(manager: Manager) -> None:
    """More than that is refused, and half as much again is cut."""
    end = (await manager.upload(lifetime=3 * HOUR))["Value"][f"{DN}alice"].replace(tzinfo=UTC)
    ask = ("alice demo_admin", "getProxy", f"{DN}alice", "demo_user", csr(manager.people.key))
    pem = await manager.value(*ask, 10000)
    assert read(pem)[0].expires == end
    assert "not long lived enough" in await manager.problem(*ask, 3 * 3600 + 1)
    assert await manager.problem(*ask, 0) == "A proxy cannot last 0 seconds"
    assert "( 1101 : " in await manager.problem(*ask, 10**30)


@pytest.mark.parametrize(
    ("who", "dn", "group", "problem"),
    [
        ("alice demo_user", "alice", "demo_user", UNAUTHORIZED),
        ("bob demo_own", "alice", "demo_own", "You are not allowed to download any proxy"),
        ("alice demo_own", "alice", "demo_user", "You can't download proxies for that group"),
        ("alice demo_admin", "alice", "demo_pilot", "Invalid group demo_pilot for user"),
        ("alice demo_admin", "alice", "nogroup", "Invalid group nogroup for user"),
        (
            "alice demo_admin",
            "bob",
            "demo_user",
            f"Can't find proxy ( 1101 : {DN}bob has no proxy registered)",
        ),
        ("alice demo_admin", "nobody", "demo_user", "Invalid group demo_user for user"),
        ("alice demo_admin", "alice", "closed", 'Proxies with group "closed" cannot be downloaded'),
    ],
)
async def test_download_refused(manager: Manager, who: str, dn: str, group: str, problem: str) -> None:
    """Rules per property, group and what is there."""
    await manager.upload()
    request = csr(manager.people.key)
    assert problem in await manager.problem(who, "getProxy", DN + dn, group, request, 1000)


async def test_bad_requests(manager: Manager) -> None:
    """What is no request, or is not signed with its own key, is refused."""
    await manager.upload()
    ask = ("alice demo_admin", "getProxy", f"{DN}alice", "demo_user")
    garbage = await manager.problem(*ask, "x", 1000)
    assert garbage.startswith("Can't read certificate ( 1104 : Can't load request data: ")
    good = x509.load_pem_x509_csr(csr(manager.people.key).encode())
    der = good.public_bytes(serialization.Encoding.DER)
    other = x509.load_pem_x509_csr(csr(manager.people.other_key).encode())
    stolen = der.replace(good.signature, other.signature)
    pem = x509.load_der_x509_csr(stolen).public_bytes(serialization.Encoding.PEM).decode()
    assert await manager.problem(*ask, pem, 1000) == "The request is not signed with its own key"


async def test_a_row_under_another_name_is_worthless(manager: Manager, databases: Databases) -> None:
    """Whoever can write into the database cannot make one user's key another's."""
    await manager.upload()
    async with databases.unit_of_work(write=True) as work:
        moved = update(proxies).values(dn=f"{DN}bob", user_dn=f"{DN}bob")
        assert await work.change(WHERRY_DB, moved) == 1
    request = csr(manager.people.key)
    problem = await manager.problem("alice demo_admin", "getProxy", f"{DN}bob", "demo_user", request, 1000)
    assert "cannot be used" in problem
    assert "upload a proxy again" in problem


async def test_strength(manager: Manager) -> None:
    """Of the stored key; anybody may ask."""
    assert "has no proxy registered" in await manager.problem(
        "bob", "getStoredProxyStrength", f"{DN}alice", "demo_user", None
    )
    await manager.upload()
    assert await manager.value("bob", "getStoredProxyStrength", f"{DN}alice", "any", None) == 2048


# --- lists


async def test_lists(manager: Manager) -> None:
    """With ProxyManagement all proxies are seen, without it one's own."""
    await manager.upload("alice", lifetime=2 * DAY)
    await manager.upload("bob", lifetime=5 * HOUR)
    users = await manager.value("alice demo_admin", "getRegisteredUsers")
    assert [(each["Name"], each["DN"]) for each in users] == [("alice", f"{DN}alice"), ("bob", f"{DN}bob")]
    assert all(list(each) == ["Name", "DN", "expirationtime"] for each in users)
    own = await manager.value("bob", "getRegisteredUsers")
    assert [each["Name"] for each in own] == ["bob"]
    assert await manager.value("bob", "getRegisteredUsers", 6 * 3600) == []
    assert await manager.value("bob", "getRegisteredUsers", 10**40) == []
    assert await manager.problem("bob", "getRegisteredUsers", "x") == "Seconds left has to be an integer"
    manager.version = "8.0.86"
    assert [each["group"] for each in await manager.value("bob", "getRegisteredUsers")] == [""]


CONTENTS = [
    ({}, [], 0, 0, ["alice", "bob"]),
    ({}, [["UserDN", "DESC"]], 0, 0, ["bob", "alice"]),
    ({}, [["ExpirationTime", "asc"]], 0, 0, ["bob", "alice"]),
    ({}, [["UserDN", "ASC"]], 1, 1, ["bob"]),
    ({"UserName": ["bob", "carol"]}, [], 0, 0, ["bob"]),
    ({"UserName": "alice"}, [], 0, 0, ["alice"]),
    ({"UserDN": [f"{DN}bob"]}, [["Nothing", "ASC"]], 0, 0, ["bob"]),
    ({"Unknown": "x"}, [], 0, 0, ["alice", "bob"]),
]


@pytest.mark.parametrize(("select", "sort", "start", "limit", "names"), CONTENTS)
async def test_contents(
    manager: Manager, select: Any, sort: Any, start: int, limit: int, names: list[str]
) -> None:
    """Selected, sorted and cut as asked."""
    await manager.upload("alice", lifetime=2 * DAY)
    await manager.upload("bob", lifetime=5 * HOUR)
    value = await manager.value("alice demo_admin", "getContents", select, sort, start, limit)
    assert value["ParameterNames"] == ("UserName", "UserDN", "ExpirationTime")
    assert [record[0] for record in value["Records"]] == names
    assert value["TotalRecords"] == len(names)
    own = await manager.value("bob", "getContents", {**select, "UserName": "alice"}, [], 0, 0)
    assert {record[0] for record in own["Records"]} <= {"bob"}
    manager.version = "8.0.86"
    older = await manager.value("alice demo_admin", "getContents", select, sort, start, limit)
    assert older["ParameterNames"] == ("UserName", "UserDN", "UserGroup", "ExpirationTime", "PersistentFlag")
    assert older["Records"] == [[name, dn, "", end, False] for name, dn, end in value["Records"]]


@pytest.mark.parametrize(
    ("method", "arguments", "problem"),
    [
        ("getContents", ({}, [["UserDN", "UP"]], 0, 0), "Invalid sorting order UP"),
        ("getContents", ({}, [["a", "b", "c"]], 0, 0), "Invalid sort ['a', 'b', 'c']"),
        ("getContents", ({}, [], -1, 0), "start and limit must not be negative"),
        ("getContents", ({"ExpirationTime": 1}, [], 0, 0), "Proxies cannot be selected by ExpirationTime"),
        ("getContents", ([], [], 0, 0), f"Received {list}, expected {dict}"),
        ("getContents", ({}, {}, 0, 0), f"Received {dict}, expected {(list, tuple)}"),
        ("getLogContents", ({"bad": ["x"]}, [], 0, 0), "Unknown field: bad"),
        ("getLogContents", ({}, [["bad", "ASC"]], 0, 0), "Invalid sort field: ['bad', 'ASC']"),
        ("getLogContents", ({}, [["Action", "up"]], 0, 0), "Invalid sort direction: UP"),
        ("getLogContents", ({5: ["x"]}, [], 0, 0), "Unknown field: 5"),
        ("getRegisteredUsers", (float("inf"),), "Seconds left has to be an integer"),
        ("completeDelegationUpload", (True, "x"), "No requests with id True"),
        ("completeDelegationUpload", ("1", "x"), f"Received {str}, expected {int}"),
        (
            "getStoredProxyStrength",
            ("x", "y"),
            "Function getStoredProxyStrength expects at least 3 arguments",
        ),
        (
            "getVOMSProxy",
            ("x", "y", "z", 1, 5),
            f"Received {int}, expected {[str, type(None), bool]}",
        ),
    ],
)
async def test_wrong_arguments(manager: Manager, method: str, arguments: Any, problem: str) -> None:
    """Refused as DIRAC does."""
    assert problem in await manager.problem("alice demo_admin", method, *arguments)


async def test_log(manager: Manager) -> None:
    """Who did what with whose proxy, for who has ProxyManagement."""
    await manager.upload("alice")
    request = csr(manager.people.key)
    await manager.value("pilot demo_pilot", "getProxy", f"{DN}alice", "demo_user", request, 1000)
    await manager.value("alice", "deleteProxy", f"{DN}alice")
    everything = await manager.value("alice demo_admin", "getLogContents", {}, [], 0, 0)
    assert everything["ParameterNames"][0] == "Action"
    assert [tuple(record[:5]) for record in everything["Records"]] == [
        ("store proxy", f"{DN}alice", "demo_user", f"{DN}alice", ""),
        ("download proxy", f"{DN}pilot", "demo_pilot", f"{DN}alice", "demo_user"),
        ("delete proxy", f"{DN}alice", "demo_user", f"{DN}alice", ""),
    ]
    assert all(record[5].tzinfo is None for record in everything["Records"])
    ask = ("alice demo_admin", "getLogContents")
    some = await manager.value(*ask, {"action": ["delete proxy", "other"]}, [], 0, 0)
    assert some["TotalRecords"] == 1
    page = await manager.value(*ask, {"issuerdn": [f"{DN}alice"]}, [["Action", "DESC"]], 1, 1)
    assert ([record[0] for record in page["Records"]], page["TotalRecords"]) == (["delete proxy"], 2)
    assert (await manager.value(*ask, {"afterDate": "2100-01-01"}, [], 0, 0))["TotalRecords"] == 0
    assert (await manager.value(*ask, {"beforeDate": "2100-01-01"}, [], 0, 0))["TotalRecords"] == 3
    assert await manager.problem("bob", "getLogContents", {}, [], 0, 0) == UNAUTHORIZED


# --- removing


async def test_delete(manager: Manager) -> None:
    """One's own, or any with ProxyManagement; what is not there is removed too."""
    await manager.upload("alice")
    await manager.upload("bob")
    assert await manager.problem("bob", "deleteProxy", f"{DN}alice") == "You aren't allowed!"
    bundle = [f"{DN}bob", f"{DN}alice"]
    assert (
        await manager.problem("bob", "deleteProxyBundle", bundle)
        == "Could not delete some proxies: You aren't allowed!"
    )
    assert await manager.value("bob", "getUserProxiesInfo"), "all or none"
    assert await manager.value("bob", "deleteProxyBundle", [[f"{DN}bob", ""]]) == 1
    assert await manager.value("bob", "getUserProxiesInfo") == {}
    assert await manager.value("alice demo_admin", "deleteProxyBundle", bundle) == 2
    assert await manager.value("alice demo_admin", "deleteProxy", f"{DN}alice", "demo_user") is None
    assert await manager.value("alice", "getUserProxiesInfo") == {}
    assert "name them by DN" in await manager.problem("alice", "deleteProxyBundle", [5])


# --- tokens, and what there is not


async def test_exchange(manager: Manager, registry: RegistryFile) -> None:
    """Tokens in DiracX's shape; none for a VO that the registry excludes, nor without a VO."""
    assert await manager.value("alice", "exchangeProxyForToken") == {
        "access_token": "access of alice",
        "expires_in": 1200,
        "token_type": "Bearer",
        "refresh_token": "a.refresh.token",
    }
    assert "has no VO" in await manager.problem("alice without_vo", "exchangeProxyForToken")
    registry.path.write_text(registry_text() + "DiracX\n{\nDisabledVOs = other, demo\n}\n")
    assert registry.refresh()
    assert "/DiracX/DisabledVOs" in await manager.problem("alice", "exchangeProxyForToken")


async def test_no_tokens_for_a_token(manager: Manager) -> None:
    """Or whoever had one would have one for ever, also when the user's certificate is revoked."""
    token = TokenCredential(
        "alice", "demo_user", "demo", "https://issuer.example.org/", datetime.now(UTC) + HOUR
    )
    answer = await manager.side.call(SERVICE, "exchangeProxyForToken", caller=token)
    assert answer["Message"] == "Tokens are given for a proxy or a certificate, not for another token"


async def test_hosts_have_no_proxies(manager: Manager, callers: Any) -> None:
    """A host may ask for lists, and has nothing to upload."""
    for method in ("requestDelegationUpload", "exchangeProxyForToken"):
        answer = await manager.side.call(SERVICE, method, caller=callers.host, extra="hosts")
        assert answer["Message"] == "host is no user: only users have proxies and tokens"
    answer = await manager.side.call(SERVICE, "getUserProxiesInfo", caller=callers.host, extra="hosts")
    assert answer == {"OK": True, "Value": {}}


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("getVOMSProxy", (f"{DN}alice", "demo_user", "x", 1, None), "No mapping defined for group demo_user"),
        ("getVOMSProxy", (f"{DN}alice", "demo_admin", "x", 1, None), "asks no VOMS server"),
        ("getVOMSProxy", (f"{DN}alice", "demo_user", "x", 1, "/demo"), "asks no VOMS server"),
        ("setPersistency", (f"{DN}alice", "demo_user", True), "cannot be made persistent"),
        ("generateToken", (f"{DN}alice", "demo_user", 1), "ask with getProxy"),
        ("getProxyWithToken", (f"{DN}alice", "demo_user", "x", 1, "t"), "ask with getProxy"),
        ("getVOMSProxyWithToken", (f"{DN}alice", "demo_user", "x", 1, "t", None), "ask with getProxy"),
    ],
)
async def test_what_there_is_not(manager: Manager, method: str, arguments: Any, text: str) -> None:
    """Refused, with what to do instead."""
    assert text in await manager.problem("alice demo_admin", method, *arguments)
