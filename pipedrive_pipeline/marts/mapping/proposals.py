"""Proposes mapping entries by field name, in German and English, and for re-created fields.

By name only columns are proposed that are empty in all of the tenant's rows, and amounts only
together with their currency. A proposal is only applied when a person accepts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.declared import DeclaredColumn, Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.naming import words_of
from pipedrive_pipeline.marts.fields.values import parts_of
from pipedrive_pipeline.marts.mapping.form import ATTRIBUTE, Entry, Mapping
from pipedrive_pipeline.marts.mapping.validation import fitting
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
    "amount": "betrag summe wert auftragswert auftragsvolumen volumen value sum dealvalue "
    "leadvalue",
    "probability": "wahrscheinlichkeit abschlusswahrscheinlichkeit winprobability",
    "expected_close_date": "abschlussdatum abschlusstermin geplanterabschluss erwarteterabschluss "
    "voraussichtlicherabschluss closedate closingdate expectedclose",
    "lost_reason": "verlustgrund absagegrund ablehnungsgrund lossreason reasonlost reasonforloss",
    "forecast_category": "prognosekategorie forecastkategorie prognose forecast",
    "source": "quelle herkunft leadquelle leadherkunft leadsource dealsource",
    "channel": "kanal marketingkanal marketingchannel",
    "person_name": "ansprechpartner kontaktperson contact contactname contactperson",
    "company_name": "firma firmenname unternehmen company organisation organization",
    "code": "artikelnummer artikelnr produktnummer produktnr produktcode sku productcode "
    "productnumber itemnumber articlenumber",
    "description": "beschreibung produktbeschreibung productdescription",
    "unit": "einheit mengeneinheit verkaufseinheit unitofmeasure uom",
    "tax": "steuer steuersatz mwst mwstsatz mehrwertsteuer taxrate",
    "category": "kategorie produktkategorie warengruppe produktgruppe productcategory productgroup",
    "location": "ort treffpunkt veranstaltungsort place venue",
}
CURRENCY: Final = "currency"  # the part of a field with an amount


@dataclass(frozen=True)
class Proposal:
    """One entry that may be added; ``reason`` explains its ``basis`` to a person."""

    entry: Entry
    field_name: str
    reason: str
    basis: Literal["name", "currency", "successor"]


def proposals(
    connection: psycopg.Connection, scope: Scope, mapping: Mapping, fields: list[Field]
) -> list[Proposal]:
    """Returns entries that may be added to a mapping: each target once, none mapped already.

    Args:
        connection: reads the tenant's rows in the marts.
        scope: whose mapping, of which CRM.
        mapping: the entries that there are.
        fields: the tenant's catalogue.
    """
    offered: dict[tuple[str, str], Proposal] = {}
    for candidates in (
        *([successor] for successor in _successors(mapping, fields)),
        *_by_name(connection, scope, mapping, fields),
    ):
        offers = [_fitting(scope, candidate, fields) for candidate in candidates]
        known = [offer for offer in offers if offer]
        targets = {(offer.entry.entity, offer.entry.target): offer for offer in known}
        if len(known) == len(candidates) and offered.keys().isdisjoint(targets):
            offered |= targets
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
                yield Proposal(successor, field.field_name, reason, "successor")


def _by_name(
    connection: psycopg.Connection, scope: Scope, mapping: Mapping, fields: list[Field]
) -> Iterator[list[Proposal]]:
    """Yields the entries of each field whose name is a word for an empty column."""
    marts = field_entities(scope.system)
    words = {entity: _words_for(mart) for entity, mart in marts.items()}
    mapped = {(entry.entity, entry.field_key) for entry in mapping.entries}
    targets = {(entry.entity, entry.target) for entry in mapping.entries}
    for field in fields:
        if not field.is_custom or field.removed_at or field.identity in mapped:
            continue
        target = words[field.entity].get("".join(words_of(field.field_name)))
        if target is None:
            continue
        filled = _with_currency(field, target)
        if filled and not any(
            (field.entity, name) in targets
            or not _is_empty(connection, scope, marts[field.entity], name)
            for _, name in filled
        ):
            yield [
                Proposal(
                    Entry(field.entity, field.field_key, part, name),
                    field.field_name,
                    f"its name is a word for {target.name}"
                    if name == target.name
                    else f"the currency of {target.name}",
                    "name" if name == target.name else "currency",
                )
                for part, name in filled
            ]


def _with_currency(field: Field, target: DeclaredColumn) -> list[tuple[str | None, str]]:
    """Returns the part of the field for each target; none where an amount would have no currency.

    A column of a row that has a currency takes only amounts that have one.
    """
    if target.currency is None:
        return [(None, target.name)]
    if any(part.name == CURRENCY for part in parts_of(field.system, field.field_type)):
        return [(None, target.name), (CURRENCY, target.currency)]
    return [(None, target.name)] if target.currency.startswith(ATTRIBUTE) else []


def _is_empty(connection: psycopg.Connection, scope: Scope, mart: Mart, target: str) -> bool:
    """Returns whether no row of the tenant has a value in a column or attribute."""
    column, _, attribute = target.partition(".")
    value: sql.Composable = sql.Identifier("mart", column)
    if attribute:
        value = sql.SQL("{} ->> {}").format(value, sql.Literal(attribute))
    query = sql.SQL(_HAS_VALUE).format(table=sql.Identifier(*mart.table), value=value)
    row = connection.execute(query, (scope.tenant.slug, scope.system)).fetchone()
    return not (row and row[0])


def _words_for(mart: Mart) -> dict[str, DeclaredColumn]:
    """Returns the column for each word that means a column which a mapping may fill.

    Currencies are proposed with their amounts only.
    """
    currencies = {column.currency for column in mart.columns}
    return {
        word: column
        for column in mart.columns
        if column.is_mappable and column.name not in currencies
        for word in (column.name.replace("_", ""), *WORDS.get(column.name, "").split())
    }


def _fitting(scope: Scope, proposal: Proposal, fields: list[Field]) -> Proposal | None:
    """Returns the proposal with the conversion that it needs; None if no conversion fits."""
    entry = fitting(scope, proposal.entry, fields)
    return replace(proposal, entry=entry) if entry else None


_HAS_VALUE: Final = """
select exists (
    select
    from {table} as mart
    where mart.tenant_id = %s
        and mart.system = %s
        and {value} is not null
)
"""
