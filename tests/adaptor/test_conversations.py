"""Every adaptor as rows: arguments, the requests it yields with scripted answers, what it returns.

The rows are in ``tests/support/rows``, one module per DIRAC service.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rows import ROWS
from rows.conversation import Row
from rows.pilot_manager import CHANGES, LONG_AGO, NO_ROUTE, legacy, status_search

from adaptor.conversation import FileStep, Pause, Request, RestFailure, converse, open_conversation
from adaptor.methods.catalogue import ADAPTORS
from legacy_rpc.messages import Call, Failure, Reply
from shared_db.rules.refusals import Refusal, UnfitArgument

PILOTS = "WorkloadManagement/PilotManager"


async def play(row: Row) -> Any:
    """Run a conversation against its script; returns what came out, or the exception."""
    script = iter(row.exchange)
    pending: list[tuple[Request, Any]] = []

    async def send(request: Request) -> Any:
        if not pending:
            step, answer = next(script, (None, None))
            assert step is not None, f"unexpected {request}"
            if isinstance(step, tuple):
                pending.extend(zip(step, answer, strict=True))
            else:
                pending.append((step, answer))
        expected, answer = pending.pop(0)
        assert request == expected
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait(seconds: float) -> None:
        assert next(script, (None, None))[0] == Pause(seconds)

    async def move(step: FileStep) -> Any:
        expected, answer = next(script, (None, None))
        assert step == expected
        if isinstance(answer, Exception):
            raise answer
        return answer

    call = Call(
        row.service, row.method, row.arguments, row.identity, "test", client_version=row.client_version
    )
    try:
        conversation = open_conversation(ADAPTORS[row.service, row.method], call)
        reply = await converse(conversation, send, move, wait=wait)
    except (Failure, RestFailure, Refusal, UnfitArgument) as error:
        outcome: Any = error
    else:
        outcome = reply
    assert not list(script), "the adaptor did not send all requests"
    return outcome


def comparable(outcome: Any) -> Any:
    """An outcome whose parts can be compared."""
    match outcome:
        case Failure() | Reply():
            return outcome.as_result()
        case RestFailure():
            return ("REST", outcome.status, outcome.detail)
        case Refusal():
            return ("refused", outcome.message, outcome.errno)
        case UnfitArgument():
            return ("unfit", str(outcome))
        case _:
            return Reply(outcome).as_result()


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_conversation(row: Row) -> None:
    """An adaptor sends exactly the requests of its row and makes the row's value of their answers."""
    assert comparable(await play(row)) == comparable(row.expected)


def test_every_adaptor_has_a_row() -> None:
    """No adaptor is without a row."""
    assert {(row.service, row.method) for row in ROWS.values()} == set(ADAPTORS)


async def test_nothing_changed_within_one_second() -> None:
    """A status that is there already, set in this very second, counts as no change."""
    now = datetime.now(UTC).replace(microsecond=0)
    for moment, changed in ((now, 0), (datetime(2020, 1, 1, tzinfo=UTC), 1)):
        row = Row(
            PILOTS,
            "setPilotStatus",
            ["ref1", "Done"],
            [
                (
                    status_search("Status", "StatusReason"),
                    [LONG_AGO | {"LastUpdateTime": moment.isoformat()}],
                ),
                (legacy([7], CHANGES), NO_ROUTE),
                (Request("PATCH", "/api/pilots/metadata", {"s1": CHANGES}), None),
            ],
        )
        outcome = await play(row)
        late = datetime.now(UTC).replace(microsecond=0) != now and changed == 0
        assert late or outcome == Reply(changed)
