"""Finds the record that an app's own record is, so that a write changes it and makes no second one.

Matches are looked for in the tables, under the lock of all writes: two requests for the same new
customer cannot both find nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.marts.points import values as points
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import links
from pipedrive_pipeline.sync.writes.errors import Duplicate, NoMatch, WriteInvalid

By = Literal["external_key", "email", "phone", "domain", "customer_number"]
Policy = Literal["upsert", "update_only", "create_only"]
EXTERNAL_KEY: Final[By] = "external_key"
KEY_MAX: Final = 200  # characters
# The link of a contact point to the row of each mart that has some.
POINTS_OF: Final[Mapping[str, str]] = {"customers": "customer_id", "contacts": "contact_id"}


@dataclass(frozen=True)
class Match:
    """How the record is found, and what is done if it is there or is not."""

    by: By
    value: str
    policy: Policy = "upsert"

    def as_json(self) -> dict[str, str]:
        """As the outbox stores it."""
        return {"by": self.by, "value": self.value, "policy": self.policy}


def match_of(stored: Mapping[str, Any] | None) -> Match | None:
    """The match that the outbox stores; None if the write has none."""
    return Match(**stored) if stored else None


def require_usable(name: str, match: Match) -> None:
    """Returns if records of the mart can be found by this.

    Raises:
        WriteInvalid: the mart has no such key, or the value is none.
    """
    columns = {column.name for column in mart(name).columns}
    if match.by in {"email", "phone", "domain"} and name not in POINTS_OF:
        raise _unusable(f"{name} are not found by {match.by}")
    if match.by == "customer_number" and match.by not in columns:
        raise _unusable(f"{name} have no customer number")
    if not match.value.strip() or len(match.value) > KEY_MAX or "\x00" in match.value:
        raise _unusable(f"has no value of 1 to {KEY_MAX} characters")


def matched(connection: psycopg.Connection, scope: Scope, name: str, match: Match) -> str | None:
    """The id in the system of the record that matches; None if a new one may be made.

    Raises:
        NoMatch: none does, and the policy makes none.
        Duplicate: one does, and the policy makes new ones only; or several do.
    """
    found = _found(connection, scope, name, match)
    if not found and match.policy == "update_only":
        raise NoMatch(f"No record of {name} has this {match.by}. Nothing was written.")
    if found and match.policy == "create_only":
        raise Duplicate(
            f"A record of {name} has this {match.by} already: {scope.system}:{found[0]}. Nothing "
            "was written.",
            [{"field": match.by, "issue": f"is that of {scope.system}:{each}"} for each in found],
        )
    if len(found) > 1:
        raise Duplicate(
            f"{len(found)} records of {name} have this {match.by}; merge them in the CRM, or name "
            "the record by its id. Nothing was written.",
            [{"field": match.by, "issue": f"is that of {scope.system}:{each}"} for each in found],
        )
    return found[0] if found else None


def _found(connection: psycopg.Connection, scope: Scope, name: str, match: Match) -> list[str]:
    if match.by == EXTERNAL_KEY:
        remote_id = links.linked(connection, scope, name, match.value)
        return (
            []
            if remote_id is None or not _is_live(connection, scope, name, remote_id)
            else [remote_id]
        )
    if match.by == "customer_number":
        condition: sql.Composable = sql.SQL("mart.customer_number = %(value)s")
        return _rows(connection, scope, name, condition, match.value.strip())
    column, value = _point(connection, scope, match)
    condition = sql.SQL(
        "mart.id in (select points.{link} from crm.contact_points as points"
        " where points.tenant_id = %(tenant)s and points.{column} = %(value)s"
        " and points.kind = any (%(kinds)s))"
    ).format(link=sql.Identifier(POINTS_OF[name]), column=sql.Identifier(column))
    return _rows(connection, scope, name, condition, value, kinds=KINDS[match.by])


KINDS: Final[Mapping[str, list[str]]] = {
    "email": ["email"],
    "phone": ["phone"],
    "domain": ["email", "website"],
}


def _point(connection: psycopg.Connection, scope: Scope, match: Match) -> tuple[str, str]:
    """The column of contact points to look in, and the value in its one form."""
    if match.by == "domain":
        domain = points.domain_name(match.value)
        if domain is None or points.is_free_mail(domain):
            raise _unusable("is no domain of one company")
        return "domain", domain
    row = connection.execute("select integration.country_of(%s)", [scope.tenant.slug]).fetchone()
    value = points.READ[match.by](match.value, row[0] if row else None).value
    if value is None:
        raise _unusable(f"cannot be read as {match.by}")
    return "value", value


def _is_live(connection: psycopg.Connection, scope: Scope, name: str, remote_id: str) -> bool:
    """False of a record that is gone; one that is not in the tables yet counts."""
    query = sql.SQL(
        "select mart.deleted_at is null from {} as mart"
        " where mart.tenant_id = %s and mart.system = %s and mart.remote_id = %s"
    ).format(sql.Identifier(*mart(name).table))
    values = [scope.tenant.slug, scope.system, remote_id]
    row = connection.execute(query, values).fetchone()
    return row is None or bool(row[0])


def _rows(
    connection: psycopg.Connection,
    scope: Scope,
    name: str,
    condition: sql.Composable,
    value: str,
    **more: Any,
) -> list[str]:
    query = sql.SQL(
        "select mart.remote_id from {} as mart where mart.tenant_id = %(tenant)s"
        " and mart.system = %(system)s and mart.deleted_at is null and {}"
        " order by mart.remote_id limit 10"
    ).format(sql.Identifier(*mart(name).table), condition)
    values = {"tenant": scope.tenant.slug, "system": scope.system, "value": value, **more}
    return [str(row[0]) for row in connection.execute(query, values).fetchall()]


def _unusable(issue: str) -> WriteInvalid:
    return WriteInvalid(f"match {issue}. No call was made.", [{"field": "match", "issue": issue}])
