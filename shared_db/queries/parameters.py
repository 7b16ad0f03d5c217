"""What is kept about jobs by name: parameters of jobs, of optimizers and of the attic, and input data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, Table, Text, bindparam, select, tuple_

from shared_db.connection import UnitOfWork
from shared_db.errors import Foreign, InvalidValue
from shared_db.queries.jobs import locked_jobs
from shared_db.queries.values import check_values, chunks
from shared_db.schema.job_db import (
    JOB_DB,
    AtticJobParameters,
    InputData,
    JobParameters,
    OptimizerParameters,
)

# Texts by name, of jobs by id.
Parameters = Mapping[int, Mapping[str, str]]


async def set_job_parameters(work: UnitOfWork, parameters: Parameters) -> int:
    """Set parameters of those of the jobs that exist, in JobParameters; others of theirs stay.

    Returns how many are new or different.  Raises InvalidValue, Foreign.
    """
    _require_place(work)
    return await _set(work, JobParameters, parameters)


async def set_optimizer_parameters(work: UnitOfWork, parameters: Parameters) -> int:
    """The same in OptimizerParameters, which Matcher's answer holds."""
    return await _set(work, OptimizerParameters, parameters)


async def job_parameters(
    work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str] | None = None
) -> dict[int, dict[str, str]]:
    """``{JobID: {name: value}}``, all or the named ones; jobs without any are left out.  Raises Foreign."""
    _require_place(work)
    return await _get(work, JobParameters, job_ids, names)


def _require_place(work: UnitOfWork) -> None:
    if not work.has(JobParameters):
        raise Foreign(
            "There is no table JobParameters, since DIRAC 9.1 keeps job parameters in OpenSearch",
            "`wherry db upgrade --missing-tables` makes a place for them here",
        )


async def optimizer_parameters(
    work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str] | None = None
) -> dict[int, dict[str, str]]:
    """The same from OptimizerParameters."""
    return await _get(work, OptimizerParameters, job_ids, names)


async def attic_parameters(
    work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str] | None = None, cycle: int | None = None
) -> dict[int, dict[int, dict[str, str]]]:
    """``{JobID: {reschedule cycle: {name: value}}}``, by ascending cycle; all, or some."""
    found: dict[int, dict[int, dict[str, str]]] = {}
    bound: dict[str, Any] = {} if names is None else {"names": list(names)}
    bound |= {} if cycle is None else {"cycle": cycle}
    statement = _in_the_attic(chosen=names is not None, one_cycle=cycle is not None)
    for chunk in chunks(sorted(set(job_ids))):
        for job_id, number, name, value in await work.rows(JOB_DB, statement, {"ids": chunk, **bound}):
            found.setdefault(job_id, {}).setdefault(number, {})[name] = value
    return found


@cache
def _in_the_attic(*, chosen: bool, one_cycle: bool) -> Select[Any]:
    c = AtticJobParameters.c
    statement = (
        select(c.JobID, c.RescheduleCycle, c.Name, c.Value)
        .where(c.JobID.in_(bindparam("ids", expanding=True)))
        .order_by(c.JobID, c.RescheduleCycle, c.Name)
    )
    if chosen:
        statement = statement.where(c.Name.in_(bindparam("names", expanding=True)))
    return statement.where(c.RescheduleCycle == bindparam("cycle")) if one_cycle else statement


async def set_attic_parameters(work: UnitOfWork, parameters: Parameters, cycles: Mapping[int, int]) -> int:
    """Keep parameters of jobs under a reschedule cycle each, in place of what is kept there.

    A cycle comes a second time after a reset.  The caller has locked the jobs.  Returns how many are kept.
    Raises InvalidValue.
    """
    rows = [
        {"JobID": job_id, "Name": name, "Value": value, "RescheduleCycle": cycles[job_id]}
        for job_id, texts in parameters.items()
        for name, value in texts.items()
    ]
    _check(AtticJobParameters, rows)
    for some in chunks([(job_id, cycles[job_id]) for job_id in parameters], _KEYS):
        ids = [job_id for job_id, _ in some]
        await work.change(JOB_DB, _emptying_cycles(), {"ids": ids, "keys": some})
    if rows:
        await work.change(JOB_DB, AtticJobParameters.insert(), rows)
    return len(rows)


@cache
def _emptying_cycles() -> Delete:
    c = AtticJobParameters.c
    return AtticJobParameters.delete().where(
        # Without this PostgreSQL looks into its index once for each key.
        c.JobID.in_(bindparam("ids", expanding=True)),
        tuple_(c.JobID, c.RescheduleCycle).in_(bindparam("keys", expanding=True)),
    )


async def remove_optimizer_parameters(work: UnitOfWork, job_ids: Iterable[int], name: str) -> int:
    """Forget one parameter of jobs; returns how many had it."""
    removed = 0
    for chunk in chunks(sorted(set(job_ids))):
        removed += await work.change(JOB_DB, _forgetting(), {"ids": chunk, "name": name})
    return removed


@cache
def _forgetting() -> Delete:
    c = OptimizerParameters.c
    return OptimizerParameters.delete().where(
        c.JobID.in_(bindparam("ids", expanding=True)), c.Name == bindparam("name")
    )


async def _get(
    work: UnitOfWork, table: Table, job_ids: Iterable[int], names: Sequence[str] | None
) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    bound = {} if names is None else {"names": list(names)}
    for chunk in chunks(sorted(set(job_ids))):
        rows = await work.rows(JOB_DB, _selecting(table, chosen=names is not None), {"ids": chunk, **bound})
        for job_id, name, value in rows:
            found.setdefault(job_id, {})[name] = value
    return found


@cache
def _selecting(table: Table, *, chosen: bool) -> Select[Any]:
    c = table.c
    statement = (
        select(c.JobID, c.Name, c.Value)
        .where(c.JobID.in_(bindparam("ids", expanding=True)))
        .order_by(c.JobID, c.Name)
    )
    return statement.where(c.Name.in_(bindparam("names", expanding=True))) if chosen else statement


async def _set(work: UnitOfWork, table: Table, parameters: Parameters) -> int:
    """Delete what differs, then insert: the one upsert that every engine knows.

    The jobs' rows are locked, so that two callers who set the same name come one after the other.
    """
    wanted = {job_id: texts for job_id, texts in parameters.items() if texts}
    if not wanted:
        return 0
    there = [row.JobID for row in await locked_jobs(work, wanted)]
    names = sorted({name for job_id in there for name in wanted[job_id]})
    before = await _get(work, table, there, names) if names else {}
    rows: list[dict[str, Any]] = []
    replaced: list[tuple[int, str]] = []
    for job_id in there:
        # MySQL takes names for equal that differ in case only.
        old = {name.casefold(): (name, value) for name, value in before.get(job_id, {}).items()}
        for name, value in wanted[job_id].items():
            old_name, old_value = old.get(name.casefold(), (None, None))
            if (old_name, old_value) == (name, value):
                continue
            if old_name is not None:
                replaced.append((job_id, old_name))
            rows.append({"JobID": job_id, "Name": name, "Value": value})
    _check(table, rows)
    for some in chunks(replaced, _KEYS):
        ids = sorted({job_id for job_id, _ in some})
        await work.change(JOB_DB, _deleting(table), {"ids": ids, "keys": some})
    if rows:
        await work.change(JOB_DB, table.insert(), rows)
    return len(rows)


# Two bound parameters each.
_KEYS = 4_000
# MySQL's TEXT.
TEXT_SIZE = 65_535


def _check(table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    check_values(table, rows)
    if isinstance(table.c.Value.type, Text):
        for row in rows:
            if len(row["Value"].encode()) > TEXT_SIZE:
                raise InvalidValue("Value", "too long")


@cache
def _deleting(table: Table) -> Delete:
    key = tuple_(table.c.JobID, table.c.Name)
    return table.delete().where(
        table.c.JobID.in_(bindparam("ids", expanding=True)), key.in_(bindparam("keys", expanding=True))
    )


async def input_data(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, list[str]]:
    """``{JobID: [logical file name as the JDL has it]}``; jobs without any are left out."""
    found: dict[int, list[str]] = {}
    for chunk in chunks(sorted(set(job_ids))):
        for job_id, name in await work.rows(JOB_DB, _files(), {"ids": chunk}):
            found.setdefault(job_id, []).append(name)
    return found


@cache
def _files() -> Select[Any]:
    c = InputData.c
    condition = c.JobID.in_(bindparam("ids", expanding=True))
    return select(c.JobID, c.LFN).where(condition).order_by(c.JobID, c.LFN)


async def set_input_data(work: UnitOfWork, files: Mapping[int, Sequence[str]]) -> int:
    """Replace the input data of those of the jobs that exist; returns how many files they have now.

    Raises InvalidValue.
    """
    there = [row.JobID for row in await locked_jobs(work, files)]
    for chunk in chunks(there):
        await work.change(JOB_DB, _emptying(), {"ids": chunk})
    return await add_input_data(work, {job_id: files[job_id] for job_id in there})


async def add_input_data(work: UnitOfWork, files: Mapping[int, Sequence[str]]) -> int:
    """Insert the input data of jobs that have none; a file that is named twice is there once."""
    rows = [
        {"JobID": job_id, "LFN": name} for job_id, names in files.items() for name in dict.fromkeys(names)
    ]
    check_values(InputData, rows)
    if rows:
        await work.change(JOB_DB, InputData.insert(), rows)
    return len(rows)


@cache
def _emptying() -> Delete:
    return InputData.delete().where(InputData.c.JobID.in_(bindparam("ids", expanding=True)))
