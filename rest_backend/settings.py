"""What an administrator decides about the new side; the composition root fills it from the configuration.

Times are in seconds unless their name says otherwise, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from shared_db.queries.leases import Terms
from shared_db.rules.stalling import JobPatience, Keeping, PilotPatience

DIRAC_CLIENT_ID = "myDIRACClientID"


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider of a VO, found by OpenID Connect discovery below ``url``.

    ``client_secret`` is for providers that want one.  ``ca_file``: the authority of its certificate, where it
    is none of the system's.

    Of several, each has a ``name``, by which the registry tells whom its subjects mean, and a ``title`` for
    people.  ``main``: its subjects are the VO's own, as those of the only one are.
    """

    url: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    scope: str = "openid profile"
    ca_file: Path | None = None
    name: str = ""
    title: str = ""
    main: bool = True


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """The authorization server.

    ``redirect_uris``: where codes of the authorization flow may be sent.  ``legacy_exchange_key_hash``:
    SHA-256, in hex, of the key with which DIRAC services exchange proxies for tokens; empty: none may.
    ``providers``: by VO, one or several.
    """

    client_id: str = DIRAC_CLIENT_ID
    redirect_uris: tuple[str, ...] = ()
    refresh_lifetime: timedelta = timedelta(minutes=60)
    device_flow_lifetime: timedelta = timedelta(minutes=10)
    authorization_flow_lifetime: timedelta = timedelta(minutes=5)
    pilot_secret_lifetime: timedelta = timedelta(days=1)
    legacy_exchange_key_hash: str = ""
    providers: Mapping[str, Sequence[Provider]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Submission of jobs.

    ``optimise``: a submitted job goes to Waiting in its task queue at once; not, where DIRAC's own optimisers
    run.
    """

    most_per_submission: int = 20
    optimise: bool = True


@dataclass(frozen=True, slots=True)
class S3Settings:
    """An S3 service; without keys those of the environment are used."""

    endpoint: str
    bucket: str
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Where sandboxes lie: in a directory of ours, or in S3."""

    directory: Path = Path("sandboxes")
    s3: S3Settings | None = None
    storage_element: str = "SandboxSE"
    largest: int = 100 * 1024 * 1024
    url_seconds: int = 300


@dataclass(frozen=True, slots=True)
class PilotSettings:
    """Pilots that call with tokens of their own, and what is kept of them.

    ``refresh_lifetime``: how long a pilot can prolong its access, at most as long as it lives.
    ``lines_per_message``, ``longest_line`` (characters): of what it says.  ``largest_output``: bytes of its
    standard output, and of its standard error; of more the end is kept.  ``log_lifetime`` None: logs stay
    until the pilot is deleted.
    """

    refresh_lifetime: timedelta = timedelta(days=7)
    lines_per_message: int = 1_000
    longest_line: int = 8_000
    largest_output: int = 1024 * 1024
    log_lifetime: timedelta | None = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """Periodic tasks.

    ``jobs``: whether those on DIRAC's tables are done; None: where Wherry made the tables, since DIRAC's own
    agents do them elsewhere.  ``proxy_log``: how long it is kept.
    """

    jobs: bool | None = None
    terms: Terms = field(default_factory=Terms)
    patience: JobPatience = field(default_factory=JobPatience)
    keeping: Keeping = field(default_factory=Keeping)
    pilots: PilotPatience = field(default_factory=PilotPatience)
    proxy_log: timedelta = timedelta(days=180)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP shell.

    ``public_url``: where clients reach it, without a last slash; empty: as each request says it.
    ``cors_origins``: web pages of these origins may call.  ``requests_per_minute``: of one token, or of one
    address without a token; 0: as many as come.  ``body_seconds``: how long a body may take to come.
    """

    public_url: str = ""
    largest_body: int = 16 * 1024 * 1024
    body_seconds: float = 60.0
    cors_origins: tuple[str, ...] = ()
    requests_per_minute: int = 0
    oldest_client: str = "0.0.1a1"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them.  ``keeps_proxies``: users can store proxies here, by the legacy ProxyManager."""

    auth: AuthSettings = AuthSettings()
    jobs: JobSettings = JobSettings()
    sandboxes: SandboxSettings = SandboxSettings()
    pilots: PilotSettings = PilotSettings()
    http: HttpSettings = HttpSettings()
    tasks: TaskSettings = TaskSettings()
    keeps_proxies: bool = False
