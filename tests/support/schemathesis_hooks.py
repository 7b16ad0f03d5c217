"""What schemathesis is told about our API that no OpenAPI document can say; loaded by ``st`` itself.

``tests/rest_backend/test_schemathesis.py`` names this file in schemathesis' configuration.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import pydantic
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import AllowHeaderMismatch, EnsureResourceAvailability

from rest_backend.operations import Operation
from rest_backend.table import OPERATIONS

_BY_NAME = {operation.name: operation for operation in OPERATIONS}
_KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(_context: Any, case: schemathesis.Case, **_kwargs: Any) -> None:
    """Give every request that makes something a key of its own.

    schemathesis sends a good value again with another body, and a key that was used for another request is
    refused (422), as it should be.  Keys that are none are left as they are.
    """
    if case.meta is not None and case.meta.generation.mode.is_positive and _KEY in (case.headers or {}):
        case.headers[_KEY] = secrets.token_hex(8)


@schemathesis.hook
def filter_failure(_context: Any, failure: Failure, case: schemathesis.Case, response: Any) -> bool:
    """Keep every failure but those of which a check is wrong."""
    match failure:
        case AcceptedNegativeData():
            return not _is_lenient(_operation(case), response)
        case AllowHeaderMismatch():
            return not _is_of_another_path(failure, urlsplit(response.request.url).path)
        case EnsureResourceAvailability():
            # Nothing in its address names what was made: the body may name anything.
            return bool(case.path_parameters or case.query)
    return True


def _is_of_another_path(failure: AllowHeaderMismatch, path: str) -> bool:
    """Whether all that ``Allow`` has too much is of another path of the document, which fits the address too.

    ``.../sandbox/output`` can be fetched as ``.../sandbox/{sandbox_type}``, and be patched by itself.
    """
    fitting = {operation.method for operation in OPERATIONS if operation.template.matches(path)}
    return not failure.missing_methods and set(failure.undocumented_methods) <= fitting


def _operation(case: schemathesis.Case) -> Operation:
    return _BY_NAME[case.operation.definition.raw["operationId"]]


def _is_lenient(operation: Operation, response: Any) -> bool:
    """Whether a body differs from what the model wants by the type of some value, and by nothing else.

    DiracX, and so we, read ``"1"``, ``1.0`` and ``true`` where a number is wanted, 0 and 1 where a flag is,
    numbers where a time is.  What its clients have always sent must go on to work; its document says nothing
    of it.
    """
    sent = response.request.body
    if operation.body_adapter is None or operation.form or not sent:
        return False
    if not _fits(operation.body_adapter, sent, strict=False):
        return False
    return not _fits(operation.body_adapter, sent, strict=True)


def _fits(adapter: pydantic.TypeAdapter[Any], sent: bytes, *, strict: bool) -> bool:
    try:
        adapter.validate_json(sent, strict=strict)
    except pydantic.ValidationError:
        return False
    return True
