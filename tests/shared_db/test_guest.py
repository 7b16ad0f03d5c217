"""A guest on tables that a release of DIRAC made: what is read and written where they differ from ours."""

from __future__ import annotations

from typing import Any

import pytest
from guests import GUESTS
from sqlalchemy import Column, Integer, MetaData, String, Table, column, select, table, text

from shared_db.connection import Databases, open_databases
from shared_db.errors import Foreign, Interrupted, InvalidValue, OutcomeUnknown
from shared_db.guest import Guest, differ
from shared_db.inspection import TableShape, schema_of
from shared_db.queries.conditions import Condition
from shared_db.queries.pilots import add_pilots, pilots_with_jobs
from shared_db.queries.search import Search, find_page, summarise
from shared_db.queries.submission import submit_jobs
from shared_db.registry import Registry
from shared_db.rules.jdl.description import describe
from shared_db.rules.jdl.policy import DIRAC_9_1, Submitter
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import JOB_DB, JobJDLs, JobParameters, Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

OLD = [each for each in GUESTS if each != "guest-9.1.22"]
on_old_tables = pytest.mark.parametrize("engine", OLD, indirect=True)
on_guests = pytest.mark.parametrize("engine", list(GUESTS), indirect=True)

ALICE = Submitter("alice", "lab_user", "lab")
DESCRIPTION = describe('Executable = "/bin/echo"; JobName = "a job";', ALICE, DIRAC_9_1)


async def submit(databases: Databases, count: int = 1) -> list[int]:
    """Submit jobs of alice's."""
    async with databases.unit_of_work(write=True) as work:
        return (await submit_jobs(work, [DESCRIPTION] * count)).job_ids


async def raw(databases: Databases, name: str, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of a table as DIRAC sees them, columns that are not ours included."""
    statement = select(*map(column, columns)).select_from(table(name))
    database = JOB_DB if name == "Jobs" else PILOT_AGENTS_DB

    def read(connection: Any) -> list[tuple[Any, ...]]:
        use_schema(connection)
        return [tuple(row) for row in connection.execute(statement)]

    return await databases.sync_run(database, read)


def use_schema(connection: Any) -> None:
    """Let names without a schema mean the logical database that the connection is for."""
    connection.exec_driver_sql(f"USE `{schema_of(connection)}`")


@pytest.mark.parametrize("engine", ["sqlite", *GUESTS], indirect=True)
async def test_who_has_setups(databases: Databases, engine: str) -> None:
    """Jobs belong to setups before DIRAC 9, in no other tables."""
    async with databases.unit_of_work() as work:
        assert work.has_setups is (engine in OLD)


@on_old_tables
async def test_a_job_is_written_as_its_release_writes_it(databases: Databases) -> None:
    """The owner's DN and the setup are there for the services of that release."""
    await submit(databases, 2)
    rows = await raw(databases, "Jobs", "Owner", "OwnerDN", "OwnerGroup", "DIRACSetup", "JobSplitType")
    assert rows == [("alice", "/O=Lab/CN=alice", "lab_user", "Production", "Single")] * 2


@on_old_tables
async def test_a_pilot_is_written_as_its_release_writes_it(databases: Databases) -> None:
    """It belongs to the group that stands for its VO; one of a VO that nobody knows to none."""
    async with databases.unit_of_work(write=True) as work:
        await add_pilots(work, [{"PilotJobReference": vo, "VO": vo} for vo in ("lab", "unheard")])
    rows = await raw(databases, "PilotAgents", "OwnerGroup", "OwnerDN", "TaskQueueID", "Broker")
    assert rows == [("lab_user", "Unknown", 0, "Unknown"), ("Unknown", "Unknown", 0, "Unknown")]


@on_guests
async def test_the_vo_is_read_on_every_release(databases: Databases) -> None:
    """As a column of an answer, in conditions, in a summary, and of pilots."""
    [job_id] = await submit(databases)
    async with databases.unit_of_work(write=True) as work:
        await add_pilots(work, [{"PilotJobReference": "p", "VO": "lab"}])
        for wanted, found in (("lab", [{"JobID": job_id, "VO": "lab"}]), ("other", [])):
            search = Search(columns=["JobID", "VO"], conditions=[Condition("VO", "eq", wanted)])
            assert (await find_page(work, Jobs, search)).rows == found
        assert await summarise(work, Jobs, ["VO"], []) == [{"VO": "lab", "count": 1}]
        [whole] = (await find_page(work, Jobs, Search())).rows
        assert (whole["VO"], list(whole)) == ("lab", [each.name for each in Jobs.c])
        [(pilot, _)] = await pilots_with_jobs(work, ["p"], ["VO"])
        assert pilot == {"VO": "lab"}


@pytest.mark.parametrize("engine", [each for each in OLD if "7.3" in each], indirect=True)
async def test_bytes_are_read_as_text(databases: Databases) -> None:
    """7.3 has BLOB for texts, which may hold UTF-8 of a client of today or Latin-1 of an old one."""
    [job_id] = await submit(databases)
    values = {"utf8": "prêt".encode(), "latin1": "prêt".encode("latin1")}

    def write(connection: Any) -> None:
        use_schema(connection)
        for name, value in values.items():
            connection.execute(
                text("INSERT INTO JobParameters VALUES (:job, :name, :value)"),
                {"job": job_id, "name": name, "value": value},
            )

    await databases.sync_run(JOB_DB, write)
    async with databases.unit_of_work() as work:
        rows = await work.rows(JOB_DB, select(JobParameters.c.Name, JobParameters.c.Value))
        [[jdl]] = await work.rows(JOB_DB, select(JobJDLs.c.JDL))
    assert dict(map(tuple, rows)) == {"utf8": "prêt", "latin1": "prêt"}
    assert isinstance(jdl, str)


@on_old_tables
async def test_text_that_latin1_has_not_is_refused(databases: Databases) -> None:
    """It is never changed to question marks in silence; what Latin-1 has is kept."""
    [job_id] = await submit(databases)

    async def name(value: str) -> None:
        async with databases.unit_of_work(write=True) as work:
            await work.change(JOB_DB, Jobs.update().values(JobName=value).where(Jobs.c.JobID == job_id))

    await name("prêt")
    with pytest.raises(InvalidValue, match="no text that can be stored"):
        await name("準備")
    assert await raw(databases, "Jobs", "JobName") == [("prêt",)]


# By shapes alone


def shapes(**changed: TableShape | None) -> dict[str, dict[str, TableShape]]:
    """Tables like ours, but for some."""
    real = {
        name: {
            each.name: TableShape(frozenset(each.c.keys()), engine="InnoDB")
            for each in schema.tables.values()
        }
        for name, schema in SCHEMAS.items()
    }
    for name, shape in changed.items():
        home = next(tables for tables in real.values() if name in tables)
        if shape is None:
            del home[name]
        else:
            home[name] = shape
    return real


ALL_OF_JOBS = frozenset(Jobs.c.keys())


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({}, False),
        ({"Jobs": TableShape(ALL_OF_JOBS | {"Colour"}, engine="InnoDB")}, False),
        ({"Jobs": TableShape(ALL_OF_JOBS - {"VO"}, engine="InnoDB")}, True),
        ({"Jobs": TableShape(ALL_OF_JOBS | {"OwnerDN"}, engine="InnoDB")}, True),
        ({"Jobs": TableShape(ALL_OF_JOBS | {"Colour"}, frozenset({"Colour"}), "InnoDB")}, True),
        ({"Jobs": TableShape(ALL_OF_JOBS, engine="MyISAM")}, True),
        ({"JobParameters": None}, True),
    ],
)
def test_statements_are_adapted_only_where_tables_differ(changed: dict[str, Any], different: bool) -> None:
    """Tables that are as ours cost nothing."""
    assert differ(shapes(**changed)) is different


def test_a_column_that_nothing_stands_in_for_is_named() -> None:
    """What is missing, and how to look for the rest."""
    guest = Guest(shapes(Jobs=TableShape(ALL_OF_JOBS - {"JobGroup"})), Registry.empty)
    with pytest.raises(Foreign, match=r"Jobs\.JobGroup is not there: `wherry db check`"):
        guest.adapt(select(Jobs.c.JobGroup), None)
    statement, _ = guest.adapt(select(Jobs.c.JobName), None)
    assert "JobName" in str(statement)


def test_a_column_that_nothing_can_fill_is_named() -> None:
    """A site's own column without a default."""
    shape = TableShape(ALL_OF_JOBS | {"Colour"}, frozenset({"Colour"}))
    guest = Guest(shapes(Jobs=shape), Registry.empty)
    with pytest.raises(Foreign, match="Jobs wants a value for Colour: give it a default"):
        guest.adapt(Jobs.insert(), [{"JobID": 1}])


def test_old_tables_without_a_setup_name_the_mend() -> None:
    """8.0's services find no job of another setup than theirs."""
    guest = Guest(shapes(Jobs=TableShape(ALL_OF_JOBS | {"OwnerDN", "DIRACSetup"})), Registry.empty)
    with pytest.raises(Foreign, match="name the setup in the registry, as DIRAC/Setup"):
        guest.adapt(Jobs.insert(), [{"JobID": 1, "Owner": "alice"}])


def test_ids_are_asked_for_in_one_way_only() -> None:
    """RETURNING would be lost on its way to the real table."""
    guest = Guest(shapes(PilotAgents=TableShape(frozenset(PilotAgents.c.keys()) - {"VO"})), Registry.empty)
    with pytest.raises(TypeError, match="insert_ids"):
        guest.adapt(PilotAgents.insert().returning(PilotAgents.c.PilotID), [{"VO": "lab"}])


def test_other_tables_are_left_alone() -> None:
    """A statement about a table that is not DIRAC's goes through as it is."""
    guest = Guest(shapes(Jobs=TableShape(ALL_OF_JOBS - {"VO"})), Registry.empty)
    own = Table("own", MetaData(info={"database": JOB_DB}), Column("Id", Integer), Column("VO", String(3)))
    statement, rows = guest.adapt(own.insert(), [{"Id": 1, "VO": "lab"}])
    assert rows == [{"Id": 1, "VO": "lab"}]
    assert str(statement) == str(own.insert())
    assert not guest.has(own)
    assert Guest({}, Registry.empty).has(Jobs)  # in a file beside a server: ours
    assert guest.has(Jobs)


# Tables without transactions


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
async def test_tables_without_transactions(databases: Databases, database_urls: Any) -> None:
    """Reading and writing go on; a rehearsal is refused, and nothing that was broken off is repeated."""

    def turn_into(engine: str) -> Any:
        def alter(connection: Any) -> None:
            use_schema(connection)
            connection.exec_driver_sql(f"ALTER TABLE JobToPilotMapping ENGINE={engine}")

        return alter

    await databases.sync_run(PILOT_AGENTS_DB, turn_into("MyISAM"))
    opened = open_databases(database_urls)
    try:
        async with opened.unit_of_work(write=True) as work:
            await add_pilots(work, [{"PilotJobReference": "p", "VO": "lab"}])
            assert len(await pilots_with_jobs(work, ["p"], ["VO"])) == 1
        with pytest.raises(Foreign, match=r"MyISAM.*wherry db check"):
            async with opened.rehearsal():
                pass
        with pytest.raises(OutcomeUnknown, match="A part of the change may have been kept: lost"):
            async with opened.unit_of_work(write=True):
                raise Interrupted("lost")
        with pytest.raises(Interrupted):
            async with opened.unit_of_work():
                raise Interrupted("lost")
    finally:
        await opened.dispose()
        await databases.sync_run(PILOT_AGENTS_DB, turn_into("InnoDB"))
