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


def out_of_range(column: str) -> Refusal:
    """A number that its column cannot hold."""
    return _mysql(1264, f"Out of range value for column '{column}' at row 1")


def duplicate(key: object) -> Refusal:
    """A primary key that is there already."""
    return _mysql(1062, f"Duplicate entry '{key}' for key 'PRIMARY'")
