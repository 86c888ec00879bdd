"""What programs ask for over and over, answered without FastAPI.

Belongs here: the way past it, and what such a route reads from its request. Does not belong here:
which routes they are and what they answer (`sync_routes.py`).

FastAPI finds a route among all, resolves its parameters one by one and prepares for a body and for
files: half of what an answer takes, beside its questions to the database. Its own routes of the
same paths say what these are, and answer every other method.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import psycopg
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from pipedrive_pipeline.connect import callers
from pipedrive_pipeline.connect.callers import Caller
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.requests import (
    House,
    failures_counted,
    require_role,
    require_system,
    take_turn,
)
from pipedrive_pipeline.errors import PipelineError

Q = TypeVar("Q", bound=BaseModel)
Answering = Callable[[Request], Response]

PATH = re.compile(r"/api/integrations/(?P<system>[^/]+)/(?P<asked>[a-z/]+)")
# Two cores are busy with 4. With 40 threads, as many as there may be of others, a burst takes all
# ten connections and keeps them warm: at 300 a second a twentieth more work in the app, a tenth
# more in Postgres.
AT_ONCE = 4


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="polled")


@dataclass(frozen=True)
class Polled:
    """The app within, but for what is polled: that is answered here, by few threads of its own.

    Plain ASGI, within what holds for all routes alike (`headers.py`).
    """

    app: ASGIApp
    answers: Mapping[str, Answering]  # by what stands behind the system in the path
    told: Callable[[Request, PipelineError], Response]
    invalid: Callable[[Request, RequestValidationError], Response]
    threads: ThreadPoolExecutor = field(default_factory=_threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = PATH.fullmatch(scope["path"]) if scope.get("method") == "GET" else None
        answer = self.answers.get(path["asked"]) if path else None
        if path is None or answer is None:
            await self.app(scope, receive, send)
            return
        scope["path_params"] = {"system": path["system"]}
        request, loop = Request(scope), asyncio.get_running_loop()
        response = await loop.run_in_executor(self.threads, self._answered, answer, request)
        await response(scope, receive, send)

    def _answered(self, answer: Answering, request: Request) -> Response:
        try:
            return answer(request)
        except PipelineError as error:
            return self.told(request, error)
        except RequestValidationError as error:
            return self.invalid(request, error)


@dataclass(frozen=True)
class Reading:
    """Who asks, for which system, and the transaction that answers."""

    house: House
    system: str
    caller: Caller
    connection: psycopg.Connection  # as the app, with the caller's tenant set


@contextmanager
def reading(request: Request, role: Role) -> Iterator[Reading]:
    """Who asks with at least this role, and a transaction that shows their tenant's rows only.

    The key is looked up in the transaction that reads, each time: a revoked one is refused at once.

    Raises:
        NotFound: there is no system of this name.
        RoleTooLow: an admin, or the operator, must ask.
        NotSignedIn, Forbidden, OtherTenant, BadInput, BadSlug, UnknownTenant, TooManyRequests: as
            `signed_in`.
    """
    held: House = request.app.state.house
    system: str = request.path_params["system"]
    require_system(system)
    with failures_counted(request):
        claim = callers.claim_of(request, held.vault.settings)
    with held.warehouse.as_app(claim.tenant) as connection:
        with failures_counted(request):
            caller = callers.confirmed(connection, claim)
        take_turn(request, caller)
        require_role(caller, role)
        yield Reading(held, system, caller, connection)


def query(request: Request, model: type[Q]) -> Q:
    """What stands behind the question mark, as this model spells it; other names are left alone.

    Raises:
        RequestValidationError: it does not fit.
    """
    given = request.query_params
    named = {
        name: given.getlist(name) if may_repeat else given[name]
        for name, may_repeat in _spelled(model).items()
        if name in given
    }
    try:
        return model.model_validate(named)
    except ValidationError as error:
        found = [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from None


@cache
def _spelled(model: type[BaseModel]) -> dict[str, bool]:
    """Names of the query's parameters, and whether each may repeat."""
    properties = model.model_json_schema()["properties"]
    return {name: '"array"' in json.dumps(facts) for name, facts in properties.items()}
