"""Files that change under a running listener: certificates, authorities, CRLs; as clients see it.

And proxies of every shape, as a real handshake lets them in or not (sheet, 4.1 to 4.4).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.credentials import ChainCache
from legacy_rpc.messages import Credential, Identity, Reply
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.tls import ServerTls
from wherry.demo.pki import Authority, KeyPair, make_key, make_keys, make_proxy

HELLO = {"OK": True, "Value": "hello"}
ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    """Of the authority, the host, users and proxies, and one more."""
    return make_keys(5)


class Site:
    """A host whose administrators replace its files."""

    def __init__(self, directory: Path, keys: list[rsa.RSAPrivateKey]) -> None:
        self.ca_key, self.host_key, self.user_key, self.proxy_key, self.spare = keys
        self.directory = directory
        self.ca_path = directory / "ca"
        self.certificate, self.key = directory / "hostcert.pem", directory / "hostkey.pem"
        self.authority = Authority.create("Test CA", key=self.ca_key)
        self.authority.write_directory(self.ca_path)
        self.host = self.authority.issue_host("wherry.example.org", key=self.host_key)
        self.host.write_pair(self.certificate, self.key)
        self.alice = self.authority.issue_user("alice", key=self.user_key)
        self.bob = self.authority.issue_user("bob", key=self.user_key)

    def client(self, caller: KeyPair | None) -> ssl.SSLContext:
        """What a caller shows; whom it calls is not its concern here."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        if caller is not None:
            context.load_cert_chain(caller.write(self.directory / "caller.pem"))
        return context

    def proxy(self, user: KeyPair, *steps: tuple[str | None, bool]) -> KeyPair:
        """A proxy in steps, each with its group and whether it is limited."""
        for group, limited in steps or [("demo_user", False)]:
            user = make_proxy(user, group, limited=limited, key=self.proxy_key)
        return user


@pytest.fixture
def site(tmp_path: Path, keys: list[rsa.RSAPrivateKey]) -> Site:
    """A site of its own for every test."""
    return Site(tmp_path, keys)


class Followed:
    """A server of a site; ``refresh`` is what the program does every half second."""

    def __init__(self, site: Site, tls: ServerTls, served: Any) -> None:
        self.site = site
        self.tls = tls
        self.served = served

    async def refresh(self) -> None:
        """In a thread, as the program does."""
        await asyncio.to_thread(self.tls.refresh)

    async def call(self, caller: KeyPair) -> Any:
        """The answer to a call on a connection of its own; None if the caller is refused."""
        try:
            peer = await self.served.peer(tls=self.site.client(caller))
        except OSError:
            return None
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            return await peer.call("hello")
        return None

    async def shown(self) -> x509.Certificate:
        """The host's certificate, as a new connection is shown it."""
        peer = await self.served.peer(tls=self.site.client(self.site.alice))
        der = peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der)


@pytest.fixture
def follow(serve: Any, site: Site) -> Any:
    """Starts a server of the site."""

    async def start(crls: Any = "if-present", **more: Any) -> Followed:
        tls = ServerTls(site.certificate, site.key, site.ca_path, crls)

        def make(door: Any, _tls: ServerTls) -> DisetServer:
            door.chains = ChainCache(revoked=tls.revocations)
            return DisetServer(door, DisetLimits(), tls.contexts())

        return Followed(site, tls, await serve(make=make, **more))

    return start


# --- CRLs


@pytest.mark.parametrize("crls", ["if-present", "required"])
async def test_a_revoked_user(follow: Any, site: Site, crls: str, caplog: pytest.LogCaptureFixture) -> None:
    """A fresh proxy of a revoked user gets no word, and the log says whose and why; others are served."""
    caplog.set_level(logging.INFO)
    site.authority.write_crl(site.ca_path, [site.alice])
    server = await follow(crls)
    assert await server.call(site.proxy(site.alice)) is None
    assert await server.call(site.alice) is None
    assert await server.call(site.proxy(site.bob)) == HELLO
    problem = f"the certificate of {ALICE} is revoked by /DC=org/DC=wherry/CN=Test CA ("
    assert [problem in message for message in caplog.messages] == [True, True]
    assert [call.identity.username for call in server.served.calls] == ["bob"]


async def test_revocation_takes_effect(follow: Any, site: Site) -> None:
    """A CRL that is put there counts for the next connection, and its removal too."""
    server, proxy = await follow(), site.proxy(site.alice)
    assert await server.call(proxy) == HELLO
    path = site.authority.write_crl(site.ca_path, [site.alice])
    await server.refresh()
    assert await server.call(proxy) is None
    assert await server.call(site.bob) == HELLO
    path.unlink()
    await server.refresh()
    assert await server.call(proxy) == HELLO


async def test_crls_that_are_required(follow: Any, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Without the authority's CRL nobody is let in, and the log says what is wanted."""
    caplog.set_level(logging.INFO)
    server = await follow("required")
    assert await server.call(site.bob) is None
    assert "the CRL of /DC=org/DC=wherry/CN=Test CA is not there" in caplog.text
    site.authority.write_crl(site.ca_path)
    await server.refresh()
    assert await server.call(site.bob) == HELLO


async def test_crls_that_are_off(follow: Any, site: Site) -> None:
    """Then nobody looks at them."""
    site.authority.write_crl(site.ca_path, [site.alice])
    server = await follow("off")
    assert await server.call(site.alice) == HELLO
    await server.refresh()
    assert await server.call(site.alice) == HELLO


# --- the host's certificate


async def test_a_renewed_certificate(follow: Any, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """New connections are shown the new one; a call on an old connection goes on."""
    server = await follow()
    old = await server.served.peer(tls=site.client(site.alice))
    assert await server.shown() == site.host.certificate
    renewed = site.authority.issue_host("wherry.example.org", key=site.spare)
    renewed.write_pair(site.certificate, site.key)
    await server.refresh()
    assert await server.shown() == renewed.certificate
    assert await old.call("hello") == HELLO
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_pair_that_does_not_fit(follow: Any, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The last good pair stays in force, the log says so once; when the key comes, the new one is shown.

    A moment between two files is no error yet.
    """
    server = await follow()
    renewed = site.authority.issue_host("wherry.example.org", key=site.spare)
    site.certificate.write_bytes(renewed.certificate_pem())
    await server.refresh()
    assert caplog.records == []
    for _ in range(3):
        await server.refresh()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"{site.certificate}, {site.key} or {site.ca_path} cannot be used: " in record.getMessage()
    assert "MISMATCH" in record.getMessage()
    assert await server.shown() == site.host.certificate
    assert await server.call(site.alice) == HELLO
    site.key.write_bytes(renewed.key_pem())
    await server.refresh()
    assert await server.shown() == renewed.certificate
    assert len(caplog.records) == 1


async def test_files_that_go_away(follow: Any, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a missing key nor a missing directory of authorities costs a caller anything."""
    server = await follow()
    for path in (site.key, site.ca_path):
        away = path.rename(site.directory / "away")
        for _ in range(3):
            await server.refresh()
        assert f"'{path}'" in caplog.messages[-1]
        assert await server.call(site.alice) == HELLO
        away.rename(path)
        await server.refresh()
        assert await server.call(site.alice) == HELLO
    assert len(caplog.records) == 2


def test_a_key_with_a_passphrase(site: Site) -> None:
    """It is an error at once; nobody sits at the terminal to be asked."""
    encryption = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    site.key.write_bytes(site.host_key.private_bytes(serialization.Encoding.PEM, form, encryption))
    with pytest.raises(OSError, match="PEM|decrypt"):
        ServerTls(site.certificate, site.key, site.ca_path).contexts()


def test_contexts_after_a_renewal(site: Site) -> None:
    """Each listener keeps what it asked for."""
    tls = ServerTls(site.certificate, site.key, site.ca_path)
    strict, lax = tls.contexts(), tls.contexts(optional=True, protocols=["h2"])
    before = strict(), lax()
    assert (strict(), lax()) == before
    site.authority.issue_host("wherry.example.org", key=site.host_key).write_pair(site.certificate, site.key)
    tls.refresh()
    assert strict() is not before[0]
    assert lax() is not before[1]
    assert (strict().verify_mode, lax().verify_mode) == (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL)


async def test_sessions_are_not_hoarded(
    follow: Any, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A context that has kept too many of the sessions of TLS 1.2 makes room for a new one."""
    monkeypatch.setattr("legacy_rpc.servers.tls.MOST_SESSIONS", 2)
    caplog.set_level(logging.INFO, "legacy_rpc.servers.tls")
    server = await follow()
    current = server.tls.contexts()
    before = current()
    client = site.client(site.alice)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    for kept in range(4):
        await server.refresh()
        assert (current() is before) is (kept <= 2)
        peer = await server.served.peer(tls=client)
        assert await peer.call("hello") == HELLO
        peer.writer.close()  # in order, else OpenSSL would not keep it
        await server.served.empty()
    assert caplog.records == []
    assert await server.call(site.alice) == HELLO


# --- authorities


@pytest.mark.parametrize("refresh", [False, True])
async def test_a_new_authority(follow: Any, site: Site, refresh: bool) -> None:
    """OpenSSL looks for it when it is needed, with a reload or without."""
    other = Authority.create("Other CA", key=site.spare)
    caller = other.issue_user("carol", key=site.user_key)
    server = await follow()
    assert await server.call(caller) is None
    other.write_directory(site.ca_path)
    if refresh:
        await server.refresh()
    assert await server.call(caller) == HELLO
    assert await server.call(site.alice) == HELLO


async def test_an_authority_that_is_trusted_no_more(follow: Any, site: Site) -> None:
    """OpenSSL would remember it for ever."""
    other = Authority.create("Other CA", key=site.spare)
    path = other.write_directory(site.ca_path)
    caller = other.issue_user("carol", key=site.user_key)
    server = await follow()
    assert await server.call(caller) == HELLO
    path.unlink()
    await server.refresh()
    assert await server.call(caller) is None
    assert await server.call(site.alice) == HELLO


# --- proxies of every shape


async def known_as(server: Followed, caller: KeyPair) -> Credential | None:
    """What a caller's handshake proves; None if it is refused."""
    if await server.call(caller) is None:
        return None
    credential = server.served.calls[-1].identity.credential
    assert isinstance(credential, Credential)
    return credential


SHAPES = {
    "proxy": ([("demo_user", False)], (ALICE, False, "demo_user")),
    "no group": ([(None, False)], (ALICE, False, None)),
    "limited": ([("demo_user", True)], (ALICE, True, "demo_user")),
    "delegated twice": (
        [(None, False), ("demo_admin", False), (None, False)],
        (ALICE, False, "demo_admin"),
    ),
    "limited of full": ([("demo_user", False), (None, True)], (ALICE, True, "demo_user")),
    "limited of limited": ([("demo_user", True), (None, True)], (ALICE, True, "demo_user")),
    "group changed": ([("demo_user", False), ("demo_admin", False)], (ALICE, False, "demo_user")),
    "group changed twice": (
        [(None, False), ("demo_user", False), ("demo_admin", True)],
        (ALICE, True, "demo_user"),
    ),
    "eight deep": ([("demo_user", False)] + [(None, False)] * 7, (ALICE, False, "demo_user")),
}


@pytest.fixture
async def of_credentials(follow: Any) -> Followed:
    """A server that lets everybody in and keeps what their certificates prove."""

    def admit(_proposal: Any, credential: Any) -> Identity:
        return Identity("", "", credential=credential)

    async def hello(_call: Any) -> Reply:
        return Reply("hello")

    server: Followed = await follow(admit=admit, handle=hello)
    return server


@pytest.mark.parametrize(("steps", "expected"), SHAPES.values(), ids=SHAPES)
async def test_shapes_of_proxies(
    of_credentials: Followed, site: Site, steps: list[tuple[str | None, bool]], expected: Any
) -> None:
    """Whoever delegated it to whom, a proxy speaks for its user, in the group that the user chose."""
    credential = await known_as(of_credentials, site.proxy(site.alice, *steps))
    assert credential is not None
    assert (credential.dn, credential.limited, credential.group) == expected
    assert credential.is_proxy


@pytest.mark.parametrize("kind", ["full of limited", "independent"])
async def test_proxies_that_speak_for_nobody(of_credentials: Followed, site: Site, kind: str) -> None:
    """OpenSSL lets them in; they have a name that no registry knows, and no group."""
    if kind == "independent":
        proxy = odd_proxy(site, "77", [INDEPENDENT, GROUP])
    else:
        proxy = site.proxy(site.alice, ("demo_admin", True), (None, False))
    credential = await known_as(of_credentials, proxy)
    assert credential is not None
    assert (credential.is_proxy, credential.group) == (False, None)
    assert credential.dn == credential.subject
    assert credential.dn.startswith(f"{ALICE}/CN=")


async def test_a_proxy_with_1024_bits(of_credentials: Followed, site: Site) -> None:
    """As clients of 7.3 make them."""
    proxy = make_proxy(site.alice, "demo_user", key=make_key(1024))
    credential = await known_as(of_credentials, proxy)
    assert credential is not None
    assert credential.dn == ALICE


async def test_a_host_and_its_proxy(of_credentials: Followed, site: Site) -> None:
    """A host calls with its certificate or with a proxy of it."""
    name = "/DC=org/DC=wherry/OU=hosts/CN=wherry.example.org"
    for caller, is_proxy in ((site.host, False), (make_proxy(site.host, key=site.proxy_key), True)):
        credential = await known_as(of_credentials, caller)
        assert credential is not None
        assert (credential.dn, credential.is_proxy) == (name, is_proxy)


def odd_proxy(
    site: Site, common_name: str, extensions: Iterable[tuple[x509.ExtensionType, bool]] = ()
) -> KeyPair:
    """A proxy of alice's with any last CN and any extensions."""
    subject = x509.Name(
        [*site.alice.certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(site.alice.certificate.subject)
        .public_key(site.proxy_key.public_key())
        .serial_number(77)
        .not_valid_before(now - timedelta(minutes=15))
        .not_valid_after(now + timedelta(hours=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(site.alice.key, hashes.SHA256())
    return KeyPair(certificate, site.proxy_key, (site.alice.certificate,))


def extension(dotted: str, value: str) -> x509.UnrecognizedExtension:
    """An extension by its number, its value in hexadecimal."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), bytes.fromhex(value))


RFC_3820 = extension("1.3.6.1.5.5.7.1.14", "300C300A06082B06010505071501"), True
DRAFT = extension("1.3.6.1.4.1.3536.1.222", "300C300A06082B06010505071501"), True
GROUP = extension("1.2.42.42", "160964656D6F5F75736572"), False
VOMS = extension("1.3.6.1.4.1.8005.100.100.5", "3082000C" + "00" * 12), False
INDEPENDENT = extension("1.3.6.1.5.5.7.1.14", "300C300A06082B06010505071502"), True

REFUSED: dict[str, tuple[str, list[tuple[x509.ExtensionType, bool]]]] = {
    "from before RFC 3820": ("proxy", []),
    "limited, from before RFC 3820": ("limited proxy", []),
    "of the draft": ("77", [DRAFT]),
    "an identity that alice issued": ("bob", []),
}


@pytest.mark.parametrize(("common_name", "extensions"), REFUSED.values(), ids=REFUSED)
async def test_proxies_that_tls_refuses(
    of_credentials: Followed, site: Site, common_name: str, extensions: Any
) -> None:
    """Only proxies of RFC 3820 come in, as at DIRAC's servers."""
    assert await known_as(of_credentials, odd_proxy(site, common_name, extensions)) is None


async def test_a_proxy_with_attributes_of_voms(of_credentials: Followed, site: Site) -> None:
    """They are nobody's concern here, in whatever state they are."""
    credential = await known_as(of_credentials, odd_proxy(site, "77", [RFC_3820, GROUP, VOMS]))
    assert credential is not None
    assert (credential.dn, credential.group) == (ALICE, "demo_user")


ODD_NAMES = {
    "slash": ("host/a.example.org", r"host\/a.example.org"),
    "not ASCII": ("José García", r"Jos\xC3\xA9 Garc\xC3\xADa"),
    "comma and equals": ("Doe, John=1", "Doe, John=1"),
    "plus": ("a+b", r"a\+b"),
    "robot": ("Robot: pilots - Jane", "Robot: pilots - Jane"),
}


@pytest.mark.parametrize(("common_name", "printed"), ODD_NAMES.values(), ids=ODD_NAMES)
async def test_odd_names(of_credentials: Followed, site: Site, common_name: str, printed: str) -> None:
    """A DN with anything in it comes through the handshake as OpenSSL prints it."""
    user = site.authority.issue_user(common_name, key=site.user_key)
    credential = await known_as(of_credentials, site.proxy(user))
    assert credential is not None
    assert credential.dn == f"/DC=org/DC=wherry/OU=people/CN={printed}"


def test_no_second_handshake(tmp_path: Path, keys: list[rsa.RSAPrivateKey]) -> None:
    """Whatever OpenSSL's release lets a client do of its own accord."""
    site = Site(tmp_path, keys)
    context = ServerTls(site.certificate, site.key, site.ca_path).contexts()()
    assert context.options & ssl.OP_NO_RENEGOTIATION
