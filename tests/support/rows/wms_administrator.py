"""Rows of WorkloadManagement/WMSAdministrator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adaptor.conversation import Request, RestFailure
from rows.conversation import Row
from rows.jobs import site_rows
from shared_db.rules.refusals import Refusal, UnfitArgument

SERVICE = "WorkloadManagement/WMSAdministrator"
MASK = "/api/site-mask/"


def masked(status: str, comment: str = "why", time: str = "2026-11-21T21:03:12Z") -> dict[str, str]:
    """An entry over REST."""
    return {"Status": status, "Author": "alice", "Comment": comment, "Time": time}


WHOLE = {"A": masked("Active"), "B": masked("Banned")}
MOMENT = datetime(2026, 11, 21, 21, 3, 12, tzinfo=UTC).replace(tzinfo=None)
READ = [(Request("GET", MASK), WHOLE)]
NO_UPDATE = Refusal("Failed to update the Site Mask")


def writing(method: str, arguments: list[Any], sites: dict[str, str], comment: str = "No comment") -> Row:
    """A change of the mask."""
    body = {"sites": sites, "comment": comment}
    return Row(SERVICE, method, arguments, [(Request("PATCH", MASK, body), {"changed": []})], None)


def reading(method: str, arguments: list[Any], expected: Any) -> Row:
    """Something that the whole mask tells."""
    return Row(SERVICE, method, arguments, READ, expected)


def history(sites: Any, query: dict[str, Any], found: dict[str, Any], expected: Any) -> Row:
    """What was said of sites."""
    requests = (Request("GET", f"{MASK}history", query=query), Request("GET", MASK))
    return Row(SERVICE, "getSiteMaskLogging", [sites], [(requests, (found, WHOLE))], expected)


def outputs(job_id: Any, answer: Any, expected: Any) -> Row:
    """What the pilots of job 3 wrote."""
    request = Request("GET", "/api/pilots/output", query={"job_id": 3})
    return Row(SERVICE, "getJobPilotOutput", [job_id], [(request, answer)], expected)


def wrote(reference: str, output: str | None, error: str | None) -> dict[str, Any]:
    """A pilot's outputs over REST."""
    return {"PilotJobReference": reference, "StdOut": output, "StdErr": error}


LINE = ["Banned", "2026-11-21 21:03:12", "alice", "why"]
UNKNOWN = ["Unknown", "", "", "Site not present in logging table"]
MANY = [f"S{number}" for number in range(101)]
NOT_KEPT = "the output is not kept here, and the computing element is not asked"

ROWS: dict[str, Row] = {
    "ban": writing("banSite", ["A", "broken"], {"A": "Banned"}, "broken"),
    "allow": writing("allowSite", ["A"], {"A": "Active"}),
    "set": writing("setSiteMask", [["A", "B"]], {"A": "Active", "B": "Active"}),
    "set nothing": Row(SERVICE, "setSiteMask", [[]], [], None),
    "set what is no site": Row(SERVICE, "setSiteMask", [["A", 5]], [], NO_UPDATE),
    "a name that is too long": Row(SERVICE, "banSite", ["x" * 65], [], NO_UPDATE),
    "a comment that is no text": Row(SERVICE, "allowSite", ["A", 5], [], NO_UPDATE),
    "a comment that is too long": Row(SERVICE, "banSite", ["A", "x" * 10_001], [], NO_UPDATE),
    "clear": Row(SERVICE, "clearMask", [], [(Request("DELETE", MASK), {"changed": ["A", "B"]})], 2),
    "active sites": reading("getSiteMask", [], ["A"]),
    "banned sites": reading("getSiteMask", ["Banned"], ["B"]),
    "status of all": reading("getSiteMaskStatus", [], {"A": "Active", "B": "Banned"}),
    "status of one": reading("getSiteMaskStatus", ["B"], "Banned"),
    "status of none": reading("getSiteMaskStatus", ["C"], Refusal("Unknown site C")),
    "status of some": reading("getSiteMaskStatus", [["B", "C", 5]], {"B": "Banned"}),
    "everything": reading(
        "getAllSiteMaskStatus",
        [],
        {"A": ("Active", MOMENT, "alice", "why"), "B": ("Banned", MOMENT, "alice", "why")},
    ),
    "history of some": history(
        ["A", "B", "C"],
        {"site": ["A", "B", "C"]},
        {"A": [masked("Banned")]},
        {"A": [LINE], "B": [LINE], "C": [UNKNOWN]},
    ),
    "history of one": history("C", {"site": ["C"]}, {}, {"C": [UNKNOWN]}),
    "history of all": history([], {}, {"A": [masked("Banned")]}, {"A": [LINE]}),
    "history of very many": history(MANY, {}, {"A": []}, {site: [UNKNOWN] for site in MANY}),
    "summary": Row(
        SERVICE,
        "getSiteMaskSummary",
        [],
        [(Request("GET", f"{MASK}summary"), {"A": "Active"})],
        {"A": "Active"},
    ),
    "outputs of all pilots": outputs(
        "3",
        [wrote("r1", "out", ""), wrote("r2", None, None)],
        {
            "StdOut": f"# PilotJobReference: r1\n\nout\n"
            f"# PilotJobReference: r2\n\nCould not retrieve output: {NOT_KEPT}\n",
            "StdErr": f"# PilotJobReference: r1\n\n\n"
            f"# PilotJobReference: r2\n\nCould not retrieve error: {NOT_KEPT}\n",
        },
    ),
    "outputs of one reference": outputs(
        3,
        [wrote("r1", "old", "e"), wrote("r1", "new", "e")],
        {"StdOut": "# PilotJobReference: r1\n\nnew\n", "StdErr": "# PilotJobReference: r1\n\ne\n"},
    ),
    "no pilot ran it": outputs(3, RestFailure(404, "no"), Refusal("Failed to get pilot for Job 3: ")),
    "no such route": outputs(3, RestFailure(404, "Not Found"), RestFailure(404, "Not Found")),
    "no job's number": Row(
        SERVICE, "getJobPilotOutput", [-1], [], Refusal("Failed to get pilot for Job -1: ")
    ),
    "no number": Row(
        SERVICE,
        "getJobPilotOutput",
        ["x"],
        [],
        UnfitArgument("invalid literal for int() with base 10: 'x'"),
    ),
    **site_rows(SERVICE),
}
