"""Publishes the views of `analytics_<tenant>` when they are new or their definition changed.

The views of a mart show the rows of every system, with the custom fields of each system that the
tenant has synced; which system's run publishes them makes no difference.

A view reads with the rights of its owner, the engine's role; its condition on the tenant separates
tenants (https://www.postgresql.org/docs/current/rules-privileges.html).

Replacing a view needs a lock that waits for every open transaction that has read it, and later
readers queue behind that lock. So the lock times out after 200 ms. After a few attempts the views
are marked as due, the run goes on, and `publish_due` tries again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
import stamina
from psycopg import sql

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.marts.build import BuildRefused, refused
from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted, fields_of
from pipedrive_pipeline.marts.fields.columns import Layout, lay_out, store_layout, stored_columns
from pipedrive_pipeline.marts.lineage import source_fields
from pipedrive_pipeline.marts.sources import mart_sources, record_pages
from pipedrive_pipeline.marts.views.access import grant_to_analysts
from pipedrive_pipeline.marts.views.view_ddl import (
    MartView,
    RawRecords,
    has_dependents,
    replace_view,
    tables_of,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Contended, Warehouse, set_local
from pipedrive_pipeline.warehouse.sql_files import SqlFile, view_files, view_function_files

EDITION: Final = "6"  # of the columns of custom fields; a new edition replaces all views
LOCK_TIMEOUT: Final = "200ms"  # an analyst's other sessions wait behind us at most that long
ATTEMPTS: Final = 3
WAIT_SECONDS: Final = 0.5  # between two attempts
DUE_PER_TICK: Final = 50  # tenants; each takes at most the lock timeout and its DDL, some 0.5 s
# Settings that a file of `sql/views` names; in the view they are literals: a reader sets none.
TENANT_SETTING: Final = "current_setting('pipeline.tenant_id')"
SOURCES_SETTING: Final = "current_setting('pipeline.source_fields')"
SCHEMA_NAME: Final = "analytics_schema"  # as a function of `sql/views` writes it
SCHEMA_COMMENT: Final = "One tenant's CRM for reading; sync_status says how fresh it is."
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Result of publishing the due views: slugs of tenants."""

    remade: list[str]
    waiting: list[str]


@dataclass(frozen=True)
class SyncedSystem:
    """One system of a tenant: its custom fields and the raw tables that exist."""

    scope: Scope
    fields: tuple[Field, ...]
    are_fields_wanted: bool
    tables: frozenset[str]

    def records(self, mart: Mart) -> RawRecords | None:
        """Returns the raw records with the custom fields of a mart's rows; None if it has none."""
        for source in mart_sources(self.scope.system):
            if source.mart == mart and source.defined_by:
                return RawRecords(self.scope, source, self.tables)
        return None

    def fields_in(self, mart: Mart) -> list[Field]:
        """Returns the custom fields of a mart's rows, removed ones included, oldest first."""
        records = self.records(mart)
        return [field for field in self.fields if records and field.entity == records.source.entity]


def publish_or_defer(warehouse: Warehouse, tenant: Tenant) -> bool:
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
                publish_views(warehouse, tenant)
    except Contended:
        with warehouse.transaction(tenant) as connection:
            connection.execute(_DEFER, (tenant.slug,))
        return False
    return True


def publish_due(warehouse: Warehouse, *, limit: int = DUE_PER_TICK) -> Published:
    """Tries once more for each tenant whose views are due, longest wait first."""
    with warehouse.transaction() as connection:
        due = connection.execute(_DUE, (limit,)).fetchall()
    remade, waiting = [], []
    for (slug,) in due:
        try:
            publish_views(warehouse, Tenant(slug))
        except (Contended, BuildRefused) as error:  # the other tenants go on
            log.warning("%s: the views stay due (%s)", slug, type(error).__name__)
            waiting.append(slug)
        else:
            remade.append(slug)
    return Published(remade, waiting)


def publish_views(warehouse: Warehouse, tenant: Tenant) -> None:
    """Updates the tenant's views; views that are current are not locked.

    Raises:
        BuildRefused: a table or column of `crm` is gone, or a right; a person must act.
        Contended: a transaction that has read a view is open; nothing was changed.
    """
    try:
        _publish(warehouse, tenant)
    except psycopg.Error as error:  # transient errors have another class by now
        raise refused(warehouse, tenant, error, act="make the views") from None


def _publish(warehouse: Warehouse, tenant: Tenant) -> None:
    files = (*view_function_files(), *view_files())
    with warehouse.transaction(tenant, (tenant.analytics_schema,)) as connection:
        systems = _synced_systems(connection, tenant)
        if _are_current(connection, tenant, files, systems, _fingerprint(files, systems)):
            return
        set_local(connection, "lock_timeout", LOCK_TIMEOUT)
        # A build or another session that publishes ends first; then something else may be known.
        connection.execute(_LOCK, (tenant.slug,))
        systems = _synced_systems(connection, tenant)
        fingerprint = _fingerprint(files, systems)
        if _are_current(connection, tenant, files, systems, fingerprint):
            return
        _make_schema(connection, tenant.analytics_schema)
        for mart in MARTS:
            _publish_mart(connection, _views_of(tenant, mart, systems), systems)
        # A function may read views, and a view may call a function.
        set_local(connection, "check_function_bodies", "off")
        for file in files:
            connection.execute(_for_tenant(file, tenant, systems, connection))
        grant_to_analysts(connection, tenant)
        connection.execute(_NOTE, (fingerprint, tenant.slug))


def _synced_systems(connection: psycopg.Connection, tenant: Tenant) -> list[SyncedSystem]:
    """Returns every system whose records the tenant's marts were built from."""
    rows = connection.execute(_SYSTEMS, (tenant.slug,)).fetchall()
    scopes = [Scope(tenant, system) for (system,) in rows if system in system_keys()]
    return [
        SyncedSystem(
            scope,
            tuple(field for field in fields_of(connection, scope) if field.is_custom),
            are_custom_fields_wanted(connection, scope),
            tables_of(connection, scope.raw_schema),
        )
        for scope in scopes
    ]


def _views_of(tenant: Tenant, mart: Mart, systems: Sequence[SyncedSystem]) -> list[MartView]:
    """Returns the view of a mart's live rows and the one of all its rows."""
    records = {system.scope.system: found for system in systems if (found := system.records(mart))}
    return [MartView(tenant, mart, has_tombstones, records) for has_tombstones in (False, True)]


def _publish_mart(
    connection: psycopg.Connection, views: list[MartView], systems: Sequence[SyncedSystem]
) -> None:
    """Lays out the columns of one mart's custom fields and replaces its two views.

    If the custom fields of a system are not wanted, the views have none of them, unless other
    objects depend on a view: then its columns stay. The stored names stay for the day the fields
    are wanted again.
    """
    tenant, mart = views[0].tenant, views[0].mart
    stored = stored_columns(connection, tenant, mart.name)
    is_built_on = any(has_dependents(connection, view) for view in views)
    fields = [
        field for system in systems if system.are_fields_wanted for field in system.fields_in(mart)
    ]
    layout = lay_out(
        stored,
        fields,
        {name for view in views for name in view.standard_columns},
        has_dependents=is_built_on,
    )
    store_layout(connection, tenant, mart.name, layout)
    if not is_built_on:
        wanted = {system.scope.system for system in systems if system.are_fields_wanted}
        columns = tuple(column for column in layout.columns if column.system in wanted)
        layout = Layout(columns, layout.changes)
    by_key = {
        (field.system, field.field_key): field
        for system in systems
        for field in system.fields_in(mart)
    }
    for view in views:
        replace_view(connection, view, stored, layout, by_key)


def _fingerprint(files: Sequence[SqlFile], systems: Sequence[SyncedSystem]) -> str:
    """Returns a hash of everything that defines the views; option labels are not part of it."""
    parts = [EDITION, *map(repr, MARTS), *(file.text for file in files)]
    parts += [json.dumps(_sources_of(systems)), *(str(record_pages(mart)) for mart in MARTS)]
    for system in systems:
        parts += [str(system.scope), *sorted(system.tables), str(system.are_fields_wanted)]
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
            for field in (system.fields if system.are_fields_wanted else ())
        ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _are_current(
    connection: psycopg.Connection,
    tenant: Tenant,
    files: Sequence[SqlFile],
    systems: Sequence[SyncedSystem],
    fingerprint: str,
) -> bool:
    """True if the views are published as they have to be, and none is missing or due."""
    names = [view.name for mart in MARTS for view in _views_of(tenant, mart, systems)]
    names += [file.name for file in files]
    row = connection.execute(
        _IS_PUBLISHED,
        {
            "tenant": tenant.slug,
            "fingerprint": fingerprint,
            "schema": tenant.analytics_schema,
            "views": names,
            "count": len(names),
        },
    ).fetchone()
    return bool(row and row[0])


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


def _for_tenant(
    file: SqlFile,
    tenant: Tenant,
    systems: Sequence[SyncedSystem],
    connection: psycopg.Connection,
) -> bytes:
    """Returns the file with literals in place of the settings, and the schema's own name."""
    schema = sql.Identifier(tenant.analytics_schema).as_string(connection)
    text = file.text.replace(SCHEMA_NAME, schema)
    values = {TENANT_SETTING: tenant.slug}
    if SOURCES_SETTING in text:
        values[SOURCES_SETTING] = json.dumps(_sources_of(systems))
    for setting, value in values.items():
        text = text.replace(setting, sql.Literal(value).as_string(connection))
    return text.encode()


def _sources_of(systems: Sequence[SyncedSystem]) -> dict[str, dict[str, object]]:
    """Returns the fields behind the columns of each mart, by mart and system."""
    return {
        mart.name: {
            source.system: {"entity": source.entity, "columns": source_fields(source)}
            for system in systems
            for source in mart_sources(system.scope.system)
            if source.mart == mart
        }
        for mart in MARTS
    }


_SYSTEMS = """
select mart_state.system
from integration.mart_state
where mart_state.tenant_id = %s
order by mart_state.system asc
"""
# Each system of a tenant has the state of its views, which is the same in all of them.
_IS_PUBLISHED = """
select
    (
        select bool_and(
            mart_state.views_published is not distinct from %(fingerprint)s
            and mart_state.views_due_at is null
        )
        from integration.mart_state
        where mart_state.tenant_id = %(tenant)s
    )
    and (
        select count(*) = %(count)s
        from (
            select pg_views.schemaname, pg_views.viewname
            from pg_catalog.pg_views
            union
            select pg_proc.pronamespace::regnamespace::text, pg_proc.proname
            from pg_catalog.pg_proc
            where pg_proc.pronamespace = to_regnamespace(%(schema)s)
        ) as published (schema_name, name)
        where published.schema_name = %(schema)s
            and published.name = any (%(views)s)
    )
"""
_NOTE = """
update integration.mart_state
set views_published = %s, views_due_at = null
where mart_state.tenant_id = %s
"""
_LOCK = """
select
from integration.mart_state
where mart_state.tenant_id = %s
order by mart_state.system asc
for update
"""
_DEFER = """
update integration.mart_state
set views_due_at = coalesce(mart_state.views_due_at, now())
where mart_state.tenant_id = %s
"""
_DUE = """
select mart_state.tenant_id
from integration.mart_state
where mart_state.views_due_at is not null
group by mart_state.tenant_id
order by
    min(mart_state.views_due_at) asc,
    mart_state.tenant_id asc
limit %s
"""
