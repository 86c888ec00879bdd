"""`/integrations/{system}/sinks/{sink}`: declares and edits one sink, with a preview.

A new sink begins with its name, table and mart, since the rest of the form is made from the app's
table. The form's first button is the preview, so that Enter never saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.mapping_versions import number_of
from pipedrive_pipeline.connect.pages.sink_form import (
    CONSTANT,
    NOTHING,
    OF_SINK,
    SinkSheet,
    declaration_of,
    issues_of,
    values_of,
)
from pipedrive_pipeline.connect.pages.sink_pages import (
    NameParameter,
    SinkName,
    changes_of,
    sink_or_404,
)
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.connect.sink_changes import SinkChanges
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope

router = APIRouter(include_in_schema=False)

TABLES_OFFERED: Final = 500
COLUMNS_SHOWN: Final = 6  # of the preview


@dataclass(frozen=True)
class SinkEditing:
    """One request of the editor."""

    request: Request
    services: Services
    visitor: Visitor
    changes: SinkChanges
    sheet: SinkSheet
    is_new: bool


@dataclass(frozen=True)
class SinkOutcome:
    """What became of a sent form.

    Attributes:
        issues: what cannot be used.
        statements: SQL that the owner of the app's table must run first.
        preview: of this sink.
        outdated: the version that somebody else saved meanwhile.
        is_contested: that version has another declaration of this sink than the edited one.
    """

    issues: tuple[sinks.Issue, ...] = ()
    statements: tuple[str, ...] = ()
    preview: sinks.SinkPreview | None = None
    outdated: sinks.SinksVersion | None = None
    is_contested: bool = False

    @property
    def status(self) -> int:
        """The status of the page."""
        if self.outdated or self.statements:
            return 409
        return 422 if self.issues else 200


@dataclass(frozen=True)
class NewTable:
    """The first step of a new sink: what was typed, and what is wrong with it, by field."""

    name: str = ""
    table: str = ""
    mart: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


@router.get("/integrations/{system}/sinks/new-table")
def new_table(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    name: NameParameter = "",
    table: Annotated[str, Query(max_length=127)] = "",
    mart: NameParameter = "",
) -> Response:
    """Asks for name, table and mart of a new sink; then the form."""
    changes = changes_of(services, visitor, system)
    asked = NewTable(name.strip(), table.strip(), mart)
    if not (name or table or mart):
        return _first_step(request, services, visitor, system, asked)
    with services.warehouse.transaction(visitor.tenant) as connection:
        version = sinks.active(connection, changes.scope)
        app_table = sinks.app_table_named(connection, asked.table)
    problems = _problems(changes.scope, asked, app_table, version)
    if problems or app_table is None:
        return _first_step(request, services, visitor, system, replace(asked, problems=problems))
    sheet = SinkSheet(changes.scope, asked.name, mart_of(mart), app_table, version)
    editing = SinkEditing(request, services, visitor, changes, sheet, is_new=True)
    return _page(editing, values_of(sheet))


@router.get("/integrations/{system}/sinks/{sink}")
def editor(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    sink: SinkName,
) -> Response:
    """The form of a sink as it is declared."""
    changes = changes_of(services, visitor, system)
    version, _state = sink_or_404(services, visitor, system, sink)
    declared = version.sinks[sink]
    with services.warehouse.transaction(visitor.tenant) as connection:
        table = sinks.app_table(connection, declared.table)
    if table is None:
        return rendering.page(
            request,
            "sink_table_gone.html",
            visitor,
            system=registry.system(system),
            sink=declared,
        )
    sheet = SinkSheet(changes.scope, sink, mart_of(declared.mart), table, version)
    editing = SinkEditing(request, services, visitor, changes, sheet, is_new=False)
    return _page(editing, values_of(sheet))


@router.post("/integrations/{system}/sinks/{sink}")
def edit(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: FormVisitor,
    sent: SentBody,
    sink: SinkName,
) -> Response:
    """A preview of the form's sink, or the sink saved."""
    changes = changes_of(services, visitor, system)
    with services.warehouse.transaction(visitor.tenant) as connection:
        version = sinks.active(connection, changes.scope)
        saved = sinks.versions(connection, changes.scope)
        table = sinks.app_table_named(connection, sent.text("table"))
    marts = {source.name for source in mart_sources(system)}
    if table is None or sent.text("mart") not in marts:
        raise NotFound
    sheet = SinkSheet(changes.scope, sink, mart_of(sent.text("mart")), table, version)
    is_new = sheet.sink is None
    editing = SinkEditing(request, services, visitor, changes, sheet, is_new)
    values, based_on = sent.texts(), number_of(sent, "version", least=0)
    if based_on != version.number:
        base = next((each for each in saved if each.number == based_on), sinks.SinksVersion())
        is_contested = base.sinks.get(sink) != sheet.sink
        return _page(editing, values, SinkOutcome(outdated=version, is_contested=is_contested))
    declaration = declaration_of(sheet, values)
    try:
        if sent.text("act") == "save":
            return _saved(editing, declaration, is_adding_columns="add_columns" in values)
        outcome = _previewed(editing, declaration)
    except sinks.BadSink as error:
        outcome = SinkOutcome(issues=error.issues)
    except sinks.SinkRightsMissing as error:
        outcome = SinkOutcome(statements=error.statements)
    return _page(editing, values, outcome)


def _saved(
    editing: SinkEditing, declaration: Mapping[str, Any], *, is_adding_columns: bool
) -> Response:
    """Saves the sink; leads to its rows if they must be matched first, else to the list."""
    sheet, address = editing.sheet, f"/integrations/{editing.sheet.scope.system}/sinks"
    editing.changes.save(
        sheet.with_sink(declaration),
        based_on=sheet.version.number,
        is_adding_columns=is_adding_columns,
    )
    _version, state = sink_or_404(editing.services, editing.visitor, sheet.scope.system, sheet.name)
    if state.is_waiting:
        return rendering.go_to(editing.visitor.address(f"{address}/{sheet.name}/match"))
    return rendering.go_to(editing.visitor.address(address, done="saved", name=sheet.name))


def _previewed(editing: SinkEditing, declaration: Mapping[str, Any]) -> SinkOutcome:
    previews = editing.changes.preview(editing.sheet.with_sink(declaration))
    own = next((each for each in previews if each.sink.name == editing.sheet.name), None)
    return SinkOutcome(preview=own)


def _page(
    editing: SinkEditing, values: Mapping[str, str], outcome: SinkOutcome | None = None
) -> Response:
    sheet, outcome = editing.sheet, outcome or SinkOutcome()
    display = rendering.display_of(editing.request, editing.visitor)
    shown = _shown_columns(outcome.preview)
    ways = ["", *sinks.CONVERSIONS, CONSTANT, NOTHING]
    return rendering.page(
        editing.request,
        "sink.html",
        editing.visitor,
        status_code=outcome.status,
        system=registry.system(sheet.scope.system),
        sheet=sheet,
        values=values,
        issues=issues_of(sheet, outcome.issues),
        outcome=outcome,
        is_new=editing.is_new,
        mart_label=display.table(sheet.mart.name),
        ways=ways,
        of_sink=OF_SINK,
        shown_columns=shown,
        shown_heads=[(Markup("<code>{}</code>").format(name), "") for name in shown],
        next_version=sheet.version.number + 1,
    )


def _shown_columns(preview: sinks.SinkPreview | None) -> list[str]:
    """The columns of the preview: those that change in one of its rows, else the first."""
    if preview is None:
        return []
    rows = [(row["before"] or {}, row["after"] or {}) for row in preview.rows]
    names = list(preview.sink.written_columns)
    changed = [
        name for name in names if any(before.get(name) != after.get(name) for before, after in rows)
    ]
    return (changed or names)[:COLUMNS_SHOWN]


def _problems(
    scope: Scope,
    asked: NewTable,
    table: sinks.AppTable | None,
    version: sinks.SinksVersion,
) -> dict[str, str]:
    """The keys of the texts that say why a sink cannot begin so, by field."""
    problems = {}
    if not sinks.NAME_PATTERN.fullmatch(asked.name):
        problems["name"] = "sinks.new.bad_name"
    elif asked.name in version.sinks:
        problems["name"] = "sinks.new.known_name"
    if table is None:
        problems["table"] = "sinks.new.no_table"
    elif table.is_ours:
        problems["table"] = "sinks.new.our_table"
    if asked.mart not in {source.name for source in mart_sources(scope.system)}:
        problems["mart"] = "sinks.new.no_mart"
    return problems


def _first_step(
    request: Request, services: Services, visitor: Visitor, system: str, asked: NewTable
) -> Response:
    display = rendering.display_of(request, visitor)
    with services.warehouse.transaction(visitor.tenant) as connection:
        tables = sinks.app_tables(connection)
    return rendering.page(
        request,
        "sink_new.html",
        visitor,
        status_code=422 if asked.problems else 200,
        system=registry.system(system),
        asked=asked,
        tables=tables[:TABLES_OFFERED],
        marts=[(source.name, display.table(source.name)) for source in mart_sources(system)],
    )
