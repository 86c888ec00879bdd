"""Erases rows of the marts: deletes them instead of marking them.

`Mart.personal` says in which columns a person's address is looked for. The app's own columns are
deleted with the row. Rows that the app created are the app's to erase.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts import events
from pipedrive_pipeline.marts.declared import MARTS, Link, Mart
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

REFUSALS = (errors.IntegrityError, errors.InsufficientPrivilege, errors.RaiseException)


class ErasureRefused(PersonMustAct):
    """A foreign key, trigger or right prevents the erasure of a row; nothing was erased."""

    code = "erasure_refused"

    def __init__(self, tenant: Tenant, error: psycopg.Error) -> None:
        self.tenant, self.sqlstate = tenant, error.sqlstate
        facts = (error.diag.schema_name, error.diag.table_name)
        # Postgres's message may quote a value; names of objects do not.
        table = ".".join(fact for fact in facts if fact) or "a trigger or right"
        constraint = error.diag.constraint_name
        super().__init__(
            f"{tenant}: nothing was erased: {table} holds on to the row "
            f"(SQLSTATE {error.sqlstate}{', ' + constraint if constraint else ''}). Let its rows "
            "go first, or make that foreign key `on delete set null` or `cascade`; then again."
        )


@dataclass(frozen=True)
class MartRow:
    """A row of a mart that contains an address."""

    mart: str
    id: UUID
    system: str | None  # None: the app created it
    remote_id: str | None
    is_former: bool  # of an account that the tenant was connected to before


def rows_with_address(connection: psycopg.Connection, tenant: Tenant, email: str) -> list[MartRow]:
    """Returns the rows of every mart that contain an e-mail address, ignoring case."""
    return [
        MartRow(mart.name, *facts)
        for mart in MARTS
        if mart.personal
        for facts in connection.execute(
            sql.SQL(_WITH_ADDRESS).format(
                table=sql.Identifier(*mart.table),
                has_address=has_address("mart", mart.personal),
            ),
            {"tenant": tenant.slug, "address": address_pattern(email)},
        )
    ]


def has_address(table: str, columns: Iterable[str]) -> sql.Composed:
    """Returns a condition that is true if one of the columns contains the parameter ``address``.

    A column is text or jsonb. The parameter comes from `address_pattern`.
    """
    return sql.SQL(" or ").join(
        sql.SQL(
            "exists (select from jsonb_path_query(to_jsonb({}), 'strict $.**') as part (value)"
            " where jsonb_typeof(part.value) = 'string' and part.value #>> '{{}}' ~* %(address)s)"
        ).format(sql.Identifier(table, column))
        for column in columns
    )


def address_pattern(email: str) -> str:
    """Returns a regular expression of Postgres that matches an e-mail address within a text."""
    literal = re.sub(r"(\W)", r"\\\1", email.strip())
    return rf"(?<![\w.+-]){literal}(?![\w-]|\.\w)"


def changed_at(
    connection: psycopg.Connection, scope: Scope, source: MartSource, ids: Sequence[str]
) -> dict[str, datetime | None]:
    """Returns when these records were last edited at the source, by id."""
    query = sql.SQL(
        "select {record}, max(changed_at) from {mart}"
        " where tenant_id = %s and system = %s and {record} = any(%s) group by {record}"
    ).format(record=sql.Identifier(source.record_column), mart=source.identifier)
    whose = [scope.tenant.slug, scope.system, list(ids)]
    return dict(connection.execute(query, whose).fetchall())


def erase_rows(
    connection: psycopg.Connection, scope: Scope, source: MartSource, ids: Sequence[str]
) -> int:
    """Deletes a mart's rows of these records in the caller's transaction; returns their number.

    Raises:
        ErasureRefused: an app's table refers to one of them; the owner of that table must act.
    """
    condition = sql.SQL(
        "mart.system = %(system)s and mart.remote_id is not null and {} = any(%(ids)s)"
    ).format(sql.Identifier("mart", source.record_column))
    whose = {"system": scope.system, "ids": list(ids)}
    return _erase(connection, scope.tenant, source.mart, condition, **whose)


def erase_former_rows(
    connection: psycopg.Connection, tenant: Tenant, mart: Mart, ids: Sequence[UUID]
) -> int:
    """Deletes rows of an account that the tenant was connected to before, by our ids.

    Raises:
        ErasureRefused: an app's table refers to one of them; the owner of that table must act.
    """
    condition = sql.SQL("mart.former_remote_id is not null and mart.id = any(%(ids)s)")
    return _erase(connection, tenant, mart, condition, ids=list(ids))


def linked_records(
    connection: psycopg.Connection,
    scope: Scope,
    source: MartSource,
    marts: Collection[str],
    ids: Sequence[str],
) -> set[str]:
    """Returns the records of a mart's rows that refer to these records of other marts."""
    found: set[str] = set()
    for link in source.mart.links:
        if link.mart in marts:
            query = sql.SQL(
                "select {record} from {mart} where tenant_id = %s and system = %s"
                " and {record} is not null and {link} = any(%s)"
            ).format(
                record=sql.Identifier(source.record_column),
                mart=source.identifier,
                link=sql.Identifier(link.remote_column),
            )
            rows = connection.execute(query, [scope.tenant.slug, scope.system, list(ids)])
            found |= {row[0] for row in rows}
    return found


def needed_for_links(
    connection: psycopg.Connection, scope: Scope, mart: Mart, ids: Sequence[str]
) -> set[str]:
    """Returns merged records that other rows need to find the surviving record."""
    needed: set[str] = set()
    for other, link in _links_to(mart):
        query = sql.SQL(_NEEDED).format(
            table=sql.Identifier(*mart.table),
            other=sql.Identifier(*other.table),
            remote_id=sql.Identifier("other", link.remote_column),
        )
        rows = connection.execute(query, [scope.tenant.slug, scope.system, list(ids)])
        needed |= {row[0] for row in rows}
    return needed


def _erase(
    connection: psycopg.Connection,
    tenant: Tenant,
    mart: Mart,
    condition: sql.Composable,
    **parameters: object,
) -> int:
    facts = {"tenant": tenant.slug, **parameters}
    try:
        with connection.transaction():
            for other, link in _links_to(mart):
                connection.execute(_unlink(mart, other, link, condition), facts)
            ids = sql.SQL(_IDS).format(table=sql.Identifier(*mart.table), condition=condition)
            row_ids = [row[0] for row in connection.execute(ids, facts)]
            events.forget_rows(connection, tenant, mart, row_ids)
            connection.execute(
                sql.SQL(_FORGET_LINKS).format(
                    table=sql.Identifier(*mart.table), condition=condition
                ),
                facts,
            )
            statement = sql.SQL(_ERASE).format(
                table=sql.Identifier(*mart.table), condition=condition
            )
            erased = connection.execute(statement, facts).rowcount
            # Here, so that a violation is raised as ErasureRefused.
            connection.execute("set constraints all immediate")
            return erased
    except REFUSALS as error:
        raise ErasureRefused(tenant, error) from None


def _links_to(mart: Mart) -> Iterator[tuple[Mart, Link]]:
    """Yields every link that refers to the mart, with the mart that has it."""
    for other in MARTS:
        for link in other.links:
            if link.mart == mart.name:
                yield other, link


def _unlink(mart: Mart, other: Mart, link: Link, condition: sql.Composable) -> sql.Composed:
    """Returns the statement that empties a link to rows that are erased, and what it repeats.

    The foreign key alone would not change `updated_at`, which an app uses to follow changes.
    """
    columns = (link.name, *(column.name for _, column in link.shows))
    return sql.SQL(_UNLINK).format(
        other=sql.Identifier(*other.table),
        table=sql.Identifier(*mart.table),
        link=sql.Identifier("other", link.name),
        emptied=sql.SQL(", ").join(
            sql.SQL("{} = null").format(sql.Identifier(column)) for column in columns
        ),
        condition=condition,
    )


_WITH_ADDRESS = """
select
    mart.id,
    mart.system,
    coalesce(mart.remote_id, mart.former_remote_id),
    mart.former_remote_id is not null
from {table} as mart
where mart.tenant_id = %(tenant)s
    and ({has_address})
order by
    mart.system asc,
    mart.remote_id asc,
    mart.id asc
"""

_IDS = """
select mart.id
from {table} as mart
where mart.tenant_id = %(tenant)s
    and {condition}
"""

_ERASE = """
delete from {table} as mart
where mart.tenant_id = %(tenant)s
    and {condition}
"""

# They hold the values that an app's row was given; that row is the app's to erase.
_FORGET_LINKS = """
delete from integration.sink_links
using {table} as mart
where mart.tenant_id = %(tenant)s
    and {condition}
    and sink_links.tenant_id = mart.tenant_id
    and sink_links.row_id = mart.id
"""

_UNLINK = """
update {other} as other
set {emptied}, updated_at = now()
from {table} as mart
where mart.tenant_id = %(tenant)s
    and {condition}
    and other.tenant_id = mart.tenant_id
    and {link} = mart.id
    and other.system is not null
"""

_NEEDED = """
select mart.remote_id
from {table} as mart
where mart.tenant_id = %s
    and mart.system = %s
    and mart.remote_id = any(%s)
    and mart.merged_into_remote_id is not null
    and exists (
        select
        from {other} as other
        where other.tenant_id = mart.tenant_id
            and other.system = mart.system
            and {remote_id} = mart.remote_id
    )
"""
