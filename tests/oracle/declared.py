"""Where Wherry differs from DIRAC 9.1.22 on purpose: everything else the comparisons find is a fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
EVERY_TABLE = ("",)


@dataclass(frozen=True)
class Exchange:
    """One call, with what DIRAC and Wherry answered; the caller is a user or host, and its group."""

    caller: tuple[str, str]
    method: str
    arguments: list[Any]
    dirac: Result
    ours: Result

    @property
    def both_work(self) -> bool:
        """Nobody refuses."""
        return bool(self.dirac["OK"] and self.ours["OK"])

    @property
    def both_fail(self) -> bool:
        """Both refuse, in whatever words."""
        return not self.dirac["OK"] and not self.ours["OK"]

    def texts(self) -> Iterator[str]:
        """Every text in the arguments."""
        return _texts(self.arguments)


@dataclass(frozen=True)
class Difference:
    """``holds`` says whether it explains an exchange, of one of ``methods`` (all, if there are none).

    ``tables`` are those (by the beginning of ``database.table``) whose rows may differ afterwards; all the
    others are compared at once, and both sides start anew.
    """

    why: str
    holds: Callable[[Exchange], bool]
    methods: frozenset[str] = frozenset()
    tables: tuple[str, ...] = ()


def declared(exchange: Exchange, *, replies_differ: bool) -> Difference | None:
    """The difference that explains the replies; of equal replies, one that explains rows."""
    return next(
        (
            each
            for each in DIFFERENCES
            if (not each.methods or exchange.method in each.methods)
            and (replies_differ or each.tables)
            and each.holds(exchange)
        ),
        None,
    )


def _breaks(exchange: Exchange) -> bool:
    """An exception inside DIRAC, or an answer that it cannot send."""
    message = exchange.dirac.get("Message", "")
    return message.startswith("Server error while serving") or bool(
        re.match(r"\w+(Error|Exception)\(", message)
    )


# What stands for the answer of a service that closes the connection in place of one.
NO_ANSWER = "no answer"


def _cannot_be_sent(exchange: Exchange) -> bool:
    return exchange.dirac.get("Message") == NO_ANSWER


def _mysql_refuses(exchange: Exchange) -> bool:
    message = exchange.dirac.get("Message", "")
    return exchange.both_fail and (exchange.dirac.get("Errno") == 1131 or "MySQL Error" in message)


def _does_not_fit(exchange: Exchange) -> bool:
    message = exchange.ours.get("Message", "")
    return "Data too long for column" in message or "Out of range value" in message


def _no_proxy(exchange: Exchange) -> bool:
    name = "requireProxyUpload"
    rest = [{key: value for key, value in each.items() if key != name} for each in _both(exchange)]
    return exchange.ours.get(name) is False and (rest[0] == rest[1] or _same_ids(*rest))


def _other_order(exchange: Exchange) -> bool:
    return _same_ids(exchange.dirac, exchange.ours)


def _same_ids(one: Result, other: Result) -> bool:
    """Equal but for the order of ids."""
    return {key: _sorted(value) for key, value in one.items()} == {
        key: _sorted(value) for key, value in other.items()
    }


def _sorted(value: Any) -> Any:
    return sorted(value, key=repr) if isinstance(value, list) else value


def _counts_of_aborted(exchange: Exchange) -> bool:
    if not exchange.both_work:
        return False
    dirac, ours = (
        {
            ce: {status: count for status, count in counts.items() if not status.startswith("Aborted_")}
            for ce, counts in result["Value"].items()
        }
        for result in _both(exchange)
    )
    return dirac == ours


def _true_is_an_id(exchange: Exchange) -> bool:
    return exchange.arguments[:1] == [True]


def _has_fraction(exchange: Exchange) -> bool:
    return any(re.search(r"\d:\d\d:\d\d\.\d", text) for text in exchange.texts())


def _odd_measurement(exchange: Exchange) -> bool:
    measured = exchange.arguments[1] if len(exchange.arguments) > 1 else None
    return isinstance(measured, dict) and any(
        not isinstance(name, str) or len(name) > 100 or value is None for name, value in measured.items()
    )


def _too_long_for_sql(exchange: Exchange) -> bool:
    return not exchange.ours["OK"] and any(len(text) > 100 for text in exchange.texts())


def _invalid_description(exchange: Exchange) -> bool:
    return exchange.both_fail and exchange.dirac["Message"].startswith(("Invalid JDL", "Job "))


def _read_first(exchange: Exchange) -> bool:
    return exchange.both_fail and exchange.ours["Message"].startswith("Server error while serving")


def _unknown_site(exchange: Exchange) -> bool:
    description = exchange.arguments[0]
    known = isinstance(description, dict) and str(description.get("Site")).startswith("DEMO.")
    return not known and exchange.dirac.get("Message") == "Error requesting job"


MATCHED = ("JobID", "JDL", "Owner", "Group", "DN")


def _is_no_pilot(exchange: Exchange) -> bool:
    return exchange.caller[1] != "demo_pilot"


def _any_job_of_the_queue(exchange: Exchange) -> bool:
    if not exchange.both_work:
        return False
    one, other = (
        {key: value for key, value in each["Value"].items() if key not in MATCHED} for each in _both(exchange)
    )
    return one == other


def _other_page(exchange: Exchange) -> bool:
    """As many records of as many, with the same columns."""
    if not exchange.both_work:
        return False
    one, other = (
        {**each["Value"], "Records": len(each["Value"].get("Records", ()))} for each in _both(exchange)
    )
    return one == other


def _before_the_first(exchange: Exchange) -> bool:
    return exchange.arguments[2] < 0 or exchange.arguments[3] < 0


def _expands_nothing(exchange: Exchange) -> bool:
    return isinstance(exchange.arguments[0], dict) and exchange.arguments[0].get("ExpandSite") == ""


def _names_no_source(exchange: Exchange) -> bool:
    if exchange.method == "setJobStatus":
        return len(exchange.arguments) > 3 and not exchange.arguments[3]
    updates = exchange.arguments[1] if len(exchange.arguments) > 1 else None
    return isinstance(updates, dict) and any(
        not (isinstance(update, dict) and update.get("Source")) for update in updates.values()
    )


def _asks_for_empty(exchange: Exchange) -> bool:
    description = exchange.arguments[0]
    if not isinstance(description, dict) or not exchange.ours["OK"]:
        return False
    no_sql = "You have an error in your SQL syntax" in exchange.dirac.get("Message", "")
    values = list(description.values())
    return ("" in values and exchange.both_work) or (no_sql and [] in values)


def _cast_by_mysql(exchange: Exchange) -> bool:
    return exchange.both_work and bool({"PilotID", "CurrentJobID"} & set(exchange.arguments[0]))


def _always(_: Exchange) -> bool:
    return True


def _both(exchange: Exchange) -> tuple[Result, Result]:
    return exchange.dirac, exchange.ours


def _both_fail(exchange: Exchange) -> bool:
    return exchange.both_fail


def _both_work(exchange: Exchange) -> bool:
    return exchange.both_work


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


PARAMETERS = ("JobDB.JobParameters", "JobDB.AtticJobParameters")
PARAMETER_METHODS = frozenset({"setJobParameter", "setJobParameters", "setJobsParameter"})
STATUS_METHODS = frozenset({"setJobStatus", "setJobStatusBulk"})


def _shows_vo(exchange: Exchange) -> bool:
    [columns] = exchange.arguments
    return "VO" in columns[1:] and exchange.dirac["OK"] and exchange.ours["OK"]


def _page_of_others(exchange: Exchange) -> bool:
    both = exchange.dirac, exchange.ours
    return (
        all(result["OK"] for result in both)
        and len(
            {(result["Value"]["TotalRecords"], len(result["Value"].get("Records", ()))) for result in both}
        )
        == 1
    )


def _no_time(exchange: Exchange) -> bool:
    return not exchange.ours["OK"] and "Invalid timeStamp argument" in exchange.ours["Message"]


DIFFERENCES = (
    Difference(
        "pilots that their sort key does not tell apart come by age; DIRAC's in no order",
        _page_of_others,
        frozenset({"getPilotMonitorWeb"}),
    ),
    Difference(
        "a range of what is no time is refused; MySQL compares its text",
        _no_time,
        frozenset({"getPilotsCounters"}),
    ),
    Difference(
        "DIRAC takes a VO that is not the first column for a group, and shows the VO of that",
        _shows_vo,
        frozenset({"getGroupedPilotSummary"}),
    ),
    Difference(
        "what raises inside DIRAC is answered here, or refused clearly, and leaves nothing half done",
        _breaks,
        tables=EVERY_TABLE,
    ),
    Difference(
        "what MySQL refuses is refused here too, maybe in other words, and leaves nothing half done",
        _mysql_refuses,
        tables=EVERY_TABLE,
    ),
    Difference(
        "what fits into no column is refused before anything is looked up or done",
        _does_not_fit,
        tables=EVERY_TABLE,
    ),
    Difference(
        "DIRAC closes the connection over an answer that its encoding cannot carry",
        _cannot_be_sent,
        frozenset({"getJobStats", "getPilotStatistics"}),
    ),
    Difference(
        "parameters, which DIRAC keeps in OpenSearch, are rows here: their names have at most 100 characters",
        _too_long_for_sql,
        PARAMETER_METHODS,
        tables=PARAMETERS,
    ),
    Difference("nothing here uses stored proxies: none is asked for", _no_proxy),
    Difference(
        "ids ascend; DIRAC has them as its query gives them, without ORDER BY, or as they were given",
        _other_order,
        frozenset({"getJobs", "killJob", "deleteJob", "removeJob", "selectPilots"}),
    ),
    Difference(
        "DIRAC's query of the lately aborted has no GROUP BY: one CE, any, has the count of all",
        _counts_of_aborted,
        frozenset({"getPilotSummary"}),
    ),
    Difference("True, as a job's id, is 1 here and none there", _true_is_an_id, tables=EVERY_TABLE),
    Difference(
        "`.25` is a quarter of a second; DIRAC reads 25 microseconds",
        _has_fraction,
        STATUS_METHODS,
        EVERY_TABLE,
    ),
    Difference(
        "a measurement that cannot be kept is dropped alone; DIRAC drops the rest of the call, too",
        _odd_measurement,
        frozenset({"sendHeartBeat"}),
        tables=EVERY_TABLE,
    ),
    Difference(
        "a description that cannot be read is refused in the words of our reader",
        _invalid_description,
        frozenset({"submitJob"}),
        tables=EVERY_TABLE,
    ),
    Difference(
        "output and logs at CEs are not fetched here",
        _both_fail,
        frozenset({"getPilotOutput", "getPilotLoggingInfo"}),
    ),
    Difference(
        "arguments are read before the job is looked up",
        _read_first,
        STATUS_METHODS | PARAMETER_METHODS,
        tables=EVERY_TABLE,
    ),
    Difference(
        "a site of which ResourceStatusSystem says nothing: what the configuration says; in DIRAC, nothing",
        _unknown_site,
        frozenset({"requestJob"}),
        tables=EVERY_TABLE,
    ),
    Difference(
        "the source of a refused update that names none is `Unknown(SM)`; DIRAC's is `(SM)`",
        _names_no_source,
        STATUS_METHODS,
        tables=("JobLoggingDB.LoggingInfo",),
    ),
    Difference(
        "of several faults another is told", _both_fail, frozenset({"requestJob"}), tables=EVERY_TABLE
    ),
    Difference(
        "a user gets jobs of his own; DIRAC 9 asks for his DN, which queues lack: he gets his group's",
        _is_no_pilot,
        frozenset({"requestJob"}),
        tables=EVERY_TABLE,
    ),
    Difference(
        "which job of equal queues is matched is chance; pilots of 8.0 want the DN, so it is told to all",
        _any_job_of_the_queue,
        frozenset({"requestJob"}),
        tables=EVERY_TABLE,
    ),
    Difference(
        "jobs of a page have the order that was asked for, equal ones that of their ids; DIRAC's have none",
        _other_page,
        frozenset({"getJobPageSummaryWeb"}),
    ),
    Difference("a page before the first is refused", _before_the_first, frozenset({"getJobPageSummaryWeb"})),
    Difference(
        "the site `` is no site: nothing is expanded", _expands_nothing, frozenset({"getPilotSummaryWeb"})
    ),
    Difference(
        "numbers are numbers in conditions; MySQL makes one of `3x`",
        _cast_by_mysql,
        frozenset({"getPilotSummaryWeb"}),
    ),
    Difference(
        "an empty value of a description asks for nothing; of an empty list DIRAC makes no good SQL",
        _asks_for_empty,
        frozenset({"getMatchingTaskQueues"}),
    ),
    Difference(
        "a sandbox that has a legacy name is told by it; DIRAC tells the stored one",
        _both_work,
        frozenset({"getSandboxesAssignedToEntity"}),
    ),
    Difference(
        "output and logs at CEs are not fetched here",
        _both_work,
        frozenset({"getJobPilotOutput"}),
    ),
    Difference(
        "parameters of a rescheduled job move to the attic; DIRAC copies them, unless the id is a text",
        _always,
        frozenset({"rescheduleJob", "resetJob"}),
        tables=PARAMETERS,
    ),
    Difference(
        "DIRAC leaves the parameters of a removed job in OpenSearch",
        _always,
        frozenset({"removeJob"}),
        tables=PARAMETERS,
    ),
)
