"""One grid in this process, called without a wire; the comparisons put several side by side."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from calls import sandbox_store

from adaptor.methods.catalogue import SERVICES
from legacy_rpc.front_door import FinishedCall
from legacy_rpc.messages import RPC, Call, Credential, Failure, Proposal
from wherry.build import NewSide, OldSide, make_new_side, make_old_side
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DN = "/DC=org/DC=wherry/OU={kind}/CN={name}"

Caller = tuple[str, str]  # a user and his group, or a host and HOSTS
HOSTS = "hosts"
ADMIN: Caller = ("alice", "demo_admin")
CALLERS: tuple[Caller, ...] = (
    ADMIN,
    ("alice", "demo_user"),
    ("bob", "demo_user"),
    ("pilot", "demo_pilot"),
    ("bob", "demo_admin"),  # not a member
    ("localhost", HOSTS),
)

CONFIG = """\
database: {database}
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: {pki}/hostcert.pem, key: {pki}/hostkey.pem, ca_path: {pki}/ca}}
legacy: {{dips: {{listen: "127.0.0.1:0"}}, public_host: localhost}}
rest: {{listen: "127.0.0.1:0"}}
operations: {{listen: "127.0.0.1:0"}}
auth: {{issuer: "https://test.invalid/"}}
limits: {{database_busy_seconds: {busy_seconds}}}
jobs: {{optimise: {optimise}}}
tasks: {{jobs: false}}
"""


def plan_text(state: str) -> str:
    """A plan in which every method that has an adaptor has one state."""
    services = "".join(
        f"  {service.name}:\n    methods:\n"
        + "".join(f"      {method}: {{state: {state}}}\n" for method in service.adaptors)
        for service in SERVICES
        if service.adaptors
    )
    return f"plan: 1\nservices:\n{services}"


class MemoryFile:
    """What a client sends and receives in a transfer."""

    def __init__(self, content: bytes = b"") -> None:
        self.content, self.sent = content, bytearray()
        self.size = len(content)

    async def blocks(self) -> AsyncIterator[bytes]:
        """What it sends."""
        for start in range(0, len(self.content), 50_000):
            yield self.content[start : start + 50_000]

    async def send(self, data: bytes) -> None:
        """What it receives."""
        self.sent += data


@dataclass
class Side:
    """A grid whose every method goes one way; ``finished`` holds what the front door answered."""

    new: NewSide
    old: OldSide
    finished: list[FinishedCall] = field(default_factory=list)

    async def call(
        self, caller: Caller, service: str, method: str, arguments: Sequence[Any], client: str = ""
    ) -> dict[str, Any]:
        """What the caller sees, from admission on; ``sent`` is the content of a transfer.

        ``client`` is the version that the caller's client says it is.
        """
        user, group = caller
        is_host = group == HOSTS
        dn = DN.format(kind="hosts" if is_host else "people", name=user)
        ends = START + timedelta(days=1)
        credential = Credential(dn, dn, dn, ends, is_proxy=not is_host, group=None if is_host else group)
        action, name = method.split("/") if "/" in method else (RPC, method)
        proposal = Proposal(service, action, name, extra_credentials=HOSTS if is_host else "")
        try:
            identity = self.old.front_door.admit(proposal, credential)
        except Failure as failure:
            return failure.as_result()
        file = MemoryFile(sandbox_store.content_of(arguments) if name.endswith("FromClient") else b"")
        if action == RPC:
            call = Call(service, method, list(arguments), identity, "test", client_version=client)
        else:
            call = proposal.call(arguments, identity, incoming=file, outgoing=file)
        outcome = await self.old.front_door.handle(call)
        return outcome.as_result() | ({"sent": bytes(file.sent)} if file.sent else {})

    async def close(self) -> None:
        """Close the connections."""
        await self.new.close()


def make_side(
    directory: Path,
    credentials: GridCredentials,
    registry: str,
    urls: str | Mapping[str, str],
    state: str,
    *,
    optimise: bool = True,
    busy_seconds: float = 0.3,
) -> Side:
    """A side in an empty directory; every method that has an adaptor is in ``state``.

    ``registry`` is the CFG text of who is who.
    """
    (directory / "registry.cfg").write_text(registry)
    (directory / "plan.yaml").write_text(plan_text(state))
    text = CONFIG.format(
        database=json.dumps(urls),
        pki=credentials.ca_path.parent,
        optimise=json.dumps(optimise),
        busy_seconds=busy_seconds,
    )
    (directory / "wherry.yaml").write_text(text)
    config = load_config(directory / "wherry.yaml")
    new = make_new_side(config, "http://localhost")
    finished: list[FinishedCall] = []
    old = make_old_side(config, new, lambda service: f"dips://localhost:1/{service}", finished.append)
    return Side(new, old, finished)
