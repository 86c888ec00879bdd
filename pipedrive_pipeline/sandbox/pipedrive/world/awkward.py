"""Named records with values that often break clients: the first rows of every seeded account."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]


def _contact(value: str, *, primary: bool, label: str = "work") -> Record:
    return {"value": value, "primary": primary, "label": label}


_NO_PARTS: Record = dict.fromkeys(
    ("country", "admin_area_level_1", "admin_area_level_2", "locality", "sublocality", "route",
     "street_number", "subpremise", "postal_code", "formatted_address")
)  # fmt: skip

# Row n of an account is the n-th of these; ids therefore never depend on the seed.
AWKWARD_ORGANIZATIONS: dict[str, Record] = {
    "address_missing": {"address": None},
    "address_only_typed": {"address": {"value": "Hof Süd, hinter der Kirche", **_NO_PARTS}},
    "umlauts": {"name": "Größenwahn & Söhne Käßspätzle GmbH"},
    "emoji": {"name": "Bäckerei Möwe 🥐🇩🇪 👩‍👩‍👧"},
    "formula": {"name": '=HYPERLINK("http://example.invalid";"Klick")'},
    "line_break": {"name": "Zeile eins\nZeile zwei\tTab"},
    "markup": {"name": "<script>alert('x')</script> {{7*7}} GmbH"},
    "right_to_left": {"name": "\u202eHbmG \u0645\u0631\u062d\u0628\u0627"},
    "no_labels_no_owner_group": {"label_ids": [], "visible_to": 1},
    "unknown_owner": {"owner_id": 999_999},
    "long_name": {"name": "Lange Reihe " * 20 + "GmbH"},
    "twin_a": {"name": "Zwilling GmbH"},
    "twin_b": {"name": "Zwilling GmbH"},
    "quotes": {"name": 'O\'Neill "Die Köche" \\ Partner; --'},
}
AWKWARD_PERSONS: dict[str, Record] = {
    "no_email": {"emails": []},
    "two_emails_second_primary": {
        "emails": [
            _contact("alt@moewe.example", primary=False),
            _contact("neu@moewe.example", primary=True),
        ]
    },
    "two_emails_none_primary": {
        "emails": [
            _contact("erste@moewe.example", primary=False),
            _contact("zweite@moewe.example", primary=False, label="home"),
        ]
    },
    "two_emails_both_primary": {
        "emails": [
            _contact("a@moewe.example", primary=True),
            _contact("b@moewe.example", primary=True),
        ]
    },
    "empty_email": {"emails": [_contact("", primary=True)]},
    "no_phone": {"phones": []},
    "no_organization": {"org_id": None},
    "invisible_organization": {},  # org_id is set where the number of organizations is known
    "deleted_organization": {},
    "name_without_parts": {"name": "Empfang", "first_name": None, "last_name": None},
    "umlauts": {"name": "Jörg Weißmüller", "first_name": "Jörg", "last_name": "Weißmüller"},
    "emoji": {"name": "Käthe 🌻 Öztürk", "first_name": "Käthe 🌻", "last_name": "Öztürk"},
    "same_email_a": {"emails": [_contact("info@zwilling.example", primary=True)]},
    "same_email_b": {"emails": [_contact("info@zwilling.example", primary=True)]},
    "upper_case_email": {"emails": [_contact(" Max.Mustermann@ZWILLING.example ", primary=True)]},
    "not_an_email": {"emails": [_contact("siehe Bemerkung", primary=True)]},
    "hundred_emails": {
        "emails": [
            _contact(f"n{n}@moewe.example", primary=n == 70, label="other") for n in range(100)
        ]
    },
    "private": {"visible_to": 1},
}
_OPEN: Record = {
    "status": "open", "close_time": None, "won_time": None, "lost_time": None,
    "first_won_time": None, "local_won_date": None, "local_lost_date": None,
    "local_close_date": None, "lost_reason": None, "is_archived": False, "archive_time": None,
}  # fmt: skip
_WON: Record = _OPEN | {
    "status": "won", "close_time": "2024-01-31T23:30:00Z", "won_time": "2024-01-31T23:30:00Z",
    "first_won_time": "2024-01-31T23:30:00Z", "local_won_date": "2024-02-01",
    "local_close_date": "2024-02-01", "stage_change_time": "2024-01-15T08:00:00Z",
}  # fmt: skip
_LOST: Record = _OPEN | {
    "status": "lost", "close_time": "2024-02-02T09:00:00Z", "lost_time": "2024-02-02T09:00:00Z",
    "local_lost_date": "2024-02-02", "local_close_date": "2024-02-02",
    "stage_change_time": "2024-01-15T08:00:00Z",
}  # fmt: skip
AWKWARD_DEALS: dict[str, Record] = {
    "never_moved": _OPEN | {"pipeline_id": 1, "stage_id": 3, "stage_change_time": None},
    "won_after_midnight_here": _WON,
    "lost_for_a_listed_reason": _LOST | {"lost_reason": "Preis"},
    "lost_for_a_typed_reason": _LOST | {"lost_reason": 'Chef sagt: "zu teuer", \n Punkt.'},
    "reopened": _OPEN | {"first_won_time": "2024-02-05T10:00:00Z"},
    "archived_open": _OPEN | {"is_archived": True, "archive_time": "2024-02-03T04:05:06Z"},
    "archived_won": _WON | {"is_archived": True, "archive_time": "2024-02-03T04:05:06Z"},
    "deleted_pipeline": _OPEN | {"pipeline_id": 3, "stage_id": 11},
    "no_person_no_organization": {"person_id": None, "org_id": None},
    "invisible_organization": {},  # org_id is set where the number of organizations is known
    "deleted_organization": {},
    "unknown_owner": {"owner_id": 999_999},
    "fractional_probability": {"probability": 12.5},
    "yen": {"currency": "JPY"},
    "emoji": {"title": "Kühlhaus 🧊🐟 „Nordsee“"},
    "formula": {"title": "=1+1"},
    "private": {"visible_to": 1},
    "came_from_a_lead": {"source_lead_id": "0fffffff-0ead-11ef-9a5d-0242ac120002"},
}
AWKWARD = {
    "organizations": AWKWARD_ORGANIZATIONS,
    "persons": AWKWARD_PERSONS,
    "deals": AWKWARD_DEALS,
}


def awkward_id(entity: str, name: str) -> int:
    """The id of an awkward row, in every account that has that many rows."""
    return list(AWKWARD[entity]).index(name) + 1
