"""What can go wrong with the shared database, in the domain's words.

Drivers' exceptions become these at one place per engine (``shared_db/engines``); the two doors turn
them into an HTTP status (``rest_backend/errors.py``) or a legacy error (``legacy_rpc/services/table.py``).
"""

from __future__ import annotations


class DataError(Exception):
    """Base of everything the shared database refuses or cannot do."""


class Unavailable(DataError):
    """The database cannot be reached, opened or written just now; trying again later may work."""


class Conflict(DataError):
    """A row with this key exists already, or a row that it needs does not."""


class InvalidValue(DataError):
    """A column cannot hold the value: too long, missing or out of range.

    ``column`` is DIRAC's column name; ``problem`` is one of ``too long``, ``null``, ``out of range``.
    """

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"Value of {column} is {problem}")
        self.column = column
        self.problem = problem


class InvalidQuery(DataError):
    """A search names an unknown column or operator, or a value that the column cannot be compared with."""
