"""The vocabulary every legacy wire shares: who calls, what they ask, what they get back.

All records are frozen and carry no I/O.  Numbers and texts of errors: reference sheet
``legacy-wire.md`` section 2.
"""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol


class PeerError(Exception):
    """The peer broke the protocol; its connection ends and nobody else's."""


class Errno(enum.IntEnum):
    """Error numbers that DIRAC clients compare, each with DIRAC's text."""

    text: str

    def __new__(cls, number: int, text: str) -> Errno:
        member = int.__new__(cls, number)
        member._value_ = number
        member.text = text
        return member

    ENOAUTH = 1111, "Unauthorized query"
    EDB = 1130, "Database Error"
    EMYSQL = 1131, "MySQL Error"
    EWMSJMAN = 1504, "Job management error"
    EWMSNOMATCH = 1510, "No match found"
    EWMSPLTVER = 1511, "Pilot version does not match"
    EWMSNOPILOT = 1550, "No pilots found"


class Failure(Exception):
    """What DIRAC calls ``S_ERROR``: a number (0: none), a text, and extra top-level keys.

    ``reason``: why the call was refused before its method answered, for wires that have words for it; empty
    where the method itself says no.  One of ``unknown-service``, ``unknown-method``, ``arguments``,
    ``overload``, ``timeout``, or a reason of the router's.
    """

    def __init__(
        self, message: str, errno: int = 0, extra: Mapping[str, Any] | None = None, *, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errno = errno
        self.extra = dict(extra or {})
        self.reason = reason

    @classmethod
    def of(cls, errno: Errno, detail: str = "", extra: Mapping[str, Any] | None = None) -> Failure:
        """A numbered failure with DIRAC's composed text, ``<text> ( <number> : <detail>)``."""
        return cls(f"{errno.text} ( {errno.value} : {detail})", errno.value, extra)

    def as_result(self) -> dict[str, Any]:
        """The dictionary a client sees; key order is DIRAC's."""
        return {"OK": False, "Errno": self.errno, "Message": self.message, **self.extra}


@dataclass(frozen=True, slots=True)
class Reply:
    """What DIRAC calls ``S_OK``: a value, and extra top-level keys such as ``InvalidJobIDs``."""

    value: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        """The dictionary a client sees; key order is DIRAC's."""
        return {"OK": True, "Value": self.value, **self.extra}


Outcome = Reply | Failure


class Write(enum.StrEnum):
    """What repeating a method would do; decides which fallbacks are safe (design, Adaptors)."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    APPEND = "append"
    CREATE = "create"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a verified certificate chain proves, before the registry is asked.

    ``dn`` names the end entity (the user behind a proxy, or the host), ``subject`` and ``issuer``
    the certificate at the leaf.  ``expires`` is the earliest end of any certificate in the chain.
    ``group`` is the DIRAC group extension nearest to the end entity, or None.
    """

    dn: str
    subject: str
    issuer: str
    expires: datetime
    is_proxy: bool = False
    limited: bool = False
    group: str | None = None

    def seconds_left(self, now: datetime | None = None) -> int:
        """Whole seconds until the chain ends; never negative."""
        return _seconds_until(self.expires, now)


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """What a verified bearer token proves: a user, who acts in a group until ``expires``."""

    username: str
    group: str
    vo: str
    issuer: str
    expires: datetime

    def seconds_left(self, now: datetime | None = None) -> int:
        """Whole seconds until the token ends; never negative."""
        return _seconds_until(self.expires, now)


def _seconds_until(end: datetime, now: datetime | None) -> int:
    return max(0, int((end - (now or datetime.now(UTC))).total_seconds()))


AnyCredential = Credential | TokenCredential


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as the registry knows them.

    ``properties`` are all properties of the group (DIRAC reduces them per method; that is a view
    and is not kept).  ``kind`` is ``user``, ``host`` or ``anonymous``.
    """

    username: str
    group: str
    kind: str = "user"
    dn: str = ""
    vo: str | None = None
    properties: tuple[str, ...] = ()
    credential: AnyCredential | None = None
    extra_credentials: str = ""

    @property
    def by_token(self) -> bool:
        """Whether a bearer token proves it, and no certificate."""
        return isinstance(self.credential, TokenCredential)

    @property
    def group_properties(self) -> tuple[str, ...]:
        """Those of the group, which DIRAC's rules of jobs ask for: the group of hosts has none."""
        return () if self.kind == "host" else self.properties

    def has(self, *properties: str) -> bool:
        """True when the caller is known and holds at least one of the properties."""
        return self.kind != "anonymous" and any(name in self.properties for name in properties)


# A DIRAC release by its first two numbers, (9, 1): what decides which form of a method a client knows.
Release = tuple[int, int]

RPC = "RPC"
FILE_TRANSFER = "FileTransfer"

# Characters that are kept of what a client calls itself, which is written into logs.
LONGEST_VERSION = 64


def transfer_name(action: str) -> str:
    """The name under which a transfer stands among a service's methods: ``FileTransfer/ToClient``."""
    return f"{FILE_TRANSFER}/{action}"


def split_name(name: str) -> tuple[str, str] | None:
    """Service and method of ``System.Component.method``; None for any other name."""
    match name.split("."):
        case [system, component, method] if system and component and method:
            return f"{system}/{component}", method
    return None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a client says it wants to do, before it is admitted and sends its arguments.

    ``action`` is ``RPC`` or ``FileTransfer`` (``method`` is then a direction such as ``ToClient``), or what
    is not offered.  ``wire``, ``peer`` (an address) and ``encoding`` (where the wire has several) are the
    shell's knowledge, not the client's word.
    """

    service: str
    action: str
    method: str
    extra_credentials: Any = ""
    client_version: str = ""
    setup: str = ""
    vo: str = ""
    wire: str = ""
    peer: str = ""
    encoding: str = ""

    @property
    def name(self) -> str:
        """The name of what is asked among the service's methods."""
        return transfer_name(self.method) if self.action == FILE_TRANSFER else self.method

    def call(self, arguments: Sequence[Any], identity: Identity, **more: Any) -> Call:
        """The call that an admitted proposal becomes once its arguments are known."""
        return Call(
            service=self.service,
            method=self.name,
            arguments=arguments,
            identity=identity,
            wire=self.wire,
            client_version=self.client_version[:LONGEST_VERSION],
            peer=self.peer,
            setup=self.setup,
            vo=self.vo,
            encoding=self.encoding,
            **more,
        )


# `9.1.22`, `v8.0.86`, and the older `v7r3p38`.
_RELEASE = re.compile(r"v?(\d{1,3})[.r](\d{1,3})")


# DIRAC's clients do not say their release over HTTPS; but only those before 9 name a setup.
LAST_WITH_SETUPS: Release = (8, 0)
NO_SETUP = ("", "None")


def release_of(client_version: str) -> Release | None:
    """The release in what a client calls itself; None for what is none of DIRAC's."""
    match = _RELEASE.match(client_version)
    return (int(match[1]), int(match[2])) if match else None


class Incoming(Protocol):
    """Bytes that a client sends along with a call.  ``size`` is how many it announced; -1: it did not say."""

    @property
    def size(self) -> int: ...

    def blocks(self) -> AsyncIterator[bytes]:
        """The bytes in blocks of 1 MiB at most, each taken from the client when it is asked for.

        Raises Failure when the client ends the transfer, or sent other bytes than its checksum says.
        """


class Outgoing(Protocol):
    """Bytes that a client receives along with a call's reply."""

    async def send(self, data: bytes) -> None:
        """Send some bytes; returns when the client can take more.

        Raises Failure when the client wants no more.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """One decoded legacy request.

    ``deadline`` is on the event loop's clock (seconds); None: the wire gives none.  ``incoming`` or
    ``outgoing`` is there in a file transfer, whose ``method`` is ``FileTransfer/DIRECTION``.  ``setup``,
    ``vo`` and ``encoding`` are the proposal's.
    """

    service: str
    method: str
    arguments: Sequence[Any]
    identity: Identity
    wire: str
    client_version: str = ""
    peer: str = ""
    deadline: float | None = None
    incoming: Incoming | None = None
    outgoing: Outgoing | None = None
    setup: str = ""
    vo: str = ""
    encoding: str = ""

    @property
    def release(self) -> Release | None:
        """The caller's release of DIRAC; None where it says none (then the newest form is meant)."""
        release = release_of(self.client_version)
        if release is None and self.wire == "https" and self.setup not in NO_SETUP:
            return LAST_WITH_SETUPS
        return release


@dataclass(frozen=True, slots=True)
class Answered:
    """An outcome, with the route that led to it and why that route was taken."""

    outcome: Outcome
    route: str
    reason: str
