"""wherry.yaml: read once at start; an unknown key, a wrong value or a missing file stops it.

Paths are relative to the file they stand in.
"""

from __future__ import annotations

import difflib
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from shared_db.engines.base import Limits as DatabaseLimits
from wherry.config_values import (
    EMBEDDED,
    Bucket,
    Digest,
    ExchangeKey,
    Hours,
    Minutes,
    Origin,
    ProviderUrl,
    RedirectUri,
    Target,
    Upstreams,
    Url,
    exchange_key_of,
)

if TYPE_CHECKING:
    from legacy_rpc.codecs.diset import DisetLimits
    from legacy_rpc.front_door import CallLimits
    from legacy_rpc.servers.listener import ConnectionLimits
    from legacy_rpc.upstream import UpstreamLimits
    from rest_backend.http.listener import ConnectionLimits as HttpConnectionLimits


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line and names the mend."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(_Section):
    """Where to listen; port 0 means any free one."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]

    @property
    def host_in_url(self) -> str:
        """The host as URLs have it: IPv6 addresses in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


_WithCa = TypeVar("_WithCa", "Provider", "S3")


def _address(value: Any) -> Any:
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdigit():
            raise ValueError("write HOST:PORT, as in 127.0.0.1:9130")
        return {"host": host.strip("[]"), "port": int(port)}
    return value


Listen = Annotated[Address, BeforeValidator(_address)]


class Tls(_Section):
    """The host's certificate and key (PEM), and the directory of the CAs that callers may have.

    ``crls``: whether revoked certificates are refused by the CRLs in that directory; with ``if-present`` an
    authority without a CRL there is trusted all the same.
    """

    certificate: Path
    key: Path
    ca_path: Path
    crls: Literal["off", "if-present", "required"] = "if-present"


class Wire(_Section):
    """A legacy wire: where it listens."""

    listen: Listen


class Dips(Wire):
    """DISET: one port for all services, and more ports for some of them."""

    ports: dict[str, Annotated[int, Field(gt=0, le=65535)]] = {}


class Https(Wire):
    """DIRAC's JSON over HTTPS; ``services``: those that clients are told to call by it, ``*``: all."""

    services: tuple[str, ...] = ()


HTTPS_PORT = 443
WIRES = ("dips", "dip", "https", "xmlrpc", "msgpack", "grpc")


class Legacy(_Section):
    """The old front door; ``public_host`` is the name that clients are told.

    ``dip`` is DISET in clear, whose callers are anonymous.
    """

    dips: Dips | None = None
    dip: Wire | None = None
    https: Https | None = None
    xmlrpc: Wire | None = None
    msgpack: Wire | None = None
    grpc: Wire | None = None
    public_host: str = Field(default_factory=socket.getfqdn)

    @property
    def wires(self) -> dict[str, Wire]:
        """The wires that are spoken, by name."""
        named = {name: getattr(self, name) for name in WIRES}
        return {name: wire for name, wire in named.items() if wire is not None}


class Rest(_Section):
    """The new side over HTTP; ``url`` is where clients reach it.

    ``cors_origins``: the origins whose web pages may call it.  ``target``: where live methods go,
    ``embedded`` (our own) or the address of another backend, which gives tokens for ``exchange_key``;
    ``target_ca``: the authority of its certificate, a file or a directory.
    """

    listen: Listen | None = None
    tls: bool = False
    url: Url = ""
    cors_origins: tuple[Origin, ...] = ()
    target: Target = EMBEDDED
    exchange_key: Annotated[ExchangeKey, Field(repr=False)] = ""
    target_ca: Path | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether live methods go to another backend."""
        return self.target != EMBEDDED


class Operations(_Section):
    """Metrics and health, apart from the public listeners."""

    listen: Listen


class Provider(_Section):
    """An identity provider: its OpenID Connect discovery document is below ``url``.

    ``ca``: the authority of its certificate (PEM), where it is none of the system's.
    """

    url: ProviderUrl
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: Annotated[str, Field(repr=False)] = ""
    scope: str = "openid profile"
    ca: Path | None = None


class NamedProvider(Provider):
    """One of several identity providers of a VO.

    ``name``: the registry has its subjects under `Registry/Users/USER/Subjects/NAME`.  ``title``: what people
    read.  ``main``: its subjects are the VO's own, as those of an only provider are.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    title: str = ""
    main: bool = False


_ONE, _SEVERAL = "one", "several"
ProvidersOfVO = Annotated[
    Annotated[Provider, Tag(_ONE)] | Annotated[tuple[NamedProvider, ...], Field(min_length=1), Tag(_SEVERAL)],
    Discriminator(lambda given: _SEVERAL if isinstance(given, list | tuple) else _ONE),
]


class Auth(_Section):
    """Tokens: ``keys`` is a private JWKS file, made at first start; ``issuer`` is rest.url unless given.

    ``redirect_uris``: where codes of the authorization flow may be sent.  ``providers``: by VO.
    ``legacy_exchange_key_hash``: SHA-256 in hex of the key with which DIRAC services exchange proxies for
    tokens.
    """

    issuer: str = ""
    keys: Path = Path("keys.json")
    access_token_minutes: Minutes = 20
    refresh_token_minutes: Minutes = 60
    device_flow_minutes: Minutes = 10
    authorization_flow_minutes: Minutes = 5
    pilot_secret_hours: Hours = 24
    client_id: str = "myDIRACClientID"
    redirect_uris: tuple[RedirectUri, ...] = ()
    legacy_exchange_key_hash: Annotated[Digest, Field(repr=False)] = ""
    providers: dict[str, ProvidersOfVO] = {}


class Jobs(_Section):
    """Submission: ``optimise`` puts jobs into Waiting at once; off where DIRAC's own optimisers run."""

    most_per_submission: Annotated[int, Field(gt=0)] = 20
    optimise: bool = True


class S3(_Section):
    """An S3 service; without keys those of the environment are used.  ``ca``: as of a provider."""

    endpoint: Url
    bucket: Bucket
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: Annotated[str, Field(repr=False)] = ""
    ca: Path | None = None


class Sandboxes(_Section):
    """Where sandboxes lie: in a directory of ours, or in S3; ``largest_bytes`` is of one of them."""

    directory: Path = Path("sandboxes")
    s3: S3 | None = None
    largest_bytes: Annotated[int, Field(gt=0)] = 100 * 1024 * 1024
    url_seconds: Annotated[int, Field(gt=0, le=7 * 24 * 3600)] = 300  # what S3 allows


class Pilots(_Section):
    """Pilots with tokens of their own, and what is kept of all; ``log_days`` 0: until they are deleted.

    The largest output fits into MySQL's MEDIUMTEXT, the longest line into its TEXT.
    """

    refresh_token_hours: Hours = 168
    lines_per_message: Annotated[int, Field(gt=0)] = 1000
    characters_per_line: Annotated[int, Field(gt=0, le=16_000)] = 8000
    output_bytes: Annotated[int, Field(gt=0, le=16_000_000)] = 1024 * 1024
    log_days: Annotated[int, Field(ge=0)] = 30


class Tasks(_Section):
    """Periodic tasks; ``jobs`` None: on DIRAC's tables where Wherry made them.  0 days: they stay."""

    jobs: bool | None = None
    lease_seconds: Annotated[int, Field(ge=2)] = 60
    clock_seconds: Annotated[int, Field(ge=0)] = 10
    stalled_minutes: Annotated[int, Field(gt=0)] = 75
    failed_minutes: Annotated[int, Field(gt=0)] = 195
    submitting_minutes: Annotated[int, Field(gt=0)] = 5
    received_minutes: Annotated[int, Field(gt=0)] = 10
    matched_minutes: Annotated[int, Field(gt=0)] = 120
    rescheduled_minutes: Annotated[int, Field(gt=0)] = 10
    done_days: Annotated[int, Field(ge=0)] = 7
    failed_days: Annotated[int, Field(ge=0)] = 7
    killed_days: Annotated[int, Field(ge=0)] = 7
    deleted_hours: Annotated[int, Field(ge=0)] = 1
    silent_pilot_days: Annotated[int, Field(gt=0)] = 3
    pilot_days: Annotated[int, Field(gt=0)] = 30
    aborted_pilot_days: Annotated[int, Field(gt=0)] = 7
    proxy_log_days: Annotated[int, Field(gt=0)] = 180


class Proxies(_Section):
    """Delegated proxies: ``keys`` is the file of the keys that encrypt them, made at first start."""

    keys: Path = Path("proxy-keys.json")


class Limits(_Section):
    """What a peer may cost; sizes in bytes, times in seconds."""

    connections: Annotated[int, Field(gt=0)] = 1000
    connections_per_peer: Annotated[int, Field(gt=0)] = 500
    handshake_seconds: Annotated[float, Field(gt=0)] = 10.0
    message_seconds: Annotated[float, Field(gt=0)] = 60.0
    answer_seconds: Annotated[float, Field(gt=0)] = 60.0
    keep_alive_seconds: Annotated[float, Field(gt=0)] = 60.0
    proposal_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    message_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    depth: Annotated[int, Field(ge=10, le=200)] = 200
    transfer_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024 * 1024
    call_seconds: Annotated[float, Field(gt=0)] = 600.0
    calls_per_caller: Annotated[int, Field(gt=0)] = 100
    body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    requests_per_minute: Annotated[int, Field(ge=0)] = 0
    database_busy_seconds: Annotated[float, Field(gt=0)] = 5.0
    database_statement_seconds: Annotated[float, Field(gt=0)] = 30.0
    database_connections: Annotated[int, Field(gt=0)] = 10
    upstream_connections: Annotated[int, Field(gt=0)] = 100
    upstream_wait_seconds: Annotated[float, Field(gt=0)] = 10.0
    upstream_reply_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024

    def of_databases(self) -> DatabaseLimits:
        """The part that the databases need."""
        return DatabaseLimits(
            busy_seconds=self.database_busy_seconds,
            statement_seconds=self.database_statement_seconds,
            connections=self.database_connections,
        )

    def of_upstreams(self) -> UpstreamLimits:
        """The part that is about services that calls are passed through to."""
        from legacy_rpc.upstream import UpstreamLimits

        return UpstreamLimits(
            connections=self.upstream_connections,
            wait_seconds=self.upstream_wait_seconds,
            seconds=self.call_seconds,
            reply=self.upstream_reply_bytes,
            depth=self.depth,
        )

    def of_calls(self) -> CallLimits:
        """The part that the legacy front door needs."""
        from legacy_rpc.front_door import CallLimits

        return CallLimits(seconds=self.call_seconds, per_caller=self.calls_per_caller)

    def of_connections(self) -> ConnectionLimits:
        """The part that legacy listeners need."""
        from legacy_rpc.servers.listener import ConnectionLimits

        return ConnectionLimits(
            connections=self.connections,
            per_peer=self.connections_per_peer,
            handshake_seconds=self.handshake_seconds,
            message_seconds=self.message_seconds,
            answer_seconds=self.answer_seconds,
            keep_alive_seconds=self.keep_alive_seconds,
        )

    def of_http_connections(self) -> HttpConnectionLimits:
        """The part that the listeners of REST and of operations need."""
        from rest_backend.http.listener import ConnectionLimits

        return ConnectionLimits(
            connections=self.connections,
            per_peer=self.connections_per_peer,
            handshake_seconds=self.handshake_seconds,
            request_seconds=self.message_seconds,
            answer_seconds=self.answer_seconds,
        )

    def of_messages(self) -> DisetLimits:
        """The part that the DISET codec needs."""
        from legacy_rpc.codecs.diset import DisetLimits

        return DisetLimits(
            proposal=self.proposal_bytes,
            message=self.message_bytes,
            depth=self.depth,
            transfer=self.transfer_bytes,
        )


class Config(_Section):
    """The whole file."""

    database: str | dict[str, str]
    registry: Path
    plan: Path | None = None
    tls: Tls | None = None
    legacy: Legacy | None = None
    rest: Rest | None = None
    operations: Operations | None = None
    upstream: Upstreams = {}
    auth: Auth = Auth()
    proxies: Proxies = Proxies()
    jobs: Jobs = Jobs()
    sandboxes: Sandboxes = Sandboxes()
    pilots: Pilots = Pilots()
    tasks: Tasks = Tasks()
    limits: Limits = Limits()
    workers: Annotated[int, Field(ge=1, le=256)] = 1


def load_config(path: Path) -> Config:
    """The configuration in a file.  Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}): name a configuration with -c or WHERRY_CONFIG"
        ) from error
    try:
        data = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: no YAML: {error.problem}") from error
    try:
        config = Config.model_validate(data if data is not None else {})
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error
    config = _resolved(config, path.parent)
    _check(config, path)
    return _with_exchange_key(config, path)


def _with_exchange_key(config: Config, path: Path) -> Config:
    """The configuration with the key itself, where a file was named.  Raises ConfigError."""
    if config.rest is None:
        return config
    try:
        key = exchange_key_of(config.rest.exchange_key, path.parent)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{path}: `rest.exchange_key`: the file cannot be read ({reason})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: `rest.exchange_key`: {error}") from error
    return config.model_copy(update={"rest": config.rest.model_copy(update={"exchange_key": key})})


def _first_problem(error: ValidationError) -> str:
    # An unknown key first: it is often the misspelt one that is missing.
    problems = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    problem = problems[0]
    where = ".".join(str(part) for part in problem["loc"] if part not in (_ONE, _SEVERAL))
    match problem["type"]:
        case "missing":
            return f"`{where}` is missing: add it"
        case "extra_forbidden":
            known = _keys_at(problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
            mend = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            return f"`{where}` is not known: {mend}"
        case "tuple_type":
            return f"`{where}`: write a list, as in [ONE, TWO]"
        case "model_type" | "dict_type":
            return f"`{where}`: write keys and values below it"
        case _:
            return f"`{where}`: {problem['msg'].removeprefix('Value error, ')}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that a section may have."""
    if location[:2] == ("auth", "providers"):
        return list((NamedProvider if _SEVERAL in location else Provider).model_fields)
    section: Any = Config
    for part in location:
        annotation = section.model_fields[part].annotation
        candidates = getattr(annotation, "__args__", (annotation,))
        section = next(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
    return list(section.model_fields)


def _resolved(config: Config, base: Path) -> Config:
    """Paths made absolute, relative to the configuration file."""
    base = base.absolute()

    def url(text: str) -> str:
        prefix = "sqlite:///"
        return f"{prefix}{base / text.removeprefix(prefix)}" if text.startswith(prefix) else text

    database = config.database
    return config.model_copy(
        update={
            "database": url(database)
            if isinstance(database, str)
            else {name: url(text) for name, text in database.items()},
            "registry": base / config.registry,
            "plan": base / config.plan if config.plan else None,
            "tls": config.tls
            and config.tls.model_copy(
                update={name: base / getattr(config.tls, name) for name in ("certificate", "key", "ca_path")}
            ),
            "rest": config.rest
            and config.rest.model_copy(
                update={"target_ca": base / config.rest.target_ca if config.rest.target_ca else None}
            ),
            "proxies": config.proxies.model_copy(update={"keys": base / config.proxies.keys}),
            "auth": config.auth.model_copy(
                update={
                    "keys": base / config.auth.keys,
                    "providers": {
                        vo: tuple(_with_ca(each, base) for each in given)
                        if isinstance(given, tuple)
                        else _with_ca(given, base)
                        for vo, given in config.auth.providers.items()
                    },
                }
            ),
            "sandboxes": config.sandboxes.model_copy(
                update={
                    "directory": base / config.sandboxes.directory,
                    "s3": config.sandboxes.s3 and _with_ca(config.sandboxes.s3, base),
                }
            ),
        }
    )


def _with_ca(section: _WithCa, base: Path) -> _WithCa:
    return section.model_copy(update={"ca": base / section.ca}) if section.ca else section


def _check(config: Config, path: Path) -> None:
    """What one section needs of another."""
    if config.rest is not None:
        _check_target(config.rest, path)
    if config.legacy is None and (config.rest is None or config.rest.listen is None):
        raise ConfigError(f"{path}: nothing to serve: add `legacy:` or `rest:`")
    if config.legacy is not None and not config.legacy.wires:
        raise ConfigError(f"{path}: `legacy:` has no wire: add one, as in `dips: {{listen: 0.0.0.0:9130}}`")
    if config.legacy is not None and config.plan is None:
        raise ConfigError(f"{path}: `legacy:` needs a plan: add `plan: plan.yaml`")
    if config.tls is None and (config.legacy is not None or (config.rest and config.rest.tls)):
        raise ConfigError(f"{path}: `tls` is missing: add certificate, key and ca_path")
    if config.tls is not None:
        for name in ("certificate", "key", "ca_path"):
            file: Path = getattr(config.tls, name)
            if not file.exists():
                raise ConfigError(f"{path}: `tls.{name}`: {file} is not there")
    _check_upstreams(config, path)
    _check_providers(config.auth, path)
    _check_sandboxes(config.sandboxes, path)


def _check_target(rest: Rest, path: Path) -> None:
    if not rest.elsewhere:
        if rest.listen is None:
            raise ConfigError(f"{path}: `rest.listen` is missing: add it")
        for name in ("exchange_key", "target_ca"):
            if getattr(rest, name):
                raise ConfigError(
                    f"{path}: `rest.{name}` is for another `rest.target`: add it, or leave this out"
                )
        return
    if not rest.exchange_key:
        raise ConfigError(f"{path}: `rest.exchange_key` is missing: `rest.target` gives tokens for it only")
    if rest.target_ca is not None and not rest.target_ca.is_dir():
        _check_authority(rest.target_ca, f"{path}: `rest.target_ca`")


def _check_upstreams(config: Config, path: Path) -> None:
    """That no call is passed through to ourselves, and from there again."""
    if config.legacy is None:
        return
    ours = {wire.listen.port for wire in config.legacy.wires.values()}
    if config.legacy.dips is not None:
        ours |= set(config.legacy.dips.ports.values())
    hosts = {config.legacy.public_host, "localhost", "127.0.0.1", "::1"}
    for service, url in config.upstream.items():
        parts = urlsplit(url)
        if parts.hostname in hosts and (parts.port or HTTPS_PORT) in ours:
            raise ConfigError(
                f"{path}: `upstream`: {service}: {url} is Wherry itself: name the existing DIRAC service"
            )


def _check_sandboxes(sandboxes: Sandboxes, path: Path) -> None:
    if sandboxes.s3 is None:
        if sandboxes.directory.exists() and not sandboxes.directory.is_dir():
            raise ConfigError(
                f"{path}: `sandboxes.directory`: {sandboxes.directory} is no directory: name another"
            )
        return
    if bool(sandboxes.s3.access_key) != bool(sandboxes.s3.secret_key):
        raise ConfigError(
            f"{path}: `sandboxes.s3`: write both `access_key` and `secret_key`, "
            "or neither to take those of the environment"
        )
    _check_authority(sandboxes.s3.ca, f"{path}: `sandboxes.s3.ca`")


def _check_providers(auth: Auth, path: Path) -> None:
    urls: dict[str, str] = {}
    for vo, given in auth.providers.items():
        where = f"{path}: `auth.providers.{vo}"
        for provider in given if isinstance(given, tuple) else (given,):
            _check_authority(provider.ca, f"{where}.ca`")
        if isinstance(given, Provider):
            continue
        names = [each.name for each in given]
        if len({*names}) < len(names):
            raise ConfigError(f"{where}`: give each provider a name of its own")
        if sum(each.main for each in given) > 1:
            raise ConfigError(f"{where}`: only one can be `main`")
        for each in given:
            # The registry has subjects by the provider's name, whatever the VO.
            if urls.setdefault(each.name, each.url) != each.url:
                raise ConfigError(
                    f"{where}`: {each.name} is another VO's provider at another `url`: rename one"
                )


def _check_authority(file: Path | None, where: str) -> None:
    """That the certificate of an authority can be used; it is read at the first connection only."""
    if file is None:
        return
    try:
        ssl.create_default_context(cafile=str(file))
    except ssl.SSLError as error:
        raise ConfigError(f"{where}: {file} holds no certificate in PEM: name one that does") from error
    except OSError as error:
        raise ConfigError(f"{where}: {file} cannot be read ({error.strerror})") from error
