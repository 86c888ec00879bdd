"""The routes of the CRM API that write, one set for each mart that declares an `ApiResource`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX, Asked, Writing, target_of
from pipedrive_pipeline.connect.api.idempotency import IdempotencyKey
from pipedrive_pipeline.connect.api.models import Answer
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import RecordDeleter, RecordWriter
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.connect.unknown_parameters import unusable
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.writing import Operation, Verb
from pipedrive_pipeline.marts.declared import MARTS, Mart, mart
from pipedrive_pipeline.sync.tenancy.registry import only_scope
from pipedrive_pipeline.sync.writes.matching import By, Policy

ROWS_MAX: Final = 100  # of a batch
# Of a verb that is no method: the last part of its path.
VERB_PATHS: Final[Mapping[str, Verb]] = {"won": "win", "lost": "lose", "reopen": "reopen"}

ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "model": Answer[dict[str, Any]],
        "description": "Accepted, and not in the tables yet; `Location` is the write.",
    }
}

Sent = Annotated[dict[str, Any], Body(description="The fields to set, by the API's names.")]
SystemQuery = Annotated[
    str | None, Query(description="The CRM, where the tenant has connected several.")
]
MatchQuery = Annotated[
    By | None,
    Query(
        description="Look for the record first: by the app's `external_key`, or by another key; "
        "the body has its value under the same name, or under `match_value`."
    ),
]
PolicyQuery = Annotated[
    Policy | None,
    Query(
        description="With `match`: what to do if the record is there, or is not; by default upsert."
    ),
]
IfMatch = Annotated[
    str | None,
    Header(description="The ETag that was read: the write is refused (412) if the record moved."),
]
IfMatchFound = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="With `match`: the ETag that was read; the write is refused (412) if the "
        "record that is found moved, or none is found.",
    ),
]
Prefer = Annotated[
    str | None, Header(description="`respond-async`: 202 at once, settled in the background.")
]


def writers_of(declared: Mart) -> APIRouter:
    """The writing routes of one mart's resource."""
    resource = resource_of(declared)
    router = APIRouter(prefix=f"{PREFIX}/{resource.path}", responses=REFUSALS, tags=["crm"])

    def create(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        body: Sent,
        system: SystemQuery = None,
        match: MatchQuery = None,
        policy: PolicyQuery = None,
        if_match: IfMatchFound = None,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """The new record, as the CRM has it and as it is in the tables.

        With `match` a record that is there already is changed instead, as `policy` says.
        """
        if if_match is not None and match is None:
            raise unusable("header", "if-match", "needs match, which finds the record")
        scope = only_scope(services.warehouse, caller.tenant, system)
        asked = Asked(idempotency_key, if_match, prefer, match, _policy(match, policy))
        return Writing(request, services, caller, declared, scope).answer("create", body, asked)

    def update(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        record_id: str,
        body: Sent,
        if_match: IfMatch = None,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """The record after the change; fields that are not sent stay, or are named as warnings."""
        target = target_of(services, caller, declared, record_id)
        asked = Asked(idempotency_key, if_match, prefer)
        writing = Writing(request, services, caller, declared, target.scope)
        return writing.answer("update", body, asked, target)

    def delete(
        *,
        request: Request,
        services: AppServices,
        caller: RecordDeleter,
        record_id: str,
        if_match: IfMatch = None,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """The record as it was, with `deleted_at`; one that is gone already gives the same."""
        target = target_of(services, caller, declared, record_id)
        asked = Asked(idempotency_key, if_match, prefer)
        writing = Writing(request, services, caller, declared, target.scope)
        return writing.answer("delete", {}, asked, target)

    created: dict[int | str, dict[str, Any]] = {
        200: {"model": Answer[dict[str, Any]], "description": "The record that matched, changed."},
        201: {"model": Answer[dict[str, Any]], "description": "The new record."},
        **ACCEPTED,
    }
    model = Answer[dict[str, Any]]
    router.add_api_route(
        "", create, methods=["POST"], response_model=model, status_code=201, responses=created
    )
    for method, work in (("PATCH", update), ("DELETE", delete)):
        router.add_api_route(
            "/{record_id}", work, methods=[method], response_model=model, responses=ACCEPTED
        )
    _add_batch(router, declared)
    for path, verb in VERB_PATHS.items():
        if any(Operation(declared.name, verb) in system.writes for system in registry.systems()):
            _add_verb(router, declared, path, verb)
    for link_name, path in resource.nested.items():
        parent = next(mart(link.mart) for link in declared.links if link.name == link_name)
        _add_nested(router, declared, parent, link_name, path)
    return router


def _policy(match: By | None, policy: Policy | None) -> Policy:
    """What is done with the record that matches.

    Raises:
        RequestValidationError: nothing is matched, so that a policy has no effect.
    """
    if policy is not None and match is None:
        raise unusable("query", "policy", "needs match, which finds the record")
    return policy or "upsert"


def _add_verb(router: APIRouter, declared: Mart, path: str, verb: Verb) -> None:
    def act(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        record_id: str,
        body: Annotated[dict[str, Any] | None, Body()] = None,
        if_match: IfMatch = None,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """The record after it."""
        target = target_of(services, caller, declared, record_id)
        asked = Asked(idempotency_key, if_match, prefer)
        writing = Writing(request, services, caller, declared, target.scope)
        return writing.answer(verb, body or {}, asked, target)

    act.__name__ = verb
    router.add_api_route(
        f"/{{record_id}}/{path}",
        act,
        methods=["POST"],
        response_model=Answer[dict[str, Any]],
        responses=ACCEPTED,
    )


def _add_nested(router: APIRouter, declared: Mart, parent: Mart, link_name: str, path: str) -> None:
    """Adds `POST /deals/{id}/products`, under the other resource's path."""
    nested = APIRouter()

    def create_in(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        record_id: str,
        body: Sent,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """The new record in the list of this one."""
        target = target_of(services, caller, parent, record_id)
        sent = {**body, resource_of(declared).name_of(link_name): record_id}
        asked = Asked(idempotency_key, None, prefer)
        writing = Writing(request, services, caller, declared, target.scope)
        return writing.answer("create", sent, asked)

    nested.add_api_route(
        f"{PREFIX}/{resource_of(parent).path}/{{record_id}}/{path}",
        create_in,
        methods=["POST"],
        response_model=Answer[dict[str, Any]],
        status_code=201,
        responses=REFUSALS | ACCEPTED,
        tags=["crm"],
    )
    router.routes.extend(nested.routes)


def _add_batch(router: APIRouter, declared: Mart) -> None:
    def batch(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        body: Annotated[list[dict[str, Any]], Body(max_length=ROWS_MAX, min_length=1)],
        system: SystemQuery = None,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """What became of each row, in order: a row with an `id` is changed, another one is made.

        One row that fails holds back no other. `if_match` in a row is its `If-Match`.
        """
        scope = only_scope(services.warehouse, caller.tenant, system)
        writing = Writing(request, services, caller, declared, scope)
        return envelope.answer(request, writing.batch(body, idempotency_key))

    def try_out(
        *,
        request: Request,
        services: AppServices,
        caller: RecordWriter,
        body: Sent,
        system: SystemQuery = None,
        match: MatchQuery = None,
        policy: PolicyQuery = None,
        dry_run: Annotated[bool, Query(description="Shows the call only; sends nothing.")] = False,
    ) -> JSONResponse:
        """Sends one row, and shows the call to the CRM and what became of it."""
        scope = only_scope(services.warehouse, caller.tenant, system)
        asked = Asked(None, None, None, match, _policy(match, policy))
        writing = Writing(request, services, caller, declared, scope)
        return envelope.answer(request, writing.tried(body, asked, is_dry=dry_run))

    router.add_api_route("/try", try_out, methods=["POST"], response_model=Answer[dict[str, Any]])
    router.add_api_route("/batch", batch, methods=["POST"], response_model=Answer[list[Any]])


ROUTERS = tuple(writers_of(declared) for declared in MARTS if declared.api is not None)
