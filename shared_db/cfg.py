"""Read and write DIRAC's CFG text: sections in braces, `name = value` lines, `#` comments.

The form (sheet legacy-wire.md 7.2) has no published grammar; this one was found by experiments with
the field's own parser, and a property test holds the two equal:

    text    = { line }                      lines end at "\\n"; outer white space never counts
    line    = "" | "#" anything             a comment fills its line
            | path "=" value                replaces an earlier value
            | path "+=" value               appends ", value" to an earlier option
            | { name | "{" | "}" }          a section; its brace may stand on a later line
    path    = [ "/" ] { section "/" } name  relative to the section it stands in

The first `=` of a line makes it an option, so values may hold `=`, `#` and braces. Where the field's
parser loses or misnames data without a word (a line with neither `=` nor `{`, an option behind a brace,
two lines glued into one section name, an option that replaces a section), reading fails here instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias, overload

CfgDict: TypeAlias = "dict[str, str | CfgDict]"

# Real files nest about eight deep; the limit keeps a hostile text from exhausting the interpreter's stack.
MAX_DEPTH = 100

_BRACE = re.compile(r"([{}])")
_UNWRITABLE_IN_NAME = re.compile(r"[={}/\n]")
_COMMENT_IN_NAME = re.compile(r"(?:^|\s)#")


class CfgError(ValueError):
    """A CFG text that cannot be read, or a change or tree that the text form cannot carry."""


@dataclass(slots=True)
class CfgSection:
    """One section: its options and the sections inside it, both in file order.

    Paths are written `A/B/option`; a leading slash is allowed.
    """

    options: dict[str, str] = field(default_factory=dict)
    sections: dict[str, CfgSection] = field(default_factory=dict)

    @overload
    def get(self, path: str) -> str | None: ...
    @overload
    def get(self, path: str, default: str) -> str: ...
    @overload
    def get(self, path: str, default: str | None) -> str | None: ...
    def get(self, path: str, default: str | None = None) -> str | None:
        """The value of the option at `path`, or `default` if there is no such option."""
        *above, name = _parts(path) or [""]
        section = self._descend(above)
        return default if section is None else section.options.get(name, default)

    def get_list(self, path: str) -> list[str]:
        """The comma-separated value at `path` as its non-empty, stripped elements; [] if it is absent."""
        return [element for piece in self.get(path, "").split(",") if (element := piece.strip())]

    def section(self, path: str) -> CfgSection | None:
        """The section at `path` (this one for an empty path), or None if there is no such section."""
        return self._descend(_parts(path))

    def set(self, path: str, value: str) -> None:
        """Set the option at `path`, creating the sections above it.

        Raises CfgError if the path names a section or leads through an option, or if the text form
        cannot carry the name or the value; nothing is changed then.
        """
        *above, name = parts = _parts(path) or [""]
        for part in above:
            _check_name("section", part)
        _check_option(name, value)
        if any(self.get("/".join(parts[:depth])) is not None for depth in range(1, len(parts))):
            raise CfgError(f"cannot set {path!r}: it leads through an option, not a section")
        if self.section(path) is not None:
            raise CfgError(f"cannot set {path!r}: it is a section, not an option")
        section = self
        for part in above:
            section = section.sections.setdefault(part, CfgSection())
        section.options[name] = value.strip()

    def to_text(self) -> str:
        """CFG text that reads back as this section: options first, then sections, two spaces a level.

        White space around a value is dropped: the form cannot carry it. Raises CfgError for other
        things it cannot carry (a line break in a value, a name with `=`, `/` or a brace).
        """
        return "".join(f"{line}\n" for line in _lines(self, ""))

    def to_dict(self) -> CfgDict:
        """Nested dictionaries: an option becomes a string, a section a dictionary."""
        return {**self.options, **{name: section.to_dict() for name, section in self.sections.items()}}

    def copy(self) -> CfgSection:
        """An independent copy, all levels deep."""
        return CfgSection(
            dict(self.options), {name: section.copy() for name, section in self.sections.items()}
        )

    def _descend(self, parts: list[str]) -> CfgSection | None:
        section: CfgSection | None = self
        for part in parts:
            if section is None:
                return None
            section = section.sections.get(part)
        return section


def parse_cfg(text: str, source: str = "<cfg>") -> CfgSection:
    """The root section of a CFG text.

    Raises CfgError naming `source`, the line and what was expected there.
    """
    reader = _Reader(source)
    for number, line in enumerate(text.split("\n"), start=1):
        reader.read_line(number, line.strip())
    return reader.finish()


def _parts(path: str) -> list[str]:
    return [part for piece in path.split("/") if (part := piece.strip())]


def _check_name(kind: str, name: str) -> None:
    if not name or name != name.strip():
        raise CfgError(f"{kind} name {name!r}: must not be empty or begin or end with white space")
    if _UNWRITABLE_IN_NAME.search(name):
        raise CfgError(f"{kind} name {name!r}: must not contain '=', '/', braces or line breaks")
    if name.startswith("#") or (kind == "section" and _COMMENT_IN_NAME.search(name)):
        raise CfgError(f"{kind} name {name!r}: would be read as a comment")


def _check_option(name: str, value: str) -> None:
    _check_name("option", name)
    if "\n" in value.strip():
        raise CfgError(f"option {name!r}: its value must not contain line breaks")


def _lines(section: CfgSection, indent: str) -> Iterator[str]:
    for name, value in section.options.items():
        _check_option(name, value)
        yield f"{indent}{name} = {value.strip()}".rstrip()
    for name, inner in section.sections.items():
        _check_name("section", name)
        if name in section.options:
            raise CfgError(f"{name!r} is both an option and a section")
        yield f"{indent}{name}"
        yield f"{indent}{{"
        yield from _lines(inner, indent + "  ")
        yield f"{indent}}}"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A section whose closing brace has not come yet."""

    path: tuple[str, ...]
    section: CfgSection
    line: int


class _Reader:
    """The state of one reading: the sections open now, and a name that still waits for its brace."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open = [_Opened((), CfgSection(), 0)]
        self._first_lines: dict[tuple[str, ...], int] = {}
        self._waiting = ""
        self._waiting_line = 0
        # Values that grew by `+=`, joined once at the end: a list of n lines then costs n steps, not n*n.
        self._grown: dict[tuple[int, str], tuple[CfgSection, list[str]]] = {}

    def read_line(self, number: int, line: str) -> None:
        """Take one stripped line."""
        if not line or line.startswith("#"):
            return
        head, separator, value = line.partition("=")
        if separator:
            self._read_option(number, head.rstrip(), value.strip(), appends=head.endswith("+"))
            return
        for piece in _BRACE.split(line):
            self._read_piece(number, piece.strip())

    def finish(self) -> CfgSection:
        """The root section, once every line has been read."""
        self._drop_waiting()
        last = self._open[-1]
        if last.path:
            self._fail(
                last.line, f"section {last.path[-1]!r} opened here is never closed: expected a matching '}}'"
            )
        for (_, name), (section, values) in self._grown.items():
            section.options[name] = ", ".join(values)
        return last.section

    def _fail(self, line: int, problem: str) -> NoReturn:
        raise CfgError(f"{self._source}, line {line}: {problem}")

    def _read_piece(self, line: int, piece: str) -> None:
        if piece == "{":
            self._open_section(line)
        elif piece == "}":
            self._close_section(line)
        elif piece:
            self._read_name(line, piece)

    def _read_name(self, line: int, name: str) -> None:
        if self._waiting.startswith("#"):
            self._fail(
                self._waiting_line,
                f"a comment must have a line of its own, not follow a brace: {self._waiting!r}",
            )
        self._drop_waiting()
        self._waiting, self._waiting_line = name, line

    def _drop_waiting(self) -> None:
        # Behind a brace a comment is harmless, unless a section's name follows it (_read_name).
        if self._waiting and not self._waiting.startswith("#"):
            self._fail(
                self._waiting_line,
                f"expected '=' and a value behind {self._waiting!r}, or '{{' on this line or the next",
            )
        self._waiting = ""

    def _open_section(self, line: int) -> None:
        name, self._waiting = self._waiting, ""
        if _COMMENT_IN_NAME.search(name):
            self._fail(
                line, f"a comment must have a line of its own, not stand in a section's name: {name!r}"
            )
        path, parent, leaf = self._place(line, name, "section")
        if leaf in parent.sections:
            self._fail(
                line, f"section {leaf!r} appears twice; it was opened first at line {self._first_lines[path]}"
            )
        if leaf in parent.options:
            self._fail(line, f"{leaf!r} is already an option here: expected another section name")
        if len(path) > MAX_DEPTH:
            self._fail(line, f"sections are nested more than {MAX_DEPTH} deep")
        section = parent.sections[leaf] = CfgSection()
        self._first_lines[path] = line
        self._open.append(_Opened(path, section, line))

    def _close_section(self, line: int) -> None:
        self._drop_waiting()
        if len(self._open) == 1:
            self._fail(line, "'}' closes a section that was never opened")
        self._open.pop()

    def _read_option(self, line: int, head: str, value: str, *, appends: bool) -> None:
        if _BRACE.search(head):
            self._fail(
                line,
                f"an option must have a line of its own: expected a line break behind the brace in {head!r}",
            )
        self._drop_waiting()
        _, parent, name = self._place(line, head[:-1] if appends else head, "option")
        if name in parent.sections:
            self._fail(line, f"{name!r} is already a section here: expected another option name")
        if appends:
            self._append(line, parent, name, value)
        else:
            self._grown.pop((id(parent), name), None)
            parent.options[name] = value

    def _append(self, line: int, parent: CfgSection, name: str, value: str) -> None:
        if name not in parent.options:
            self._fail(line, f"'+=' appends to option {name!r}, which has no value yet: expected '='")
        _, values = self._grown.setdefault((id(parent), name), (parent, [parent.options[name]]))
        values.append(value)

    def _place(self, line: int, name: str, kind: str) -> tuple[tuple[str, ...], CfgSection, str]:
        """Where a name with slashes points, seen from the innermost open section: path, parent, last name."""
        mark = "{" if kind == "section" else "="
        here = self._open[-1]
        parts = _parts(name)
        if not parts:
            self._fail(line, f"expected the {kind}'s name before {mark!r}")
        parent = here.section
        for part in parts[:-1]:
            if part not in parent.sections:
                self._fail(line, f"{name!r} leads through {part!r}, which is not a section so far")
            parent = parent.sections[part]
        if parts[-1].startswith("#"):
            self._fail(line, f"{kind} name {name!r}: would be read as a comment")
        return (*here.path, *parts), parent, parts[-1]
