"""Erases rows of a mart: deletes them instead of marking them.

The app's own columns are deleted with the row. Rows that the app created are the app's to erase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS
from pipedrive_pipeline.marts.sources import MartSource, mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import is_there

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
class Holders:
    """Rows of a mart that contain an e-mail address."""

    ids: list[str]  # of records of the connected company
    former: list[UUID]  # our ids of rows of an account that the tenant was connected to before
    of_the_app: int  # rows that the app created


def holders_of_email(
    connection: psycopg.Connection, tenant: Tenant, mart: MartSource, email: str
) -> Holders:
    """Returns the rows of the mart that contain an address, ignoring case."""
    rows = connection.execute(
        sql.SQL(_HOLDERS).format(table=mart.identifier),
        {"tenant": tenant.slug, "system": mart.system, "email": email},
    ).fetchall()
    return Holders(
        ids=[now for _, now, _ in rows if now is not None],
        former=[row_id for row_id, now, former in rows if now is None and former is not None],
        of_the_app=sum(1 for _, now, former in rows if now is None and former is None),
    )


def changed_at(
    connection: psycopg.Connection, tenant: Tenant, mart: MartSource, ids: Sequence[str]
) -> dict[str, object]:
    """Returns when these records were last edited at the source, by id."""
    query = sql.SQL(
        "select remote_id, changed_at from {}"
        " where tenant_id = %s and system = %s and remote_id = any(%s::text[])"
    )
    rows = connection.execute(query.format(mart.identifier), [tenant.slug, mart.system, list(ids)])
    return dict(rows.fetchall())


def erase_rows(
    connection: psycopg.Connection,
    tenant: Tenant,
    mart: MartSource,
    ids: Sequence[str],
    former: Sequence[UUID] = (),
) -> int:
    """Deletes rows of the mart in the caller's transaction; returns their number.

    Raises:
        ErasureRefused: an app's table refers to one of them; the owner of that table must act.
    """
    statement = sql.SQL(_ERASE).format(table=mart.identifier)
    parameters = {
        "tenant": tenant.slug,
        "system": mart.system,
        "ids": list(ids),
        "former": list(former),
    }
    try:
        with connection.transaction():
            if mart.mart is CUSTOMERS:
                connection.execute(_UNLINK, parameters)
            dropped = connection.execute(statement, parameters).rowcount
            connection.execute(
                "set constraints all immediate"
            )  # here, so that a violation is raised as ErasureRefused
            return dropped
    except REFUSALS as error:
        raise ErasureRefused(tenant, error) from None


def needed_for_links(
    connection: psycopg.Connection, tenant: Tenant, system: str, ids: Sequence[str]
) -> set[str]:
    """Returns merged organizations that people in raw need to find the surviving organization."""
    schema, contacts = Scope(tenant, system).raw_schema, mart_source(CONTACTS, system)
    if not is_there(connection, schema, contacts.entity):
        return set()
    query = sql.SQL(_NEEDED).format(persons=sql.Identifier(schema, contacts.entity))
    return {row[0] for row in connection.execute(query, [tenant.slug, system, list(ids)])}


_HOLDERS = """
select target.id, target.remote_id, target.former_remote_id
from {table} as target
where target.tenant_id = %(tenant)s
    and (target.system = %(system)s or target.system is null)
    and (
        lower(btrim(target.email)) = lower(btrim(%(email)s))
        or exists (
            select
            from jsonb_path_query(target.emails, 'lax $[*].value') as entry (value)
            where lower(btrim(entry.value #>> '{{}}')) = lower(btrim(%(email)s))
        )
    )
order by target.remote_id asc, target.id asc
"""

_ERASE = """
delete from {table} as target
where target.tenant_id = %(tenant)s
    and target.system = %(system)s
    and (
        target.remote_id = any(%(ids)s::text[])
        or (target.id = any(%(former)s::uuid[]) and target.former_remote_id is not null)
    )
"""

# The foreign key alone would not change `updated_at`, which an app uses to follow changes.
_UNLINK = """
update crm.contacts as contacts
set customer_id = null, updated_at = now()
from crm.customers as customers
where customers.tenant_id = %(tenant)s
    and customers.system = %(system)s
    and customers.remote_id = any(%(ids)s::text[])
    and contacts.tenant_id = customers.tenant_id
    and contacts.customer_id = customers.id
    and contacts.remote_id is not null
"""

_NEEDED = """
select customers.remote_id
from crm.customers as customers
where customers.tenant_id = %s
    and customers.system = %s
    and customers.remote_id = any(%s::text[])
    and customers.merged_into_remote_id is not null
    and exists (
        select from {persons} as persons where persons.org_id::text = customers.remote_id
    )
"""
