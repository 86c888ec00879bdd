"""A scripted Pipedrive account: keyset lists over records in memory.

Tests of walks change it between two pages. The sandbox, read by another test, has the whole API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipedrive_pipeline_tests.connectors.scripted import (
    SERVER_DATE,
    ReceivedRequest,
    Reply,
    as_json,
)

Row = dict[str, Any]
PATHS = {
    "/api/v2/organizations": "organizations",
    "/api/v2/persons": "persons",
    "/api/v2/organizationFields": "organization_fields",
    "/api/v2/personFields": "person_fields",
    "/v1/users": "users",
    "/api/v2/deals": "deals",
    "/api/v2/deals/archived": "archived_deals",
}


def organization(number: int, second: int = 0, **more: object) -> Row:
    """One organization, edited at a second of a minute."""
    return {
        "id": number,
        "name": f"Company {number}",
        "update_time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z",
        **more,
    }


@dataclass
class PipedriveScript:
    """The script of a server that keeps the contract."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    page_rows: int = 2  # for any requested limit
    date: str | None = SERVER_DATE
    before_page: Callable[[int], None] = lambda _: None
    pages_served: int = 0
    unstamped: str = ""  # how rows without update_time sort; "~" is behind every stamp
    picked_rows: int = 500  # of an answer to ids
    places: dict[int, str] = field(default_factory=dict)  # stamps to sort by, other than shown
    ties: int = 1  # -1: rows of one second come in falling order of ids

    def __call__(self, request: ReceivedRequest) -> Reply:
        """The answer to one request."""
        if request.path == "/v1/users/me":
            return as_json({"success": True, "data": ME}, date=self.date)
        entity = PATHS.get(request.path)
        if entity is None:
            return as_json({"success": False, "error": "not found"}, 404)
        self.pages_served += 1
        self.before_page(self.pages_served)
        return self.page(self.rows.get(entity, []), request)

    def page(self, rows: list[Row], request: ReceivedRequest) -> Reply:
        """Returns one page in the requested order, from the cursor on."""
        query = request.query
        if "ids" in query:
            wanted = {int(text) for text in query["ids"].split(",")}
            picked = [row for row in rows if row["id"] in wanted]
            first = int(query.get("cursor", 0))
            rest = picked[first + self.picked_rows :]
            following = str(first + self.picked_rows) if rest or not self.picked_rows else None
            return listed(picked[first : first + self.picked_rows], following, self.date)
        if request.path in {"/v1/users", "/api/v2/organizationFields", "/api/v2/personFields"}:
            return listed(rows, None, self.date)
        place = self._place_by(query["sort_by"])
        start = tuple(json.loads(query["cursor"])) if "cursor" in query else ()
        ahead = sorted(
            (row for row in rows if place(row) >= start and self._is_within(row, query)),
            key=place,
            reverse=query.get("sort_direction") == "desc",
        )
        page_rows = min(self.page_rows, int(query["limit"]))
        page, rest = ahead[:page_rows], ahead[page_rows:]
        return listed(page, json.dumps(place(rest[0])) if rest else None, self.date)

    def _place_by(self, key: str) -> Callable[[Row], tuple[Any, ...]]:
        """How rows sort."""
        if key == "id":
            return lambda row: (row["id"],)
        return lambda row: (
            str(self.places.get(row["id"]) or row.get(key) or self.unstamped),
            self.ties * row["id"],
        )

    def _is_within(self, row: Row, query: dict[str, str]) -> bool:
        """By the stamp that it is sorted by."""
        stamp = str(self.places.get(row["id"]) or row.get("update_time") or "")
        if not stamp:
            return "updated_since" not in query and "updated_until" not in query
        return query.get("updated_since", "") <= stamp < query.get("updated_until", "~")


ME = {
    "id": 900,
    "name": "Ada",
    "company_id": 123,
    "company_name": "Nordlicht GmbH",
    "company_domain": "nordlicht",
    "access": [{"app": "sales", "admin": True}],
}


def listed(rows: list[Any], cursor: object, date: str | None = SERVER_DATE) -> Reply:
    """A v2 list answer."""
    return as_json(
        {"success": True, "data": rows, "additional_data": {"next_cursor": cursor}}, date=date
    )
