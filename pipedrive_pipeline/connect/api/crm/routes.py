"""The routes of the CRM API, one set for each mart that declares an `ApiResource`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import capabilities, lists, reading, schemas
from pipedrive_pipeline.connect.api.crm.examples import code_samples
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import CrmReader
from pipedrive_pipeline.connect.request import AppServices, Services
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.marts.declared import MARTS, Link, Mart, mart

EXAMPLE_ID: Final = f"{system_keys()[0]}:123"
Deleted = Annotated[bool, Query(description="Also if it is gone at the source, with its reason.")]
Include = Annotated[str | None, Query(max_length=200, description="As in the list.")]


def router_of(declared: Mart) -> APIRouter:
    """Returns the routes of one mart's resource, and those under other resources."""
    resource = resource_of(declared)
    router = APIRouter(prefix=PREFIX, responses=REFUSALS, tags=["crm"])
    _add_list(router, declared)
    _add_one(router, declared)
    for link in declared.links:
        if link.name in resource.nested:
            _add_nested_list(router, declared, link)
    return router


def _add_list(router: APIRouter, declared: Mart) -> None:
    def read_list(
        request: Request, services: AppServices, caller: CrmReader, asked: BaseModel
    ) -> JSONResponse:
        return _page(request, services, caller, declared, dict(asked))

    path = resource_of(declared).path
    description = f"A page of `{path}` as our tables hold them; no call to the CRM."
    _add(router, f"/{path}", _asking(read_list, declared), _model(Listed, declared), description)


def _add_one(router: APIRouter, declared: Mart) -> None:
    def read_one(
        request: Request,
        services: AppServices,
        caller: CrmReader,
        record_id: str,
        *,
        include: Include = None,
        deleted: Deleted = False,
    ) -> JSONResponse:
        links = schemas.included(declared, include)
        found, version = reading.record_of(
            services.warehouse, caller, declared, record_id, links=links, deleted=deleted
        )
        return envelope.answer(request, found, headers={"etag": f'"{version}"'})

    path = resource_of(declared).path
    description = f"One of `{path}`, by our id or `<system>:<id>`; its version is the `ETag`."
    _add(router, f"/{path}/{{record_id}}", read_one, _model(Answer, declared), description)


def _add_nested_list(router: APIRouter, declared: Mart, link: Link) -> None:
    parent = mart(link.mart)

    def read_nested_list(
        request: Request,
        services: AppServices,
        caller: CrmReader,
        record_id: str,
        asked: BaseModel,
    ) -> JSONResponse:
        owner = reading.object_of(services.warehouse, caller, parent, record_id)
        return _page(request, services, caller, declared, {**dict(asked), name: owner["id"]})

    resource, name = resource_of(declared), resource_of(declared).name_of(link.name)
    path = f"/{resource_of(parent).path}/{{record_id}}/{resource.nested[link.name]}"
    read = _asking(read_nested_list, declared, without=name)
    description = f"The `{resource.path}` of one of `{resource_of(parent).path}`."
    _add(router, path, read, _model(Listed, declared), description)


def _asking(
    read: Callable[..., JSONResponse], declared: Mart, without: str = ""
) -> Callable[..., JSONResponse]:
    """Returns the function with the query of the mart's list as the type of ``asked``."""
    read.__annotations__["asked"] = Annotated[schemas.query_model(declared, without), Query()]
    return read


def _add(
    router: APIRouter,
    path: str,
    read: Callable[..., JSONResponse],
    model: Any,
    description: str,
) -> None:
    shown = f"{PREFIX}{path}".replace("{record_id}", EXAMPLE_ID)
    query = "" if path.endswith("}") else "?limit=50&sort=-updated_at"
    router.add_api_route(
        path,
        read,
        methods=["GET"],
        response_model=model,
        description=description,
        openapi_extra=code_samples(shown, query),
    )


def _model(wrapper: Any, declared: Mart) -> Any:
    """Returns the model of an answer with the mart's objects."""
    return wrapper[schemas.object_model(declared)]


def _page(
    request: Request,
    services: Services,
    caller: Caller,
    declared: Mart,
    asked: Mapping[str, Any],
) -> JSONResponse:
    links = schemas.included(declared, asked["include"])
    page = lists.page_of(services, caller, declared, asked, links)
    return envelope.answer(request, page.objects, next_cursor=page.next_cursor)


ROUTERS: Final = (
    capabilities.router,
    *(router_of(declared) for declared in MARTS if declared.api is not None),
)
