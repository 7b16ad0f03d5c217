"""The CFG reader and writer: the form's rules, its errors, and equality with the field's own parser."""

from __future__ import annotations

import time

import pytest
from diraccfg import CFG
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_db.cfg import MAX_DEPTH, CfgDict, CfgError, CfgSection, parse_cfg

EXAMPLE = """
# A comment fills its line
DIRAC
{
  VirtualOrganization = lab
  Configuration
  {
    Servers = dips://a:9135/Configuration/Server, dips://b:9135/Configuration/Server
  }
}
Registry
{
  DefaultGroup = lab_user
}
"""


def diraccfg_dict(text: str) -> CfgDict:
    """What the field's own parser makes of a text."""
    return CFG().loadFromBuffer(text).getAsDict()


# name of the finding, text, what both parsers make of it
EQUAL = [
    ("empty text", "", {}),
    ("brace on the next line", "A\n{\n  x = 1\n}\n", {"A": {"x": "1"}}),
    ("brace on the same line", "A {\n x = 1\n}", {"A": {"x": "1"}}),
    ("brace after empty lines", "A\n\n\n{\n x = 1\n}", {"A": {"x": "1"}}),
    ("comment between name and brace", "A\n# c = {\n{\n x = 1\n}", {"A": {"x": "1"}}),
    ("two sections open on one line", "A { B {\nx = 1\n}}", {"A": {"B": {"x": "1"}}}),
    ("section closes and opens on one line", "A\n{\n} B\n{\n}", {"A": {}, "B": {}}),
    ("empty sections on one line", "A {} B {}", {"A": {}, "B": {}}),
    ("name with blanks", "a b\n{\n c d = 1\n}", {"a b": {"c d": "1"}}),
    ("name with a hash", "a#b\n{\n c#d = 1\n}", {"a#b": {"c#d": "1"}}),
    ("names differ by case", "A\n{\n}\na\n{\n}", {"A": {}, "a": {}}),
    ("comments", "# x = 0\n  # {\nx = 1\n# }\n", {"x": "1"}),
    ("comment behind a brace", "A\n{ # open\nx = 1\n} # closed\ny = 2", {"A": {"x": "1"}, "y": "2"}),
    ("hash in a value", "x = a#b\ny = #b\nz = 1 # note", {"x": "a#b", "y": "#b", "z": "1 # note"}),
    ("equals sign in a value", "x = a=b=c\ny == d", {"x": "a=b=c", "y": "= d"}),
    ("no blanks round the equals sign", "x=1", {"x": "1"}),
    ("braces in a value", "x = a{b}c\ny = {\nz = }", {"x": "a{b}c", "y": "{", "z": "}"}),
    ("blank values", "x =\ny = \nz = 1", {"x": "", "y": "", "z": "1"}),
    ("inner blanks stay, outer ones go", "x =   a   b   \n", {"x": "a   b"}),
    ("quotes and backslashes are plain", 'x = "a\\/b" \\\ny = 1', {"x": '"a\\/b" \\', "y": "1"}),
    ("CRLF", "A\r\n{\r\n  x = 1\r\n}\r\n", {"A": {"x": "1"}}),
    ("tabs", "A\n{\n\tx\t=\t1\t2\t\n}", {"A": {"x": "1\t2"}}),
    ("other line breaks belong to the value", "x = a\x0bb\x85c\u2028d\re", {"x": "a\x0bb\x85c\u2028d\re"}),
    ("Unicode white space is stripped", "\u3000x = \xa01\xa0", {"x": "1"}),
    ("UTF-8 names", "é\n{\nü = ß\n}", {"é": {"ü": "ß"}}),
    ("last value wins", "x = 1\ny = 1\nx = 2", {"x": "2", "y": "1"}),
    ("append", "x = 1\nx += 2\nx+=3", {"x": "1, 2, 3"}),
    ("append to a list", "x = a,b\nx += c, d", {"x": "a,b, c, d"}),
    ("append to a blank value", "x =\nx += 2", {"x": ", 2"}),
    ("append to a trailing comma", "x = a,\nx += b", {"x": "a,, b"}),
    ("append nothing", "x = a\nx +=", {"x": "a, "}),
    ("a later value replaces what was appended", "x = 1\nx += 2\nx = 3\nx += 4", {"x": "3, 4"}),
    ("plus apart from the equals sign is part of the name", "x + = 1", {"x +": "1"}),
    ("append to a name that ends in plus", "x + = 1\nx ++= 2", {"x +": "1, 2"}),
    ("leading and trailing slashes", "/A/\n{\n/x/ = 1\n}", {"A": {"x": "1"}}),
    (
        "path into an earlier section",
        "A\n{\n}\nA/x = 1\nA // x += 2\nA/B\n{\n}",
        {"A": {"x": "1, 2", "B": {}}},
    ),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in EQUAL], ids=[row[0] for row in EQUAL])
def test_reads_what_the_fields_parser_reads(text: str, expected: CfgDict) -> None:
    """Every rule of the form gives the same tree here as in the field's own parser."""
    assert diraccfg_dict(text) == expected
    assert parse_cfg(text).to_dict() == expected


# name of the finding, text, line blamed, a part of the message
REFUSED_BY_BOTH = [
    ("section never closed", "x = 1\nA\n{\ny = 1\n", 3, "'A' opened here is never closed"),
    ("one brace too many", "A\n{\n}\n}\nx = 1", 4, "closes a section that was never opened"),
    ("brace without a name", "\n{\n}", 2, "expected the section's name before '{'"),
    ("equals sign without a name", "x = 1\n = 2", 2, "expected the option's name before '='"),
    ("append without a name", "+= 2", 1, "expected the option's name before '='"),
    ("append to a missing option", "\nx += 2", 2, "'x', which has no value yet"),
    ("append to a section", "A\n{\n}\nA += 2", 4, "'A' is already a section"),
    ("section twice", "A\n{\n}\nA\n{\n}", 5, "'A' appears twice; it was opened first at line 2"),
    (
        "section twice by path",
        "A {\nB {\n}\n}\nA/B {\n}",
        5,
        "'B' appears twice; it was opened first at line 2",
    ),
    ("section named like an option", "A = 1\nA\n{\n}", 3, "'A' is already an option"),
    ("path through an option", "A = 1\nA/x = 2", 2, "leads through 'A'"),
    ("whole section on one line", "A { x = 1 }", 1, "expected a line break behind the brace in 'A { x'"),
    ("closing brace behind a value", "A\n{\nx = 1 }\n", 2, "'A' opened here is never closed"),
    ("section named like an assignment", "A=b\n{\n}", 2, "expected the section's name"),
]

# The field's parser takes these without a word, and loses or misnames what the last column shows.
REFUSED_HERE = [
    ("line without a value", "x\ny = 1", 1, "expected '=' and a value behind 'x'", {"y": "1"}),
    ("the same at a closing brace", "A\n{\nx\n}", 3, "behind 'x'", {"A": {}}),
    ("the same at the end", "y = 1\n\nx\n", 3, "behind 'x'", {"y": "1"}),
    ("continued list", "Users = a,\n  b\n", 2, "behind 'b'", {"Users": "a,"}),
    ("other comment marks", "; c\nx = 1", 1, "behind '; c'", {"x": "1"}),
    ("two names before a brace", "a\nb\n{\n}", 1, "behind 'a'", {"ab": {}}),
    ("option replaces a section", "A\n{\nx = 1\n}\nA = 1", 5, "'A' is already a section", {"A": "1"}),
    ("option behind a brace", "A\n{ x = 1\n}", 2, "behind the brace in '{ x'", {"A": {"{ x": "1"}}),
    ("comment behind a name", "A # c\n{\n}", 2, "a comment must have a line of its own", {"A # c": {}}),
    (
        "comment between brace and name",
        "A {} # c\nB {}",
        1,
        "a comment must have a line of its own",
        {"A": {}, "# cB": {}},
    ),
    ("braces in a comment behind a brace", "A {} # c {}", 1, "a comment must have", {"A": {}, "# c": {}}),
    ("path through a missing section", "A/x = 1", 1, "leads through 'A'", {}),
    (
        "path from the root inside a section",
        "A {}\nB {\n/A/x = 1\n}",
        3,
        "leads through 'A'",
        {"A": {}, "B": {}},
    ),
    ("slash alone", "/ = 1", 1, "expected the option's name", {}),
]


@pytest.mark.parametrize(
    ("text", "line", "part"), [row[1:] for row in REFUSED_BY_BOTH], ids=[row[0] for row in REFUSED_BY_BOTH]
)
def test_refuses_what_the_fields_parser_refuses(text: str, line: int, part: str) -> None:
    """Where the field's parser fails, ours names the source, the line and what was expected."""
    with pytest.raises((ValueError, KeyError)):
        diraccfg_dict(text)
    with pytest.raises(CfgError) as caught:
        parse_cfg(text, "dirac.cfg")
    assert str(caught.value).startswith(f"dirac.cfg, line {line}: ")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "part", "field"), [row[1:] for row in REFUSED_HERE], ids=[row[0] for row in REFUSED_HERE]
)
def test_refuses_what_would_lose_data_in_silence(text: str, line: int, part: str, field: CfgDict) -> None:
    """Where the field's parser drops or misnames data without a word, ours names the line instead."""
    assert diraccfg_dict(text) == field
    with pytest.raises(CfgError) as caught:
        parse_cfg(text, "dirac.cfg")
    assert str(caught.value).startswith(f"dirac.cfg, line {line}: ")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["A {\n" * (MAX_DEPTH + 1), "A {}\n" + "".join("A/" * n + "A {}\n" for n in range(1, MAX_DEPTH + 1))],
)
def test_limits_depth(text: str) -> None:
    """Sections nested beyond the limit are an error, however they are written, not a stack overflow."""
    with pytest.raises(
        CfgError, match=f"line {MAX_DEPTH + 1}: sections are nested more than {MAX_DEPTH} deep"
    ):
        parse_cfg(text)


def test_name_marked_as_comment_behind_a_slash() -> None:
    """A name that the writer could only write as a comment is refused when read."""
    with pytest.raises(CfgError, match="line 2: option name 'A/#x': would be read as a comment"):
        parse_cfg("A {}\nA/#x = 1")


def test_looks_up_by_path() -> None:
    """Options, lists and sections are found by slash-separated paths, with or without a leading slash."""
    cfg = parse_cfg(EXAMPLE)
    assert cfg.get("DIRAC/VirtualOrganization") == "lab"
    assert cfg.get("/Registry/DefaultGroup") == "lab_user"
    assert cfg.get("DIRAC/Setup") is None
    assert cfg.get("DIRAC/Setup", "Lab") == "Lab"
    assert cfg.get("No/Such/Section") is None
    assert cfg.get("") is None
    assert cfg.get("DIRAC/Configuration") is None
    assert cfg.section("DIRAC/Configuration") is cfg.sections["DIRAC"].sections["Configuration"]
    assert cfg.section("") is cfg
    assert cfg.section("DIRAC/VirtualOrganization") is None


def test_lists_are_stripped_and_have_no_empty_elements() -> None:
    """A comma-separated value gives its stripped, non-empty elements; an absent one gives none."""
    cfg = parse_cfg("x = a ,b,, c,\ny =\n")
    assert cfg.get_list("x") == ["a", "b", "c"]
    assert cfg.get_list("y") == []
    assert cfg.get_list("z") == []


def test_set_creates_sections_and_replaces_values() -> None:
    """Setting an option creates what is missing above it and strips what the form cannot carry."""
    cfg = parse_cfg("A\n{\n  x = 1\n}")
    cfg.set("A/x", "2")
    cfg.set("/A/B/y", " 3 ")
    cfg.set("z", "")
    assert cfg.to_dict() == {"z": "", "A": {"x": "2", "B": {"y": "3"}}}


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("A", "1", "it is a section"),
        ("A/x/y", "1", "leads through an option"),
        ("", "1", "must not be empty"),
        ("A/n=m", "1", "must not contain '='"),
        ("N{/m", "1", "must not contain"),
        ("A/#n", "1", "comment"),
        ("N #/n", "1", "comment"),
        ("A/n", "1\n}\nEvil = 2", "line breaks"),
    ],
)
def test_set_refuses_what_the_form_cannot_carry(path: str, value: str, part: str) -> None:
    """A change that could not be written, or would hide something, fails and changes nothing."""
    cfg = parse_cfg("A\n{\n  x = 1\n}")
    with pytest.raises(CfgError, match=part):
        cfg.set(path, value)
    assert cfg.to_dict() == {"A": {"x": "1"}}


@pytest.mark.parametrize(
    "cfg",
    [
        CfgSection({"x": "1\n}"}),
        CfgSection({" x": "1"}),
        CfgSection({"a/b": "1"}),
        CfgSection({}, {"A=b": CfgSection()}),
        CfgSection({}, {"A #b": CfgSection()}),
        CfgSection({"A": "1"}, {"A": CfgSection()}),
    ],
)
def test_writer_refuses_what_the_form_cannot_carry(cfg: CfgSection) -> None:
    """A tree filled by hand is checked again when written, so no value can open or close a section."""
    with pytest.raises(CfgError):
        cfg.to_text()


def test_writes_options_before_sections() -> None:
    """The text has two blanks a level and one line for each option, name and brace."""
    cfg = parse_cfg("A {\nB {\n}\nx=1\n}\ny=\nz=a,b")
    assert cfg.to_text() == "y =\nz = a,b\nA\n{\n  x = 1\n  B\n  {\n  }\n}\n"


def test_copy_is_independent() -> None:
    """Changing a copy, at any level, leaves the original as it was."""
    cfg = parse_cfg(EXAMPLE)
    copy = cfg.copy()
    assert copy == cfg
    copy.set("DIRAC/Configuration/Servers", "none")
    assert cfg.get_list("DIRAC/Configuration/Servers")[1] == "dips://b:9135/Configuration/Server"


NAMES = st.text(st.characters(exclude_characters="=/{}\n", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name == name.strip() and "#" not in name
)
VALUES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])).map(str.strip)
TREES = st.recursive(
    st.builds(CfgSection, st.dictionaries(NAMES, VALUES, max_size=4)),
    lambda inner: st.builds(
        lambda options, sections: CfgSection(
            {name: value for name, value in options.items() if name not in sections}, sections
        ),
        st.dictionaries(NAMES, VALUES, max_size=4),
        st.dictionaries(NAMES, inner, max_size=3),
    ),
    max_leaves=8,
)
# Scraps of the form: together they make every rule and every mistake likely.
SCRAPS = st.lists(
    st.sampled_from(
        [
            "A",
            "B",
            "x",
            " ",
            "/",
            "=",
            "+=",
            "+",
            ",",
            "{",
            "}",
            "#",
            "\n",
            "\n",
            "\r\n",
            "\nx = 1\n",
            "A\n{\n",
        ]
    )
).map("".join)


@settings(deadline=None)
@given(TREES)
def test_written_text_reads_back_in_both_parsers(cfg: CfgSection) -> None:
    """What we write, we and the field's parser read back as the same tree."""
    text = cfg.to_text()
    assert parse_cfg(text) == cfg
    assert diraccfg_dict(text) == cfg.to_dict()


@settings(deadline=None)
@given(TREES)
def test_reads_text_that_the_fields_writer_wrote(cfg: CfgSection) -> None:
    """What the field's own writer writes (lists as `+=` lines) reads the same in both parsers."""
    text = str(CFG().loadFromDict(cfg.to_dict()))
    assert parse_cfg(text).to_dict() == diraccfg_dict(text)


@settings(max_examples=1000, deadline=None)
@given(SCRAPS)
def test_any_text_is_read_alike_or_refused(text: str) -> None:
    """No text whatever is taken by our parser and understood otherwise by the field's."""
    try:
        cfg = parse_cfg(text)
    except CfgError:
        return
    assert diraccfg_dict(text) == cfg.to_dict()


@pytest.mark.parametrize(
    "text",
    [
        "A\n{\n" + "".join(f"s{n}\n{{\nDN = /C=ch/O=lab/CN=user {n}\n}}\n" for n in range(25_000)) + "}\n",
        "x = 0\n" + "x += 1\n" * 150_000,
        "x = " + "a, " * 350_000,
        "".join(f"B{n} {{}} " for n in range(110_000)),
    ],
    ids=["sections", "appended lines", "one long value", "one long line"],
)
def test_a_megabyte_is_read_in_linear_time(text: str) -> None:
    """A megabyte takes well under the many seconds that anything quadratic would need."""
    assert len(text) > 1_000_000
    started = time.process_time()
    parse_cfg(text).to_text()
    assert time.process_time() - started < 3
