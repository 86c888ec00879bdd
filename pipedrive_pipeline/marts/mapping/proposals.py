"""Proposes mapping entries by field name, in German and English, and for re-created fields.

A proposal is only applied when a person accepts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.naming import words_of
from pipedrive_pipeline.marts.mapping.form import BadMapping, Entry, Mapping
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.scope import Scope

# Further words for a column of any mart, in German and English, without blanks and hyphens.
WORDS: Final = {
    "customer_number": "kundennummer kundennr kundenno kdnr kdnummer debitor debitorennummer "
    "debitorennr customerno customernr customerid clientnumber accountnumber",
    "vat_id": "ustidnr ustid ustidnummer umsatzsteuerid umsatzsteueridentifikationsnummer uid "
    "vat vatno vatnumber vatregistrationnumber taxid",
    "industry": "branche industrie wirtschaftszweig sector",
    "phone": "telefon telefonnummer telefonzentrale tel zentrale rufnummer phonenumber durchwahl "
    "mobil handy mobile cell",
    "email": "mail emailadresse mailadresse emailaddress",
    "website": "webseite internetseite homepage internet url web webadresse",
    "annual_revenue": "umsatz jahresumsatz revenue turnover",
    "employee_count": "mitarbeiter mitarbeiterzahl mitarbeiteranzahl anzahlmitarbeiter "
    "beschaeftigte employees numberofemployees headcount",
    "job_title": "position funktion berufsbezeichnung stelle title role",
}
CONVERSIONS: Final = (None, "number", "text")


@dataclass(frozen=True)
class Proposal:
    """One entry that may be added; ``reason`` explains it to a person."""

    entry: Entry
    field_name: str
    reason: str


def proposals(scope: Scope, mapping: Mapping, fields: list[Field]) -> list[Proposal]:
    """Returns entries that may be added to a mapping: each target once, none mapped already."""
    candidates = [*_successors(mapping, fields), *_by_name(scope, mapping, fields)]
    offered: dict[tuple[str, str], Proposal] = {}
    for candidate in candidates:
        fitting = _fitting(scope, candidate, fields)
        if fitting:
            offered.setdefault((fitting.entry.entity, fitting.entry.target), fitting)
    return list(offered.values())


def _successors(mapping: Mapping, fields: list[Field]) -> Iterator[Proposal]:
    """Yields fields that were created again under the name of a removed, mapped field."""
    known = {field.identity: field for field in fields}
    mapped = {(entry.entity, entry.field_key) for entry in mapping.entries}
    for entry in mapping.entries:
        former = known.get((entry.entity, entry.field_key))
        if former is None or former.removed_at is None:
            continue
        for field in fields:
            is_alike = field.entity == former.entity and field.field_name == former.field_name
            if is_alike and field.removed_at is None and field.identity not in mapped:
                successor = Entry(entry.entity, field.field_key, entry.part, entry.target)
                reason = f"made again: the field {former.field_key} of this name is gone"
                yield Proposal(successor, field.field_name, reason)


def _by_name(scope: Scope, mapping: Mapping, fields: list[Field]) -> Iterator[Proposal]:
    words = {entity: _words_for(mart) for entity, mart in field_entities(scope.system).items()}
    mapped = {(entry.entity, entry.field_key) for entry in mapping.entries}
    targets = {(entry.entity, entry.target) for entry in mapping.entries}
    for field in fields:
        if not field.is_custom or field.removed_at or field.identity in mapped:
            continue
        target = words[field.entity].get("".join(words_of(field.field_name)))
        if target and (field.entity, target) not in targets:
            entry = Entry(field.entity, field.field_key, None, target)
            yield Proposal(entry, field.field_name, f"its name is a word for {target}")


def _words_for(mart: Mart) -> dict[str, str]:
    """Returns the column for each word that means a column which a mapping may fill."""
    return {
        word: column
        for column in mart.mappable
        for word in (column.replace("_", ""), *WORDS.get(column, "").split())
    }


def _fitting(scope: Scope, proposal: Proposal, fields: list[Field]) -> Proposal | None:
    """Returns the proposal with the conversion that it needs; None if no conversion fits."""
    candidate = proposal.entry
    for conversion in CONVERSIONS:
        entry = Entry(
            candidate.entity, candidate.field_key, candidate.part, candidate.target, conversion
        )
        try:
            validated(scope, {entry.entity: {entry.source: entry.written()}}, fields)
        except BadMapping:
            continue
        return Proposal(entry, proposal.field_name, proposal.reason)
    return None
