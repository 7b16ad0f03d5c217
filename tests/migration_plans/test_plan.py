"""The plan: reading, what it says of a broken edit, and following the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_plans.plan import Catalogue, PlanError, State, read_plan
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
