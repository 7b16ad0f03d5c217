"""What a DIRAC service refuses for the sake of its data, in the texts its clients see.

Both routes check with the same rules, so a call is refused alike by the native handlers and by the
adaptors.  Texts were seen on DIRAC 9.1.22 with MariaDB.
"""

from __future__ import annotations

EMYSQL = 1131


class Refusal(ValueError):
    """A value that DIRAC refuses.  ``errno`` is DIRAC's number, 0 for none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.errno = errno


class UnfitArgument(Exception):
    """An argument that DIRAC's code trips over; the text is Python's own.

    A service answers ``Server error while serving METHOD: <text>``.
    """


def _mysql(code: int, text: str) -> Refusal:
    return Refusal(f'MySQL Error ( {EMYSQL} : Execution failed.: (({code}, "{text}") ))', EMYSQL)


def too_long(column: str) -> Refusal:
    """A text longer than its column."""
    return _mysql(1406, f"Data too long for column '{column}' at row 1")


def missing(column: str) -> Refusal:
    """None where a value is needed."""
    return _mysql(1048, f"Column '{column}' cannot be null")


def several_values() -> Refusal:
    """A list of several values where a statement has place for one."""
    return _mysql(1241, "Operand should contain 1 column(s)")


def out_of_range(column: str) -> Refusal:
    """A number that its column cannot hold."""
    return _mysql(1264, f"Out of range value for column '{column}' at row 1")


def no_date(column: str, value: str) -> Refusal:
    """A text that is no time where a column of Jobs holds one."""
    return _mysql(1292, f"Incorrect datetime value: '{value}' for column `JobDB`.`Jobs`.`{column}` at row 1")


def of_value(column: str, problem: str) -> Refusal | None:
    """What MySQL says of a value that a column cannot hold; ``problem`` as in InvalidValue.

    None where it has no words for it, or the column is not known.
    """
    words = {"too long": too_long, "null": missing, "out of range": out_of_range}.get(problem)
    return words(column) if words and column else None


def duplicate(key: object) -> Refusal:
    """A primary key that is there already."""
    return _mysql(1062, f"Duplicate entry '{key}' for key 'PRIMARY'")


def unknown_column(name: str, clause: str = "WHERE") -> Refusal:
    """A column that the table has not; ``clause`` is the part of the statement that names it."""
    return _mysql(1054, f"Unknown column '{name}' in '{clause}'")


def unknown_table(name: str) -> Refusal:
    """A table, with its database, that is not there."""
    return _mysql(1146, f"Table '{name}' doesn't exist")


def cut_off(column: str) -> Refusal:
    """A text that is none of an ENUM's."""
    return _mysql(1265, f"Data truncated for column '{column}' at row 1")


def no_number(column: str, value: str) -> Refusal:
    """A text that is no number where a column of PilotAgents holds one."""
    place = f"`PilotAgentsDB`.`PilotAgents`.`{column}`"
    return _mysql(1366, f"Incorrect double value: '{value}' for column {place} at row 1")
