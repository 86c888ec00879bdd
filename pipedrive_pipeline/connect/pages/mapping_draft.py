"""One editor's unsaved mapping: the rows of the form, and the mapping that a sent form means.

The form has `to:<source>`, the column that a source fills, for every source that it shows, and
where they matter `as:<source>` (the conversion), `rank:<source>` (the order of sources of one
column) and `accept:<source>` (a proposal). A source that the form leaves out keeps its entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from pipedrive_pipeline.connectors.contract import FieldKind
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.values import Part, kind_of, parts_of
from pipedrive_pipeline.marts.mapping.form import ATTRIBUTE_PATTERN, CONVERSIONS
from pipedrive_pipeline.scope import Scope

# Kinds whose further parts say something that the first does not.
TELLING_PARTS: Final[frozenset[FieldKind]] = frozenset({"monetary", "daterange", "timerange"})
RANK_MAX: Final = 99


@dataclass(frozen=True)
class EditedSource:
    """One field, or one part of it, that a column may be filled from."""

    name: str  # as a mapping writes it
    field: mappings.Field
    part: Part
    is_first: bool  # part of its field

    @property
    def is_telling(self) -> bool:
        """True if it is shown without being asked for."""
        return self.is_first or kind_of(self.field.system, self.field.field_type) in TELLING_PARTS


@dataclass(frozen=True)
class Sheet:
    """What one editor looks at: the fields of one kind of records, and the version they edit."""

    scope: Scope
    entity: str
    mart: Mart
    fields: list[mappings.Field]  # of every entity
    base: mappings.Version
    proposals: Mapping[str, mappings.Proposal] = field(default_factory=dict)  # by source
    values: Mapping[str, mappings.FieldValues] = field(default_factory=dict)  # by key
    refused: Mapping[str, int] = field(default_factory=dict)  # values, by key

    @cached_property
    def sources(self) -> dict[str, EditedSource]:
        """Every source by its name; a removed field only where an entry still reads it."""
        return {source.name: source for source in self._all_sources()}

    @cached_property
    def entries(self) -> dict[str, mappings.Entry]:
        """The entries of the version that is edited, by source."""
        return {entry.source: entry for entry in self.base.mapping.of(self.entity)}

    @cached_property
    def unusable(self) -> dict[str, str]:
        """Why an entry of that version is not used for now, by source."""
        reasons = mappings.unusable_entries(self.scope, self.base.mapping, self.fields)
        return {name: reasons[e.name] for name, e in self.entries.items() if e.name in reasons}

    def _all_sources(self) -> Iterator[EditedSource]:
        mapped = {entry.field_key for entry in self.entries.values()}
        for known in self.fields:
            if known.entity != self.entity or (known.removed_at and known.field_key not in mapped):
                continue
            for number, part in enumerate(parts_of(known.system, known.field_type)):
                name = f"{known.field_key}.{part.name}"
                if number == 0:
                    yield EditedSource(known.field_key, known, part, is_first=True)
                if number or name in self.entries:  # the first part may be named, too
                    yield EditedSource(name, known, part, is_first=False)


@dataclass(frozen=True)
class Draft:
    """The mapping as it is being edited, and what is wrong with it, by source."""

    mapping: mappings.Mapping
    entity: str
    typed: Mapping[str, str] = field(default_factory=dict)  # what cannot be used, as it was typed
    problems: Mapping[str, str] = field(default_factory=dict)  # a key of the texts
    unordered: frozenset[str] = frozenset()  # sources whose order nobody has chosen yet

    @cached_property
    def entries(self) -> dict[str, mappings.Entry]:
        """The entries by source."""
        return {entry.source: entry for entry in self.mapping.of(self.entity)}

    @property
    def is_savable(self) -> bool:
        """True if nothing needs a correction first."""
        return not self.problems and not self.unordered


def unchanged(sheet: Sheet) -> Draft:
    """Returns the version that is edited, without a change."""
    return Draft(sheet.base.mapping, sheet.entity)


def edited(sheet: Sheet, sent: Mapping[str, str], *, accept_all: bool = False) -> Draft:
    """Returns what a sent form means on top of the version that it was made from."""
    entries: dict[str, mappings.Entry] = {}
    typed: dict[str, str] = {}
    problems: dict[str, str] = {}
    for source in (*sheet.sources, *(name for name in sheet.entries if name not in sheet.sources)):
        base, offer = sheet.entries.get(source), sheet.proposals.get(source)
        text = sent.get(f"to:{source}", "").strip()
        is_accepted = offer is not None and (accept_all or f"accept:{source}" in sent)
        if not text and is_accepted and offer:
            entries[source] = offer.entry
        elif f"to:{source}" not in sent:
            entries |= {source: base} if base else {}
        elif text:
            entry = _entry(sheet, source, text, sent)
            problem = _problem(sheet, entry)
            if problem:
                typed[source], problems[source] = text, problem
            else:
                entries[source] = entry
    ordered, unordered = _ordered(sheet, entries, sent)
    others = [e for e in sheet.base.mapping.entries if e.entity != sheet.entity]
    mapping = mappings.Mapping((*others, *ordered), sheet.base.mapping.entities)
    return Draft(mapping, sheet.entity, typed, problems, unordered)


def _entry(sheet: Sheet, source: str, text: str, sent: Mapping[str, str]) -> mappings.Entry:
    """Returns the entry that a row of the form means, with the conversion that it needs."""
    column = "_".join(text.casefold().split())
    target = column if column in sheet.mart.mappable else text
    key, _, part = source.partition(".")
    conversion = sent.get(f"as:{source}") or None
    entry = mappings.Entry(sheet.entity, key, part or None, target)
    if entry.attribute is not None and conversion in CONVERSIONS:
        return replace(entry, conversion=conversion)
    base = sheet.entries.get(source)
    if base and base.target == target and (conversion or target in sheet.mart.mappable):
        return replace(base, precedence=None)
    return mappings.fitting(sheet.scope, entry, sheet.fields) or entry


def _problem(sheet: Sheet, entry: mappings.Entry) -> str | None:
    """Returns the key of the text that says why an entry cannot be used; None if it can."""
    if entry.attribute is not None:
        is_name = ATTRIBUTE_PATTERN.fullmatch(entry.attribute)
        return None if is_name else "mapping.problem.attribute"
    if entry.target not in sheet.mart.mappable:
        return "mapping.problem.column"
    is_kept = sheet.entries.get(entry.source) == entry
    fits = is_kept or mappings.fitting(sheet.scope, entry, sheet.fields) is not None
    return None if fits else "mapping.problem.type"


def _ordered(
    sheet: Sheet, entries: Mapping[str, mappings.Entry], sent: Mapping[str, str]
) -> tuple[list[mappings.Entry], frozenset[str]]:
    """Returns the entries with their order where several fill one column, and those without one."""
    by_target: dict[str, list[str]] = defaultdict(list)
    for source, entry in entries.items():
        by_target[entry.target].append(source)
    ordered: list[mappings.Entry] = []
    unordered: set[str] = set()
    for target, rivals in by_target.items():
        ranks = {source: _rank(sheet, source, target, sent) for source in rivals}
        if len(rivals) == 1:
            (source,) = rivals
            kept = _kept_rank(sheet, source, target)
            ordered.append(replace(entries[source], precedence=kept))
            continue
        is_chosen = None not in ranks.values() and len(set(ranks.values())) == len(rivals)
        if not is_chosen:
            unordered.update(rivals)
            in_order = sorted(rivals, key=lambda source: ranks[source] or RANK_MAX + 1)
            ranks = {source: number for number, source in enumerate(in_order, 1)}
        ordered += [replace(entries[source], precedence=ranks[source]) for source in rivals]
    return ordered, frozenset(unordered)


def _rank(sheet: Sheet, source: str, target: str, sent: Mapping[str, str]) -> int | None:
    text = sent.get(f"rank:{source}", "").strip()
    if text.isdecimal() and text.isascii() and 0 < int(text[:3]) <= RANK_MAX:
        return int(text)
    return _kept_rank(sheet, source, target)


def _kept_rank(sheet: Sheet, source: str, target: str) -> int | None:
    base = sheet.entries.get(source)
    return base.precedence if base and base.target == target else None
