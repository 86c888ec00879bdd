"""`/integrations/{system}/mapping`: which field of the source fills which column.

The form sends everything to one address; its first button is the preview, so that Enter never
saves. An editor whose version is not the newest any more is warned, and may go on with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import mapping_rows, rendering
from pipedrive_pipeline.connect.pages.mapping_draft import Draft, Sheet, edited, unchanged
from pipedrive_pipeline.connect.pages.mapping_rows import RowFilter
from pipedrive_pipeline.connect.pages.mapping_versions import number_of, save_version
from pipedrive_pipeline.connect.pages.mapping_view import (
    labels_of,
    names_of,
    sheet_of,
    value_of,
)
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.mapping import Difference

router = APIRouter(include_in_schema=False)

VERSIONS_SHOWN = 20
SEARCH_MAX_CHARACTERS = 100
COLUMNS_SHOWN = 6  # of the preview
NameParameter = Annotated[str, Query(max_length=63)]


@dataclass(frozen=True)
class Editing:
    """One request of the editor: who edits what, and sees which rows."""

    request: Request
    services: Services
    visitor: Visitor
    sheet: Sheet
    view: RowFilter


@dataclass(frozen=True)
class Outdated:
    """What somebody else saved meanwhile."""

    theirs: mappings.Version
    changes: Sequence[Difference]
    both: Sequence[str]  # sources that both changed


@router.get("/integrations/{system}/mapping")
def editor(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    mart: NameParameter = "",
    saved: Annotated[int | None, Query(ge=1, le=2_147_483_647)] = None,
    show: NameParameter = mapping_rows.ALL,
    search: Annotated[str, Query(alias="q", max_length=SEARCH_MAX_CHARACTERS)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=1_000)] = 1,
) -> Response:
    """The fields of one kind of records with their columns, and the saved versions."""
    visitor.require(Permission.READ_RECORDS)
    sheet = sheet_of(services, visitor, system, mart)
    if sheet is None:
        return _without_fields(request, visitor, system)
    editing = Editing(request, services, visitor, sheet, RowFilter(show, search, number))
    return _page(editing, unchanged(sheet), saved=saved)


@router.post("/integrations/{system}/mapping")
def edit(
    request: Request, services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """A preview of the form's mapping, other rows of it, or the mapping saved."""
    visitor.require(Permission.WRITE_MAPPING)
    act, based_on = sent.text("act"), number_of(sent, "version", least=0)
    sheet = sheet_of(services, visitor, system, sent.text("mart"), version=based_on)
    if sheet is None:
        return _without_fields(request, visitor, system)
    draft = edited(sheet, sent.texts(), accept_all=act == "accept")
    chosen = sent.text("show") or sent.text("shown") or mapping_rows.ALL
    search = sent.text("q").strip()[:SEARCH_MAX_CHARACTERS]
    view = RowFilter(chosen, search, number_of(sent, "page") if sent.text("page") else 1)
    editing = Editing(request, services, visitor, sheet, view)
    if act == "save":
        return _saved(editing, draft)
    if act == "take":
        theirs = sheet_of(services, visitor, system, sent.text("mart")) or sheet
        joined = mappings.rebased(sheet.base.mapping, draft.mapping, theirs.base.mapping)
        return _page(replace(editing, sheet=theirs), replace(draft, mapping=joined), is_sent=True)
    effect = None
    if act and draft.is_savable:  # filters and pages only show other rows
        with services.slow_work.slot(visitor.tenant):
            effect = mappings.preview(
                services.warehouse, sheet.scope, draft.mapping.written(), entity=sheet.entity
            )
    return _page(editing, draft, effect=effect, is_sent=True)


@router.post("/integrations/{system}/mapping/count")
def count(
    request: Request, services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """How many fields of the form are changed, while a person edits it."""
    visitor.require(Permission.WRITE_MAPPING)
    based_on, mart = number_of(sent, "version", least=0), sent.text("mart")
    sheet = sheet_of(services, visitor, system, mart, version=based_on, with_values=False)
    if sheet is None:
        raise NotFound
    draft = edited(sheet, sent.texts())
    return rendering.page(
        request,
        "mapping_count.html",
        visitor,
        changes=mappings.differences(sheet.base.mapping, draft.mapping),
        is_sent=False,
    )


def _saved(editing: Editing, draft: Draft) -> Response:
    """The form saved as a new version; the form again if it cannot be."""
    services, visitor, sheet = editing.services, editing.visitor, editing.sheet
    if not draft.is_savable:
        return _page(editing, draft, is_sent=True, status_code=422)
    if not mappings.differences(sheet.base.mapping, draft.mapping):
        return _page(editing, draft, is_sent=True)
    who = visitor.acting.name
    try:
        new = save_version(
            services, sheet.scope, draft.mapping, who=who, based_on=sheet.base.number
        )
    except mappings.MappingOutdated:
        with services.warehouse.as_app(visitor.tenant) as connection:
            theirs = mappings.active(connection, sheet.scope)
        outdated = _outdated(sheet, draft, theirs)
        return _page(editing, draft, outdated=outdated, is_sent=True, status_code=409)
    address = f"/integrations/{sheet.scope.system}/mapping"
    return rendering.go_to(visitor.address(address, mart=sheet.mart.name, saved=new.number))


def _outdated(sheet: Sheet, draft: Draft, theirs: mappings.Version) -> Outdated:
    changes = mappings.differences(sheet.base.mapping, theirs.mapping)
    mine = mappings.differences(sheet.base.mapping, draft.mapping)
    changed = {each.entry.name for each in changes}
    names = names_of(sheet.fields)
    both = [names[each.field] for each in mine if each.entry.name in changed]
    return Outdated(theirs, changes, both)


def _page(
    editing: Editing,
    draft: Draft,
    *,
    effect: mappings.Preview | None = None,
    outdated: Outdated | None = None,
    saved: int | None = None,
    is_sent: bool = False,
    status_code: int = 200,
) -> Response:
    sheet, system = editing.sheet, editing.sheet.scope.system
    rows = mapping_rows.rows_of(sheet, draft, effect.coverage if effect else ())
    part = mapping_rows.page_of(rows, editing.view)
    changes = mappings.differences(sheet.base.mapping, draft.mapping)
    active, versions = _versions(editing)
    return rendering.page(
        editing.request,
        "mapping.html",
        editing.visitor,
        status_code=status_code,
        system=registry.system(system),
        sheet=sheet,
        marts=field_entities(system),
        view=editing.view,
        counts=mapping_rows.counts_of(rows),
        shapes=mapping_rows.SHAPES,
        part=part,
        draft=draft,
        changes=changes,
        effect=effect,
        effect_targets=_targets(sheet, draft, changes, effect),
        outdated=outdated,
        saved=saved,
        is_sent=is_sent,
        names=names_of(sheet.fields),
        versions=versions[:VERSIONS_SHOWN],
        active_number=active,
        next_version=(versions[0][0].number if versions else 0) + 1,
        labels=labels_of(rendering.display_of(editing.request, editing.visitor)),
        value_of=value_of,
        may_write=editing.visitor.may(Permission.WRITE_MAPPING),
        is_live=editing.visitor.may(Permission.WRITE_MAPPING),
    )


def _versions(editing: Editing) -> tuple[int, list[tuple[mappings.Version, list[Difference]]]]:
    """The active version's number, and the newest versions, each with what it changed."""
    with editing.services.warehouse.as_app(editing.visitor.tenant) as connection:
        saved = mappings.versions(connection, editing.sheet.scope)
        active = mappings.active(connection, editing.sheet.scope).number
    newest = [*saved[: VERSIONS_SHOWN + 1], mappings.Version()]
    return active, [
        (each, mappings.differences(former.mapping, each.mapping))
        for each, former in pairwise(newest)
    ]


def _targets(
    sheet: Sheet, draft: Draft, changes: Sequence[Difference], effect: mappings.Preview | None
) -> list[str]:
    """The columns of the preview: those that change, else the first that are mapped."""
    changed = [each.entry.target for each in changes if each.entry.entity == sheet.entity]
    mapped = [entry.target for entry in draft.entries.values()]
    shown = effect.rows.values() if effect else ()
    still = set(mapped).union(*(row["after"] for rows in shown for row in rows))
    return [*dict.fromkeys(t for t in changed or mapped if t in still)][:COLUMNS_SHOWN]


def _without_fields(request: Request, visitor: Visitor, system: str) -> Response:
    return rendering.page(request, "mapping_none.html", visitor, system=registry.system(system))
