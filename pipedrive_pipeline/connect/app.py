"""The Connect app: routes, pages and borders put together.

Belongs here: what holds for the whole app, and how an error leaves it. Does not belong here: any
route. Rests on https://fastapi.tiangolo.com/ and https://www.starlette.io/.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from pipedrive_pipeline.connect import (
    browser,
    envelope,
    house_pages,
    key_routes,
    mapping_routes,
    pages,
    routes,
    sync_routes,
)
from pipedrive_pipeline.connect.documented import DESCRIPTION
from pipedrive_pipeline.connect.headers import Strict
from pipedrive_pipeline.connect.limits import Windows
from pipedrive_pipeline.connect.polled import Polled
from pipedrive_pipeline.connect.refusals import TooManyRequests
from pipedrive_pipeline.connect.requests import FAILURES_A_MINUTE, REQUESTS_A_MINUTE, House
from pipedrive_pipeline.errors import PipelineError, Transient
from pipedrive_pipeline.marts.mapping import BadMapping
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.vault import Vault, check_keys, open_vault
from pipedrive_pipeline.warehouse.pool import pooled

log = logging.getLogger(__name__)

TITLES = {
    "state_refused": "This consent cannot be used",
    "consent_declined": "Nothing was connected",
    "code_refused": "The consent did not arrive",
    "link_refused": "This link no longer works",
    "nothing_to_confirm": "Nothing waits to be confirmed",
    "other_company": "This is another company",
    "not_found": "Nothing is here",
    "too_many_requests": "Too many attempts",
    "not_signed_in": "This key opens nothing here",
    "role_too_low": "Your key may not do this",
    "forbidden": "This was not sent from here",
    "bad_setting": "This is not set up yet",
}
CODES = {400: "bad_input", 404: "not_found", 405: "method_not_allowed"}


def create_app(settings: Settings, vault: Vault | None = None) -> FastAPI:
    """The app, ready to serve; its keys are checked when it starts.

    Args:
        settings: of this process.
        vault: on another warehouse than the settings name.
    """
    opened = vault or open_vault(settings=settings)
    warehouse = pooled(opened.warehouse)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        check_keys(opened)
        with warehouse.pool:
            yield

    app = FastAPI(
        title="Connect",
        version=version("pipedrive-pipeline"),
        description=DESCRIPTION,
        docs_url=None,  # its page loads scripts from elsewhere; ours (`/docs`) has none
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # it would answer with the address that `Host` claims
        lifespan=lifespan,
    )
    app.state.house = House(
        opened, warehouse, Windows(REQUESTS_A_MINUTE), Windows(FAILURES_A_MINUTE)
    )
    for room in (routes, sync_routes, mapping_routes, key_routes, browser, house_pages):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=pages.FOLDER / "static"), name="static")
    app.exception_handler(PipelineError)(_told)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_not_served)
    app.add_middleware(Polled, answers=sync_routes.POLLED, told=_told, invalid=_invalid)
    app.add_middleware(Strict, is_https=settings.app_url.scheme == "https", unforeseen=_unforeseen)
    return app


def _told(request: Request, error: PipelineError) -> Response:
    """An error of our family: its own words."""
    status = envelope.status_of(error)
    log.info("request %s: %s (%s)", request.state.request_id, error.code, status)
    wait_seconds = error.wait_seconds if isinstance(error, TooManyRequests) else None
    if not envelope.wants_page(request):
        return envelope.refused(
            request,
            error.code,
            str(error),
            status=status,
            details=_details(error),
            retry_after_seconds=wait_seconds,
        )
    default = "Please try again" if isinstance(error, Transient) else "This did not work"
    title = TITLES.get(error.code, default)
    return pages.message(request, title, str(error), status=status, is_trouble=True)


def _details(error: PipelineError) -> list[dict[str, str]]:
    """What is wrong with each field, where an error tells."""
    issues = error.issues if isinstance(error, BadMapping) else ()
    return [{"field": one.field, "issue": one.issue} for one in issues]


def _invalid(request: Request, error: RequestValidationError) -> Response:
    """A request that does not fit its route: which field, never its value."""
    details = [
        {"field": ".".join(str(part) for part in one["loc"]), "issue": str(one["msg"])}
        for one in error.errors()
    ]
    return envelope.refused(
        request, "bad_input", "The request does not fit.", status=422, details=details
    )


def _not_served(request: Request, error: HTTPException) -> Response:
    """No such path, or not with this method."""
    code = CODES.get(error.status_code, "refused")
    if envelope.wants_page(request):
        text = "The address may have been typed or copied wrongly."
        return pages.message(
            request, TITLES["not_found"], text, status=error.status_code, is_trouble=True
        )
    answer = envelope.refused(request, code, str(error.detail), status=error.status_code)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _unforeseen(request: Request, error: Exception) -> Response:
    """A mistake of ours: the log has its kind and place, the caller only the request's id."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind, place = type(error).__name__, f"{Path(frame.filename).name}:{frame.lineno}"
    # Not its message, nor its locals: either may hold a token or a person's name.
    log.error("request %s: unforeseen %s at %s", request.state.request_id, kind, place)
    text = "Something went wrong here. Whoever runs this finds it in the log by the request's id."
    if envelope.wants_page(request):
        return pages.message(request, "This did not work", text, status=500, is_trouble=True)
    return envelope.refused(request, "failed", text, status=500)
