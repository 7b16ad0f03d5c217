"""The form in which DIRAC keeps a submitted JDL: every attribute restated from one plain text.

JobManager reads a submitted JDL into CFG options and writes the current JDL from those (seen on 9.1.22), so

* a list becomes one text, its items joined by commas, and a text with commas becomes a list, unless it is one
  of ``TEXTS``;
* what Python reads as a number loses its quotes, and everything else gains them.
"""

from __future__ import annotations

from shared_db.rules.jdl.reader import Jdl, JdlError, Value, read_items
from shared_db.rules.jdl.values import content, is_number, is_string

# Never split at commas.
TEXTS = frozenset({"Arguments", "Executable", "StdError", "StdOutput"})


def restated(jdl: Jdl) -> Jdl:
    """The attributes as DIRAC's current JDL has them.

    Raises JdlError, in DIRAC's words, for values that no option can carry.
    """
    return {
        name: restated(value) if isinstance(value, dict) else stated(name, option(name, value))
        for name, value in jdl.items()
    }


def option(name: str, value: str | list[str]) -> str:
    """An expression or a list as one text; strings keep their backslashes.

    Raises JdlError for strings without commas between them and for commas, lists and records inside an item.
    """
    if isinstance(value, list):
        return ", ".join(_item(name, item) for item in value)
    if value.startswith('"') and not is_string(value):
        return _strings(name, value)
    return content(value)


def stated(name: str, text: str) -> Value:
    """The value that a text becomes: a number, a string, or a list of those."""
    if name not in TEXTS:
        pieces = [piece for part in text.split(",") if (piece := part.strip())]
        if len(pieces) > 1:
            return [_literal(piece) for piece in pieces]
    return _literal(text)


def _literal(text: str) -> str:
    # The text was between quotes before, so its own quotes are escaped already.
    return text.strip() if is_number(text) else f'"{text}"'


def _item(name: str, item: str) -> str:
    if item.startswith("["):
        raise JdlError(f"Key {name} seems to have a value and open a sub JDL at the same time")
    if item.startswith("{"):
        raise JdlError(f"Var {name} : a list inside a list cannot be kept")
    text = option(name, item)
    if "," in text:
        raise JdlError(f'Var {name} : value is opened with " but is not closed')
    return text


def _strings(name: str, value: str) -> str:
    """Several strings with commas between them, which DIRAC takes for a list without its braces."""
    pieces = read_items("{" + value + "}")
    if not all(is_string(piece) for piece in pieces):
        raise JdlError(f"Var {name} : value seems a list but is not separated in commas")
    return ", ".join(content(piece) for piece in pieces)
