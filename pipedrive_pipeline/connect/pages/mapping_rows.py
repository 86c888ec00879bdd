"""The rows of the mapping editor: each source with its state, and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from pipedrive_pipeline.connect.pages.mapping_draft import Draft, EditedSource, Sheet
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.marts.fields.values import kind_of
from pipedrive_pipeline.marts.mapping.validation import TO_TEXT

ROWS_OF_PAGE: Final = 50
ALL, PARTS = "all", "parts"
# States in the order of what needs a person most, with their shape.
SHAPES: Final[Mapping[str, str]] = {
    "conflict": "bad",
    "unusable": "bad",
    "changed": "edit",
    "refusing": "warn",
    "proposed": "new",
    "mapped": "ok",
    "unmapped": "off",
}


@dataclass(frozen=True)
class SourceRow:
    """One row of the editor."""

    source: EditedSource
    state: str  # of SHAPES
    target: str  # as it is, or as it was typed
    conversions: Sequence[str]  # to choose from
    conversion: str | None
    rank: int | None  # None: no other source fills the column
    rivals: Sequence[str]  # names of the fields that fill the column, in their order
    problem: str | None  # a key of the texts
    is_edited: bool  # not as in the version that is edited
    former: mappings.Entry | None  # of the version that is edited, where it differs
    proposal: mappings.Proposal | None  # not accepted
    unusable: str | None
    refused: int
    share: float | None  # of the newest records that have a value; None: not known
    samples: Sequence[str]

    @property
    def name(self) -> str:
        """The source, as the form names it."""
        return self.source.name

    @property
    def kind(self) -> str:
        """What the values of the field are."""
        field = self.source.field
        return kind_of(field.system, field.field_type) or "other"

    @property
    def shape(self) -> str:
        """The shape of its state."""
        return SHAPES[self.state]

    @property
    def is_shown_among_all(self) -> bool:
        """False for a part that nobody needs to see unless they ask."""
        return self.source.is_telling or self.state != "unmapped"


@dataclass(frozen=True)
class RowFilter:
    """Which rows are shown: by state, by words in their names, and of which page."""

    only: str = ALL
    search: str = ""
    number: int = 1


@dataclass(frozen=True)
class PageOfRows:
    """A page of the form: the rows that it shows, and edited ones that it only carries."""

    rows: Sequence[SourceRow]
    carried: Sequence[SourceRow]
    number: int
    pages: int


def rows_of(
    sheet: Sheet, draft: Draft, coverage: Sequence[mappings.Coverage] = ()
) -> list[SourceRow]:
    """Returns a row for each source: mapped and proposed ones first, then the fullest.

    The order does not change while a person edits, because it follows the version they edit.
    """
    covered = {entry.source: entry.refused for entry in coverage}
    rows = [_row(sheet, draft, source, covered) for source in sheet.sources.values()]
    return sorted(rows, key=lambda row: _place(sheet, row))


def counts_of(rows: Sequence[SourceRow]) -> dict[str, int]:
    """Returns how many rows each filter shows, without filters that show none."""
    return {ALL: len(_shown(rows, ALL))} | {
        name: count for name in (*SHAPES, PARTS) if (count := len(_shown(rows, name)))
    }


def page_of(rows: Sequence[SourceRow], view: RowFilter) -> PageOfRows:
    """Returns a page of the rows that a filter shows; the last one if there are not as many."""
    words = view.search.casefold().split()
    chosen = [
        row
        for row in _shown(rows, view.only)
        if all(
            word in f"{row.source.field.field_name} {row.name} {row.target}".casefold()
            for word in words
        )
    ]
    pages = max(1, ceil(len(chosen) / ROWS_OF_PAGE))
    number = min(view.number, pages)
    page_rows = chosen[(number - 1) * ROWS_OF_PAGE : number * ROWS_OF_PAGE]
    visible = {row.name for row in page_rows}
    carried = [row for row in rows if row.is_edited and row.name not in visible]
    return PageOfRows(page_rows, carried, number, pages)


def _shown(rows: Sequence[SourceRow], only: str) -> list[SourceRow]:
    if only == ALL:
        return [row for row in rows if row.is_shown_among_all]
    if only == PARTS:
        return [row for row in rows if not row.source.is_first]
    return [row for row in rows if row.state == only and row.is_shown_among_all]


def _row(sheet: Sheet, draft: Draft, source: EditedSource, covered: Mapping[str, int]) -> SourceRow:
    entry, base = draft.entries.get(source.name), sheet.entries.get(source.name)
    typed = draft.typed.get(source.name)
    values = sheet.values.get(source.field.field_key)
    proposal = None if entry or base or typed else sheet.proposals.get(source.name)
    refused = covered.get(source.name, 0 if covered else sheet.refused.get(source.name, 0))
    rivals = _rivals(sheet, draft, entry)
    is_changed = entry != base
    row = SourceRow(
        source=source,
        state="unmapped",
        target=typed or (entry.target if entry else ""),
        conversions=_conversions(entry, source),
        conversion=entry.conversion if entry else None,
        rank=entry.precedence if entry and len(rivals) > 1 else None,
        rivals=rivals,
        problem=draft.problems.get(source.name),
        is_edited=is_changed or typed is not None,
        former=base if is_changed else None,
        proposal=proposal,
        unusable=None if is_changed else sheet.unusable.get(source.name),
        refused=refused if entry else 0,
        share=values.filled / values.records if values and values.records else None,
        samples=values.samples.get(source.part.name, ()) if values else (),
    )
    return _with_state(row, draft, entry, is_changed=is_changed)


def _place(sheet: Sheet, row: SourceRow) -> tuple[bool, float, str, str, int]:
    """Returns the place of a row; the parts of a field stay together."""
    key, name = row.source.field.field_key, row.source.field.field_name
    known = {source.partition(".")[0] for source in (*sheet.entries, *sheet.proposals)}
    parts = [source for source in sheet.sources if source.partition(".")[0] == key]
    return key not in known, -(row.share or 0), name.casefold(), key, parts.index(row.name)


def _with_state(
    row: SourceRow, draft: Draft, entry: mappings.Entry | None, *, is_changed: bool
) -> SourceRow:
    tests = {
        "conflict": bool(row.problem) or row.name in draft.unordered,
        "unusable": row.unusable is not None,
        "changed": is_changed,
        "refusing": row.refused > 0,
        "proposed": row.proposal is not None,
        "mapped": entry is not None,
    }
    state = next((name for name, is_so in tests.items() if is_so), "unmapped")
    return replace(row, state=state)


def _conversions(entry: mappings.Entry | None, source: EditedSource) -> Sequence[str]:
    """Returns the conversions of an attribute's value; a column has the one that it needs."""
    if entry is None or entry.attribute is None:
        return ()
    has = source.part.pg_type
    numbers = ("number",) if has in {"text", "numeric", "bigint"} else ()
    return (*numbers, *(("text",) if has in TO_TEXT else ()))


def _rivals(sheet: Sheet, draft: Draft, entry: mappings.Entry | None) -> Sequence[str]:
    if entry is None:
        return ()
    rivals = [each for each in draft.mapping.of(sheet.entity) if each.target == entry.target]
    return [
        sheet.sources[each.source].field.field_name if each.source in sheet.sources else each.source
        for each in rivals
    ]
