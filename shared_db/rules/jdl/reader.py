"""Read JDL: ClassAd text as DIRAC 7.3 to 9.1 accepts it (legacy-methods.md, section 2).

    record     = "[" { attribute ";" } "]"
    attribute  = name "=" ( record | list | expression )
    list       = "{" [ item { "," item } ] "}"
    expression = anything up to ";" or the record's "]"; strings are in double quotes, `\\"` stays inside

Comments (`# ...`, `// ...` to the end of the line, `/* ... */`) may stand before a name or an item and behind
a string, a list or a record.  Names keep their case; a name given twice has its last value.

DIRAC takes line breaks out of values, and so does this reader.  Where DIRAC's own reader cuts a value in two
(`;` inside a string), never ends (`[` inside a string) or drops text without a word (a forgotten `;`), a
string is kept whole here and the rest is an error.  The text is passed once, from left to right.
"""

from __future__ import annotations

import re
from typing import NoReturn, TypeAlias

from shared_db.rules.refusals import Refusal

# Real descriptions nest two deep.  Every level indents a written record by eight columns, so a hostile
# text of this depth still grows by a small factor only.
MAX_DEPTH = 16

# Expressions and list items stay as they were written, quotes included; DIRAC does not interpret them either.
Value: TypeAlias = "str | list[str] | Jdl"
Jdl: TypeAlias = "dict[str, Value]"

# Possessive throughout: no text makes these go back over what they have passed.
_COMMENT = r"#[^\n]*+|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/"
_BLANKS = re.compile(rf"(?:\s++|{_COMMENT})*+")
_BETWEEN_ATTRIBUTES = re.compile(rf"(?:[\s;]++|{_COMMENT})*+")
_NAME = re.compile(r'[^=;\[\]{}"\n]*+')
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# What nearly all items are, with the comma or brace behind them; any other is read step by step.
_PLAIN_ITEM = re.compile(
    r'\s*+((?:"(?:[^"\\]++|\\.)*+"|[^"\[\]{};,#/\s][^"\[\]{};,]*+)?+)\s*+([,}])', re.DOTALL
)
_SPACE = re.compile(r"\s*+")
_PLAIN = re.compile(r'[^"\[\]{};,]++')
_SHOWN = 80


class JdlError(Refusal):
    """A text that is no JDL, or a job that JDL cannot carry; the message names the place and the mend."""


def bracketed(text: str) -> str:
    """The text as DIRAC keeps it: stripped, with the outer brackets that were left out.

    Raises JdlError for an empty text.
    """
    text = text.strip()
    if not text:
        raise JdlError("the JDL is empty: expected attributes such as Executable")
    if not text.startswith("["):
        text = "[" + text
    return text if text.endswith("]") else text + "]"


def read(text: str) -> Jdl:
    """The attributes of a JDL text, in the order of their first appearance; outer brackets may be missing.

    A value is an expression or a string as written (``'"a"'``, ``'5'``), a list of those, or a record.

    Raises JdlError naming the line or the key.
    """
    return _Reader(bracketed(text)).whole()


def read_items(text: str) -> list[str]:
    """The items of a list that is written ``{...}``; empty ones are left out.

    Raises JdlError when the braces are not balanced.
    """
    return _Reader(text).only_list()


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Jdl:
        """The record that is the whole text."""
        self._at = 1
        record = self._record(1)
        self._skip(_BLANKS)
        # `[a = 1;]]` has always been accepted.
        if self._text[self._at :].strip(" \t\r\n]"):
            self._fail(f"unexpected text behind the closing ']': {self._shown(self._at)}")
        return record

    def only_list(self) -> list[str]:
        """The list that is the whole text."""
        items = self._list("list")
        if self._at != len(self._text):
            self._fail_list(0, len(self._text))
        return items

    def _record(self, depth: int) -> Jdl:
        if depth > MAX_DEPTH:
            self._fail(f"records are nested more than {MAX_DEPTH} deep")
        record: Jdl = {}
        while True:
            self._skip(_BETWEEN_ATTRIBUTES)
            if self._at == len(self._text):
                # Without outer brackets, the bracket of a record at the end was taken for the missing one.
                if depth > 1:
                    self._fail("the text ends inside a record: expected ']'")
                return record
            if self._next() == "]":
                self._at += 1
                return record
            name = self._name()
            record[name] = self._value(name, depth)

    def _name(self) -> str:
        name = self._take(_NAME).strip()
        self._skip(_BLANKS)
        if self._next() != "=":
            raise JdlError(f"No value for key {name[:_SHOWN] or self._shown(self._at)}")
        if not name:
            self._fail("expected a key before '='")
        self._at += 1
        return name

    def _value(self, name: str, depth: int) -> Value:
        self._skip(_SPACE)
        if self._next() == "[":
            self._at += 1
            return self._record(depth + 1)
        if self._next() == "{":
            start = self._at
            items = self._list(name)
            end = self._at
            self._skip(_BLANKS)
            if self._next() not in (";", "]", ""):
                self._fail_list(start, end)
            return items
        return self._expression(name)

    def _expression(self, name: str) -> str:
        if not (expression := self._expression_before(name, ";]")):
            raise JdlError(f"No value for key {name}")
        return expression

    def _expression_before(self, name: str, ends: str) -> str:
        """The text up to one of ``ends``; what is one string may have comments behind it."""
        start = self._at
        if self._next() == '"':
            self._string(name)
            end = self._at
            self._skip(_BLANKS)
            if not self._next() or self._next() in ends:
                return _one_line(self._text[start:end])
        self._pass(name, ends)
        return _one_line(self._text[start : self._at])

    def _list(self, name: str) -> list[str]:
        opened = self._at
        self._at += 1
        items = []
        while True:
            if plain := _PLAIN_ITEM.match(self._text, self._at):
                item, end = _one_line(plain[1]), plain[2]
                self._at = plain.end()
            else:
                item, end = self._item(name, opened)
            if item:
                items.append(item)
            if end == "}":
                return items

    def _item(self, name: str, opened: int) -> tuple[str, str]:
        """The next item and what stands behind it, a comma or the list's brace."""
        self._skip(_BLANKS)
        text, end = self._expression_before(name, ",}];"), self._next()
        if end not in ("}", ","):
            self._fail_list(opened, self._at)
        self._at += 1
        return text, end

    def _pass(self, name: str, ends: str) -> None:
        """Go to the first of ``ends`` outside strings and brackets opened here, or to the end."""
        awaited: list[str] = []
        while True:
            self._skip(_PLAIN)
            char = self._next()
            if not awaited and (not char or char in ends):
                return
            if char == '"':
                self._string(name)
                continue
            if char in ("[", "{"):
                if len(awaited) == MAX_DEPTH:
                    self._fail(f"brackets in key {name} are nested more than {MAX_DEPTH} deep")
                awaited.append("]" if char == "[" else "}")
            elif awaited and char == awaited[-1]:
                awaited.pop()
            elif char != "," and not (char == ";" and awaited[-1] == "]"):
                self._fail(f"brackets in key {name} are not balanced: {self._shown(self._at)}")
            self._at += 1

    def _string(self, name: str) -> None:
        if (string := _STRING.match(self._text, self._at)) is None:
            self._fail(f"the string in key {name} is never closed: expected '\"'")
        self._at = string.end()

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        start = self._at
        self._skip(pattern)
        return self._text[start : self._at]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()

    def _shown(self, start: int) -> str:
        """The next few characters, for an error."""
        text = self._text[start : start + _SHOWN].partition("\n")[0].rstrip("];").strip()
        return text or "nothing"

    def _fail(self, problem: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        raise JdlError(f"JDL, line {line}: {problem}")

    def _fail_list(self, start: int, end: int) -> NoReturn:
        shown = _one_line(self._text[start : min(end, start + _SHOWN)])
        raise JdlError(f"Value '{shown}' seems a list but does not end in '}}'")


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").strip()
