"""What can go wrong with the shared database, in the domain's words.

Drivers' exceptions become these at one place per engine (``shared_db/engines``); the two doors turn
them into an HTTP status (``rest_backend/errors.py``) or a legacy error (``legacy_rpc/services/table.py``).
"""

from __future__ import annotations


class DataError(Exception):
    """Base of everything the shared database refuses or cannot do."""


class Unavailable(DataError):
    """The database cannot be reached, opened or written just now; trying again later may work."""


class Interrupted(Unavailable):
    """The database broke a transaction off and kept nothing of it: a deadlock, a lost connection.

    The whole unit of work may be tried again, which :func:`shared_db.connection.again` does.
    """


class OutcomeUnknown(Unavailable):
    """The connection was lost while a change was being kept: it may be there or not; nothing is repeated."""


class Denied(Unavailable):
    """The server does not let the account in."""


class Foreign(Unavailable):
    """The database has not what is needed, or not for this account.

    ``found`` says what there is, ``mend`` what to do about it.
    """

    def __init__(self, found: str, mend: str = "`wherry db check` tells what differs") -> None:
        super().__init__(f"{found}: {mend}")
        self.found = found
        self.mend = mend


class TooSlow(DataError):
    """A statement took longer than the time that one may take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The database was still searching after {seconds:g} s: add a condition on a column with a key, "
            "such as JobID, Owner, Site or a recent LastUpdateTime"
        )


class Conflict(DataError):
    """A row with this key exists already, or a row that it needs does not."""


class InvalidValue(DataError):
    """A column cannot hold the value: too long, missing or out of range.

    ``column`` is DIRAC's column name, empty where the database does not tell; ``problem`` is one of
    ``too long``, ``null``, ``out of range``, ``no text that can be stored``.
    """

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"Value of {column} is {problem}" if column else f"A value is {problem}")
        self.column = column
        self.problem = problem


class InvalidQuery(DataError):
    """A search names an unknown column or operator, or a value that the column cannot be compared with."""
