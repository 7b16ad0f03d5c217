"""Parametric jobs: one JDL that stands for many (legacy-methods.md, section 2.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared_db.rules.jdl.reader import Jdl, JdlError, Value, bracketed, read, read_items
from shared_db.rules.jdl.values import content, float_in, integer_of, is_string, quoted
from shared_db.rules.jdl.writer import write
from shared_db.rules.refusals import Refusal

EWMSJDL = 1501

# The texts of all jobs together; DIRAC sets no bound.
LARGEST_EXPANSION = 64 * 1024 * 1024

_PLACEHOLDER = re.compile(r"%s|%n|%\([^()]*+\)s")
# May stand outside a string without changing how the text around it is read.
_SAFE = re.compile(r'[^"\[\]{};,\\#\s]++')
_SEQUENCE = {"ParameterStart": 1, "ParameterStep": 0, "ParameterFactor": 1}
_LARGEST_NUMBER = 10**100
# Filling a place takes time, however short the text; counted in characters.
_COST_OF_A_PLACE = 50


class TooManyJobs(Refusal):
    """A parametric job of more members than the submitter may send at once."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """The jobs that a JDL stands for, in order of their ids.

    The answer to a parametric submission is a list, and its jobs wait for their confirmation, also when
    there is only one.
    """

    jobs: tuple[str, ...]
    parametric: bool


def expand(text: str, limit: int, largest: int = LARGEST_EXPANSION) -> Expansion:
    """Expand a JDL into at most ``limit`` jobs, of at most ``largest`` characters together.

    A job that is not parametric stays as it is.  One with ``Parameters.NAME`` but without ``Parameters``
    is parametric, but is not expanded.

    Raises Refusal: TooManyJobs beyond the limit, JdlError for texts that are no JDL.
    """
    jdl = read(text)
    length = _length(jdl)
    if length is None:
        return Expansion((bracketed(text),), parametric=False)
    if length > limit:
        raise TooManyJobs(
            _invalid(f"Number of parametric jobs exceeds the limit of {limit}").message, EWMSJDL
        )
    if "Parameters" not in jdl:
        return Expansion((write(jdl),), parametric=True)
    return Expansion(tuple(_members(jdl, length, largest)), parametric=True)


def _invalid(detail: str) -> Refusal:
    return Refusal(f"Invalid job description ( {EWMSJDL} : {detail})", EWMSJDL)


def _length(jdl: Jdl) -> int | None:
    """How many jobs there are, None if the job is not parametric."""
    length: int | None = None
    for name, value in jdl.items():
        if not name.startswith("Parameters"):
            continue
        own = len(value) if isinstance(value, list) else integer_of(value)
        if own is None:
            continue
        if length is not None and own != length:
            raise _invalid(f"Different length of parameter vectors: for {name}, {length} != {own}")
        length = own
    if length is not None and length <= 0:
        raise _invalid(f"Illegal number of job parameters {length}")
    return length


def _members(jdl: Jdl, length: int, largest: int) -> Iterator[str]:
    vectors = {name: _vector(jdl, name, length) for name in _names(jdl)}
    template = {name: value for name, value in jdl.items() if not _is_control(name)}
    width = len(str(length - 1))
    budget = _Budget(largest)
    for number in range(length):
        values = {name: vector[number] for name, vector in vectors.items()}
        substitution = _Substitution(values, str(number).zfill(width), budget)
        member = substitution.record(template)
        member["ParameterNumber"] = str(number)
        for name, value in values.items():
            key = f"Parameter.{name}" if name else "Parameter"
            member[key] = _items(value) or _as_string(value)
        job = write(member)
        budget.spend(len(job))
        yield job


class _Budget:
    """What may still be written."""

    def __init__(self, characters: int) -> None:
        self._left = self._whole = characters

    def spend(self, characters: int) -> None:
        """Take from what is left; raises JdlError when there is not enough."""
        self._left -= characters
        if self._left < 0:
            raise JdlError(
                f"the parametric jobs are longer than {self._whole} characters together: submit fewer at once"
            )


def _parts(name: str) -> tuple[str, str]:
    control, _, parameter = name.partition(".")
    return control, parameter


def _is_control(name: str) -> bool:
    control, parameter = _parts(name)
    return control in ("Parameters", *_SEQUENCE) and (bool(parameter) or "." not in name)


def _names(jdl: Jdl) -> list[str]:
    """The parameters; the plain one has an empty name."""
    return list(dict.fromkeys(_parts(name)[1] for name in jdl if _is_control(name)) | {"": None})


def _vector(jdl: Jdl, name: str, length: int) -> list[str]:
    """The values of one parameter, as expressions."""
    suffix = f".{name}" if name else ""
    start, step, factor = (_number(jdl, control + suffix, default) for control, default in _SEQUENCE.items())
    stated = jdl.get("Parameters" + suffix)
    if isinstance(stated, list):
        return stated
    if name and stated is not None:
        raise _invalid("Inconsistent parametric job description")
    if stated is not None and integer_of(stated) is None:
        raise _invalid(f"Inconsistent parametric job description: Parameters={stated}")
    return list(_sequence(start, step, factor, length))


def _number(jdl: Jdl, key: str, default: int) -> int | float:
    if key not in jdl:
        return default
    value = jdl[key]
    number = integer_of(value)
    real = number if number is not None else float_in(content(value)) if isinstance(value, str) else None
    if real is None:
        shown = "{" + ",".join(value) + "}" if isinstance(value, list) else value
        raise Refusal(f"Illegal value for {key} JDL field: {shown}")
    return real


def _sequence(start: float, step: float, factor: float, length: int) -> Iterator[str]:
    if any(isinstance(number, float) for number in (start, step, factor)):
        start, step, factor = float(start), float(step), float(factor)
    value = start
    for _ in range(length):
        if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
            raise JdlError("the values of a parameter grow too large: use a smaller ParameterFactor")
        yield str(value)
        value = value * factor + step


def _items(value: str) -> list[str]:
    """The items of a parameter that is a list, [] for any other."""
    return read_items(value) if value.startswith("{") else []


def _as_string(value: str) -> str:
    return value if is_string(value) else quoted(content(value))


class _Substitution:
    """One member's values, put in the places that wait for them."""

    def __init__(self, values: Mapping[str, str], number: str, budget: _Budget) -> None:
        self._values = {f"%({name})s" if name else "%s": value for name, value in values.items()}
        self._values["%n"] = number
        self._budget = budget

    def record(self, template: Jdl) -> Jdl:
        """A copy of the template; names stay as they are."""
        return {name: self._value(value) for name, value in template.items()}

    def _value(self, value: Value) -> Value:
        if isinstance(value, dict):
            return self.record(value)
        if isinstance(value, list):
            return [item for each in value for item in self._spliced(each)]
        items = self._items_for(value)
        return items or self._expression(value)

    def _spliced(self, item: str) -> list[str]:
        return self._items_for(item) or [self._expression(item)]

    def _items_for(self, expression: str) -> list[str]:
        """The items, where the whole expression waits for a parameter that is a list."""
        return _items(self._values.get(content(expression), ""))

    def _expression(self, expression: str) -> str:
        if (whole := self._values.get(expression)) is not None:
            self._budget.spend(len(whole) + _COST_OF_A_PLACE)
            return content(whole) if _SAFE.fullmatch(content(whole)) else _as_string(whole)
        in_string = is_string(expression)

        def put(found: re.Match[str]) -> str:
            value = self._values.get(found[0])
            self._budget.spend(len(value or found[0]) + _COST_OF_A_PLACE)
            return found[0] if value is None else self._inserted(value, expression, in_string=in_string)

        return _PLACEHOLDER.sub(put, expression)

    def _inserted(self, value: str, expression: str, *, in_string: bool) -> str:
        if value.startswith("{"):
            raise JdlError(
                f"a parameter that is a list must be a value or an item of its own: {expression[:80]}"
            )
        text = content(value)
        if not in_string and text and not _SAFE.fullmatch(text):
            raise JdlError(f"the parameter {value[:80]} does not fit outside a string: {expression[:80]}")
        return text
