"""Expansion of parametric jobs, against what DIRAC 9.1.22 makes of the same JDL."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_db.rules.jdl.parametric import TooManyJobs, expand
from shared_db.rules.jdl.reader import Jdl, JdlError, read
from shared_db.rules.refusals import Refusal


def members(text: str, limit: int = 20) -> list[Jdl]:
    """The attributes of each job."""
    return [read(job) for job in expand(text, limit).jobs]


def arguments(text: str) -> list[Any]:
    """The arguments of each job, with the usual places in them."""
    return [member["Arguments"] for member in members(f'{text};Arguments="%s %n %(A)s"')]


def test_a_job_that_is_not_parametric_stays_as_it_is() -> None:
    """Only its brackets are added."""
    expansion = expand(' Executable="e" # no\n', 20)
    assert (expansion.jobs, expansion.parametric) == (('[Executable="e" # no]',), False)


def test_the_text_of_a_member() -> None:
    """Its OriginalJDL: written anew, with the number and the value, without what described them."""
    expansion = expand('Executable="e";Parameters={"x","y"};ParameterStart=3;N=%n;V=%s;JobName="j%n_%s";', 20)
    assert expansion.parametric
    assert expansion.jobs == tuple(
        f'[ \n    Executable = "e";\n    JobName = "j{number}_{value}";\n    N = {number};\n'
        f'    Parameter = "{value}";\n    ParameterNumber = {number};\n    V = {value};\n]'
        for number, value in [(0, "x"), (1, "y")]
    )


@pytest.mark.parametrize(
    ("attributes", "values"),
    [
        ("Parameters=3", ["1", "1", "1"]),
        ('Parameters=" 3 "', ["1", "1", "1"]),
        ("Parameters=1", ["1"]),
        ('Parameters={"x" , "y",}', ["x", "y"]),
        ('Parameters={"a b","a,b","c;d"}', ["a b", "a,b", "c;d"]),
        ("Parameters={1.5,true}", ["1.5", "true"]),
        ('Parameters={"%n","%s"}', ["%n", "%s"]),
        ("Parameters=3;ParameterStart=5", ["5", "5", "5"]),
        ("Parameters=3;ParameterStep=2", ["1", "3", "5"]),
        ("Parameters=3;ParameterFactor=2", ["1", "2", "4"]),
        ("Parameters=3;ParameterStart=1;ParameterStep=1;ParameterFactor=2", ["1", "3", "7"]),
        ("Parameters=3;ParameterFactor=0;ParameterStep=3", ["1", "3", "3"]),
        ("Parameters=3;ParameterStart=-2;ParameterStep=1", ["-2", "-1", "0"]),
        ("Parameters=3;ParameterStart=0.5;ParameterStep=0.5", ["0.5", "1.0", "1.5"]),
        ("Parameters=3;ParameterFactor=1.5", ["1.0", "1.5", "2.25"]),
        ("Parameters=3;ParameterStart=0.1;ParameterStep=0.1", ["0.1", "0.2", "0.30000000000000004"]),
        ("Parameters=2;ParameterStart=1e20;ParameterStep=1", ["1e+20", "1e+20"]),
        ('Parameters=2;ParameterStart="1";ParameterStep="2"', ["1", "3"]),
        ('Parameters={"x"};ParameterStart=3', ["x"]),
    ],
)
def test_values_of_the_plain_parameter(attributes: str, values: list[str]) -> None:
    """A list, or numbers from start, step and factor."""
    assert arguments(attributes) == [f'"{value} {number} %(A)s"' for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("attributes", "values"),
    [
        ('Parameters=2;Parameters.A={"x","y"}', ["x", "y"]),
        ('Parameters={"1","1"};Parameters.A={4,5};ParameterStart.A=3', ["4", "5"]),
        ("Parameters=2;ParameterStep.A=2", ["1", "3"]),
        ("Parameters=2;ParameterStart.A=0.5", ["0.5", "0.5"]),
    ],
)
def test_values_of_a_named_parameter(attributes: str, values: list[str]) -> None:
    """A list, or a sequence of its own, beside the plain one."""
    assert arguments(attributes) == [f'"1 {number} {value}"' for number, value in enumerate(values)]


def test_numbers_are_padded_where_they_are_put() -> None:
    """To the width of the last one, but not in ParameterNumber."""
    made = members('Parameters=11;a="%n"')
    assert [member["a"] for member in made] == [f'"{number:02}"' for number in range(11)]
    assert [member["ParameterNumber"] for member in made] == [str(number) for number in range(11)]


def test_places_of_every_kind() -> None:
    """In lists, records and expressions, twice in one text; unknown names and other signs stay."""
    (member,) = members(
        'Parameters={"x"};Parameters.A={"p"};L={%s,"%s",1};R=[a="%s%n";b=%n;];E=other.x == "%(A)s" && y;'
        'U="%% %%s %S %j %(B)s %(not one)s";q=%(not one)s'
    )
    assert member == {
        "L": ["x", '"x"', "1"],
        "R": {"a": '"x0"', "b": "0"},
        "E": 'other.x == "p" && y',
        "U": '"%% %x %S %j %(B)s %(not one)s"',
        "q": "%(not one)s",
        "Parameter": '"x"',
        "Parameter.A": '"p"',
        "ParameterNumber": "0",
    }


def test_a_list_is_spliced() -> None:
    """Where it is a value or an item of its own, quoted or not."""
    made = members('Parameters={{"a", "b"},"c"};Parameters.A={{"l"},{"m"}};I={"x","%s","y"};J=%s;K={%(A)s}')
    assert made[0] == {
        "I": ['"x"', '"a"', '"b"', '"y"'],
        "J": ['"a"', '"b"'],
        "K": ['"l"'],
        "Parameter": ['"a"', '"b"'],
        "Parameter.A": ['"l"'],
        "ParameterNumber": "0",
    }
    assert (made[1]["I"], made[1]["J"], made[1]["Parameter"]) == (['"x"', '"c"', '"y"'], "c", '"c"')


@pytest.mark.parametrize("place", ['"-x %s"', "a-%s", '{"x%s"}'])
def test_a_list_in_the_middle_of_a_text(place: str) -> None:
    """DIRAC makes a broken JDL of it."""
    with pytest.raises(JdlError, match="must be a value or an item of its own"):
        members(f'Parameters={{{{"a"}}}};V={place}')


def test_a_value_that_needs_its_quotes_keeps_them() -> None:
    """No value can add an attribute of its own."""
    assert members('Parameters={"a;b=c"};V=%s')[0]["V"] == '"a;b=c"'
    with pytest.raises(JdlError, match="does not fit outside a string"):
        members('Parameters={"a;b=c"};V=x%s')


INVALID = "Invalid job description ( 1501 : {})"


@pytest.mark.parametrize(
    ("text", "message", "errno"),
    [
        ("Parameters=0", INVALID.format("Illegal number of job parameters 0"), 1501),
        ("Parameters={}", INVALID.format("Illegal number of job parameters 0"), 1501),
        ("Parameters=-1", INVALID.format("Illegal number of job parameters -1"), 1501),
        (
            "Parameters.A={1,2};Parameters.B={1}",
            INVALID.format("Different length of parameter vectors: for Parameters.B, 2 != 1"),
            1501,
        ),
        (
            "Parameters=2;ParametersX=3",
            INVALID.format("Different length of parameter vectors: for ParametersX, 2 != 3"),
            1501,
        ),
        ("Parameters=2;Parameters.A=2", INVALID.format("Inconsistent parametric job description"), 1501),
        (
            'Parameters="x";Parameters.A={1,2}',
            INVALID.format('Inconsistent parametric job description: Parameters="x"'),
            1501,
        ),
        ('Parameters=3;ParameterStep="x"', 'Illegal value for ParameterStep JDL field: "x"', 0),
        ("Parameters=2;ParameterStart={1,2}", "Illegal value for ParameterStart JDL field: {1,2}", 0),
        ('Parameters=2;ParameterStart.A="x"', 'Illegal value for ParameterStart.A JDL field: "x"', 0),
        ('Parameters={"x","y"};ParameterFactor=""', 'Illegal value for ParameterFactor JDL field: ""', 0),
        ("foo bar", "No value for key foo bar", 0),
    ],
)
def test_what_cannot_be_expanded(text: str, message: str, errno: int) -> None:
    """DIRAC's texts and numbers."""
    with pytest.raises(Refusal) as refused:
        expand(text, 20)
    assert (refused.value.message, refused.value.errno) == (message, errno)


def test_the_limit() -> None:
    """As many as allowed, and not one more; nothing is expanded before the check."""
    assert len(expand("Parameters=20", 20).jobs) == 20
    for text in ("Parameters=21", "Parameters=99999999999999"):
        with pytest.raises(TooManyJobs) as refused:
            expand(text, 20)
        assert refused.value.message == INVALID.format("Number of parametric jobs exceeds the limit of 20")
        assert refused.value.errno == 1501


@pytest.mark.parametrize("text", ['Parameters.A={"x","y"};a=%(A)s', "Parameters.A=3;a=%(A)s"])
def test_named_parameters_alone(text: str) -> None:
    """One job that waits for its confirmation, unexpanded: without Parameters there is nothing to count."""
    expansion = expand(text, 20)
    assert expansion.parametric
    assert [read(job)["a"] for job in expansion.jobs] == ["%(A)s"]


@pytest.mark.parametrize("text", ['Parameters="x"', "Parameters=2.5", "parameters=2", "ParameterStart=2"])
def test_what_only_looks_parametric(text: str) -> None:
    """Neither a list nor a whole number."""
    assert expand(text, 20).jobs == (f"[{text}]",)
    assert not expand(text, 20).parametric


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        ('Parameters=3;a="' + "x" * 400 + '"', 1000),
        ('Parameters=3;a="' + "%s" * 10 + '"', 1000),
        ('Parameters={"' + "x" * 500_000 + '"};a="' + "%s" * 500_000 + '"', 64 * 1024 * 1024),
    ],
    ids=["long", "many places", "long values in many places"],
)
def test_the_size_of_an_expansion_is_bounded(text: str, largest: int) -> None:
    """It stops before the text is made: the last of these would be 250 GB long."""
    with pytest.raises(JdlError, match=f"longer than {largest} characters"):
        expand(text, 20, largest)


def test_numbers_may_not_grow_for_ever() -> None:
    """A factor of a hundred digits."""
    with pytest.raises(JdlError, match="use a smaller ParameterFactor"):
        expand(f"Parameters=20;ParameterFactor={'9' * 99}", 20)


@given(
    st.integers(1, 30),
    st.integers(-5, 5),
    st.integers(-5, 5),
    st.integers(-3, 3),
    st.text(st.sampled_from("ab %sn"), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_expansion_against_a_model(count: int, start: int, step: int, factor: int, text: str) -> None:
    """Every job, its number and its arguments, as a few lines of Python have them."""
    made = members(
        f'Parameters={count};ParameterStart={start};ParameterStep={step};ParameterFactor={factor};a="{text}"',
        limit=30,
    )
    expected = []
    value = start
    for number in range(count):
        padded = str(number).rjust(len(str(count - 1)), "0")
        pieces = [piece.replace("%n", padded) for piece in text.split("%s")]
        expected.append(
            {
                "a": '"' + str(value).join(pieces) + '"',
                "Parameter": f'"{value}"',
                "ParameterNumber": str(number),
            }
        )
        value = value * factor + step
    assert made == expected
