"""What a request says outside its body: parts of the path, the query, and headers.

One pydantic model holds them all.  A field whose name stands in braces in the path is a part of the path, one
that is marked ``HEADER`` is a header (by its alias, in lower case), and every other one is in the query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from rest_backend.errors import from_validation

if TYPE_CHECKING:
    from rest_backend.operations import RestRequest

PATH, QUERY = "path", "query"


class _Header:
    """The type of HEADER."""


HEADER = _Header()
"""Marks a field that is a header: ``Annotated[str | None, Field(alias="if-none-match"), HEADER]``."""

_BRACES = re.compile(r"\{(\w+)\}")


class PathTemplate:
    """A path with parts in braces, each of which stands for one segment."""

    def __init__(self, path: str) -> None:
        self.names = tuple(_BRACES.findall(path))
        pattern = _BRACES.sub(r"(?P<\1>[^/]+)", re.sub(r"[.+*?()|^$\[\]]", r"\\\g<0>", path))
        self._pattern = re.compile(pattern)

    def matches(self, path: str) -> bool:
        """Whether a path has this form."""
        return self._pattern.fullmatch(path) is not None

    def values(self, path: str) -> Mapping[str, str]:
        """What stands in the place of each part of a path that has this form."""
        match = self._pattern.fullmatch(path)
        return match.groupdict() if match else {}


class Parameters:
    """Reads the parameters of one operation."""

    def __init__(self, model: type[pydantic.BaseModel], template: PathTemplate) -> None:
        self.model = model
        self._template = template
        self.places = {
            _name(name, field): self._place(name, field) for name, field in model.model_fields.items()
        }
        self._headers = [name for name, place in self.places.items() if place == "header"]
        self._lists = {_name(name, field) for name, field in model.model_fields.items() if _is_list(field)}

    def _place(self, name: str, field: FieldInfo) -> str:
        if name in self._template.names:
            return PATH
        return "header" if HEADER in field.metadata else QUERY

    def read(self, request: RestRequest) -> Any:
        """The validated model.  Raises RestError 422."""
        given = {
            name: self._as_expected(name, value)
            for name, value in request.query.items()
            if self.places.get(name, QUERY) == QUERY
        }
        given |= {name: request.headers[name] for name in self._headers if name in request.headers}
        given |= self._template.values(request.path)
        try:
            return self.model.model_validate(given)
        except pydantic.ValidationError as error:
            raise from_validation(error, self._place_of) from error

    def _as_expected(self, name: str, value: Any) -> Any:
        """One value or a list of them; of several where one is wanted, the last."""
        if name in self._lists:
            return value if isinstance(value, list) else [value]
        return value[-1] if isinstance(value, list) and value else value

    def _place_of(self, location: Sequence[Any]) -> Sequence[str]:
        return [self.places.get(str(location[0]), QUERY) if location else QUERY]


def _name(name: str, field: FieldInfo) -> str:
    """The name that requests have for a field."""
    return field.alias or name


def _is_list(field: FieldInfo) -> bool:
    variants = [field.annotation, *get_args(field.annotation)]
    return any(each is list or get_origin(each) is list for each in variants)
