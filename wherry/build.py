"""Builds the parts and joins them: the only place that knows all packages.

One function per part; what crosses a border without an import crosses as a callable handed over here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rest_backend.access import Gatekeeper
from rest_backend.errors import Unauthorized
from rest_backend.identity_providers import IdentityProviders
from rest_backend.keys import KeyFile, KeyFileError
from rest_backend.operations import Answer, Resources, RestRequest, Runner
from rest_backend.principals import Principal
from rest_backend.sandbox_store.directory import PURPOSE as SANDBOX_STORE
from rest_backend.sandbox_store.directory import DirectoryStore
from rest_backend.sandbox_store.store import SandboxStore
from rest_backend.table import OPERATIONS
from rest_backend.tokens import AccessToken, TokenIssuer
from shared_db.connection import Databases, open_databases
from shared_db.followed_file import FileError
from shared_db.queries.refresh_tokens import record_refresh_token
from shared_db.registry import Registry, RegistryFile
from shared_db.rules.pilot_logs import PilotLimits
from shared_db.sealing import Seal, SealingKeyError
from wherry.config import Config, ConfigError
from wherry.settings import settings_of

if TYPE_CHECKING:
    from adaptor.backend import Backend
    from adaptor.http_backend import HttpBackend
    from adaptor.router import Router
    from legacy_rpc.client.tls import HostTls
    from legacy_rpc.front_door import FinishedCall, FrontDoor
    from legacy_rpc.messages import Identity, TokenCredential
    from legacy_rpc.revocation import Revocations
    from legacy_rpc.services.table import ServiceTable, TokenPair
    from legacy_rpc.upstream import Upstreams
    from migration_plans.plan import Catalogue
    from migration_plans.plan_file import PlanFile
    from wherry.sandbox_files import EmbeddedFiles, HttpFiles

HOSTS_SUBJECT_VO = ""


@dataclass(frozen=True, slots=True)
class NewSide:
    """The parts that are there without any legacy package; ``url`` is where clients reach it, or empty."""

    url: str
    databases: Databases
    registry: RegistryFile
    keys: KeyFile
    issuer: TokenIssuer
    runner: Runner

    async def close(self) -> None:
        """Close connections: to identity providers, the sandbox store and the databases."""
        await self.runner.resources.identity_providers.close()
        await self.runner.resources.sandbox_store.close()
        await self.databases.dispose()


@dataclass(frozen=True, slots=True)
class OldSide:
    """The parts of the legacy front door."""

    services: ServiceTable
    plan: PlanFile
    router: Router
    front_door: FrontDoor
    upstreams: Upstreams
    host_tls: HostTls | None
    """How we show ourselves to upstreams, where there are some."""
    elsewhere: HttpBackend | None = None
    """The backend of live methods where it is not our own."""
    files: EmbeddedFiles | HttpFiles | None = None
    """What moves the files of live transfers."""

    async def close(self) -> None:
        """Close connections."""
        await self.upstreams.close()
        if self.files is not None:
            await self.files.close()
        if self.elsewhere is not None:
            await self.elsewhere.close()


def load_registry(config: Config) -> RegistryFile:
    """The registry, read once.  Raises ConfigError."""
    registry = RegistryFile(config.registry)
    try:
        registry.load()
    except FileError as error:
        raise ConfigError(str(error)) from error
    return registry


def rest_url(config: Config, port: int = 0) -> str:
    """Where clients reach the new side: ``rest.url``, or else what can be made of the listeners.

    ``port`` is the one that was bound, where the configuration leaves it open.  Without a listener it is
    where the calls of live methods go.
    """
    if config.rest is None:
        return ""
    if config.rest.listen is None:
        return config.rest.url or config.rest.target
    scheme = "https" if config.rest.tls else "http"
    host = config.legacy.public_host if config.legacy else config.rest.listen.host_in_url
    return config.rest.url or f"{scheme}://{host}:{port or config.rest.listen.port}"


def load_keys(config: Config) -> KeyFile:
    """The signing keys, read once; their file is made when it is not there.  Raises ConfigError."""
    try:
        return KeyFile.load_or_create(config.auth.keys)
    except KeyFileError as error:
        raise ConfigError(str(error)) from error


def make_issuer(config: Config, url: str, keys: KeyFile) -> TokenIssuer:
    """The token issuer, which signs with the keys that are in force at the time."""
    lifetime = timedelta(minutes=config.auth.access_token_minutes)
    return TokenIssuer(lambda: keys.content, config.auth.issuer or url, lifetime)


def make_new_side(config: Config, url: str) -> NewSide:
    """Databases, registry, tokens and the operations over them.  Raises ConfigError."""
    registry = load_registry(config)
    try:
        databases = open_databases(
            config.database, limits=config.limits.of_databases(), registry=lambda: registry.current
        )
    except ValueError as error:
        raise ConfigError(f"`database`: {error}") from error
    keys = load_keys(config)
    issuer = make_issuer(config, url, keys)
    settings = settings_of(config)
    resources = Resources(
        databases,
        lambda: registry.current,
        issuer,
        settings,
        lambda: registry.cfg,
        lambda: registry.modified,
        IdentityProviders(settings.auth.providers),
        sandboxes=make_sandbox_store(config, issuer),
    )
    return NewSide(url, databases, registry, keys, issuer, Runner(OPERATIONS, resources))


def make_sandbox_store(config: Config, issuer: TokenIssuer) -> SandboxStore:
    """Where the files of sandboxes are; nothing is made or asked yet.

    What signs the URLs of our own directory follows from the keys that sign tokens, which all workers and
    hosts share.
    """
    settings = settings_of(config).sandboxes
    if settings.s3 is not None:
        from rest_backend.sandbox_store.s3 import S3Store

        return S3Store(settings.s3, lifetime=settings.url_seconds)
    return DirectoryStore(
        settings.directory,
        lambda: issuer.keys.derived(SANDBOX_STORE),
        lifetime=settings.url_seconds,
        public_url=config.rest.url if config.rest else "",
    )


def legacy_catalogue(config: Config | None = None) -> Catalogue:
    """What a plan may name; with a ``config`` also which upstreams it may want."""
    from adaptor.methods.catalogue import ADAPTORS
    from legacy_rpc.services.catalogue import all_services
    from legacy_rpc.services.configuration import SERVICE_NAME
    from migration_plans.plan import Catalogue, Old

    table = all_services()
    # Clients learn from it where services are: one elsewhere would lead them away.
    only = {SERVICE_NAME: Old.NATIVE} | {each.name: Old.UPSTREAM for each in table.services if each.elsewhere}
    upstreams = None if config is None else tuple(config.upstream)
    return Catalogue(table.catalogue, ADAPTORS.keys(), table.transfers, only, upstreams)


def load_plan(config: Config) -> PlanFile:
    """The plan, read once.  Raises ConfigError."""
    from migration_plans.plan_file import PlanFile

    if config.plan is None:
        raise ConfigError("the configuration has no plan: add `plan: plan.yaml`")
    plan = PlanFile(config.plan, legacy_catalogue(config))
    try:
        plan.load()
    except FileError as error:
        raise ConfigError(str(error)) from error
    return plan


def make_old_side(
    config: Config,
    new: NewSide,
    public_url: Callable[[str], str],
    finished: Callable[[FinishedCall], None],
    revocations: Revocations | None = None,
) -> OldSide:
    """The legacy services, the plan, the router between the sides, and the front door.

    ``public_url`` tells where clients reach a service.  ``revocations``: None where CRLs are not looked at.
    Raises ConfigError.
    """
    from adaptor.http_backend import HttpBackend
    from adaptor.methods.catalogue import ADAPTORS
    from adaptor.router import Router
    from legacy_rpc.front_door import FrontDoor
    from legacy_rpc.messages import Write
    from legacy_rpc.services.catalogue import all_services
    from legacy_rpc.services.table import Common, NativeSide, nothing_revoked
    from wherry.passing import PlannedPassing, make_host_tls, make_upstreams, passed_through
    from wherry.rest_target import target_of, target_tokens
    from wherry.sandbox_files import HttpFiles, StoreFiles

    services = all_services()
    plan = load_plan(config)
    host_tls = make_host_tls(config)
    upstreams = make_upstreams(config, services, host_tls)
    passing = PlannedPassing(lambda: plan.current, upstreams)
    ca_path = config.tls.ca_path if config.tls else None
    try:
        seal = Seal.load_or_create(config.proxies.keys)
    except SealingKeyError as error:
        raise ConfigError(str(error)) from error
    target = target_of(config)
    own = embedded_backend(new)
    elsewhere = HttpBackend(target, own) if target else None
    files = HttpFiles(target.ca) if target else embedded_files(new)
    # New clients talk to the target itself, unless we listen, too.
    listens = config.rest is not None and config.rest.listen is not None
    common = Common(
        new.databases,
        new.registry,
        public_url,
        rest_url=new.url,
        issue_tokens=target_tokens(elsewhere) if elsewhere and not listens else token_pairs(new),
        passed=passed_through(config, services, passing),
        ca_path=ca_path,
        seal=seal,
        check_revoked=revocations.check if revocations else nothing_revoked,
        optimise=config.jobs.optimise,
        pilots=PilotLimits(
            longest_line=config.pilots.characters_per_line,
            lines_per_message=config.pilots.lines_per_message,
            largest_output=config.pilots.output_bytes,
        ),
        sandboxes=StoreFiles(new.runner.resources.sandbox_store, new.runner.resources.settings.sandboxes),
    )
    native = NativeSide(services, common)

    def write_class(service: str, method: str) -> Write:
        record = services.method(service, method)
        assert record is not None
        return record.write

    router = Router(
        plan=lambda: plan.current,
        native=native.answer,
        backend=elsewhere or own,
        adaptors=ADAPTORS,
        write_class=write_class,
        translated=lambda call: services.translated(call, new.registry.current),
        upstream=upstreams.answer,
        files=files,
    )
    front_door = FrontDoor(
        services,
        lambda: new.registry.current,
        native.answer,
        router.answer,
        finished,
        config.limits.of_calls(),
        passing,
    )
    return OldSide(services, plan, router, front_door, upstreams, host_tls, elsewhere, files)


def embedded_backend(new: NewSide) -> Backend:
    """Our own backend for adaptors, in process."""
    from adaptor.backend import InProcessBackend, TokenCache

    async def mint(identity: Identity) -> AccessToken | None:
        principal = principal_of(identity, new.registry.current)
        return None if principal is None else new.issuer.mint(principal)

    return InProcessBackend(in_process(new.runner), TokenCache(mint))


def embedded_files(new: NewSide) -> EmbeddedFiles | HttpFiles:
    """The files of our own backend, for adaptors: of our directory without a socket, of S3 over HTTP."""
    from wherry.sandbox_files import EmbeddedFiles, HttpFiles

    store, settings = new.runner.resources.sandbox_store, new.runner.resources.settings.sandboxes
    if isinstance(store, DirectoryStore):
        return EmbeddedFiles(store)
    return HttpFiles(settings.s3.ca_file if settings.s3 else None)


def token_pairs(new: NewSide) -> Callable[[Identity], Awaitable[TokenPair]]:
    """What gives legacy callers tokens for the new side, and keeps that it did.

    The refresh token ends with what the caller proved its identity with.
    """
    from legacy_rpc.messages import Failure
    from legacy_rpc.services.table import TokenPair

    async def issue(identity: Identity) -> TokenPair:
        principal = principal_of(identity, new.registry.current)
        if identity.kind != "user" or principal is None or identity.credential is None:
            raise Failure(f"{identity.username} gets no tokens: only users in a VO do")
        refresh = new.issuer.mint_refresh(identity.credential.expires, legacy_exchange=True)
        access = new.issuer.mint(principal, family=refresh.jti)
        words = [f"vo:{principal.vo}", f"group:{principal.group}"]
        words += [f"property:{name}" for name in principal.properties]
        async with new.databases.unit_of_work(write=True) as work:
            await record_refresh_token(
                work,
                jti=refresh.jti,
                subject=f"{principal.vo}:{principal.subject}",
                vo=principal.vo,
                scope=" ".join(words),
                created=refresh.created,
                expires=refresh.expires,
                legacy_exchange=True,
            )
        return TokenPair(access.text, new.issuer.access_seconds, refresh.text)

    return issue


def verifier(gatekeeper: Gatekeeper, issuer: str) -> Callable[[str], TokenCredential]:
    """What the legacy wires check bearer tokens with: it raises Failure for those that prove nothing.

    ``issuer`` is the name that callers are told.
    """
    from legacy_rpc.messages import Errno, Failure, TokenCredential

    def verify(text: str) -> TokenCredential:
        try:
            token = gatekeeper.verify(text)
        except Unauthorized as error:
            raise Failure.of(Errno.ENOAUTH, "The bearer token is not valid, or no longer") from error
        principal = token.principal
        return TokenCredential(
            principal.username,
            principal.group,
            principal.vo,
            issuer,
            datetime.fromtimestamp(token.expires, UTC),
        )

    return verify


def in_process(runner: Runner) -> Callable[[str, str, Mapping[str, Any], Any, Principal], Any]:
    """The runner as the adaptors' backend calls it."""

    async def call(
        method: str, path: str, query: Mapping[str, Any], body: Any, principal: Principal
    ) -> Answer:
        return await runner.call(RestRequest(method, path, query, body), principal)

    return call


def principal_of(identity: Identity, registry: Registry) -> Principal | None:
    """The REST principal of a legacy caller; None when there can be none.

    A user needs a VO, since tokens are a VO's.  A host gets a service principal, in no VO.
    """
    if identity.kind == "host":
        vo = HOSTS_SUBJECT_VO
    elif identity.kind == "user" and identity.vo:
        vo = identity.vo
    else:
        return None
    return Principal(
        subject=registry.subject(identity.username, vo),
        vo=vo,
        group=identity.group,
        username=identity.username,
        properties=identity.properties,
        by_certificate=not identity.by_token,
    )
