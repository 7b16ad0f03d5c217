"""wherry.yaml: what is read, and what is said of a wrong one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.servers.listener import ConnectionLimits
from legacy_rpc.upstream import UpstreamLimits
from wherry.build import rest_url
from wherry.config import Address, Config, ConfigError, Limits, load_config

MINIMAL = 'database: sqlite:///w.db\nregistry: r.cfg\nrest: {listen: "127.0.0.1:0"}\n'
LEGACY = (
    "database: sqlite:///w.db\nregistry: r.cfg\nplan: p.yaml\n"
    "tls: {certificate: c.pem, key: k.pem, ca_path: ca}\n"
    'legacy: {dips: {listen: "0.0.0.0:9130"}}\n'
)


def load(directory: Path, text: str) -> Config:
    """The configuration in a text; the files of `tls` are there."""
    for name in ("c.pem", "k.pem", "ca"):
        (directory / name).touch()
    path = directory / "wherry.yaml"
    path.write_text(text)
    return load_config(path)


def test_minimal(tmp_path: Path) -> None:
    """The new side alone needs a database, a registry and an address; paths are relative to the file."""
    config = load(tmp_path, MINIMAL)
    assert config.registry == tmp_path / "r.cfg"
    assert config.database == f"sqlite:///{tmp_path}/w.db"
    assert config.auth.keys == tmp_path / "keys.json"
    assert config.legacy is None
    assert config.rest is not None
    assert config.rest.listen == Address(host="127.0.0.1", port=0)


def test_legacy(tmp_path: Path) -> None:
    """The legacy side has its listener, and limits that can be set."""
    config = load(tmp_path, LEGACY + "limits: {connections: 7, message_bytes: 2048, depth: 20}\n")
    assert config.legacy is not None
    assert config.legacy.dips.listen == Address(host="0.0.0.0", port=9130)
    assert config.limits.of_connections().connections == 7
    assert config.limits.of_messages().message == 2048
    assert config.limits.of_messages().depth == 20


def test_absolute_paths_stay(tmp_path: Path) -> None:
    """An absolute path is taken as it is, in a database URL too."""
    config = load(tmp_path, MINIMAL.replace("w.db", "/srv/w.db").replace("r.cfg", "/etc/r.cfg"))
    assert config.database == "sqlite:////srv/w.db"
    assert config.registry == Path("/etc/r.cfg")


def test_ipv6_address(tmp_path: Path) -> None:
    """An IPv6 address stands in brackets."""
    config = load(tmp_path, MINIMAL.replace("127.0.0.1", "[::1]"))
    assert config.rest is not None
    assert config.rest.listen.host == "::1"
    assert rest_url(config, 8000) == "http://[::1]:8000"


def test_logins_and_stores(tmp_path: Path) -> None:
    """What browsers, people and programs may be told to use is taken in every form that works."""
    config = load(
        tmp_path,
        MINIMAL.replace("}", ", url: 'https://a.org/wherry/', cors_origins: ['*', 'https://a.org:8443']}")
        + "auth:\n  redirect_uris: ['http://localhost:1/cb?x=1', 'org.example.app:/cb']\n"
        + f"  legacy_exchange_key_hash: {'AB' * 32}\n"
        + "  providers: {demo: {url: 'https://idp.org/realms/x/', client_id: c}}\n",
    )
    assert config.rest is not None
    assert config.rest.url == "https://a.org/wherry"
    assert config.rest.cors_origins == ("*", "https://a.org:8443")
    assert config.auth.redirect_uris == ("http://localhost:1/cb?x=1", "org.example.app:/cb")
    assert config.auth.legacy_exchange_key_hash == "ab" * 32
    assert config.auth.providers["demo"].url == "https://idp.org/realms/x"


def test_several_providers(tmp_path: Path) -> None:
    """A VO has one identity provider, or several with names; their authorities lie beside the file."""
    text = (
        MINIMAL
        + "auth: {providers: {demo: [{name: iam, main: true, url: 'https://a', client_id: c}, MORE]}}\n"
    )
    more = "{name: uni, title: A university, url: 'https://b', client_id: d}"
    given = load(tmp_path, text.replace("MORE", more)).auth.providers["demo"]
    assert isinstance(given, tuple)
    assert [(each.name, each.title, each.main, each.url) for each in given] == [
        ("iam", "", True, "https://a"),
        ("uni", "A university", False, "https://b"),
    ]


def test_defaults_are_those_of_the_parts() -> None:
    """A limit that is not configured is the one that the part has by itself."""
    assert asdict(Limits().of_connections()) == asdict(ConnectionLimits())
    assert asdict(Limits().of_messages()) == asdict(DisetLimits())
    assert asdict(Limits().of_upstreams()) == asdict(UpstreamLimits())


KEY = "diracx:legacy:c2VjcmV0c2VjcmV0"
TARGET = MINIMAL.replace('listen: "127.0.0.1:0"', 'target: "https://diracx.example.org/", MORE')


def test_target(tmp_path: Path) -> None:
    """With a target elsewhere no listener is needed; its key stands there or in a file, and is not shown."""
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "authorities").mkdir()
    legacy = LEGACY + TARGET.splitlines()[-1] + "\n"
    for given in ("file:key", KEY):
        rest = load(tmp_path, legacy.replace("MORE", f'exchange_key: "{given}", target_ca: authorities')).rest
        assert rest is not None
        assert rest.elsewhere
        assert rest.listen is None
        assert (rest.target, rest.exchange_key) == ("https://diracx.example.org", KEY)
        assert rest.target_ca == tmp_path / "authorities"
        assert KEY not in repr(rest)
    assert rest_url(load(tmp_path, legacy.replace("MORE", f"exchange_key: {KEY}"))) == rest.target


def test_own_target(tmp_path: Path) -> None:
    """Our own REST side is the target unless another is named."""
    rest = load(tmp_path, MINIMAL).rest
    assert rest is not None
    assert not rest.elsewhere


WRONG = {
    "": "`database` is missing: add it",
    "database: [\n": "line 2: no YAML:",
    "a: 1\n" + MINIMAL: "`a` is not known: known are database, registry, plan,",
    MINIMAL + "operatons: {listen: x}\n": "`operatons` is not known: did you mean `operations`?",
    MINIMAL.replace("listen", "lissten"): "`rest.lissten` is not known: did you mean `listen`?",
    MINIMAL.replace('listen: "127.0.0.1:0"', ""): "`rest.listen` is missing: add it",
    MINIMAL + "limits: {connectons: 4}\n": "`limits.connectons` is not known: did you mean `connections`?",
    MINIMAL + "limits: {connections: 0}\n": "`limits.connections`: Input should be greater than 0",
    MINIMAL.replace("127.0.0.1:0", "nowhere"): "`rest.listen`: write HOST:PORT, as in 127.0.0.1:9130",
    MINIMAL.replace("127.0.0.1:0", "h:99999"): "`rest.listen.port`: Input should be less than or equal to",
    MINIMAL + "workers: 0\n": "`workers`: Input should be greater than or equal to 1",
    MINIMAL + "legacy: {}\nplan: p.yaml\n": "`legacy:` has no wire: add one, as in `dips:",
    "database: sqlite:///w.db\nregistry: r\n": "nothing to serve: add `legacy:` or `rest:`",
    LEGACY.replace("plan: p.yaml\n", ""): "`legacy:` needs a plan: add `plan: plan.yaml`",
    LEGACY.replace("c.pem", "x.pem"): "`tls.certificate`:",
    LEGACY.replace("tls: {certificate: c.pem, key: k.pem, ca_path: ca}\n", ""): "`tls` is missing",
}

SEVERAL = (
    MINIMAL + "auth: {providers: {demo: [{name: a, main: true, url: 'https://a', client_id: c}, MORE]}}\n"
)
PROVIDER = MINIMAL + "auth: {providers: {demo: {url: URL, client_id: c}}}\n"
S3 = MINIMAL + 'sandboxes: {s3: {endpoint: "http://s3:9000", bucket: b, MORE}}\n'
WRONG |= {
    PROVIDER.replace("URL", "idp.example.org"): "`auth.providers.demo.url`: write https://HOST:PORT",
    PROVIDER.replace("URL", '"https://x:y@idp.example.org"'): "write the address only, without user",
    PROVIDER.replace(
        "URL", '"https://idp.org", cient_id: x'
    ): "`auth.providers.demo.cient_id` is not known: did",
    SEVERAL.replace(
        "MORE", "{url: 'https://b', client_id: c}"
    ): "`auth.providers.demo.1.name` is missing: add it",
    SEVERAL.replace(
        "MORE", "{name: a/b, url: 'https://b', client_id: c}"
    ): "`auth.providers.demo.1.name`: String",
    SEVERAL.replace(
        "MORE", "{name: a, url: 'https://b', client_id: c}"
    ): "`auth.providers.demo`: give each provider",
    SEVERAL.replace(
        "MORE", "{name: b, main: true, url: 'https://b', client_id: c}"
    ): "only one can be `main`",
    SEVERAL.replace(
        "MORE", "{nam: b, url: 'https://b', client_id: c}"
    ): "`auth.providers.demo.1.nam` is not known: did",
    SEVERAL.replace(
        "MORE]", "], o: [{name: a, url: 'https://o', client_id: c}]"
    ): "a is another VO's provider at",
    PROVIDER.replace("URL, client_id: c", "").replace(
        "{url: }", "[]"
    ): "`auth.providers.demo`: Tuple should have at",
    PROVIDER.replace("URL", '"https://idp:port"'): "`auth.providers.demo.url`: no URL: Port",
    PROVIDER.replace("URL", '"https://i/.well-known/openid-configuration"'): "leave /.well-known/openid",
    PROVIDER.replace("client_id: c", 'client_id: ""').replace("URL", "https://i"): "at least 1 character",
    PROVIDER.replace("URL", "https://i, ca: nowhere.pem"): "nowhere.pem cannot be read (No such file",
    PROVIDER.replace("URL", "https://i, ca: c.pem"): "c.pem holds no certificate in PEM",
    MINIMAL + "auth: {providers: {demo: https://i}}\n": "`auth.providers.demo`: write keys and values below",
    MINIMAL + "auth: {redirect_uris: https://i}\n": "`auth.redirect_uris`: write a list, as in [",
    MINIMAL + "auth: {redirect_uris: [portal]}\n": "`auth.redirect_uris.0`: write a whole URL without `#`",
    MINIMAL + "auth: {redirect_uris: ['http://i/#a']}\n": "`auth.redirect_uris.0`: write a whole URL without",
    MINIMAL + "auth: {legacy_exchange_key_hash: abc}\n": "key_hash`: write 64 hexadecimal digits",
    MINIMAL + "auth: {refresh_token_minutes: 99999999999}\n": "less than or equal to 5256000",
    MINIMAL.replace("}", ", cors_origins: [a.org]}"): "`rest.cors_origins.0`: write SCHEME://HOST:PORT",
    MINIMAL.replace("}", ", cors_origins: ['https://a.org/']}"): "without anything behind",
    MINIMAL.replace("}", ", url: a.org}"): "`rest.url`: write https://HOST:PORT",
    S3.replace(
        "MORE", "access_key: a"
    ): "`sandboxes.s3`: write both `access_key` and `secret_key`, or neither",
    S3.replace("MORE", "ca: c.pem"): "`sandboxes.s3.ca`: ",
    S3.replace("http://", "").replace("MORE", ""): "`sandboxes.s3.endpoint`: write https://HOST:PORT",
    S3.replace("bucket: b", "bucket: s3://b").replace("MORE", ""): "bucket`: write the bucket's name only",
    MINIMAL + "sandboxes: {directory: c.pem}\n": "c.pem is no directory: name another",
    MINIMAL.replace("listen", "url").replace(
        "127.0.0.1:0", "http://a.org"
    ): "`rest.listen` is missing: add it",
    LEGACY + "rest: {target: embedded}\n": "`rest.listen` is missing: add it",
    LEGACY
    + "rest: {target: 'http://a.org', exchange_key: x}\n": "`rest.target`: write https://HOST:PORT; http",
    TARGET.replace(", MORE", ""): "`rest.exchange_key` is missing",
    TARGET.replace("MORE", f"exchange_key: {KEY}"): "nothing to serve: add `legacy:` or `rest:`",
    TARGET.replace(
        "MORE", "exchange_key: secret"
    ): "`rest.exchange_key`: write `file:PATH`, or the key itself",
    TARGET.replace("MORE", f"exchange_key: {KEY}, target_ca: c.pem"): "`rest.target_ca`: ",
    LEGACY + "rest: {target: 'https://a.org', exchange_key: 'file:none'}\n": "cannot be read (No such file",
    LEGACY
    + "rest: {target: 'https://a.org', exchange_key: 'file:c.pem'}\n": "c.pem holds no key: write diracx:",
    MINIMAL.replace(
        "}", f", exchange_key: {KEY}}}"
    ): "`rest.exchange_key` is for another `rest.target`: add it",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong(tmp_path: Path, text: str, message: str) -> None:
    """A wrong configuration is one line that names the file, the key and the mend."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert str(raised.value).startswith(str(tmp_path / "wherry.yaml"))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing(tmp_path: Path) -> None:
    """A configuration that is not there says how to name one."""
    with pytest.raises(ConfigError, match="name a configuration with -c or WHERRY_CONFIG"):
        load_config(tmp_path / "wherry.yaml")
