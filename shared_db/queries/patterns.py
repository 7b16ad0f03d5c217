"""Regular expressions in searches: which are taken.

Whoever may search may send one, so that it must be harmless to compile as well.  The library writes counted
repetitions out, one within the other: ``(?:(?:(?:a?){255}){255}){255}`` takes all the memory there is before
it has matched anything.
"""

from __future__ import annotations

import re

import regex

from shared_db.errors import InvalidQuery

LONGEST = 1000
# Parts, as if every repetition were written out: 20,000 of them take some hundredths of a second.
LARGEST = 20_000
# A counted repetition, with what stands before it where that is one character or one of a set.
_COUNTED = re.compile(r"(\\[dDwWsS]|(?<!\\)[\w.\]])?\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


def check_pattern(pattern: str) -> None:
    """Raise InvalidQuery for what is no regular expression, or too large a one."""
    if len(pattern) > LONGEST:
        raise InvalidQuery(f"A regular expression may have at most {LONGEST} characters")
    if _size(pattern) > LARGEST:
        raise InvalidQuery("A regular expression repeats its parts too often: write a simpler one")
    try:
        regex.compile(pattern)
    except RecursionError as error:
        raise InvalidQuery("A regular expression is nested too deeply: write a simpler one") from error
    except regex.error as error:
        raise InvalidQuery(f"Invalid regex {pattern}") from error


def _size(pattern: str) -> int:
    """At most so many parts it has when it is written out: as if every group stood within every other.

    To know the groups, one would have to read the expression as the library does.
    """
    parts, times = len(pattern), 1
    for match in _COUNTED.finditer(pattern):
        count = max(1, *(int(number or 0) for number in match.group(2, 3)))
        if match[1] is None:
            times *= count
        else:
            parts += count
    return parts * times
