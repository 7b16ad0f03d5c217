"""The plan: reading, what it says of a broken edit, and following the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migration_plans.plan import Catalogue, Old, Plan, PlanError, State, read_plan
from migration_plans.plan_file import PlanFile
from migration_plans.routing import Decision, decide
from shared_db.followed_file import FileError

PILOTS = "WorkloadManagement/PilotManager"
JOBS = "WorkloadManagement/JobManager"
CATALOGUE = Catalogue(
    services={PILOTS: ["getPilotInfo", "getPilotSummary", "notAdapted"], JOBS: ["killJob"]},
    adapted={(PILOTS, "getPilotInfo"), (PILOTS, "getPilotSummary"), (JOBS, "killJob")},
)

SERVICE = f"plan: 1\nservices:\n  {PILOTS}:\n"


def read(text: str) -> dict[tuple[str, str], State]:
    """The states that a plan sets."""
    return {key: entry.state for key, entry in read_plan(text, "plan.yaml", CATALOGUE).entries.items()}


def test_states_of_methods() -> None:
    """A method has the state that the plan gives it, with line and reason; others are legacy."""
    plan = read_plan(
        f"plan: 1\nservices:\n  {PILOTS}:\n    methods:\n"
        "      getPilotInfo: {state: live, because: 'it is time'}\n",
        "plan.yaml",
        CATALOGUE,
    )
    entry = plan.entry(PILOTS, "getPilotInfo")
    assert (entry.state, entry.because, entry.line) == (State.LIVE, "it is time", 5)
    assert plan.entry(PILOTS, "getPilotSummary").state is State.LEGACY
    assert plan.entry(PILOTS, "getPilotSummary").line == 0


def test_state_of_a_service_and_methods_that_override_it() -> None:
    """A service's state is that of its methods, but for those that have their own."""
    text = SERVICE + "    state: legacy\n    methods:\n      getPilotInfo: {state: live}\n"
    assert read(text) == {
        (PILOTS, "getPilotInfo"): State.LIVE,
        (PILOTS, "getPilotSummary"): State.LEGACY,
        (PILOTS, "notAdapted"): State.LEGACY,
    }


def test_a_whole_service_can_be_live_but_for_one_method() -> None:
    """A live service may have a method without adaptor, when the plan keeps that one legacy."""
    text = (
        f"plan: 1\nservices:\n  {PILOTS}:\n    state: live\n    methods: {{notAdapted: {{state: legacy}}}}\n"
    )
    assert read(text)[PILOTS, "notAdapted"] is State.LEGACY


def test_minimal_plan() -> None:
    """A plan may say nothing at all: everything is legacy."""
    assert read("plan: 1\n") == {}


def test_generation_is_that_of_the_text() -> None:
    """Equal texts have equal generations, others do not."""
    first, again, other = (read_plan(text, "p", CATALOGUE) for text in ("plan: 1", "plan: 1", "plan: 1 "))
    assert first.generation == again.generation != other.generation


BROKEN = {
    "": "plan.yaml: is empty: a plan begins with `plan: 1`",
    "services: {}\n": "plan.yaml, line 1: the plan has no version: begin it with `plan: 1`",
    "plan: 2\n": "plan.yaml, line 1: this version reads plans of version 1: write `plan: 1`",
    "plan: 1\nservics: {}\n": "plan.yaml, line 2: unknown key 'servics': did you mean 'services'?",
    "plan: 1\nservices: [a]\n": "plan.yaml, line 2: expected `name: value` lines",
    "plan: 1\nservices:\n  WorkloadManagement/PilotManger: {state: live}\n": (
        f"plan.yaml, line 3: unknown service 'WorkloadManagement/PilotManger': did you mean '{PILOTS}'?"
    ),
    "plan: 1\nservices:\n  zzz: {state: live}\n": (
        f"plan.yaml, line 3: unknown service 'zzz': known are {PILOTS}, {JOBS}"
    ),
    SERVICE + "    methods:\n      getPilotInfos: {state: live}\n": (
        f"plan.yaml, line 5: unknown method of {PILOTS} 'getPilotInfos': did you mean 'getPilotInfo'?"
    ),
    SERVICE + "    methods:\n      getPilotInfo: {stat: live}\n": (
        "plan.yaml, line 5: unknown key 'stat': did you mean 'state'?"
    ),
    SERVICE + "    methods:\n      getPilotInfo: {state: lives}\n": (
        "plan.yaml, line 5: unknown state 'lives': did you mean 'live'?"
    ),
    SERVICE + "    methods:\n      getPilotInfo: {state: canary}\n": (
        "plan.yaml, line 5: state 'canary' is not in this version: use legacy or live"
    ),
    SERVICE + "    methods:\n      getPilotInfo: {state: off}\n": (
        "plan.yaml, line 5: unknown state 'off': known are legacy, live"
    ),
    SERVICE + "    methods:\n      getPilotInfo: live\n": (
        "plan.yaml, line 5: a state stands in a mapping: write `{state: live}`"
    ),
    SERVICE + "    methods:\n      getPilotInfo: 5\n": "plan.yaml, line 5: expected `name: value` lines",
    SERVICE + "    methods:\n      getPilotInfo: {}\n": (
        "plan.yaml, line 5: a state is needed: `state: legacy` or `state: live`"
    ),
    SERVICE + "    methods:\n      getPilotInfo: {state: live}\n      getPilotInfo: {state: legacy}\n": (
        "plan.yaml, line 6: 'getPilotInfo' stands twice: keep one"
    ),
    SERVICE + "    methods:\n      notAdapted: {state: live}\n": (
        f"plan.yaml, line 5: notAdapted of {PILOTS} has no adaptor, so it cannot be live:"
        " write `state: legacy` for it"
    ),
    SERVICE + "    state: live\n": f"plan.yaml, line 4: notAdapted of {PILOTS} has no adaptor",
    SERVICE + "    because: no reason\n": "plan.yaml, line 4: `because` explains a state",
    SERVICE + "    state: [live]\n": "plan.yaml, line 4: expected one word for state",
    "plan: 1\nservices: {\n": "plan.yaml, line 3: no YAML:",
    "plan: 1\n\tservices: x\n": "plan.yaml, line 2: no YAML:",
    "plan: \x01\n": "plan.yaml: no YAML:",
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items(), ids=range(len(BROKEN)))
def test_broken_plan(text: str, message: str) -> None:
    """A broken plan is an error that names the line and what was probably meant."""
    with pytest.raises(PlanError) as raised:
        read(text)
    assert str(raised.value).startswith(message)


@pytest.fixture
def file(tmp_path: Path) -> PlanFile:
    """A plan in force."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"plan: 1\nservices: {{{JOBS}: {{state: live}}}}\n")
    plan = PlanFile(path, CATALOGUE)
    plan.load()
    return plan


def test_broken_edit_keeps_the_old_plan(file: PlanFile) -> None:
    """A broken edit changes nothing but ``error``; the next good one takes effect."""
    file.path.write_text(f"plan: 1\nservices: {{{JOBS}: {{state: levy}}}}\n")
    assert file.refresh() is False
    assert file.current.entry(JOBS, "killJob").state is State.LIVE
    assert file.error == f"{file.path}, line 2: unknown state 'levy': did you mean 'legacy'?"
    file.path.write_text("plan: 1\n# all legacy now\n")
    assert file.refresh() is True
    assert file.current.entry(JOBS, "killJob").state is State.LEGACY
    assert file.error is None


def test_missing_file(tmp_path: Path) -> None:
    """A plan that is not there is an error that names the setting."""
    with pytest.raises(FileError, match=r"nowhere.yaml cannot be read .* point `plan` at"):
        PlanFile(tmp_path / "nowhere.yaml", CATALOGUE).load()


@pytest.mark.parametrize(
    ("text", "token", "expected"),
    [
        ("plan: 1\n", True, Decision("native", "default")),
        (f"plan: 1\nservices: {{{JOBS}: {{state: legacy}}}}\n", True, Decision("native", "legacy")),
        (f"plan: 1\nservices: {{{JOBS}: {{state: live}}}}\n", True, Decision("rest", "live")),
        (f"plan: 1\nservices: {{{JOBS}: {{state: live}}}}\n", False, Decision("native", "no-token")),
    ],
)
def test_decision(text: str, token: bool, expected: Decision) -> None:
    """The route follows the state, and without a token a call stays on the old side."""
    plan = read_plan(text, "p", CATALOGUE)
    assert decide(plan, JOBS, "killJob", token_available=token) == expected


# --- the old side

SANDBOXES, REQUESTS, SERVER = (
    "WorkloadManagement/SandboxStore",
    "RequestManagement/ReqManager",
    "Configuration/Server",
)
WITH_UPSTREAMS = Catalogue(
    services={
        **CATALOGUE.services,
        SANDBOXES: ["getSandbox"],
        REQUESTS: ["putRequest"],
        SERVER: ["getVersion"],
    },
    adapted=CATALOGUE.adapted,
    transfers={SANDBOXES: ["FileTransfer/ToClient", "FileTransfer/FromClient"]},
    only={REQUESTS: Old.UPSTREAM, SERVER: Old.NATIVE},
    upstreams=(PILOTS, SANDBOXES, REQUESTS),
)


def passing(services: str, upstreams: tuple[str, ...] | None = WITH_UPSTREAMS.upstreams) -> Plan:
    """A plan with these services, where the configuration names these upstreams."""
    return read_plan(
        f"plan: 1\nservices: {{{services}}}\n", "plan.yaml", replace(WITH_UPSTREAMS, upstreams=upstreams)
    )


def test_old_side_of_a_service() -> None:
    """A service has one old side, for methods, for transfers, and for methods that are not known here."""
    plan = passing(f"{PILOTS}: {{old: upstream}}")
    for method in ("getPilotInfo", "ping", "FileTransfer/ToClient", "notKnownHere"):
        assert plan.old(PILOTS, method) is Old.UPSTREAM
        assert plan.old(JOBS, method) is Old.NATIVE
        assert plan.old("Some/Other", method) is Old.NATIVE
    assert plan.entry(PILOTS, "getPilotInfo").state is State.LEGACY


def test_a_methods_old_side_outweighs_its_services() -> None:
    """Either way round; what only has an old side keeps its service's state."""
    methods = "getPilotInfo: {old: native}, getPilotSummary: {state: live}, notAdapted: {state: legacy}"
    plan = passing(f"{PILOTS}: {{old: upstream, state: live, methods: {{{methods}}}}}")
    assert plan.old(PILOTS, "getPilotInfo") is Old.NATIVE
    assert plan.old(PILOTS, "getPilotSummary") is Old.UPSTREAM
    assert {plan.entry(PILOTS, each).state for each in ("getPilotInfo", "getPilotSummary")} == {State.LIVE}
    single = passing(f"{PILOTS}: {{methods: {{getPilotInfo: {{old: upstream}}}}}}")
    assert single.old(PILOTS, "getPilotInfo") is Old.UPSTREAM
    assert single.old(PILOTS, "getPilotSummary") is Old.NATIVE
    assert single.old(PILOTS, "ping") is Old.NATIVE


def test_old_side_of_a_transfer() -> None:
    """A plan can say it of one direction; a live service's transfers stay where they are."""
    plan = passing(f"{SANDBOXES}: {{methods: {{FileTransfer/ToClient: {{old: upstream}}}}}}")
    assert plan.old(SANDBOXES, "FileTransfer/ToClient") is Old.UPSTREAM
    assert plan.old(SANDBOXES, "FileTransfer/FromClient") is Old.NATIVE


def test_other_services() -> None:
    """One line is for all services that have no methods here, and for no others."""
    plan = passing('"*": {old: upstream, because: "day one"}', ("*",))
    assert plan.old("DataManagement/FileCatalog", "listDirectory") is Old.UPSTREAM
    assert plan.old(JOBS, "killJob") is Old.NATIVE
    assert passing('"*": {state: legacy, old: native}').others is Old.NATIVE


def test_services_without_native_handlers() -> None:
    """Their old side is elsewhere without a word in the plan."""
    assert passing("").old(REQUESTS, "putRequest") is Old.UPSTREAM
    assert passing(f"{REQUESTS}: {{state: legacy}}").old(REQUESTS, "putRequest") is Old.UPSTREAM


def test_without_a_configuration_upstreams_are_not_asked_for() -> None:
    """A plan can be read before there is a configuration."""
    assert passing(f"{JOBS}: {{old: upstream}}", None).old(JOBS, "killJob") is Old.UPSTREAM


BROKEN_OLD = {
    f"{JOBS}: {{old: upstream}}": (
        f"{JOBS} is to go upstream, and wherry.yaml names no upstream of it:"
        f' add `upstream: {{{JOBS}: "dips://HOST:PORT/{JOBS}"}}` there'
    ),
    f"{JOBS}: {{methods: {{killJob: {{old: upstream}}}}}}": f"{JOBS} is to go upstream, and",
    '"*": {old: upstream}': "services without methods here are to go upstream, and wherry.yaml names no",
    '"*": {state: live}': "'*' is the services without methods here, which have no adaptors: write `old:",
    '"*": {state: canary}': "state 'canary' is not in this version",
    '"*": {because: "x"}': "'*' says where other services go: write `old: upstream`",
    '"*": {old: upstream, methods: {}}': "unknown key 'methods': known are old, state, because",
    '"*": upstream': "a side stands in a mapping: write `{old: upstream}`",
    f"{PILOTS}: {{old: upstrem}}": "unknown old side 'upstrem': did you mean 'upstream'?",
    f"{PILOTS}: {{old: rest}}": "unknown old side 'rest': ",
    f"{REQUESTS}: {{old: native}}": f"{REQUESTS} has no native handlers: write `old: upstream`",
    f"{SERVER}: {{old: upstream}}": f"{SERVER} is answered here, since clients learn from it to come here",
    f"{SANDBOXES}: {{methods: {{FileTransfer/ToClient: {{state: live}}}}}}": (
        f"FileTransfer/ToClient of {SANDBOXES} has no adaptor, so it cannot be live"
    ),
}


@pytest.mark.parametrize(("services", "message"), BROKEN_OLD.items(), ids=range(len(BROKEN_OLD)))
def test_broken_old_side(services: str, message: str) -> None:
    """What cannot be is an error that names the line and the mend."""
    with pytest.raises(PlanError) as raised:
        passing(services)
    assert str(raised.value).startswith(f"plan.yaml, line 2: {message}")


def test_an_edit_that_wants_an_unnamed_upstream_keeps_the_old_plan(tmp_path: Path) -> None:
    """It is an error at start and a refused edit later."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"plan: 1\nservices: {{{PILOTS}: {{old: upstream}}}}\n")
    plan = PlanFile(path, WITH_UPSTREAMS)
    plan.load()
    written = plan.current.written
    path.write_text(f"plan: 1\nservices: {{{JOBS}: {{old: upstream}}}}\n")
    assert plan.refresh() is False
    assert "wherry.yaml names no upstream of it" in (plan.error or "")
    assert plan.current.old(PILOTS, "getPilotInfo") is Old.UPSTREAM
    assert plan.current.written == written
    with pytest.raises(PlanError, match="names no upstream"):
        PlanFile(path, WITH_UPSTREAMS).load()


@pytest.mark.parametrize(
    ("services", "method", "token", "expected"),
    [
        (f"{PILOTS}: {{old: upstream}}", "getPilotInfo", True, Decision("upstream", "legacy")),
        (f"{PILOTS}: {{old: upstream}}", "unknown", True, Decision("upstream", "default")),
        (
            f"{PILOTS}: {{old: upstream, methods: {{getPilotInfo: {{state: live}}}}}}",
            "getPilotInfo",
            True,
            Decision("rest", "live"),
        ),
        (
            f"{PILOTS}: {{old: upstream, methods: {{getPilotInfo: {{state: live}}}}}}",
            "getPilotInfo",
            False,
            Decision("upstream", "no-token"),
        ),
    ],
)
def test_decision_with_an_upstream(services: str, method: str, token: bool, expected: Decision) -> None:
    """The route of the old side is where that side is."""
    assert decide(passing(services), PILOTS, method, token_available=token) == expected
