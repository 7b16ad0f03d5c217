"""The documentation says what the code says: names, defaults, options, rights, links and examples."""

from __future__ import annotations

import configparser
import inspect
import json
import logging
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from adaptor.methods.catalogue import ADAPTORS
from legacy_rpc.front_door import FinishedCall
from legacy_rpc.messages import Answered, Call, Failure, Identity
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import Method
from migration_plans.plan import PlanError, State, read_plan
from rest_backend.policies.catalogue import POLICIES
from rest_backend.table import OPERATIONS
from rest_backend.tasks.table import TASKS
from wherry.build import legacy_catalogue
from wherry.calls import Metrics, log_call
from wherry.cli import cli
from wherry.config import Address, Config
from wherry.methods import brought_up_to_date, described, reference, services_table
from wherry.metrics import RequestMetrics, TaskMetrics

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# Reading Markdown


@dataclass(frozen=True)
class Fence:
    """A block of code: its language, and its text."""

    language: str
    text: str


@cache
def split(page: Path) -> tuple[str, list[Fence]]:
    """A page's prose without its blocks of code, and the blocks."""
    pieces = re.split(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = [Fence(*each) for each in zip(pieces[1::3], pieces[2::3], strict=True)]
    return "\n".join(pieces[::3]), blocks


@cache
def sections(page: Path, level: int) -> dict[str, str]:
    """The prose under each heading of one level, sections below included; titles lose their backticks."""
    prose, _ = split(page)
    pieces = re.split(rf"^{'#' * level} (.+)$", prose, flags=re.MULTILINE)
    ends = rf"^#{{1,{level - 1}}} " if level > 1 else r"\Z"
    return {
        title.replace("`", ""): re.split(ends, text, flags=re.MULTILINE)[0]
        for title, text in zip(pieces[1::2], pieces[2::2], strict=True)
    }


def table(text: str, first_header: str) -> list[list[str]]:
    """The rows of every table whose first column has this header."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_header:
            inside = True
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    return rows


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def plain(text: str) -> str:
    """Words only: no backticks, no list marks, one blank between words."""
    return " ".join(re.sub(r"^- ", "", text.replace("`", ""), flags=re.MULTILINE).split())


def anchor(title: str) -> str:
    """The anchor that a heading has."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# Configuration


def configuration_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key with its record, sections included."""
    for name, record in model.model_fields.items():
        yield prefix + name, record
        for section in _sections_in(record.annotation):
            yield from configuration_keys(section, f"{prefix}{name}.")


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a key may hold: itself, in a map, a list or a choice of these."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not Address:
            yield annotation
        return
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections_in(inner)


CONFIGURATION = dict(configuration_keys(Config))


@cache
def described_keys() -> dict[str, list[str]]:
    """The rows of the reference by key."""
    prose, _ = split(REFERENCE / "configuration.md")
    return {quoted(row[0])[0]: row for row in table(prose, "key")}


def test_every_configuration_key_is_described() -> None:
    """The reference has a row for every key, and none for anything else."""
    assert described_keys().keys() == CONFIGURATION.keys()


@pytest.mark.parametrize("key", CONFIGURATION)
def test_configuration_default(key: str) -> None:
    """The reference gives each key's default."""
    record, (_, _, shown, _) = CONFIGURATION[key], described_keys()[key]
    if record.is_required():
        assert shown == "required"
    elif record.default is None:
        assert shown == "none"
    elif isinstance(record.default, Path):
        assert quoted(shown) == [str(record.default)]
    elif isinstance(record.default, int | float):
        assert yaml.safe_load(quoted(shown)[0]) == record.default
    else:  # a section, an empty text or map, or a value that is made when it is asked for
        assert shown not in ("", "required", "none")


# Command line


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands(cli, "wherry"))


@cache
def described_commands() -> dict[str, str]:
    """The sections of the reference by command."""
    found = sections(REFERENCE / "command-line.md", 2)
    return {title: text for title, text in found.items() if title.startswith("wherry")}


def test_every_command_is_described() -> None:
    """The reference has a section for every command, and none for anything else."""
    assert described_commands().keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_options(name: str) -> None:
    """The reference lists the options that a command has, all of them and no others."""
    rows = table(described_commands()[name], "option")
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert {tuple(quoted(row[0])) for row in rows} == {tuple(option.opts) for option in options}


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks; continued ones are joined."""
    for block in split(page)[1]:
        if block.language == "sh":
            yield from block.text.replace("\\\n", " ").splitlines()


def parsed(words: list[str]) -> None:
    """Walk to the command that the words name and have it parse the rest; raises what click raises."""
    command: click.Command = cli
    while isinstance(command, click.Group) and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    with click.Context(command) as context:
        known = {option for each in command.get_params(context) for option in each.opts}
    if isinstance(command, click.Group):
        assert words[0] in known
    else:
        command.make_context("wherry", words)


def test_command_examples_can_be_typed() -> None:
    """Every `wherry` line in the documentation names a command, and arguments and options that it takes."""
    lines = [line for page in PAGES for line in shell_lines(page) if re.match(r"(\.venv/bin/)?wherry ", line)]
    assert lines
    for line in lines:
        parsed(shlex.split(line)[1:])


def test_make_targets_are_there() -> None:
    """Every `make` line in the documentation names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        word for page in PAGES for line in shell_lines(page) for word in re.findall(r"^make ([a-z-]+)", line)
    }
    assert named
    assert named <= targets


# Legacy methods

SERVICES = {
    name: service for name in legacy_catalogue().services if (service := all_services().service(name))
}
ROUTED = [
    record for service in SERVICES.values() for record in service.methods.values() if not record.builtin
]
BUILTIN = {
    record.name: record
    for service in SERVICES.values()
    for record in service.methods.values()
    if record.builtin
}
METHODS = [*ROUTED, *BUILTIN.values()]


@pytest.mark.parametrize(
    ("page", "printed"),
    [(REFERENCE / "methods.md", reference()), (ROOT / "README.md", services_table())],
    ids=["reference", "README"],
)
def test_printed_parts_are_as_the_records_say(page: Path, printed: str) -> None:
    """The printed part of a page is what would be printed now: run `make methods`."""
    text = page.read_text(encoding="utf-8")
    assert text == brought_up_to_date(text, printed)


@pytest.mark.parametrize("record", METHODS, ids=lambda record: f"{record.service}.{record.name}")
def test_method_is_described(record: Method) -> None:
    """A method says what it answers; an adaptor, which requests it makes and what differs; they exist."""
    told, requests, differences = described(record)
    assert told
    named = {tuple(each.split()) for each in quoted(requests) if re.fullmatch(r"[A-Z]+ /\S+", each)}
    adapted = (record.service, record.name) in ADAPTORS
    assert bool(requests) == bool(differences) == adapted
    assert bool(named) == (adapted and not requests.startswith("No request"))
    assert named <= {(operation.method, operation.path) for operation in OPERATIONS}


# The methods of DIRAC 7.3.38, 8.0.86, 9.0.28 and 9.1.22, drawn from their handlers (legacy-methods.md).
INVENTORY = json.loads((ROOT / "tests" / "vectors" / "legacy-methods.json").read_text())
TRANSFERS = {
    "transfer_toClient": "FileTransfer/ToClient",
    "transfer_fromClient": "FileTransfer/FromClient",
    "transfer_bulkFromClient": "FileTransfer/BulkFromClient",
}
# Of an executor's wire, which is neither RPC nor a transfer.
NO_METHOD = {("WorkloadManagement/OptimizationMind", "msg_OptimizeJobs")}


@pytest.mark.parametrize("known", INVENTORY, ids=lambda known: f"{known['service']}.{known['method']}")
def test_every_method_of_dirac_is_here(known: dict[str, Any]) -> None:
    """Every method of the inventory has a record, with its releases and as many arguments."""
    name = TRANSFERS.get(known["method"], known["method"])
    record = all_services().method(known["service"], name)
    if (known["service"], name) in NO_METHOD:
        assert record is None
        return
    assert record is not None
    assert (record.since, record.until) == (known["since"], known["until"])
    assert len(record.parameters) >= len(known["args"]) or record.transfer


# REST


def test_every_operation_is_described() -> None:
    """The reference has a row for every operation, with its policy and whether it is an extension."""
    rows = table(sections(REFERENCE / "rest.md", 2)["Operations"], "method")
    described = {
        (quoted(method)[0], quoted(path)[0], quoted(name)[0], policy, text.startswith("extension:"))
        for method, path, name, policy, text in rows
    }
    assert described == {
        (each.method, each.path, each.name, f"[{each.policy.name}](#{each.policy.name})", each.extension)
        for each in OPERATIONS
    }


def test_every_policy_is_described() -> None:
    """The reference has every policy, its rule and its named extensions, in the words of the code."""
    found = sections(REFERENCE / "rest.md", 3)
    assert found.keys() == {policy.name for policy in POLICIES}
    for policy in POLICIES:
        text = plain(found[policy.name])
        assert policy.rule in text
        assert policy.extension in text
        names = re.findall(r"(?:^|\. )([a-z]+(?:-[a-z]+)+): ", policy.extension)
        assert re.findall(r"^- `([a-z-]+)`: ", found[policy.name], flags=re.MULTILINE) == names


# The plan


def test_states_are_described() -> None:
    """The reference of the plan has a row for every state of this version."""
    rows = table(sections(REFERENCE / "plan.md", 2)["States"], "state")
    assert [quoted(row[0])[0] for row in rows] == list(State)


# Logs and metrics


def test_every_metric_is_described() -> None:
    """The reference has every metric with its type and labels, and no other."""
    rows = table(sections(REFERENCE / "logs-and-metrics.md", 2)["Metrics"], "name")
    counted = CollectorRegistry()
    Metrics(lambda _service, _method: True, counted)
    RequestMetrics(counted)
    TaskMetrics(counted)
    collectors: list[Any] = list(counted._collector_to_names)
    assert {quoted(row[0])[0]: (row[1], tuple(quoted(row[2]))) for row in rows} == {
        each._name + ("_total" if each._type == "counter" else ""): (each._type, each._labelnames)
        for each in collectors
    }


@pytest.mark.parametrize(("title", "on_diracs"), [("On DIRAC's tables", True), ("On our own tables", False)])
def test_every_task_is_described(title: str, on_diracs: bool) -> None:
    """The reference has every periodic task, with how often it is done, and what it does in its own words."""
    rows = table(sections(REFERENCE / "periodic-tasks.md", 2)[title], "task")
    described = [(quoted(name)[0], minutes, what) for name, minutes, what in rows]
    assert described == [
        (
            task.name,
            f"{task.every.total_seconds() / 60:g}",
            inspect.getdoc(task.run).split(".\n")[0].rstrip("."),
        )
        for task in TASKS
        if task.on_diracs is on_diracs
    ]


def test_every_field_of_a_call_is_described(caplog: pytest.LogCaptureFixture) -> None:
    """The reference has every field of the record of a call, and no other."""
    rows = table(sections(REFERENCE / "logs-and-metrics.md", 2)["Logs"], "field")
    call = Call("Some/Service", "method", [], Identity("alice", "demo_user"), "dips")
    with caplog.at_level(logging.INFO, logger="wherry.calls"):
        log_call(FinishedCall(call, Answered(Failure("no"), "native", "legacy"), 0.1))
    fields: dict[str, Any] = vars(caplog.records[-1])["fields"]
    described = [name for row in rows for name in quoted(row[0])]
    assert sorted(described) == sorted(fields)


# Links, files and examples


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file, and to a heading in it if it names one."""
    prose, _ = split(page)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", split(file)[0], flags=re.MULTILINE)
            assert heading in {anchor(title.replace("`", "")) for title in titles}, target


@each_page
def test_named_files_are_there(page: Path) -> None:
    """Every Python file that a page names is in the repository."""
    prose, _ = split(page)
    named = [each for each in quoted(prose) if re.fullmatch(r"[\w/.]+/\w+\.py", each)]
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_named_functions_are_where_the_architecture_says() -> None:
    """Every function on the path of a call is defined in a file that its row links to."""
    rows = table(sections(DOCS / "architecture.md", 2)["The path of a call"], "step")
    assert rows
    for _, functions, links in rows:
        text = "".join((DOCS / link).read_text() for link in re.findall(r"\(([^)]+\.py)\)", links))
        for function in quoted(functions):
            assert re.search(rf"\b(def|class) {function.rpartition('.')[2]}\b", text), function


def test_yaml_examples_load() -> None:
    """Every YAML block is a plan or a configuration that loads, or a broken plan with its error after it."""
    catalogue = legacy_catalogue()
    seen = set()
    for page in PAGES:
        _, blocks = split(page)
        for index, block in enumerate(blocks):
            if block.language != "yaml":
                continue
            kind = block.text.partition("\n")[0]
            seen.add(kind)
            if kind == "# plan.yaml":
                assert read_plan(block.text, "plan.yaml", catalogue).generation
            elif kind == "# plan.yaml, broken":
                with pytest.raises(PlanError) as caught:
                    read_plan(block.text, "plan.yaml", catalogue)
                assert f"{caught.value}\n" == blocks[index + 1].text
            else:
                assert kind == "# wherry.yaml", f"{page}: begin the block with the file's name"
                assert Config.model_validate(yaml.load(block.text, Loader=yaml.CSafeLoader))
    assert seen == {"# plan.yaml", "# plan.yaml, broken", "# wherry.yaml"}


def test_every_library_has_its_reason() -> None:
    """Every requirement of setup.cfg stands in the decision about libraries."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    names = [re.split(r"[^\w-]", line)[0] for line in lines.splitlines() if line]
    text = (DOCS / "decisions/0001-libraries.md").read_text()
    assert names
    assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []
