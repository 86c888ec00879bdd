"""The look-up: who has a phone number, an e-mail address or a domain, from `crm` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.marts.contact_points import values
from pipedrive_pipeline.marts.contact_points.values import PointValue
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.sql_files import mart_file

Kind = Literal["phone", "email", "domain"]
MATCHES_MAX: Final = 10  # of each question; the newest records
DEALS_MAX: Final = 5  # of each match; all are counted
POINTS_MAX: Final = 200  # of a number that many share, such as a switchboard's


@dataclass(frozen=True)
class Question:
    """One phone number, e-mail address or domain that is looked up."""

    kind: Kind
    text: str

    def value(self, country: str | None) -> PointValue:
        """Its one form; without value and domain if it is unreadable or of a free mail service."""
        if self.kind == "phone":
            return values.phone(self.text, country)
        if self.kind == "email":
            address = values.email(self.text)
            return PointValue(address.value)
        return PointValue(domain=values.website(self.text).domain)

    def spellings(self, value: str) -> tuple[str, ...]:
        """The texts by which a CRM's own search may find it: as it was asked, and its forms."""
        if self.kind != "phone":
            return (value,)
        return tuple(dict.fromkeys((self.text.strip(), *values.spellings(value))))

    def is_of_free_mail(self) -> bool:
        """True of a domain at which anybody may have an address."""
        site = values.website(self.text) if self.kind == "domain" else PointValue()
        return site.value is not None and site.domain is None


@dataclass(frozen=True)
class Found:
    """The answer to one question: rows of `sql/marts/lookup.sql`, the best match first."""

    question: Question
    value: str | None  # the form that was looked up; None: unreadable, or of a free mail service
    rows: tuple[dict[str, Any], ...]


def look_up(
    connection: psycopg.Connection,
    tenant: Tenant,
    country: str | None,
    questions: Sequence[Question],
) -> list[Found]:
    """The answer to each question, in their order, by one query.

    Args:
        connection: as the app, so that the database itself shows no other tenant's row.
        tenant: whose records.
        country: of phone numbers without a country code, from `country_of`.
        questions: at most 100.
    """
    asked = [question.value(country) for question in questions]
    parameters = {
        "tenant": tenant.slug,
        "values": [point.value for point in asked],
        "domains": [point.domain for point in asked],
        "extensions": [point.extension for point in asked],
        "points": POINTS_MAX,
        "matches": MATCHES_MAX,
        "deals": DEALS_MAX,
    }
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(_query(frozenset(parameters)), parameters).fetchall()
    return [
        Found(
            question,
            point.value or point.domain,
            tuple(row for row in rows if row["number"] == number),
        )
        for number, (question, point) in enumerate(zip(questions, asked, strict=True), start=1)
    ]


@dataclass(frozen=True)
class UnreadableText:
    """A text of a record that is no phone number, e-mail address or website."""

    id: int
    kind: str
    entered: str
    customer_id: UUID | None
    contact_id: UUID | None


def unreadable(
    connection: psycopg.Connection, tenant: Tenant, *, after: int | None, limit: int
) -> list[UnreadableText]:
    """Texts without a value, in the order in which they were read.

    Args:
        connection: as the app.
        tenant: whose texts.
        after: id of the last one of the page before.
        limit: at most as many.
    """
    rows = connection.execute(_UNREADABLE, [tenant.slug, after or 0, limit]).fetchall()
    return [UnreadableText(*row) for row in rows]


@cache
def _query(names: frozenset[str]) -> sql.Composed:
    """Returns the query with a parameter for each variable, so that Postgres plans it once."""
    return mart_file("lookup").filled({name: sql.Placeholder(name) for name in names})


_UNREADABLE: Final = """
select
    contact_points.id,
    contact_points.kind,
    contact_points.entered,
    contact_points.customer_id,
    contact_points.contact_id
from crm.contact_points
where contact_points.tenant_id = %s
    and contact_points.value is null
    and contact_points.id > %s
order by contact_points.id asc
limit %s
"""
