"""Refuses parameters that a route does not have: they would have no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

# They make promises, so that nobody must believe that they hold where they do not.
HEADERS: Final = ("if-match", "idempotency-key")


def require_known_query(request: Request) -> None:
    """Returns if the route has each parameter of the query, and each is given once.

    Raises:
        RequestValidationError: names each other one, and those that there are.
    """
    known = sorted(set(_query_names(request.scope["route"].dependant)))
    there = f"there are {', '.join(known)}" if known else "there are none"
    issues = []
    for name in dict.fromkeys(request.query_params):
        count = len(request.query_params.getlist(name))
        if name not in known:
            issues.append(_issue("query", name, f"is no parameter of this route; {there}"))
        elif count > 1:
            issues.append(_issue("query", name, f"is given {count} times; give it once"))
    if issues:
        raise RequestValidationError(issues)


def require_known_headers(request: Request) -> None:
    """Returns if the route regards each of these headers that the request has.

    Raises:
        RequestValidationError: names each other one.
    """
    known = set(_header_names(request.scope["route"].dependant))
    issues = [
        _issue("header", name, "has no effect on this route; leave it out")
        for name in HEADERS
        if name in request.headers and name not in known
    ]
    if issues:
        raise RequestValidationError(issues)


def unusable(place: str, name: str, reason: str) -> RequestValidationError:
    """The refusal of one parameter, such as ``query`` ``policy``."""
    return RequestValidationError([_issue(place, name, reason)])


def _issue(place: str, name: str, reason: str) -> dict[str, Any]:
    return {"loc": (place, name), "msg": reason}


def _query_names(dependant: Dependant) -> Iterator[str]:
    for each in dependant.query_params:
        model = each.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield each.alias
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


def _header_names(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias.lower() for each in dependant.header_params)
    for dependency in dependant.dependencies:
        yield from _header_names(dependency)
