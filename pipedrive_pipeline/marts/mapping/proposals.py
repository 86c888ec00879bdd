"""Proposes mapping entries by field name, in German and English, and for re-created fields.

A proposal is only applied when a person accepts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.naming import words_of
from pipedrive_pipeline.marts.mapping.form import BadMapping, Entry, Mapping
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.tenants import Tenant

_COMPANY_WORDS: Final = {
    "customer_number": "kundennummer kundennr kundenno kdnr kdnummer debitor debitorennummer "
    "debitorennr customernumber customerno customernr customerid clientnumber accountnumber",
    "vat_id": "ustidnr ustid ustidnummer umsatzsteuerid umsatzsteueridentifikationsnummer uid "
    "vat vatid vatno vatnumber vatregistrationnumber taxid",
    "industry": "branche industrie wirtschaftszweig industry sector",
    "phone": "telefon telefonnummer telefonzentrale tel zentrale rufnummer phone phonenumber",
    "email": "email mail emailadresse mailadresse emailaddress",
    "website": "website webseite internetseite homepage internet url web webadresse",
    "annual_revenue": "umsatz jahresumsatz annualrevenue revenue turnover",
    "employee_count": "mitarbeiter mitarbeiterzahl mitarbeiteranzahl anzahlmitarbeiter "
    "beschaeftigte employees employeecount numberofemployees headcount",
}
_PERSON_WORDS: Final = {
    "job_title": "position funktion jobtitel berufsbezeichnung stelle jobtitle title role",
    "phone": "telefon telefonnummer durchwahl mobil handy phone mobile cell",
    "email": "email mail emailadresse emailaddress",
}
WORDS: Final = {
    entity: {word: target for target, words in targets.items() for word in words.split()}
    for entity, targets in (("organizations", _COMPANY_WORDS), ("persons", _PERSON_WORDS))
}
CONVERSIONS: Final = (None, "number", "text")


@dataclass(frozen=True)
class Proposal:
    """One entry that may be added; ``reason`` explains it to a person."""

    entry: Entry
    field_name: str
    reason: str


def proposals(tenant: Tenant, mapping: Mapping, fields: list[Field]) -> list[Proposal]:
    """Returns entries that may be added to a mapping: each target once, none mapped already."""
    candidates = [*_successors(mapping, fields), *_by_name(mapping, fields)]
    offered: dict[tuple[str, str], Proposal] = {}
    for candidate in candidates:
        fitting = _fitting(tenant, candidate, fields)
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


def _by_name(mapping: Mapping, fields: list[Field]) -> Iterator[Proposal]:
    mapped = {(entry.entity, entry.field_key) for entry in mapping.entries}
    targets = {(entry.entity, entry.target) for entry in mapping.entries}
    for field in fields:
        if not field.is_custom or field.removed_at or field.identity in mapped:
            continue
        target = WORDS[field.entity].get("".join(words_of(field.field_name)))
        if target and (field.entity, target) not in targets:
            entry = Entry(field.entity, field.field_key, None, target)
            yield Proposal(entry, field.field_name, f"its name is a word for {target}")


def _fitting(tenant: Tenant, proposal: Proposal, fields: list[Field]) -> Proposal | None:
    """Returns the proposal with the conversion that it needs; None if no conversion fits."""
    candidate = proposal.entry
    for conversion in CONVERSIONS:
        entry = Entry(
            candidate.entity, candidate.field_key, candidate.part, candidate.target, conversion
        )
        try:
            validated(tenant, Mapping((entry,)).written(), fields)
        except BadMapping:
            continue
        return Proposal(entry, proposal.field_name, proposal.reason)
    return None
