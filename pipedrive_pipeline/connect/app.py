"""The app factory: routes, middleware, and the answer to every error.

Source: https://fastapi.tiangolo.com/ and https://www.starlette.io/.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Match

from pipedrive_pipeline.connect.api import (
    audit_routes,
    connection_routes,
    envelope,
    key_routes,
    lending_routes,
    lookup_routes,
    mapping_routes,
    review_routes,
    sink_routes,
    sync_routes,
)
from pipedrive_pipeline.connect.api.crm import outbox_routes, system_routes, webhook_routes
from pipedrive_pipeline.connect.api.crm import routes as crm_routes
from pipedrive_pipeline.connect.api.crm import write_routes as crm_write_routes
from pipedrive_pipeline.connect.api.linked_records import routes as integration_routes
from pipedrive_pipeline.connect.api.openapi import DESCRIPTION, TAGS
from pipedrive_pipeline.connect.auth.rate_limits import (
    CRM_REQUESTS_IN_TEN_MINUTES,
    REQUESTS_A_MINUTE,
)
from pipedrive_pipeline.connect.consent import routes as consent_routes
from pipedrive_pipeline.connect.errors import TooManyRequests, TooMuchAtOnce
from pipedrive_pipeline.connect.event_writer import EventWriter
from pipedrive_pipeline.connect.hooks import uninstall, webhook
from pipedrive_pipeline.connect.lending import Lending
from pipedrive_pipeline.connect.middleware import StrictHttp
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages import routes as page_routes
from pipedrive_pipeline.connect.pages.visitors import SignInFirst, TenantFirst
from pipedrive_pipeline.connect.received_events import STORE_SECONDS as DELIVERIES_SECONDS
from pipedrive_pipeline.connect.received_events import Deliveries
from pipedrive_pipeline.connect.refused_requests import STORE_SECONDS, RefusalCounter
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connect.slow_work_limit import SlowWork
from pipedrive_pipeline.connectors.registry import check_settings
from pipedrive_pipeline.errors import BudgetSpent, DatabaseUnavailable, PipelineError
from pipedrive_pipeline.marts.mapping import BadMapping
from pipedrive_pipeline.marts.sinks import BadSink
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.writes.errors import WriteError
from pipedrive_pipeline.vault.rotation import check_keys
from pipedrive_pipeline.vault.vault import Vault, open_vault
from pipedrive_pipeline.warehouse.pool import pooled

log = logging.getLogger(__name__)

ROUTERS = (
    connection_routes.router,
    consent_routes.router,
    sync_routes.router,
    review_routes.router,
    mapping_routes.router,
    sink_routes.router,
    key_routes.router,
    lending_routes.router,
    lookup_routes.router,
    audit_routes.router,
    outbox_routes.router,
    system_routes.router,
    webhook_routes.router,
    *crm_write_routes.ROUTERS,
    *crm_routes.ROUTERS,
    integration_routes.router,
    uninstall.router,
    webhook.router,
    *page_routes.ROUTERS,
)
DATABASE_UNAVAILABLE = (
    "The database does not answer now; try again. The operator finds the reason in the log by the "
    "request id."
)
# Their messages name the field or the setting; of others the page says all that a reader needs.
NAMED_IN_DETAIL = frozenset({"bad_input", "bad_setting", "bad_slug", "other_company"})
CODES = {400: "bad_input", 404: "not_found", 405: "method_not_allowed"}


def create_app(settings: Settings, vault: Vault | None = None) -> FastAPI:
    """The app, ready to serve; it checks the encryption keys when it starts.

    Args:
        settings: of this process.
        vault: on another warehouse than the settings name.
    """
    vault = vault or open_vault(settings=settings)
    warehouse = pooled(vault.warehouse)
    refusals, deliveries = RefusalCounter(), Deliveries()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        check_keys(vault)
        check_settings(settings)
        with warehouse.pool:
            stored = (
                asyncio.create_task(
                    _regularly(STORE_SECONDS, lambda: refusals.store(warehouse, settings))
                ),
                asyncio.create_task(
                    _regularly(DELIVERIES_SECONDS, lambda: deliveries.store(warehouse))
                ),
            )
            yield
            for storing in stored:
                storing.cancel()
            await asyncio.to_thread(refusals.store, warehouse, settings)
            await asyncio.to_thread(deliveries.store, warehouse)

    app = FastAPI(
        title="Connect",
        version=version("pipedrive-pipeline"),
        description=DESCRIPTION,
        servers=[{"url": str(settings.app_url).rstrip("/"), "description": "APP_URL"}],
        contact={"name": "The operator of this installation", "url": str(settings.app_url)},
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        docs_url=None,  # its page loads scripts from elsewhere; ours (`/docs`) has none
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # it would redirect to the address in `Host`
        lifespan=lifespan,
    )
    app.state.services = Services(
        vault,
        warehouse,
        REQUESTS_A_MINUTE,
        CRM_REQUESTS_IN_TEN_MINUTES,
        SlowWork(),
        refusals,
        deliveries,
        EventWriter(warehouse, deliveries, refusals),
        Lending(),
    )
    for router in ROUTERS:
        app.include_router(router)
    # Pages are not compressed: their length would say something of what they hold.
    files = GZipMiddleware(StaticFiles(directory=rendering.STATIC))
    app.mount("/static", files, name="static")
    app.exception_handler(PipelineError)(_pipeline_error)
    app.exception_handler(SignInFirst)(_to_login)
    app.exception_handler(TenantFirst)(_to_tenants)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_error)
    app.add_middleware(
        StrictHttp, is_https=settings.app_url.scheme == "https", on_unexpected=_unexpected_error
    )
    return app


async def _regularly(interval_seconds: float, store: Callable[[], None]) -> None:
    """Stores counts at once and then every few seconds, until it is cancelled."""
    while True:
        try:
            await asyncio.to_thread(store)
        except PipelineError as error:
            log.warning("counts of requests could not be stored: %s", error)
        await asyncio.sleep(interval_seconds)


def _pipeline_error(request: Request, error: PipelineError) -> Response:
    """The message of an error of our family, as JSON or as a page."""
    status = envelope.status_of(error)
    log.info("request %s: %s (%s)", request.state.request_id, error.code, status)
    services: Services = request.app.state.services
    services.refusals.count(error.code, getattr(request.state, "tenant", None))
    text = str(error)
    if isinstance(error, DatabaseUnavailable):
        # Its message names host and database, and anybody may cause it.
        log.warning("request %s: %s", request.state.request_id, text)
        text = DATABASE_UNAVAILABLE
    wait_seconds = (
        error.wait_seconds if isinstance(error, TooManyRequests | TooMuchAtOnce) else None
    )
    if isinstance(error, BudgetSpent):
        wait_seconds = max(1.0, (error.resets_at - datetime.now(UTC)).total_seconds())
    if not envelope.wants_page(request):
        answer = envelope.refusal(
            request,
            error.code,
            text,
            status=status,
            details=_details(error),
            retry_after_seconds=wait_seconds,
        )
        return _with_methods(request, answer)
    if wait_seconds is None and status == 503:
        wait_seconds = envelope.RETRY_AFTER_SECONDS
    detail = text if error.code in NAMED_IN_DETAIL else ""
    return rendering.error(
        request, error.code, status=status, detail=detail, retry_after_seconds=wait_seconds
    )


def _to_login(request: Request, _: SignInFirst) -> Response:
    """Leads the browser to the login page; a part of a page is loaded by htmx, not by it.

    A part that is loaded for a form leads nowhere: what was typed would be lost.
    """
    if request.headers.get("hx-request"):
        headers = {"hx-redirect": "/login"} if request.method == "GET" else None
        return Response(status_code=401, headers=headers)
    return rendering.go_to("/login")


def _to_tenants(_: Request, __: TenantFirst) -> Response:
    return rendering.go_to("/")


def _details(error: PipelineError) -> list[dict[str, str]]:
    """The issue of each field, if the error has them."""
    if isinstance(error, WriteError):
        return [dict(each) for each in error.details]
    issues = error.issues if isinstance(error, BadMapping | BadSink) else ()
    return [{"field": issue.field, "issue": issue.issue} for issue in issues]


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    """A request that does not fit its route: the fields, never their values."""
    details = [
        {"field": ".".join(str(part) for part in issue["loc"]), "issue": str(issue["msg"])}
        for issue in error.errors()
    ]
    return envelope.refusal(
        request, "bad_input", "The request does not fit.", status=422, details=details
    )


def _http_error(request: Request, error: HTTPException) -> Response:
    """An unknown path, or a method that it does not support."""
    code = CODES.get(error.status_code, "refused")
    if envelope.wants_page(request):
        return rendering.error(request, code, status=error.status_code)
    answer = envelope.refusal(request, code, str(error.detail), status=error.status_code)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return _with_methods(request, answer)


def _with_methods(request: Request, answer: Response) -> Response:
    """The answer; one of a method that is not supported names those that are."""
    if answer.status_code == 405:
        answer.headers["allow"] = ", ".join(_methods_at(request) or ["GET"])
    return answer


def _methods_at(request: Request) -> list[str]:
    """The methods of every route at the request's address; Starlette names the first one's only."""
    return sorted(
        {
            method
            for router in ROUTERS
            for route in router.routes
            if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
    )


def _unexpected_error(request: Request, error: Exception) -> Response:
    """A mistake of ours: the log has its type and place, the caller gets the request id."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind, place = type(error).__name__, f"{Path(frame.filename).name}:{frame.lineno}"
    # Without its message and locals: either may contain a token or a person's name.
    log.error("request %s: unexpected %s at %s", request.state.request_id, kind, place)
    text = "Something went wrong here. The operator finds it in the log by the request id."
    if envelope.wants_page(request):
        return rendering.error(request, "failed", status=500)
    return envelope.refusal(request, "failed", text, status=500)
