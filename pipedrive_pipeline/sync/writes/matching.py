"""Finds the record that an app's own record is, so that a write changes it and makes no second one.

Matches are looked for in the tables, under the lock of all writes: two requests for the same new
customer cannot both find nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.contact_points import values as points
from pipedrive_pipeline.marts.contact_points.upkeep import country_of
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.marts.visibility import become_user
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import links
from pipedrive_pipeline.sync.writes.errors import Duplicate, NoMatch, WriteInvalid
from pipedrive_pipeline.warehouse.database import become_app

By = Literal["external_key", "email", "phone", "domain", "customer_number"]
Policy = Literal["upsert", "update_only", "create_only"]
EXTERNAL_KEY: Final[By] = "external_key"
KEY_MAX: Final = 200  # characters
# The link of a contact point to the row of each mart that has some.
POINTS_OF: Final[Mapping[str, str]] = {"customers": "customer_id", "contacts": "contact_id"}

# The kinds of contact points in which a key is looked for.
POINT_KINDS: Final[Mapping[str, list[str]]] = {
    "email": ["email"],
    "phone": ["phone"],
    "domain": ["email", "website"],
}


@dataclass(frozen=True)
class Match:
    """How the record is found, and what is done if it is there or is not.

    Attributes:
        by: kind of the value.
        value: that the record has.
        policy: what is done.
        external_key: the app's own key besides: looked for first, and remembered afterwards.
        user_id: the user of the CRM, `crm.users.id`, whose rights the caller has; None: it may see
            every record.
    """

    by: By
    value: str
    policy: Policy = "upsert"
    external_key: str | None = None
    user_id: str | None = None

    @property
    def own_key(self) -> str | None:
        """The app's own key, which is remembered; None if the request has none."""
        return self.value if self.by == EXTERNAL_KEY else self.external_key

    def as_json(self) -> dict[str, str]:
        """As the outbox stores it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def match_of(stored: Mapping[str, Any] | None) -> Match | None:
    """The match that the outbox stores; None if the write has none."""
    return Match(**stored) if stored else None


def is_usable(name: str, by: By) -> bool:
    """True if records of the mart can be found by keys of this kind."""
    if by in POINT_KINDS:
        return name in POINTS_OF
    return by == EXTERNAL_KEY or by in {column.name for column in mart(name).columns}


def require_usable(name: str, match: Match) -> None:
    """Returns if records of the mart can be found by this.

    Raises:
        WriteInvalid: the mart has no such key, or the value is none.
    """
    if not is_usable(name, match.by):
        raise _unusable(f"{name} are not found by {match.by}")
    for text in (match.value, match.external_key):
        if text is not None and (not text.strip() or len(text) > KEY_MAX or "\x00" in text):
            raise _unusable(f"has no value of 1 to {KEY_MAX} characters")


def matched(connection: psycopg.Connection, scope: Scope, name: str, match: Match) -> str | None:
    """The id in the system of the record that matches; None if a new one may be made.

    Raises:
        NoMatch: none does, and the policy makes none.
        Duplicate: one does, and the policy makes new ones only; or several do.
    """
    found = _found(connection, scope, name, match)
    if found:
        require_visible(connection, scope, name, found, match)
    if not found and match.policy == "update_only":
        raise NoMatch(f"No record has this {match.by}. Nothing was written.")
    if found and match.policy == "create_only":
        raise Duplicate(
            f"A record has this {match.by} already: {scope.system}:{found[0]}. Nothing was "
            "written.",
            [{"field": match.by, "issue": f"is that of {scope.system}:{each}"} for each in found],
        )
    if len(found) > 1:
        raise Duplicate(
            f"{len(found)} records have this {match.by}; merge them in the CRM, or name the record "
            "by its id. Nothing was written.",
            [{"field": match.by, "issue": f"is that of {scope.system}:{each}"} for each in found],
        )
    return found[0] if found else None


def _found(connection: psycopg.Connection, scope: Scope, name: str, match: Match) -> list[str]:
    if match.own_key is not None:
        linked = links.linked(connection, scope, name, match.own_key)
        remote_id = None if linked is None else live_id(connection, scope, name, linked)
        if remote_id is not None:
            return [remote_id]
    if match.by == EXTERNAL_KEY:
        return []
    if match.by == "customer_number":
        condition: sql.Composable = sql.SQL("mart.customer_number = %(value)s")
        return _rows(connection, scope, name, condition, match.value.strip())
    column, value = _point(connection, scope, match)
    condition = sql.SQL(
        "mart.id in (select points.{link} from crm.contact_points as points"
        " where points.tenant_id = %(tenant)s and points.{column} = %(value)s"
        " and points.kind = any (%(kinds)s))"
    ).format(link=sql.Identifier(POINTS_OF[name]), column=sql.Identifier(column))
    return _rows(connection, scope, name, condition, value, kinds=POINT_KINDS[match.by])


def is_same(connection: psycopg.Connection, scope: Scope, match: Match) -> Callable[[str], bool]:
    """A function that says whether a record with this text is found by the match.

    Raises:
        WriteInvalid: the value cannot be read.
    """
    if match.by not in POINT_KINDS:
        return lambda text: text.strip() == match.value.strip()
    column, value = _point(connection, scope, match)
    country, kinds = country_of(connection, scope.tenant), POINT_KINDS[match.by]
    return lambda text: any(
        getattr(points.READ[kind](text, country), column) == value for kind in kinds
    )


def _point(connection: psycopg.Connection, scope: Scope, match: Match) -> tuple[str, str]:
    """The column of contact points to look in, and the value in its one form."""
    if match.by == "domain":
        domain = points.domain_name(match.value)
        if domain is None or points.is_free_mail(domain):
            raise _unusable("is no domain of one company")
        return "domain", domain
    country = country_of(connection, scope.tenant)
    value = points.READ[match.by](match.value, country).value
    if value is None:
        raise _unusable(f"cannot be read as {match.by}")
    return "value", value


def require_visible(
    connection: psycopg.Connection, scope: Scope, name: str, ids: Sequence[str], match: Match
) -> None:
    """Returns if the caller may see these records; the rest of the transaction is its user's.

    Raises:
        Duplicate: its user may not, so that the record is neither changed nor made again.
    """
    if match.user_id is None:
        return
    query = sql.SQL(
        "select count(*) from {} as mart"
        " where mart.tenant_id = %s and mart.system = %s and mart.remote_id = any (%s)"
    ).format(sql.Identifier(*mart(name).table))
    become_user(connection, scope.tenant, UUID(match.user_id))
    become_app(connection, scope.tenant)
    row = connection.execute(query, [scope.tenant.slug, scope.system, list(ids)]).fetchone()
    if row is None or row[0] < len(ids):
        raise Duplicate(
            f"A record that this key may not see has this {match.by}. Nothing was written."
        )


def live_id(connection: psycopg.Connection, scope: Scope, name: str, remote_id: str) -> str | None:
    """The id of the record, or of the one that it was merged into; None if that one is gone.

    A record that is not in the tables yet counts as there.
    """
    query = sql.SQL(
        "select mart.deleted_at is null, mart.deletion_reason, mart.merged_into_remote_id"
        " from {} as mart"
        " where mart.tenant_id = %s and mart.system = %s and mart.remote_id = %s"
    ).format(sql.Identifier(*mart(name).table))
    passed: set[str] = set()
    while remote_id not in passed:
        passed.add(remote_id)
        values = [scope.tenant.slug, scope.system, remote_id]
        row = connection.execute(query, values).fetchone()
        if row is None or row[0]:
            return remote_id
        if row[1] != "merged" or row[2] is None:
            return None
        remote_id = row[2]
    return None


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
