"""What is stored of a submitted job, against what DIRAC 9.1.22 stored for the same JDL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_db.rules.jdl.description import (
    RefusedAfterInsertion,
    describe,
    job_requirements,
    redescribe,
)
from shared_db.rules.jdl.policy import DIRAC_8_0, DIRAC_9_1, DIRACX_0_7, Submitter
from shared_db.rules.jdl.reader import JdlError
from shared_db.rules.refusals import Refusal

ALICE = Submitter("alice", "lab_user", "lab", dn="/C=CH/CN=alice")
# What the oracle was asked with.
SITES = frozenset({"LCG.CERN.ch", "LCG.PIC.es", "DIRAC.Lab.org"})
POLICY = replace(DIRAC_9_1, sites=SITES)

REQUIREMENTS = """    JobRequirements = 
        [ 
            CPUTime = {cpu_time};
            Owner = "alice";
            OwnerGroup = "lab_user";{platforms}
            UserPriority = {priority};
            VirtualOrganization = "lab";
        ];
"""  # noqa: W291  DIRAC leaves a blank at these ends of lines
OWNER = '    Owner = "alice";\n    OwnerGroup = "lab_user";\n'
COLUMNS = {
    "JobName": "Unknown",
    "JobType": "user",
    "JobGroup": "00000000",
    "Site": "ANY",
    "UserPriority": 1,
    "Owner": "alice",
    "OwnerGroup": "lab_user",
    "VO": "lab",
}


def requirements(cpu_time: int = 86400, priority: int = 1, platforms: str = "") -> str:
    """The record that DIRAC adds, as text."""
    return REQUIREMENTS.format(cpu_time=cpu_time, priority=priority, platforms=platforms)


def test_the_smallest_job() -> None:
    """The captured JDL of one attribute, and the defaults of every column."""
    description = describe('Executable="/bin/echo"', ALICE, POLICY)
    record = description.for_job(12)
    assert description.original_jdl == '[Executable="/bin/echo"]'
    assert record.jdl == (
        '[ \n    CPUTime = 86400;\n    Executable = "/bin/echo";\n    JobID = 12;\n'
        + requirements()
        + OWNER
        + '    Priority = 1;\n    VirtualOrganization = "lab";\n]'
    )
    assert record.columns == COLUMNS
    assert record.input_data == []


def test_a_job_with_everything() -> None:
    """The text that the oracle stored for a job whose every attribute was changed on its way."""
    text = """[
  Executable = "e"; Arguments = "%j %%j %J, 1"; JobName = "a%jb"; JobGroup = 12; JobType = "Test";
  Site = "LCG.CERN.ch,LCG.PIC.es"; InputData = {"LFN:/lab/%j", "/lab/b",}; Priority = "7"; CPUTime = " 300 ";
  Owner = "eve"; OwnerGroup = "x"; JobID = 5; JobRequirements = "y"; VirtualOrganization = "";
  WholeNode = true; Tags = {"t"}; k = [b = other.x == "Y";];
]"""
    record = describe(text, ALICE, POLICY).for_job(298)
    assert record.jdl == (
        '[ \n    Arguments = "298 %298 %J, 1";\n    CPUTime = 300;\n    Executable = "e";\n'
        '    InputData = \n        {\n            "LFN:/lab/298",\n            "/lab/b"\n        };\n'
        '    JobGroup = 12;\n    JobID = 298;\n    JobName = "a298b";\n'
        + requirements(300, 7)
        + '    JobType = "Test";\n'
        + OWNER
        + '    Priority = 7;\n    Site = \n        {\n            "LCG.CERN.ch",\n            "LCG.PIC.es"\n'
        '        };\n    Tags = "t";\n    VirtualOrganization = "lab";\n    WholeNode = "true";\n'
        '    k = \n        [ \n            b = "other.x == Y";\n        ];\n]'
    )
    changed = {"JobName": "a298b", "JobType": "Test", "JobGroup": "12", "Site": "Multiple", "UserPriority": 7}
    assert record.columns == COLUMNS | changed
    assert record.input_data == ["LFN:/lab/298", "/lab/b"]


@pytest.mark.parametrize(
    ("attribute", "column", "value"),
    [
        ('Site="LCG.CERN.ch"', "Site", "LCG.CERN.ch"),
        ('Site={"LCG.CERN.ch"}', "Site", "LCG.CERN.ch"),
        ('Site={"LCG.CERN.ch","LCG.CERN.ch"}', "Site", "Multiple"),
        ('Site={"ANY","LCG.CERN.ch"}', "Site", "Multiple"),
        ('Site="ANY"', "Site", "ANY"),
        ('Site=""', "Site", "ANY"),
        ("Site={}", "Site", "ANY"),
        ('JobName="  a "', "JobName", "  a "),
        ("JobName=5", "JobName", "5"),
        ('JobName=""', "JobName", "Unknown"),
        ("JobType=User", "JobType", "User"),
        ("Priority=0", "UserPriority", 0),
        ("Priority=+10", "UserPriority", 10),
        ("UserPriority=5", "UserPriority", 1),
        ('VO="z"', "VO", "lab"),
    ],
)
def test_columns(attribute: str, column: str, value: Any) -> None:
    """As the oracle's row had them."""
    record = describe(f'Executable="e";{attribute}', ALICE, POLICY).for_job(1)
    assert record.columns[column] == value


@pytest.mark.parametrize(
    ("value", "lfns"),
    [
        ('"/lab/a"', ["/lab/a"]),
        ('"LFN:/lab/a"', ["LFN:/lab/a"]),
        ('"/lab/a, /lab/b"', ["/lab/a", "/lab/b"]),
        ('{"/lab/a","LFN:/lab/a"}', ["/lab/a", "LFN:/lab/a"]),
        ('{"/lab/b","/lab/a","/lab/b"}', ["/lab/b", "/lab/a"]),
        ('{"/lab/a",""}', ["/lab/a"]),
        ('""', []),
        ("{}", []),
    ],
)
def test_input_data(value: str, lfns: list[str]) -> None:
    """As they were written, each file once."""
    assert describe(f'Executable="e";InputData={value}', ALICE, POLICY).for_job(1).input_data == lfns


# Refusals

HELP = "\n    For further information visit https://errors.pydantic.dev/2.14/v/"
BASE = "Invalid JDL: 1 validation error for BaseJobDescriptionModel\n"
MODEL = (
    "[type=value_error, input_value=BaseJobDescriptionModel(a...s=set(), extraFields={}), "
    "input_type=BaseJobDescriptionModel]"
)
LEVELS = "['DEBUG', 'VERBOSE', 'INFO', 'WARN', 'NOTICE', 'ERROR', 'ALWAYS', 'FATAL']"


def wrong(field: str, problem: str, value: str, kind: str) -> str:
    """The text of pydantic for one field."""
    return (
        f"{BASE}{field}\n  Value error, {problem} [type=value_error, input_value={value}, input_type={kind}]"
        f"{HELP}value_error"
    )


def no_integer(field: str) -> str:
    """The text of pydantic for what is no whole number."""
    return (
        f"{BASE}{field}\n  Input should be a valid integer "
        f"[type=int_type, input_value=None, input_type=NoneType]{HELP}int_type"
    )


def wrong_model(problem: str) -> str:
    """The text of pydantic for attributes that do not go together."""
    return f"{BASE}  Value error, {problem} {MODEL}{HELP}value_error"


NO_EXECUTABLE = wrong("executable", "executable must not be an empty string", "''", "str")
TOO_MANY_FILES = wrong_model("inputData contains too many files (must contain at most 500)")
FOREIGN_FILE = (
    "1 validation error for JobDescriptionModel\n"
    "  Value error, Input data not correctly specified (must start with LFN:/lab/) [type=value_error, "
    f"input_value={{'arguments': '', 'banned...'lab_user', 'vo': 'lab'}}, input_type=dict]{HELP}value_error"
)


def files(count: int) -> str:
    """An InputData attribute."""
    return "InputData={" + ",".join(f'"/lab/{number}"' for number in range(count)) + "}"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("", NO_EXECUTABLE),
        ('Executable=""', NO_EXECUTABLE),
        (
            "CPUTime=99",
            wrong("cpuTime", "cpuTime out of bounds (must be between 100 and 500000)", "99", "int"),
        ),
        (
            "CPUTime=500001",
            wrong("cpuTime", "cpuTime out of bounds (must be between 100 and 500000)", "500001", "int"),
        ),
        ("CPUTime=1e4", no_integer("cpuTime")),
        ("CPUTime={1000}", no_integer("cpuTime")),
        (
            "Priority=11",
            wrong("priority", "priority out of bounds (must be between 0 and 10)", "11", "int"),
        ),
        (
            "Priority=-1",
            wrong("priority", "priority out of bounds (must be between 0 and 10)", "-1", "int"),
        ),
        ('Priority="x"', no_integer("priority")),
        (
            'JobType="user"',
            wrong(
                "jobType",
                "jobType 'user' is not allowed for this kind of user "
                "(must be in ['User', 'Test', 'Hospital'])",
                "'user'",
                "str",
            ),
        ),
        ('LogLevel="x"', wrong("logLevel", f"Log level X not in {LEVELS}", "'x'", "str")),
        (
            'Site={"X.Y.z","A.B.c"}',
            wrong("sites", "Invalid sites: A.B.c X.Y.z", "['X.Y.z', 'A.B.c']", "list"),
        ),
        ('Site="Any"', wrong("sites", "Invalid sites: Any", "['Any']", "list")),
        (
            'Site="LCG.CERN.ch";BannedSites={"LCG.CERN.ch","LCG.PIC.es"}',
            wrong_model("sites and bannedSites are mutually exclusive"),
        ),
        (
            'InputData="lfn:/lab/a"',
            wrong("inputData", "Input data files must start with LFN:/", "['lfn:/lab/a']", "list"),
        ),
        (
            'InputData={"/lab/a","/x/b","/lab//c"}',
            wrong("inputData", "Input data contains //", "['/lab/a', '/x/b', '/lab//c']", "list"),
        ),
        (
            'InputData={"/lab/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa","/lab//cccccccccccccccccccccccccc"}',
            wrong(
                "inputData",
                "Input data contains //",
                "['/lab/aaaaaaaaaaaaaaaaaa...cccccccccccccccccccccc']",
                "list",
            ),
        ),
        ('InputData="/other/a"', FOREIGN_FILE),
        ('InputData="/lab"', FOREIGN_FILE),
        (files(500), TOO_MANY_FILES),
        (
            "NumberOfProcessors=0",
            wrong(
                "maxNumberOfProcessors",
                "maxNumberOfProcessors out of bounds (must be between 1 and 1024)",
                "0",
                "int",
            ),
        ),
        (
            "MinNumberOfProcessors=2000",
            wrong(
                "minNumberOfProcessors",
                "minNumberOfProcessors out of bounds (must be between 1 and 1024)",
                "2000",
                "int",
            ),
        ),
        (
            "MinNumberOfProcessors=8;MaxNumberOfProcessors=2",
            wrong_model("maxNumberOfProcessors must be greater than minNumberOfProcessors"),
        ),
        # Several things wrong: the first in DIRAC's order is told.
        (
            'Priority=99;LogLevel="q";Site="q";CPUTime="x";foo=1',
            no_integer("cpuTime"),
        ),
        ('Priority=99;Site="q"', wrong("sites", "Invalid sites: q", "['q']", "list")),
        (
            'LogLevel="q";InputData="q"',
            wrong("inputData", "Input data files must start with LFN:/", "['q']", "list"),
        ),
        ('VirtualOrganization="x";InputData="/other/a"', FOREIGN_FILE),
    ],
    ids=lambda value: value[:40],
)
def test_what_dirac_9_1_refuses(attributes: str, message: str) -> None:
    """The whole text of the oracle, and no error number."""
    text = attributes if attributes[:10] in ("", "Executable") else f'Executable="e";{attributes}'
    with pytest.raises(Refusal) as refused:
        describe(text or "a=1", ALICE, POLICY)
    assert (refused.value.message, refused.value.errno) == (message, 0)
    assert not isinstance(refused.value, RefusedAfterInsertion)


@pytest.mark.parametrize(
    "attributes",
    [
        "CPUTime=100;Priority=10",
        files(499),
        'Site={"LCG.CERN.ch","LCG.PIC.es"};BannedSites={"LCG.CERN.ch"}',
        "MinNumberOfProcessors=4;MaxNumberOfProcessors=4",
        "NumberOfProcessors=4;MinNumberOfProcessors=9999",
        'LogLevel="debug"',
        'InputData="/lab/"',
    ],
    ids=lambda value: value[:40],
)
def test_the_edge_of_what_is_allowed(attributes: str) -> None:
    """The oracle took these."""
    assert describe(f'Executable="e";{attributes}', ALICE, POLICY).for_job(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo bar", "No value for key foo bar"),
        ('Executable="e";a="x" "y"', "Var a : value seems a list but is not separated in commas"),
        ('JobType="Bogus"', "Bogus is not a valid value for JobType"),
        ('JobType="user"', "user is not a valid value for JobType"),
        ('Priority="x"', "Priority must be a number"),
        ("Priority=2.7", "Priority must be a number"),
        ('Priority=""', "Priority must be a number"),
        ("CPUTime=1e4", "CPUTime must be a number"),
        (files(501), "Number of Input Data Files (501) greater than current limit: 500"),
    ],
    ids=lambda value: value[:40],
)
def test_what_was_always_refused(text: str, message: str) -> None:
    """Without the validation of 9.1; DiracX says the same of all of them."""
    with pytest.raises(Refusal) as refused:
        describe(text, ALICE, DIRAC_8_0)
    assert (refused.value.message, refused.value.errno) == (message, 0)
    with pytest.raises(Refusal, match="^JDL syntax error$") as refused:
        describe(text, ALICE, DIRACX_0_7)
    assert isinstance(refused.value.__cause__, Refusal)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a=1", {}),
        ("Priority=11", {"UserPriority": 11}),
        ("Priority={3}", {"UserPriority": 3}),
        ("CPUTime=5", {}),
        ('Site="Any"', {"Site": "Any"}),
        ('JobType=""', {}),
        ('InputData="/other/a"', {}),
        ('LogLevel="x"', {}),
        (files(500), {}),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("policy", [DIRAC_8_0, DIRACX_0_7], ids=["8.0", "DiracX"])
def test_what_is_taken_without_validation(text: str, columns: dict[str, Any], policy: Any) -> None:
    """No executable, numbers out of bounds, any site."""
    assert describe(text, ALICE, policy).for_job(1).columns == COLUMNS | columns


def test_only_diracx_refuses_an_empty_description() -> None:
    """``[]`` is a job without attributes for DIRAC's database."""
    with pytest.raises(Refusal, match="^JDL syntax error$"):
        describe("[]", ALICE, DIRACX_0_7)
    assert describe("[]", ALICE, DIRAC_8_0).original_jdl == "[]"


@pytest.mark.parametrize("name", ["Executable", "JobName", "JobType", "JobGroup", "Site", "InputData"])
def test_a_record_where_a_text_belongs(name: str) -> None:
    """It would leave a column empty without a word."""
    with pytest.raises(JdlError, match=f"{name} must be a text or a list, not a record"):
        describe(f'Executable="e";{name}=[a=1;]', ALICE, DIRAC_8_0)


@pytest.mark.parametrize("value", ['"other"', '"Lab"', '"x,y"', "[a=1;]"])
def test_the_wrong_vo(value: str) -> None:
    """DIRAC finds out when the job has its id; the row of JobJDLs stays."""
    text = f'Executable="e";VirtualOrganization={value};'
    with pytest.raises(RefusedAfterInsertion) as refused:
        describe(text, ALICE, POLICY)
    assert refused.value.message == "Job submission error ( 1503 : Wrong Virtual Organization in JDL)"
    assert refused.value.errno == 1503
    assert refused.value.minor_status == "Wrong Virtual Organization in JDL"
    assert refused.value.original_jdl == f"[{text}]"


# What a site adds

PLATFORMS = {
    "x86_64-slc6": frozenset({"slc5", "slc6", "z"}),
    "x86_64-slc10": frozenset({"z"}),
    "a": frozenset({"z"}),
    "el9": frozenset({"el8", "el9"}),
}


@pytest.mark.parametrize(
    ("value", "platforms"),
    [
        ('"slc5"', ["x86_64-slc6"]),
        ('"z"', ["x86_64-slc10", "x86_64-slc6", "a"]),
        ('{"el9","z"}', ["x86_64-slc10", "x86_64-slc6", "el9", "a"]),
        ('"slc5,zz"', ["x86_64-slc6"]),
    ],
)
def test_platforms(value: str, platforms: list[str]) -> None:
    """Those that can run the wanted ones, newest first, as a list even when there is one."""
    policy = replace(POLICY, platforms=PLATFORMS)
    jdl = describe(f'Executable="e";Platform={value}', ALICE, policy).for_job(1).jdl
    lines = ",\n".join(f'                    "{platform}"' for platform in platforms)
    expected = f"\n            Platforms = \n                {{\n{lines}\n                }};"
    assert requirements(platforms=expected) in jdl


@pytest.mark.parametrize(
    ("platforms", "message"),
    [(None, "OS compatibility info not found"), (PLATFORMS, "No compatible DIRAC platform found for ANY")],
)
def test_platforms_that_do_not_fit(platforms: Any, message: str) -> None:
    """Also found out after the id is spent; an empty Platform asks for none."""
    policy = replace(POLICY, platforms=platforms)
    with pytest.raises(RefusedAfterInsertion) as refused:
        describe('Executable="e";Platform="ANY"', ALICE, policy)
    assert (refused.value.message, refused.value.errno, refused.value.minor_status) == (message, 0, "")
    assert "Platforms" not in describe('Executable="e";Platform=""', ALICE, policy).for_job(1).jdl


def test_configured_defaults_and_modules() -> None:
    """Operations' defaults; a module that the job names itself stays, also an empty one."""
    policy = replace(
        POLICY,
        default_cpu_time=1234,
        default_priority=4,
        input_data_module="DIRAC.X.InputData",
        software_dist_module="LocalSoftwareDist",
    )
    record = describe('Executable="e";InputDataModule="";', ALICE, policy).for_job(9)
    assert record.jdl == (
        '[ \n    CPUTime = 1234;\n    Executable = "e";\n    InputDataModule = "";\n    JobID = 9;\n'
        + requirements(1234, 4)
        + OWNER
        + '    Priority = 4;\n    SoftwareDistModule = "LocalSoftwareDist";\n'
        + '    VirtualOrganization = "lab";\n]'
    )


def test_the_keys_of_8_0() -> None:
    """The owner's DN and the setup, also in the requirements, where they stand for the owner."""
    policy = replace(DIRAC_8_0, setup="Lab")
    assert describe('Executable="e"', ALICE, policy).for_job(9).jdl == (
        '[ \n    CPUTime = 86400;\n    DIRACSetup = "Lab";\n    Executable = "e";\n    JobID = 9;\n'
        "    JobRequirements = \n        [ \n            CPUTime = 86400;\n"
        '            OwnerDN = "/C=CH/CN=alice";\n            OwnerGroup = "lab_user";\n'
        '            Setup = "Lab";\n            UserPriority = 1;\n'
        '            VirtualOrganization = "lab";\n        ];\n'
        '    Owner = "alice";\n    OwnerDN = "/C=CH/CN=alice";\n    OwnerGroup = "lab_user";\n'
        '    OwnerName = "alice";\n    Priority = 1;\n    VirtualOrganization = "lab";\n]'
    )


# Rescheduling


def test_a_rescheduled_job_without_a_priority() -> None:
    """As it was written and without defaults: lists stay lists, words stay unquoted, the priority is 0."""
    original = '[Executable=e; InputData={"/lab/%j"}; Tags={"t"}; WholeNode=true; JobName="a,b"; JobID=3]'
    record = redescribe(original, ALICE, POLICY).for_job(298)
    assert record.jdl == (
        '[ \n    Executable = e;\n    InputData = \n        {\n            "/lab/298"\n        };\n'
        '    JobID = 298;\n    JobName = "a,b";\n'
        + requirements(priority=0)
        + OWNER
        + '    Tags = \n        {\n            "t"\n        };\n    VirtualOrganization = "lab";\n'
        "    WholeNode = true;\n]"
    )
    assert record.columns == {"Site": "ANY", "UserPriority": 0}
    assert record.input_data == ["/lab/298"]


@pytest.mark.parametrize(
    ("attributes", "site", "priority", "cpu_time"),
    [
        ("Priority=7", "ANY", 7, 86400),
        ('Priority="3";CPUTime=" 2000 "', "ANY", 3, 2000),
        ("Priority={3};CPUTime={1000}", "ANY", 0, 86400),
        ("CPUTime=5", "ANY", 0, 5),
        ('Site="LCG.CERN.ch"', "LCG.CERN.ch", 0, 86400),
        ('Site="LCG.CERN.ch,LCG.PIC.es"', "Multiple", 0, 86400),
        ("Site={}", "ANY", 0, 86400),
        ('Owner="";OwnerGroup="lab_user";VirtualOrganization="lab"', "ANY", 0, 86400),
    ],
)
def test_what_a_rescheduled_job_gets(attributes: str, site: str, priority: int, cpu_time: int) -> None:
    """Numbers are read as written, so those in a list count for nothing."""
    record = redescribe(f'[Executable="e";{attributes}]', ALICE, POLICY).for_job(1)
    assert record.columns == {"Site": site, "UserPriority": priority}
    assert requirements(cpu_time, priority) in record.jdl


@pytest.mark.parametrize(
    ("attribute", "minor_status"),
    [
        ('Owner="eve"', "Wrong Owner in JDL"),
        ('Owner={"alice"}', "Wrong Owner in JDL"),
        ("Owner=[a=1;]", "Wrong Owner in JDL"),
        ('OwnerGroup="x"', "Wrong Owner Group in JDL"),
        ('VirtualOrganization="x"', "Wrong Virtual Organization in JDL"),
        ('VirtualOrganization={"lab"}', "Wrong Virtual Organization in JDL"),
    ],
)
def test_somebody_elses_job_is_not_rescheduled(attribute: str, minor_status: str) -> None:
    """At submission the owner was replaced; the original JDL still names another, and the job fails."""
    with pytest.raises(RefusedAfterInsertion) as refused:
        redescribe(f'[Executable="e";{attribute}]', ALICE, POLICY)
    assert refused.value.message == f"Job submission error ( 1503 : {minor_status})"
    assert (refused.value.errno, refused.value.minor_status) == (1503, minor_status)


# Requirements


def test_requirements_of_a_stored_jdl() -> None:
    """Numbers as such, what may have several values as lists, all else as texts."""
    jdl = """[ JobRequirements = [ CPUTime = 86400; Sites = {"A","B"}; Tags = "t"; MinRAM = 4;
        Owner = "alice"; BannedSites = {}; Platforms = {"p"}; Load = 1.5; Number = "5"; Others = {1};
        R = [a = 1;]; ]; ]"""
    assert job_requirements(jdl) == {
        "CPUTime": 86400,
        "Sites": ["A", "B"],
        "Tags": ["t"],
        "MinRAM": 4,
        "Owner": "alice",
        "BannedSites": [],
        "Platforms": ["p"],
        "Load": "1.5",
        "Number": "5",
        "Others": ["1"],
        "R": {"a": 1},
    }


@pytest.mark.parametrize("jdl", ["[a=1]", '[JobRequirements="x"]'])
def test_a_jdl_without_requirements(jdl: str) -> None:
    """Then there are none."""
    assert job_requirements(jdl) == {}


def test_requirements_of_a_described_job() -> None:
    """What describing writes, requirements read."""
    jdl = describe('Executable="e"', ALICE, POLICY).for_job(1).jdl
    assert job_requirements(jdl) == {
        "CPUTime": 86400,
        "Owner": "alice",
        "OwnerGroup": "lab_user",
        "UserPriority": 1,
        "VirtualOrganization": "lab",
    }


KEYS = st.sampled_from(["Executable", "Site", "Priority", "CPUTime", "InputData", "JobType", "Platform", "k"])
VALUES = st.text(st.sampled_from('[]{}";,/=\\1ae %j'), max_size=12)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5), st.sampled_from([DIRAC_9_1, DIRAC_8_0, DIRACX_0_7]))
@settings(max_examples=200, deadline=None)
def test_any_description_is_stored_or_refused(attributes: list[tuple[str, str]], policy: Any) -> None:
    """And a job that was taken can be rescheduled or is refused in words, whatever it holds."""
    text = ";".join(f"{key}={value}" for key, value in [("Executable", '"e"'), *attributes])
    try:
        description = describe(text, ALICE, policy)
        description.for_job(1)
        redescribe(description.original_jdl, ALICE, policy).for_job(1)
    except Refusal:
        return
