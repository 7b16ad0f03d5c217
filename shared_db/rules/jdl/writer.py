"""Write JDL as DIRAC does: sorted names, four columns a level, lists and records on lines of their own."""

from __future__ import annotations

from shared_db.rules.jdl.reader import Jdl, Value

_STEP = 4


def write(jdl: Jdl) -> str:
    """The text of a JDL; reading it gives the same attributes again, and writing those the same text.

    Names and expressions must be such as ``reader.read`` gives.
    """
    return _record(jdl, 0)


def _record(jdl: Jdl, column: int) -> str:
    inside = column + _STEP
    lines = [f"{' ' * inside}{name} = {_value(jdl[name], inside)};" for name in sorted(jdl)]
    return "[ \n" + "\n".join(lines) + f"\n{' ' * column}]"


def _value(value: Value, column: int) -> str:
    if isinstance(value, str):
        return value
    below = column + _STEP
    text = _record(value, below) if isinstance(value, dict) else _list(value, below)
    return f"\n{' ' * below}{text}"


def _list(items: list[str], column: int) -> str:
    margin = " " * (column + _STEP)
    return "{\n" + margin + f",\n{margin}".join(items) + f"\n{' ' * column}}}"
