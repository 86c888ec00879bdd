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
AWKWARD = {"organizations": AWKWARD_ORGANIZATIONS, "persons": AWKWARD_PERSONS}


def awkward_id(entity: str, name: str) -> int:
    """The id of an awkward row, in every account that has that many rows."""
    return list(AWKWARD[entity]).index(name) + 1
