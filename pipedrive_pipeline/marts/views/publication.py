"""Publishes the views of `analytics_<tenant>` when they are new or their definition changed.

A view reads with the rights of its owner, the engine's role; its condition on the tenant separates
tenants (https://www.postgresql.org/docs/current/rules-privileges.html).

Replacing a view needs a lock that waits for every open transaction that has read it, and later
readers queue behind that lock. So the lock times out after 200 ms. After a few attempts the views
are marked as due, the run goes on, and `publish_due` tries again.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

import psycopg
import stamina
from psycopg import sql

from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted, fields_of
from pipedrive_pipeline.marts.fields.columns import Layout, lay_out, store_layout, stored_columns
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.marts.views.access import grant_to_analysts
from pipedrive_pipeline.marts.views.view_ddl import (
    MartView,
    comment_columns,
    has_dependents,
    replace_view,
    tables_of,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Contended, Warehouse, set_local
from pipedrive_pipeline.warehouse.sql_files import SqlFile, view_files

EDITION: Final = "4"  # of the columns of custom fields; a new edition replaces all views
LOCK_TIMEOUT: Final = "200ms"  # an analyst's other sessions wait behind us at most that long
ATTEMPTS: Final = 3
WAIT_SECONDS: Final = 0.5  # between two attempts
DUE_PER_TICK: Final = 50  # tenants; each takes at most the lock timeout and its DDL, some 0.5 s
TENANT_SETTING: Final = "current_setting('pipeline.tenant_id')"
SCHEMA_COMMENT: Final = (
    "Customers and contacts of one tenant for reading; sync_status says how fresh they are."
)
log = logging.getLogger(__name__)
MARTS_SHOWN: Final = ("customers", "contacts")
MART_VIEWS: Final = {name: mart for mart in MARTS_SHOWN for name in (mart, f"{mart}_all")}


@dataclass(frozen=True)
class Published:
    """Result of publishing the due views: slugs of tenants."""

    remade: list[str]
    waiting: list[str]


def publish_or_defer(warehouse: Warehouse, tenant: Tenant, system: str) -> bool:
    """Updates the tenant's views, or marks them as due; True if they are current."""
    try:
        for attempt in stamina.retry_context(
            on=Contended,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=WAIT_SECONDS,
            wait_max=WAIT_SECONDS,
        ):
            with attempt:
                publish_views(warehouse, tenant, system)
    except Contended:
        with warehouse.transaction(tenant) as connection:
            connection.execute(_DEFER, (tenant.slug, system))
        return False
    return True


def publish_due(warehouse: Warehouse, *, limit: int = DUE_PER_TICK) -> Published:
    """Tries once more for each tenant whose views are due, longest wait first."""
    with warehouse.transaction() as connection:
        due = connection.execute(_DUE, (limit,)).fetchall()
    remade, waiting = [], []
    for slug, system in due:
        try:
            publish_views(warehouse, Tenant(slug), system)
        except (Contended, psycopg.Error) as error:  # the other tenants go on
            log.warning("%s: the views stay due (%s)", slug, type(error).__name__)
            waiting.append(slug)
        else:
            remade.append(slug)
    return Published(remade, waiting)


def publish_views(warehouse: Warehouse, tenant: Tenant, system: str) -> None:
    """Updates the tenant's views; views that are current are not locked.

    Raises:
        Contended: a transaction that has read a view is open; nothing was changed.
    """
    files = view_files()
    with warehouse.transaction(tenant, (tenant.analytics_schema,)) as connection:
        fields = [field for field in fields_of(connection, tenant, system) if field.is_custom]
        is_wanted = are_custom_fields_wanted(connection, tenant, system)
        tables = tables_of(connection, Scope(tenant, system).raw_schema)
        fingerprint = _fingerprint(files, fields if is_wanted else None, tables)
        if _is_published(connection, tenant, system, fingerprint, files):
            return
        set_local(connection, "lock_timeout", LOCK_TIMEOUT)
        # A build or another session that publishes ends first.
        connection.execute(_LOCK, (tenant.slug, system))
        _make_schema(connection, tenant.analytics_schema)
        for target in mart_sources(system):
            if target.name not in MARTS_SHOWN:
                continue
            views = _views_of(connection, tenant, system, target, tables)
            of_entity = [field for field in fields if field.entity == target.entity]
            _publish_mart(connection, views, of_entity, is_wanted=is_wanted)
        for file in files:
            if file.name not in MART_VIEWS:
                connection.execute(_for_tenant(file, tenant, connection))
                comment_columns(connection, tenant.analytics_schema, file.name)
        grant_to_analysts(connection, tenant)
        _note(connection, tenant, system, fingerprint)


def _views_of(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    target: MartSource,
    tables: frozenset[str],
) -> list[MartView]:
    files = {file.name: file for file in view_files()}
    return [
        MartView(
            tenant=tenant,
            system=system,
            target=target,
            name=name,
            comment=files[name].title,
            query=sql.SQL(_for_tenant(files[name], tenant, connection).decode()),
            raw_tables=tables,
        )
        for name, of in MART_VIEWS.items()
        if of == target.name
    ]


def _publish_mart(
    connection: psycopg.Connection, views: list[MartView], fields: list[Field], *, is_wanted: bool
) -> None:
    """Lays out the columns of one mart's custom fields and replaces its two views.

    If custom fields are not wanted, the views have none, unless other objects depend on a view:
    then its columns stay. The stored names stay for the day the fields are wanted again.
    """
    tenant, system, mart = views[0].tenant, views[0].system, views[0].target.name
    stored = stored_columns(connection, tenant, system, mart)
    is_built_on = any(has_dependents(connection, view) for view in views)
    layout = lay_out(
        stored,
        fields,
        {name for view in views for name in view.fixed_columns(connection)},
        has_dependents=is_built_on,
    )
    if is_wanted:
        store_layout(connection, tenant, system, mart, layout)
    else:
        layout = Layout(tuple(stored) if is_built_on else ())
    for view in views:
        replace_view(connection, view, stored, layout, {field.field_key: field for field in fields})


def _fingerprint(
    files: tuple[SqlFile, ...], fields: list[Field] | None, tables: frozenset[str]
) -> str:
    """Returns a hash of everything that defines the views; option labels are not part of it."""
    parts = [EDITION, *(file.text for file in files), *sorted(tables), str(fields is None)]
    parts += [
        repr(
            (
                field.entity,
                field.field_key,
                field.field_name,
                field.field_type,
                field.removed_at is None,
            )
        )
        for field in fields or ()
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_published(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    fingerprint: str,
    files: tuple[SqlFile, ...],
) -> bool:
    """True if these definitions are published and no view is missing or due."""
    row = connection.execute(
        """
        select count(*)
        from pg_catalog.pg_views
        inner join integration.mart_state
            on mart_state.tenant_id = %s
            and mart_state.system = %s
            and mart_state.views_published = %s
            and mart_state.views_due_at is null
        where pg_views.schemaname = %s
            and pg_views.viewname = any (%s)
        """,
        (tenant.slug, system, fingerprint, tenant.analytics_schema, [file.name for file in files]),
    ).fetchone()
    return row is not None and row[0] == len(files)


def _make_schema(connection: psycopg.Connection, schema: str) -> None:
    # `if not exists` would require the right to create even if the schema exists.
    row = connection.execute(
        "select exists (select from pg_catalog.pg_namespace where pg_namespace.nspname = %s)",
        (schema,),
    ).fetchone()
    if not (row and row[0]):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        connection.execute(
            sql.SQL("comment on schema {} is {}").format(
                sql.Identifier(schema), sql.Literal(SCHEMA_COMMENT)
            )
        )


def _for_tenant(file: SqlFile, tenant: Tenant, connection: psycopg.Connection) -> bytes:
    """Returns the file with the tenant's slug as a literal in place of the setting."""
    literal = sql.Literal(tenant.slug).as_string(connection)
    return file.text.replace(TENANT_SETTING, literal).encode()


def _note(connection: psycopg.Connection, tenant: Tenant, system: str, fingerprint: str) -> None:
    connection.execute(
        """
        insert into integration.mart_state as state (tenant_id, system, views_published)
        values (%s, %s, %s)
        on conflict (tenant_id, system) do update
        set views_published = excluded.views_published, views_due_at = null
        """,
        (tenant.slug, system, fingerprint),
    )


_LOCK = """
select
from integration.mart_state
where mart_state.tenant_id = %s
    and mart_state.system = %s
for update
"""
_DEFER = """
insert into integration.mart_state as state (tenant_id, system, views_due_at)
values (%s, %s, now())
on conflict (tenant_id, system) do update
set views_due_at = coalesce(state.views_due_at, excluded.views_due_at)
"""
_DUE = """
select
    mart_state.tenant_id,
    mart_state.system
from integration.mart_state
where mart_state.views_due_at is not null
order by
    mart_state.views_due_at asc,
    mart_state.tenant_id asc,
    mart_state.system asc
limit %s
"""
