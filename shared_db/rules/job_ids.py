"""What legacy callers may write for job ids, and what DIRAC makes of it.

Two readers, since DIRAC has two: the monitoring methods understand ``"1, 2"`` and are strict, the
management methods take anything and read what they do not understand as no job at all.  All cases were
seen on DIRAC 9.1.22; numbers 14 in legacy-methods.md section 0.
"""

from __future__ import annotations

from typing import Any

from shared_db.rules.refusals import Refusal, UnfitArgument, duplicate, out_of_range

# DIRAC puts the ids into a temporary table with a signed INTEGER primary key.
SMALLEST, LARGEST = -(2**31), 2**31 - 1


def ids_to_look_up(job_ids: Any) -> list[int]:
    """Ids for a monitoring method: an int, a list of ints or numeric texts, or ``"1, 2"``.

    Nothing at all (``[]``, ``""``, 0) is an empty list.
    Raises Refusal.
    """
    if not job_ids:
        return []
    if isinstance(job_ids, str):
        job_ids = job_ids.replace(" ", "").split(",")
    elif isinstance(job_ids, int):
        job_ids = [job_ids]
    try:
        numbers = [int(each) for each in job_ids]
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal(f"{error!r}: {error}") from error
    return selectable(numbers)


def ids_to_manage(job_ids: Any) -> list[int]:
    """Ids for killJob and its like; what is not understood is an empty list (``"1,2"`` too).

    Raises UnfitArgument for a list that holds something other than numbers and texts.
    """
    if not isinstance(job_ids, int | str | list) or not job_ids:
        return []
    try:
        return [int(each) for each in (job_ids if isinstance(job_ids, list) else [job_ids])]
    except ValueError:
        return []
    except (TypeError, OverflowError) as error:
        raise UnfitArgument(str(error)) from error


def selectable(numbers: list[int]) -> list[int]:
    """The ids as DIRAC's temporary table of ids holds them.

    It is a MEMORY table filled by one statement: a first number out of range is an error, a later one is
    cut to the nearest 32-bit integer, and a number that stands there already is an error.
    Raises Refusal.
    """
    if numbers and not SMALLEST <= numbers[0] <= LARGEST:
        raise out_of_range("JobID")
    held: set[int] = set()
    for number in numbers:
        cut = min(max(number, SMALLEST), LARGEST)
        if cut in held:
            raise duplicate(cut)
        held.add(cut)
    return list(held)
