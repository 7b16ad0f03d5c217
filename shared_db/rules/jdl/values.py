"""The values of a JDL's attributes, as texts and numbers, and back."""

from __future__ import annotations

import re

from shared_db.rules.jdl.reader import Value, read_items

# A longer text is no number that DIRAC could store; Python refuses to convert very long ones.
_LONGEST_NUMBER = 100
# Backslashes that would change what the quote behind them means.
_BEFORE_QUOTE = re.compile(r'(?<!\\)(\\*+)("|\Z)')


def quoted(text: str) -> str:
    """A string that holds ``text``; JDL has no line breaks in values, so those are left out."""
    line = text.replace("\r", "").replace("\n", "")
    return f'"{_BEFORE_QUOTE.sub(_escaped, line)}"'


def _escaped(found: re.Match[str]) -> str:
    backslashes, quote = found.groups()
    if quote:
        return f'{backslashes * 2}\\"'
    return backslashes + "\\" * (len(backslashes) % 2)


def is_string(expression: str) -> bool:
    """True for an expression that is one string."""
    return len(expression) > 1 and expression[0] == '"' == expression[-1] and not _bare_quotes(expression)


def content(expression: str) -> str:
    """What an expression says once its quotes are taken away; escaped ones stay as they are."""
    return expression[1:-1] if is_string(expression) else _without_quotes(expression)


def text_of(value: Value) -> str:
    """A value as one text: a list's items are joined by commas, a record has none."""
    if isinstance(value, dict):
        return ""
    text = content(value) if isinstance(value, str) else ", ".join(map(content, value))
    return text.replace('\\"', '"')


def texts_of(value: Value) -> list[str]:
    """A value as a list of stripped, non-empty texts; one text may hold several, separated by commas."""
    if isinstance(value, dict):
        return []
    if isinstance(value, str):
        value = read_items(value) if value.startswith("{") else content(value).split(",")
    return [text for item in value if (text := text_of(item).strip())]


def integer_of(value: Value) -> int | None:
    """The whole number that an expression or a string says, None if it says none."""
    if not isinstance(value, str):
        return None
    return integer_in(content(value))


def integer_in(text: str) -> int | None:
    """The whole number that a text is, None if it is none."""
    try:
        return int(text) if len(text) <= _LONGEST_NUMBER else None
    except ValueError:
        return None


def is_number(text: str) -> bool:
    """True for what DIRAC writes without quotes: anything that Python reads as a number, ``nan`` included."""
    return float_in(text) is not None


def float_in(text: str) -> float | None:
    """The number that a text is, None if it is none."""
    try:
        return float(text) if len(text) <= _LONGEST_NUMBER else None
    except ValueError:
        return None


_QUOTES = re.compile(r'\\.|"', re.DOTALL)


def _bare_quotes(expression: str) -> bool:
    if "\\" not in expression:
        return '"' in expression[1:-1]
    return any(found[0] == '"' for found in _QUOTES.finditer(expression, 1, len(expression) - 1))


def _without_quotes(expression: str) -> str:
    if "\\" not in expression:
        return expression.replace('"', "")
    return _QUOTES.sub(lambda found: "" if found[0] == '"' else found[0], expression)
