"""Reading, writing and storing JDL, against what DIRAC 9.1.22 reads, writes and stores."""

from __future__ import annotations

import base64
import contextlib
import sys
import zlib
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_db.errors import InvalidValue
from shared_db.rules.jdl.options import restated
from shared_db.rules.jdl.reader import MAX_DEPTH, Jdl, JdlError, bracketed, read, read_items
from shared_db.rules.jdl.storage import DamagedJdl, compressed, extracted
from shared_db.rules.jdl.values import integer_of, quoted, text_of, texts_of
from shared_db.rules.jdl.writer import write
from shared_db.rules.refusals import Refusal

PROPERTY = settings(max_examples=150, deadline=None)

# Texts that are made of JDL's own signs are nearly JDL; others hardly ever.
SIGNS = st.text(st.sampled_from('[]{}"=;,\\#/*ab1 \n%sjé'), max_size=40)


# Reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a=1;]", {"a": "1"}),
        ("a=1", {"a": "1"}),
        ("[a=1]", {"a": "1"}),
        (" [\n a = 1;\r\n b = 2;\n] ", {"a": "1", "b": "2"}),
        ("[]", {}),
        ("[;;a=1;;b=2;;]", {"a": "1", "b": "2"}),
        ("[a=1;A=2]", {"a": "1", "A": "2"}),
        ("[a=1;a=2]", {"a": "2"}),
        ("[a=2;a=[x=1]]", {"a": {"x": "1"}}),
        ("[a.b=1;a-b=2;a b=3;é=4]", {"a.b": "1", "a-b": "2", "a b": "3", "é": "4"}),
        ("[a\n=\n1\n;\n]", {"a": "1"}),
        ('[a="x y"; b=""]', {"a": '"x y"', "b": '""'}),
        ('[a="x;y"; b="[z]"; c="{"]', {"a": '"x;y"', "b": '"[z]"', "c": '"{"'}),
        ('[a="#no"; b="//no"; c="p=q"]', {"a": '"#no"', "b": '"//no"', "c": '"p=q"'}),
        ('[a="x\\"y"; b="\\\\"]', {"a": '"x\\"y"', "b": '"\\\\"'}),
        ('[a="l1\nl2"]', {"a": '"l1l2"'}),
        ("[a=1\nb=2]", {"a": "1b=2"}),
        (
            '[Requirements = other.Site == "X" && member(y, {1}); b=true]',
            {"Requirements": 'other.Site == "X" && member(y, {1})', "b": "true"},
        ),
        ('[a={"x", "y" ,\n 3}]', {"a": ['"x"', '"y"', "3"]}),
        ('[a={"x,y"}; b={}; c={"z",}; d={,}]', {"a": ['"x,y"'], "b": [], "c": ['"z"'], "d": []}),
        ('[a={{"p", "q"}, [x=1;y=2]}]', {"a": ['{"p", "q"}', "[x=1;y=2]"]}),
        ("[a=[b=[c=1;];];d=2]", {"a": {"b": {"c": "1"}}, "d": "2"}),
        ("[a=[b=1] c=2]", {"a": {"b": "1"}, "c": "2"}),
        ('Executable="x"; R=[a=1]', {"Executable": '"x"', "R": {"a": "1"}}),
        ("[a=1;]]", {"a": "1"}),
        ("[# one\na=1; // two\n/* three; */ b=2 ;]", {"a": "1", "b": "2"}),
        (
            '[a="x" # one\n; b={ # two\n "y" /* three */, // four\n "z" // five\n } // six\n]',
            {"a": '"x"', "b": ['"y"', '"z"']},
        ),
        ("[a=http://x/#y; b=1 // kept]", {"a": "http://x/#y", "b": "1 // kept"}),
    ],
)
def test_what_is_read(text: str, expected: Jdl) -> None:
    """Every form DIRAC takes, and those that it cuts in two or drops."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the JDL is empty: expected attributes such as Executable"),
        ("foo bar", "No value for key foo bar"),
        ("[a=1;foo;b=2;]", "No value for key foo"),
        ("[a=]", "No value for key a"),
        ("[a=;b=2]", "No value for key a"),
        ("[a=1;foo\nbar=2]", "No value for key foo"),
        ("[a=1;\n=2]", "JDL, line 2: expected a key before '='"),
        ("[a={1]", "Value '{1' seems a list but does not end in '}'"),
        ("[a={1;b=2]", "Value '{1' seems a list but does not end in '}'"),
        ('[a={"x"}{"y"}]', "Value '{\"x\"}' seems a list but does not end in '}'"),
        ('[a=1;\nb="x]', "JDL, line 2: the string in key b is never closed: expected '\"'"),
        ('[a={"x;b=2]', "JDL, line 1: the string in key a is never closed: expected '\"'"),
        ("[a=1};b=2]", "JDL, line 1: brackets in key a are not balanced: };b=2"),
        ("[a=x{;};b=2]", "JDL, line 1: brackets in key a are not balanced: ;};b=2"),
        ("[a=1] b=2;", "JDL, line 1: unexpected text behind the closing ']': b=2"),
        ("[a=[b=[c=1]", "JDL, line 1: the text ends inside a record: expected ']'"),
        ("[[a=1]", "No value for key [a=1"),
    ],
)
def test_what_is_no_jdl(text: str, message: str) -> None:
    """The error names the key or the line; DIRAC's text is kept where it has one."""
    with pytest.raises(JdlError) as refused:
        read(text)
    assert (refused.value.message, refused.value.errno) == (message, 0)
    assert isinstance(refused.value, Refusal)


def test_nesting_is_bounded() -> None:
    """As deep as the limit is read, one deeper is an error, whatever the bracket."""
    deepest = MAX_DEPTH - 1
    assert read("[" + "a=[" * deepest + "b=1;" + "]" * deepest + "]")
    for text in ("a=[" * MAX_DEPTH, "a=x" + "[" * (MAX_DEPTH + 1), "a={" + "{" * (MAX_DEPTH + 1)):
        with pytest.raises(JdlError, match="nested more than 16 deep"):
            read(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a=1", "[a=1]"), (" [a=1] ", "[a=1]"), ("[a=1", "[a=1]"), ("r=[a=1]", "[r=[a=1]")],
)
def test_outer_brackets_are_added(text: str, expected: str) -> None:
    """As JobManager adds them to what it keeps as OriginalJDL."""
    assert bracketed(text) == expected


@given(SIGNS | st.text(max_size=30))
@PROPERTY
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text crashes the reader; what is read can be written, and that reads the same."""
    try:
        jdl = read(text)
    except JdlError:
        return
    written = write(jdl)
    assert read(written) == jdl
    assert write(read(written)) == written


NAMES = st.from_regex(r"[A-Za-z_é][A-Za-z0-9_.é-]{0,6}", fullmatch=True)
STRINGS = st.text(st.sampled_from('ab ;,=[]{}"#/\\%é'), max_size=8).map(quoted)
EXPRESSIONS = STRINGS | st.sampled_from(["1", "-1.5", "true", 'other.x == "a;b"', "f(x[1])", "a // b"])
ITEMS = EXPRESSIONS | st.sampled_from(['{"p","q"}', "[x=1;]"])
RECORDS = st.recursive(
    st.dictionaries(NAMES, EXPRESSIONS | st.lists(ITEMS, max_size=3), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | EXPRESSIONS, max_size=3),
    max_leaves=8,
)


@given(RECORDS)
@PROPERTY
def test_what_is_written_reads_back(jdl: Jdl) -> None:
    """Strings with JDL's own signs in them, lists, records in records: nothing is lost."""
    assert read(write(jdl)) == jdl


@given(st.text(st.sampled_from('ab\\" ;'), max_size=12))
@PROPERTY
def test_a_quoted_text_is_one_string(text: str) -> None:
    """Whatever quotes and backslashes it holds, nothing leaks into the attributes behind it."""
    assert read(f"[a={quoted(text)};b=1]") == {"a": quoted(text), "b": "1"}


def steps(call: Callable[[], object]) -> int:
    """How many functions a call calls."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(previous)
    return count


@pytest.mark.parametrize(
    "text",
    [
        lambda n: "".join(f"k{i}=1;" for i in range(n)),
        lambda n: ";" * n,
        lambda n: "a={" + "1," * n + "}",
        lambda n: "a={" + "," * n + "}",
        lambda n: "a=" + '"x",' * n + '"x"',
        lambda n: 'a="' + '\\"' * n + '"',
        lambda n: "a=x" + "{}" * n,
        lambda n: "// c\n" * n + "a=1",
        lambda n: "a=" + "[b=" * n,
        lambda n: 'a="' + "x" * n,
    ],
)
def test_reading_takes_steps_in_proportion(text: Callable[[int], str]) -> None:
    """Four times the text, at most four times the steps, and a few for the beginning."""

    def read_quietly(size: int) -> None:
        with contextlib.suppress(JdlError):
            write(restated(read(text(size))))

    made = [steps(lambda size=size: text(size)) for size in (400, 1600)]
    small, large = (steps(lambda size=size: read_quietly(size)) for size in (400, 1600))
    assert large - made[1] <= 4 * (small - made[0]) + 100


@pytest.mark.parametrize(
    "text",
    [
        'a="' + "\\x" * 300_000,
        "a=" + '"' * 300_001,
        "/*" * 300_000,
        "/*" + "*" * 300_000,
        "a={" + "/*" * 300_000,
        "a={" + '"x" ' * 100_000,
        "a" * 300_000,
        "a =" + " " * 300_000,
        "a=" + "\\" * 300_000 + '"',
        "[" * 300_000,
        "a=1;" + "]" * 300_000 + "x",
    ],
    ids=lambda text: text[:8],
)
def test_hostile_texts_are_refused(text: str) -> None:
    """Texts on which a careless pattern goes back and forth for hours."""
    with pytest.raises(JdlError) as refused:
        read(text)
    assert len(refused.value.message) < 300


# Values


@pytest.mark.parametrize(
    ("value", "text", "texts", "integer"),
    [
        ('"a b"', "a b", ["a b"], None),
        ("5", "5", ["5"], 5),
        ('"+5"', "+5", ["+5"], 5),
        ("1.5", "1.5", ["1.5"], None),
        ('"9' + "9" * 5000 + '"', "9" * 5001, ["9" * 5001], None),
        ('other.x == "Y"', "other.x == Y", ["other.x == Y"], None),
        ('"a, b,,c"', "a, b,,c", ["a", "b", "c"], None),
        ('"say \\"hi\\""', 'say "hi"', ['say "hi"'], None),
        (['"a"', "5", '""'], "a, 5, ", ["a", "5"], None),
        ([], "", [], None),
        ({"a": "1"}, "", [], None),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_values_as_texts_and_numbers(value: Any, text: str, texts: list[str], integer: int | None) -> None:
    """Quotes go, escaped ones stay as quotes; a text may hold a list."""
    assert (text_of(value), texts_of(value), integer_of(value)) == (text, texts, integer)


def test_items_of_a_written_list() -> None:
    """A list inside a list is an item as it was written, and can be taken apart itself."""
    assert read_items('{ "a", {"b"} }') == ['"a"', '{"b"}']
    with pytest.raises(JdlError):
        read_items('{"a"} b')


# DIRAC's form of it


# The value of k in a JDL that was submitted, and its lines in the JDL that DIRAC 9.1.22 stored.
RESTATED = [
    ("1", "1"),
    ('"1"', "1"),
    ("+1", "+1"),
    ("1e5", "1e5"),
    ("007", "007"),
    ("0x10", '"0x10"'),
    ('"nan"', "nan"),
    ('" 5 "', "5"),
    ("true", '"true"'),
    ('"True"', '"True"'),
    ('""', '""'),
    ("{}", '""'),
    ('{""}', '""'),
    ('{"a"}', '"a"'),
    ("{1}", "1"),
    ('{"a",}', '"a"'),
    ('"a b"', '"a b"'),
    ('" a "', '" a "'),
    ('"a=b"', '"a=b"'),
    ('"a\\\\b"', '"a\\\\b"'),
    ('"x{y}z"', '"x{y}z"'),
    ('"a\n b"', '"a b"'),
    ('","', '","'),
    ('"a,"', '"a,"'),
    ("undefined", '"undefined"'),
    ('other.x == "Y"', '"other.x == Y"'),
    ("'a'", "\"'a'\""),
    ("1_0", "1_0"),
    ('"é"', '"é"'),
    ("1,2", "\n        {\n            1,\n            2\n        }"),
    ('"a, b"', '\n        {\n            "a",\n            "b"\n        }'),
    ('{"a", 1}', '\n        {\n            "a",\n            1\n        }'),
    ('{" a "," b "}', '\n        {\n            "a",\n            "b"\n        }'),
    ('"x" , "y"', '\n        {\n            "x",\n            "y"\n        }'),
    ("[b=1;]", "\n        [ \n            b = 1;\n        ]"),
    (
        '[b="x"; c={"y","z"};]',
        (
            '\n        [ \n            b = "x";\n            c = \n                {\n'
            '                    "y",\n                    "z"\n                };\n        ]'
        ),
    ),
    (
        "[b=[c=1;];]",
        (
            "\n        [ \n            b = \n                [ \n                    c = 1;\n"
            "                ];\n        ]"
        ),
    ),
    # DIRAC cuts these in two, or never ends.
    ('"a;b"', '"a;b"'),
    ('"a[b]c"', '"a[b]c"'),
    ('"a\\"b"', '"a\\"b"'),
]


@pytest.mark.parametrize(("value", "expected"), RESTATED)
def test_what_dirac_stores(value: str, expected: str) -> None:
    """Byte for byte: numbers without quotes, all else with them, lists where commas are."""
    assert write(restated(read(f"z=9;k={value};"))) == f"[ \n    k = {expected};\n    z = 9;\n]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"1,2"', '"1,2"'),
        ('{"a","b"}', '"a, b"'),
        ('"5"', "5"),
        ('{" a "," b"}', '" a ,  b"'),
        ("-x 1", '"-x 1"'),
    ],
)
@pytest.mark.parametrize("name", ["Arguments", "Executable", "StdError", "StdOutput"])
def test_texts_are_never_split(name: str, value: str, expected: str) -> None:
    """Four attributes keep their commas."""
    assert write(restated(read(f"{name}={value}"))) == f"[ \n    {name} = {expected};\n]"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"a" "b"', "Var k : value seems a list but is not separated in commas"),
        ('"a"="b"', "Var k : value seems a list but is not separated in commas"),
        ('"a"\nb = 5', "Var k : value seems a list but is not separated in commas"),
        ('{"a" "b"}', "Var k : value seems a list but is not separated in commas"),
        ('{"a,b"}', 'Var k : value is opened with " but is not closed'),
        ("{[b=1;]}", "Key k seems to have a value and open a sub JDL at the same time"),
        ('{{"a"},"b"}', "Var k : a list inside a list cannot be kept"),
    ],
)
def test_what_dirac_cannot_keep(value: str, message: str) -> None:
    """DIRAC's own words, and a forgotten semicolon is found rather than swallowed."""
    with pytest.raises(JdlError) as refused:
        restated(read(f"[k={value};z=9]"))
    assert refused.value.message == message


def test_an_empty_jdl_and_an_empty_list() -> None:
    """Their odd blank lines are DIRAC's."""
    assert write({}) == "[ \n\n]"
    assert write({"a": []}) == "[ \n    a = \n        {\n            \n        };\n]"
    assert read(write({"a": []})) == {"a": []}


# Storage


def test_compression_is_diracs() -> None:
    """The sheet's example, there and back."""
    assert compressed("[a=1;]") == "eJyLTrQ1tI4FAAZnAcM="
    assert extracted("eJyLTrQ1tI4FAAZnAcM=") == "[a=1;]"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
@PROPERTY
def test_any_text_survives_storage(text: str) -> None:
    """As text and as the bytes of a BLOB."""
    assert extracted(compressed(text)) == text
    assert extracted(compressed(text).encode()) == text


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("", ""),
        (b"", ""),
        ("[a=1;]", "[a=1;]"),
        (b"[a=1;]", "[a=1;]"),
        ('[a="é"]'.encode(), '[a="é"]'),
        ('[a="é"]'.encode("latin1"), '[a="é"]'),
    ],
)
def test_columns_that_are_not_compressed(stored: str | bytes, expected: str) -> None:
    """Old rows hold the text itself, in either encoding."""
    assert extracted(stored) == expected


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ("no base64!", "not base64"),
        ("é", "not base64"),
        ("AAAA", "cannot be decompressed"),
        ("eJyLTrQ1tI4FAAZn", "is cut off"),
        (base64.b64encode(zlib.compress(b"x" * 1001)).decode(), "longer than 1000 bytes"),
    ],
)
def test_damaged_columns(stored: str, message: str) -> None:
    """A domain error says what is wrong; no more is unpacked than the limit allows."""
    with pytest.raises(DamagedJdl, match=message):
        extracted(stored, limit=1000)
    assert extracted(base64.b64encode(zlib.compress(b"x" * 1000)), limit=1000) == "x" * 1000


def test_bytes_that_were_no_utf8_cannot_be_stored() -> None:
    """Lone surrogates stand for them."""
    with pytest.raises(InvalidValue):
        compressed('[a="\udcff"]')
