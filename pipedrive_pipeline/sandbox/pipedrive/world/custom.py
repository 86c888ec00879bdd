"""The custom fields of a seeded account, and their values.

All 16 creatable types occur, and names that often break clients: twice the same, alike after
lower-casing and stripping, umlauts, an emoji, a reserved word, longer than 63 bytes, empty label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.fields import (
    CREATABLE_TYPES,
    TYPES_WITH_OPTIONS,
    FieldBook,
    FieldDefinition,
)
from pipedrive_pipeline.sandbox.pipedrive.world.words import (
    FIRST_NAMES,
    NOTES,
    PLACES,
    STEMS,
    STREETS,
)

Record = dict[str, Any]
SEEDED_AT = "2021-03-01T08:00:00Z"
_SIZES = ("S", "M", "L", "XL, Übergröße", "")
_REGIONS = ("Nord", "Süd", "Ost", "West", "Süd")  # the same label twice
_YES_NO = ("Ja", "Nein")

# name, type, labels
ORGANIZATION_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Kundennummer", "varchar", ()),
    ("USt-IdNr.", "varchar_auto", ()),
    ("Kreditlimit", "monetary", ()),
    ("Region", "enum", _REGIONS),
    ("Produkte", "set", ("Wärmepumpe", "Lüftung", "Kälte; Klima", "Wartung\nvor Ort", "Sonstiges")),
    ("Rabatt %", "double", ()),
    ("Erstkontakt", "date", ()),
    ("Vertragslaufzeit", "daterange", ()),
    ("Anlieferung ab", "time", ()),
    ("Öffnungszeit", "timerange", ()),
    ("Lieferadresse", "address", ()),
    ("Betreuer innen", "user", ()),
    ("Muttergesellschaft", "org", ()),
    ("Ansprechperson Technik", "people", ()),
    ("Zentrale Durchwahl", "phone", ()),
    ("Bemerkung", "text", ()),
    ("Bemerkung", "varchar", ()),
    ("Foo Bar", "varchar", ()),
    ("foo_bar", "varchar", ()),
    ("select", "varchar", ()),
    ("Größe", "enum", _SIZES),
    ("Groesse", "enum", _SIZES),
    ("Stimmung 🎯", "enum", ("😀", "😐", "😡")),
    ("Ist die Einwilligung zur Datenverarbeitung schriftlich erteilt worden?", "enum", _YES_NO),
    ("id", "double", ()),
    ("Jahresumsatz", "monetary", ()),
    ("Jahresumsatz (currency)", "varchar", ()),
    ("Nächste Prüfung", "date", ()),
    ("Mitarbeiter", "double", ()),
    ("Zertifikate", "set", ("ISO 9001", "ISO 14001", "TÜV", "DIN EN 1090")),
    ("Zahlungsziel", "enum", ("sofort", "14 Tage", "30 Tage")),
    ("Wartungsfenster", "timerange", ()),
    ("Garantie", "daterange", ()),
    ("Rückruf um", "time", ()),
    ("Rechnungsadresse", "address", ()),
    ("Vertretung", "user", ()),
    ("Notruf", "phone", ()),
    ("Interne Notiz", "text", ()),
    ("Kunden-Nr. alt", "varchar", ()),
    ("Messe", "set", ("Hannover", "Köln", "München")),
)
PERSON_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Personalnummer", "varchar", ()),
    ("Anrede", "enum", ("Frau", "Herr", "keine")),
    ("Geburtstag", "date", ()),
    ("Interessen", "set", ("Segeln", "Kochen", "Fußball", "Lesen")),
    ("Gehaltswunsch", "monetary", ()),
    ("Score", "double", ()),
    ("Erreichbar", "timerange", ()),
    ("Rückruf", "time", ()),
    ("Urlaub", "daterange", ()),
    ("Privatadresse", "address", ()),
    ("Betreut von", "user", ()),
    ("Zweitfirma", "org", ()),
    ("Empfohlen von", "people", ()),
    ("Privat", "phone", ()),
    ("Über mich", "text", ()),
    ("Kürzel", "varchar_auto", ()),
    ("Bemerkung", "varchar", ()),
    ("Newsletter", "enum", _YES_NO),
    ("Sprachen", "set", ("Deutsch", "Français", "Türkçe", "Łemko")),
    ("Foo Bar", "varchar", ()),
)
DEAL_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Auftragsnummer", "varchar", ()),
    ("Sparte", "enum", ("Heizung", "Kälte", "Lüftung", "Service")),
    ("Anschaffungskosten", "monetary", ()),
    ("Beteiligte Gewerke", "set", ("Elektro", "Sanitär", "Bau", "Trockenbau")),
    ("Marge %", "double", ()),
    ("Montagebeginn", "date", ()),
    ("Bauzeit", "daterange", ()),
    ("Baustelle", "address", ()),
    ("Projektleitung", "user", ()),
    ("Architekturbüro", "org", ()),
    ("Bauleitung", "people", ()),
    ("Bemerkung", "text", ()),
)
PRODUCT_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Artikelnummer alt", "varchar", ()),
    ("Gewicht kg", "double", ()),
    ("Energieklasse", "enum", ("A", "B", "C")),
    ("Listenpreis netto", "monetary", ()),
)
SEEDED_FIELDS = {
    "organizations": ORGANIZATION_FIELDS,
    "persons": PERSON_FIELDS,
    "deals": DEAL_FIELDS,
    "products": PRODUCT_FIELDS,
    "activities": (),
}
NUMBER_PREFIX = {"organizations": "K", "persons": "P", "deals": "D", "products": "A"}

_BLOCK_FIELDS = 5
_BLOCK_VARIANTS = (97, 101, 103, 107, 109, 113, 127, 131)  # primes: blocks repeat out of step


def seeded_fields(book: FieldBook, count: int) -> Iterator[FieldDefinition]:
    """Yield the first ``count`` custom fields; those beyond the named ones have numbers."""
    named = SEEDED_FIELDS[book.entity.name]
    for place in range(count):
        if place < len(named):
            name, kind, labels = named[place]
        else:
            kind = CREATABLE_TYPES[place % len(CREATABLE_TYPES)]
            name, labels = f"Zusatzfeld {place + 1}", ("A", "B", "C")
        has_options = kind in TYPES_WITH_OPTIONS
        yield book.new(name, kind, labels if has_options else None, at=SEEDED_AT)


@dataclass(frozen=True)
class ReferenceRange:
    """Which ids the values of reference fields may name."""

    users: Sequence[int]
    organizations: int
    persons: int


class CustomValues:
    """The values of custom fields in seeded rows.

    Values are drawn in blocks of five fields, each block from about a hundred prepared variants:
    a row with 40 values costs eight look-ups, and no two neighbours are alike. The first field is
    a number of its own for each row.
    """

    def __init__(
        self, fields: Sequence[FieldDefinition], prefix: str, reach: ReferenceRange
    ) -> None:
        self._number_code = fields[0].code if fields else None
        self._prefix = prefix
        self._blocks = [
            _variants(fields[start : start + _BLOCK_FIELDS], start, reach)
            for start in range(1, len(fields), _BLOCK_FIELDS)
        ]

    def of(self, row_id: int, draw: int) -> Record:
        """The custom values of one row; ``draw`` is any large number that belongs to it."""
        values: Record = {}
        if self._number_code is not None:
            values[self._number_code] = f"{self._prefix}-{row_id:07d}"
        for block in self._blocks:
            values.update(block[draw % len(block)])
            draw //= 89
        return values


def _variants(fields: Sequence[FieldDefinition], start: int, reach: ReferenceRange) -> list[Record]:
    count = _BLOCK_VARIANTS[start // _BLOCK_FIELDS % len(_BLOCK_VARIANTS)]
    return [
        {
            field.code: _value(field, draw * 31 + (start + place) * 7, reach)
            for place, field in enumerate(fields)
        }
        for draw in range(count)
    ]


def _value(field: FieldDefinition, draw: int, reach: ReferenceRange) -> Any:
    """One value of a field, or null for about every third draw, as in real accounts."""
    if draw % 3 == 0:
        return None
    if field.options:
        ids = [option.id for option in field.options]
        first = ids[draw % len(ids)]
        return first if field.type == "enum" else sorted({first, ids[draw // 3 % len(ids)]})
    if field.type == "user":
        return reach.users[draw % len(reach.users)]
    if field.type in ("org", "people"):
        size = reach.organizations if field.type == "org" else reach.persons
        return 1 + draw % size if size else None
    return _plain_value(field.type, draw)


def _plain_value(kind: str, draw: int) -> Any:
    if kind in _PLAIN:
        return _PLAIN[kind](draw)
    return f"{STEMS[draw % len(STEMS)]} {FIRST_NAMES[draw // 3 % len(FIRST_NAMES)]}"


_ZONE = {"timezone_id": 280, "timezone_name": "Europe/Berlin"}
_PLAIN: dict[str, Callable[[int], Any]] = {
    "double": lambda draw: round(draw * 1.1 - 40, 2),
    "monetary": lambda draw: {
        "value": round(draw * 37.45, 2),
        "currency": ("EUR", "CHF", "PLN")[draw // 3 % 3],
    },
    "date": lambda draw: f"{1999 + draw % 27}-{1 + draw % 12:02d}-{1 + draw % 28:02d}",
    "daterange": lambda draw: {
        "value": f"2026-01-{1 + draw % 28:02d}",
        "until": f"2027-02-{1 + draw % 28:02d}",
    },
    "time": lambda draw: {"value": f"{6 + draw % 9:02d}:30:00", **_ZONE},
    "timerange": lambda draw: {
        "value": f"{6 + draw % 9:02d}:00:00",
        "until": f"{14 + draw % 9:02d}:15:00",
        **_ZONE,
    },
    "address": lambda draw: address(STREETS[draw % len(STREETS)], str(1 + draw % 90), draw),
    "phone": lambda draw: f"+49 431 {draw * 977 % 1_000_000:06d}",
    "text": lambda draw: NOTES[draw % len(NOTES)],
}


def address(route: str, street_number: str, draw: int) -> Record:
    """An address with all its parts."""
    town, postal_code, state, country = PLACES[draw % len(PLACES)]
    typed = f"{route} {street_number}, {postal_code} {town}"
    return {
        "value": typed,
        "country": country,
        "admin_area_level_1": state,
        "admin_area_level_2": None,
        "locality": town,
        "sublocality": None,
        "route": route,
        "street_number": street_number,
        "subpremise": None,
        "postal_code": postal_code,
        "formatted_address": f"{typed}, {country}",
    }
