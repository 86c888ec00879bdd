"""`/integrations/{system}/history`: past runs, each run with its figures, refused values as a file.

Filters and pages are in the address, so that they can be bookmarked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import presenters, review
from pipedrive_pipeline.connect.api.cursors import decoded, encoded, instant
from pipedrive_pipeline.connect.api.models import CURSOR_MAX_CHARACTERS
from pipedrive_pipeline.connect.api.sync_models import Run
from pipedrive_pipeline.connect.auth import sessions
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.run_view import RunView
from pipedrive_pipeline.connect.pages.visitors import TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs import listing
from pipedrive_pipeline.sync.runs.listing import RunCursor, RunFilter
from pipedrive_pipeline.sync.status.entity_states import entity_states
from pipedrive_pipeline.sync.status.field_changes import field_changes
from pipedrive_pipeline.sync.status.rejected_values import rejected_count, rejected_values

router = APIRouter(include_in_schema=False)

PAGE_RUNS: Final = 20
REFUSED_SHOWN: Final = 20
REFUSED_MAX: Final = 200
KINDS: Final = ("incremental", "full", "sweep", "remap", "verify")
STATUSES: Final = ("running", "success", "partial", "failed", "paused", "cancelled")
VISIT_COOKIE: Final = "history"
VISIT: Final = timedelta(hours=1)  # pages that are opened within it are one visit
FIRST_VISIT: Final = timedelta(days=7)  # how far a first visit looks back

Text = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True)
class HistoryQuery:
    """The filters of the history, as the reader chose them."""

    kind: str
    status: str
    since: str
    until: str

    def filter(self, zone: ZoneInfo) -> RunFilter:
        """The conditions; a value that is none is no condition."""
        until = _midnight(self.until, zone)
        return RunFilter(
            statuses=[self.status] if self.status in STATUSES else None,
            sync_type=self.kind if self.kind in KINDS else None,
            since=_midnight(self.since, zone),
            until=until + timedelta(days=1) if until else None,
        )

    def parameters(self) -> Mapping[str, str]:
        """The filters as parameters of an address."""
        return {"kind": self.kind, "status": self.status, "from": self.since, "to": self.until}


@router.get("/integrations/{system}/history")
def history(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    kind: Text = "",
    status: Text = "",
    since: Annotated[str, Query(alias="from", max_length=10)] = "",
    until: Annotated[str, Query(alias="to", max_length=10)] = "",
    after: Annotated[str, Query(max_length=CURSOR_MAX_CHARACTERS)] = "",
) -> Response:
    """Runs, newest first, and changes of the source's fields since the last visit."""
    display, scope = rendering.display_of(request, visitor), Scope(visitor.tenant, system)
    settings = services.vault.settings
    query = HistoryQuery(kind, status, since, until)
    visited_at, visit = _visit(request, settings, system, display.now)
    with services.warehouse.as_app(visitor.tenant) as connection:
        rows = listing.list_runs(
            connection,
            visitor.tenant,
            system,
            query.filter(display.zone),
            after=RunCursor(*decoded(after, instant, UUID)) if after else None,
            limit=PAGE_RUNS + 1,
        )
        changes = field_changes(connection, scope, visited_at)
    page, is_more = rows[:PAGE_RUNS], len(rows) > PAGE_RUNS
    answer = rendering.page(
        request,
        "history.html",
        visitor,
        system=registry.system(system),
        runs=[RunView(presenters.run(row)) for row in page],
        older=encoded(page[-1].place.at, page[-1].place.id) if is_more else "",
        is_first=not after,
        query=query,
        kinds=KINDS,
        statuses=STATUSES,
        changes=changes,
        visited_at=visited_at,
    )
    rendering.remember(answer, settings, f"{VISIT_COOKIE}_{system}", visit)
    return answer


@router.get("/integrations/{system}/history/{run_id}")
def run_page(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    run_id: UUID,
    refused: Text = "",
) -> Response:
    """One run: what was read and built, what went wrong, and refused values."""
    scope = Scope(visitor.tenant, system)
    shown = REFUSED_MAX if refused == "all" else REFUSED_SHOWN
    with services.warehouse.as_app(visitor.tenant) as connection:
        row = listing.find_run(connection, visitor.tenant, system, run_id)
        states = entity_states(connection, visitor.tenant, system)
        values = rejected_values(connection, scope, limit=shown)
        count = rejected_count(connection, scope)
    if row is None:
        raise NotFound
    run = _in_order(presenters.run(row), system)
    return rendering.page(
        request,
        "run.html",
        visitor,
        system=registry.system(system),
        view=RunView(run),
        rows_of={state.mart: state.rows for state in states if state.mart},
        values=values,
        values_count=count,
        may_sync=visitor.may(Permission.ASK_SYNC),
        dagster_url=_dagster_url(services.vault.settings, run.dagster_run_id, visitor),
    )


@router.get("/integrations/{system}/rejected-values.csv")
def rejected_csv(services: AppServices, system: SystemKey, visitor: TenantVisitor) -> Response:
    """The refused values as a file: the same as the API's."""
    with services.warehouse.as_app(visitor.tenant) as connection:
        return review.csv_file(connection, Scope(visitor.tenant, system))


def _in_order(run: Run, system: str) -> Run:
    """The run with its entities in the order of reading, and its tables in that of building."""
    entities = [*registry.system(system).by_name]
    marts = [mart.name for mart in MARTS]
    return run.model_copy(
        update={
            "entities": {name: run.entities[name] for name in _known_first(run.entities, entities)},
            "marts": {name: run.marts[name] for name in _known_first(run.marts, marts)},
        }
    )


def _known_first(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names in an order; those that it lacks come last."""
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _dagster_url(settings: Settings, run_id: str | None, visitor: TenantVisitor) -> str | None:
    """Dagster's page of a run; only the operator can open it."""
    return settings.run_url(run_id) if run_id and visitor.is_operator else None


def _midnight(text: str, zone: ZoneInfo) -> datetime | None:
    """The beginning of a day in the reader's zone; None if the text names no day."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=zone)
    except ValueError:
        return None


def _visit(
    request: Request, settings: Settings, system: str, now: datetime
) -> tuple[datetime, str]:
    """When the reader was here before, and the cookie that says it next time.

    The cookie has two instants: of the visit before, and of this one. Pages that are opened within
    an hour are one visit, so that a reader who comes back from a run still sees the changes.
    """
    text = request.cookies.get(sessions.cookie_name(settings, f"{VISIT_COOKIE}_{system}"), "")
    before, current = _instants(text, now)
    if current is None or now - current > VISIT:
        before, current = current or now - FIRST_VISIT, now
    return before, f"{before.timestamp():.0f}_{current.timestamp():.0f}"


def _instants(text: str, now: datetime) -> tuple[datetime, datetime | None]:
    """The two instants of a cookie; a cookie may hold anything."""
    first = now - FIRST_VISIT
    parts = text.split("_")
    if len(parts) != 2 or not all(part.isdigit() and len(part) <= 10 for part in parts):
        return first, None
    before, current = (datetime.fromtimestamp(int(part), UTC) for part in parts)
    return before, min(current, now)
