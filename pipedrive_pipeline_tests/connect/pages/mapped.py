"""A tenant with many fields, some with names that try to do harm, and the pages that map them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts import build
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.forms import fields_of, signed_in
from pipedrive_pipeline_tests.marts.fields import custom, key_of
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.vault.world import ACME

MAPPING = "/integrations/pipedrive/mapping"
SCOPE = Scope(ACME, SYSTEM)
HOSTILE = {
    "markup": "<svg onload=alert(1)>",
    "template": "{{7*7}}",
    "right_to_left": "مؤسسة النخلة",
    "long": "Bezeichnung laut Rahmenvertrag " * 10,
}
NAMES = {
    "number": "Kundennummer",
    "vat": "USt-IdNr.",
    "branch": "Branche",
    "revenue": "Umsatz im Vorjahr",
    "staff": "Mitarbeiter",
    "limit": "Kreditlimit",
    "founded": "Gegründet",
    **HOSTILE,
}
KINDS = {"branch": "enum", "limit": "monetary", "founded": "date"}
KEYS = {name: key_of(label) for name, label in NAMES.items()}
PLAIN_FIELDS = 34  # so that the customers have more than forty


def load(site: ConnectSite) -> None:
    """Acme's raw tables with fields of many kinds, and the marts built from them."""
    raw = RawTables(site.world.vault.warehouse, ACME)
    options = {1: "Handel", 2: "Maschinenbau"}
    raw.load(
        organization_fields=[
            *(
                custom(label, KINDS.get(name, "varchar"), options if name == "branch" else None)
                for name, label in NAMES.items()
            ),
            *(custom(f"Feld {number}") for number in range(PLAIN_FIELDS)),
            {"field_code": "address", "field_name": "Address", "field_type": "address"},
        ],
        person_fields=[custom("Geburtstag", "date")],
        organizations=[_organization(number) for number in range(1, 13)],
        persons=[person(1, org_id=1, custom_fields={key_of("Geburtstag"): "1990-02-03"})],
    )
    build(site.world.vault.warehouse, SCOPE)


def _organization(number: int) -> dict[str, Any]:
    return organization(
        number,
        custom_fields={
            KEYS["number"]: f"K-{1000 + number}",
            KEYS["vat"]: f"DE81190798{number % 10}" if number % 3 else None,
            KEYS["branch"]: 1 + number % 2,
            KEYS["revenue"]: "12,5 Mio" if number == 3 else str(number * 1_000),
            KEYS["staff"]: str(number * 10),
            KEYS["limit"]: {"value": number * 5, "currency": "EUR"},
            KEYS["markup"]: "<b>x</b>",
            KEYS["template"]: "{{7*7}}",
            KEYS["right_to_left"]: HOSTILE["right_to_left"],
            KEYS["long"]: "x" * 200,
        },
    )


@dataclass
class MappingPage:
    """The editor of one signed-in person, by HTTP alone."""

    browser: httpx.Client
    page: httpx.Response | None = None

    def open(self, **parameters: object) -> str:
        """The page as it is opened."""
        query = {name: str(value) for name, value in parameters.items()}
        self.page = self.browser.get(MAPPING, params=query)
        return self.page.text

    def send(self, act: str = "preview", **changes: str) -> httpx.Response:
        """The form of the last page with these changes, sent by one of its buttons."""
        assert self.page is not None
        sent = {**form_of(self.page.text), **changes, **({"act": act} if act else {})}
        answer = self.browser.post(MAPPING, data=sent)
        if answer.status_code != 303:
            self.page = answer
        return answer


def editor(site: ConnectSite, role: Role = Role.MANAGER, name: str = "editor") -> MappingPage:
    """The editor of a person who signed in with a key of this role."""
    return MappingPage(signed_in(site, role, name))


def form_of(text: str) -> dict[str, str]:
    """What a browser would send of the mapping's form without a button."""
    return fields_of(text, MAPPING)


def row_of(text: str, label: str) -> str:
    """The row of a field, as words and tags."""
    rows: list[str] = re.findall(r'<tr role="row">.*?</tr>', text, re.DOTALL)
    return next(row for row in rows if f"<bdi>{label}</bdi>" in row)
