"""Registers, lists and looks up tenants in `integration.tenants`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import available_timezones

import psycopg
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput, NotConnected, UnknownTenant
from pipedrive_pipeline.marts.contact_points.values import is_country
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import SANDBOX_TENANT, Settings
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

# With a connection that needs a new consent, a run fails and says so.
USED_STATES = frozenset({"connected", "needs_reauth"})


@dataclass(frozen=True)
class RegisteredTenant:
    """One row of `integration.tenants`, with the state of its connection."""

    tenant: Tenant
    external_id: str | None
    display_name: str | None
    time_zone: str
    country: str | None  # ISO 3166; None: that of the connected account
    created_at: datetime
    connections: Mapping[str, str]  # the state of each, by system; empty if it never had one


def add(
    warehouse: Warehouse,
    settings: Settings,
    tenant: Tenant,
    *,
    external_id: str | None = None,
    display_name: str | None = None,
    time_zone: str | None = None,
    country: str | None = None,
    who: str = "operator",
    is_sandbox: bool = False,
) -> bool:
    """Registers a tenant; True if it is new.

    Raises:
        BadInput: ``external_id`` belongs to another tenant, the name is the sandbox's, or there is
            no such time zone or country.
    """
    if time_zone is not None and time_zone not in available_timezones():
        raise BadInput(f"{time_zone!r} is no IANA time zone such as Europe/Berlin.")
    if tenant.is_make_believe and not is_sandbox:
        raise BadInput(
            f"{tenant.slug!r} is the name of the make-believe tenant; `up --sandbox` adds it. "
            "Choose another name."
        )
    _require_country(country)
    with warehouse.transaction(tenant=tenant) as connection:
        _require_free(connection, tenant, external_id)
        is_new = connection.execute(
            _ADD,
            [
                *(tenant.slug, external_id, display_name),
                *(time_zone or settings.default_time_zone, country),
            ],
        ).rowcount
        if is_new:
            connection.execute(
                "insert into integration.audit_log (who, tenant_id, action, subject)"
                " values (%s, %s, 'tenant.add', %s)",
                [who, tenant.slug, tenant.slug],
            )
    return bool(is_new)


def change(
    warehouse: Warehouse, tenant: Tenant, facts: Mapping[str, str | None], *, who: str
) -> tuple[str, ...]:
    """Changes facts of a tenant, and returns the names of those that were given.

    Args:
        warehouse: has the tenant.
        tenant: which one.
        facts: by column; None leaves it as it is.
        who: for the audit log.

    Raises:
        BadInput: the external id belongs to another tenant, or tokens are exported under the former
            one, or there is no such country.
        UnknownTenant: it is not registered.
    """
    given = {name: value for name, value in facts.items() if value is not None}
    _require_country(given.get("country"))
    with warehouse.transaction(tenant=tenant) as connection:
        _require_free(connection, tenant, given.get("external_id"))
        cursor = connection.cursor(row_factory=dict_row)
        before = cursor.execute(_FACTS, [tenant.slug]).fetchone()
        if before is None:
            raise UnknownTenant(tenant.slug)
        if given.get("external_id", before["external_id"]) != before["external_id"]:
            _require_no_export(connection, tenant)
        connection.execute(_CHANGE, {**before, **given, "tenant": tenant.slug})
        audit_log.note(
            connection,
            tenant,
            who=who,
            action="tenant.change",
            subject=tenant.slug,
            before={name: before[name] for name in given},
            after=given,
        )
    return tuple(given)


def _require_free(connection: psycopg.Connection, tenant: Tenant, external_id: str | None) -> None:
    other = connection.execute(
        "select slug from integration.tenants where external_id = %s and slug <> %s",
        [external_id, tenant.slug],
    ).fetchone()
    if other:
        raise BadInput(f"external id {external_id!r} belongs to tenant {other[0]} already.")


def _require_no_export(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Returns if no token is exported: the next tenant with the external id would read it."""
    query = "select system from integration.token_exports where tenant_id = %s order by system"
    row = connection.execute(query, [tenant.slug]).fetchone()
    if row:
        raise BadInput(
            f"{tenant}: its access token is exported under the external id that it has; run "
            f"`tokens export --tenant {tenant} --system {row[0]} --off`, change the id, and start "
            "the export again. Nothing was changed."
        )


def _require_country(country: str | None) -> None:
    if country is not None and not is_country(country):
        raise BadInput(f"{country!r} is no country code of ISO 3166 such as DE.")


def all_tenants(warehouse: Warehouse) -> list[RegisteredTenant]:
    """Returns every tenant, by slug."""
    with warehouse.transaction() as connection:
        rows = connection.execute(_LIST).fetchall()
    return [RegisteredTenant(Tenant(row[0]), *row[1:]) for row in rows]


def has_real_connection(warehouse: Warehouse) -> bool:
    """True if a tenant other than the sandbox's is connected, or was."""
    with warehouse.transaction() as connection:
        row = connection.execute(
            "select exists (select from integration.connections as connections"
            " where connections.tenant_id <> %s and connections.state <> 'pending')",
            [SANDBOX_TENANT],
        ).fetchone()
    return bool(row and row[0])


def known(warehouse: Warehouse, tenant: Tenant) -> RegisteredTenant:
    """Returns this tenant's registration.

    Raises:
        UnknownTenant: it is not registered.
    """
    with warehouse.transaction() as connection:
        row = connection.execute(_ONE, [tenant.slug]).fetchone()
    if row is None:
        raise UnknownTenant(tenant.slug)
    return RegisteredTenant(tenant, *row[1:])


def scopes_of_run(
    warehouse: Warehouse, tenant: Tenant, system: str | None, sync_type: str
) -> tuple[Scope, ...]:
    """Returns the system that was asked for, else every one that a run of this kind can take.

    A run that calls the source takes the connected systems. A remap or verify takes those with
    stored records, connected or not.

    Raises:
        NotConnected: the tenant has connected none.
        UsageError: there is no such system.
    """
    if system is not None:
        return (Scope(tenant, registry.system(system).key),)
    scopes = tuple(Scope(tenant, key) for key in registry.system_keys())
    with warehouse.transaction(tenant=tenant) as connection:
        states = dict(connection.execute(_STATES, [tenant.slug]).fetchall())
        if sync_type in WITHOUT_SOURCE:
            stored = tuple(scope for scope in scopes if _is_stored(connection, scope))
            if stored:
                return stored
    connected = tuple(scope for scope in scopes if states.get(scope.system) in USED_STATES)
    if not connected:
        raise NotConnected(tenant.slug)
    return connected


def connected_scope(warehouse: Warehouse, tenant: Tenant, system: str | None) -> Scope:
    """Returns the system that was asked for, else the only one that the tenant ever connected.

    Raises:
        NotConnected: it has connected none.
        BadInput, UnknownTenant, UsageError: as `only_scope`.
    """
    if system is None and not known(warehouse, tenant).connections:
        raise NotConnected(tenant.slug)
    return only_scope(warehouse, tenant, system)


def only_scope(warehouse: Warehouse, tenant: Tenant, system: str | None) -> Scope:
    """Returns the system that was asked for, else the tenant's only one.

    A tenant that has connected none has the only registered one.

    Raises:
        BadInput: there are several; the message names them.
        UnknownTenant: it is not registered.
        UsageError: there is no such system.
    """
    systems = tuple(known(warehouse, tenant).connections) or registry.system_keys()
    if system is not None:
        return Scope(tenant, registry.system(system).key)
    if len(systems) > 1:
        options = " or ".join(f"--system {key}" for key in systems)
        raise BadInput(f"{tenant}: several systems are possible; add {options}.")
    return Scope(tenant, systems[0])


def _is_stored(connection: psycopg.Connection, scope: Scope) -> bool:
    row = connection.execute(
        "select to_regnamespace(%s) is not null", [scope.raw_schema]
    ).fetchone()
    return bool(row and row[0])


_STATES = """
select
    connections.system,
    connections.state
from integration.connections
where connections.tenant_id = %s
"""
_ADD = """
insert into integration.tenants (slug, external_id, display_name, time_zone, country)
values (%s, %s, %s, %s, %s)
on conflict (slug) do nothing
"""
_FACTS = """
select
    tenants.external_id,
    tenants.display_name,
    tenants.country
from integration.tenants
where tenants.slug = %s
for no key update
"""
_CHANGE = """
update integration.tenants
set external_id = %(external_id)s, display_name = %(display_name)s, country = %(country)s
where tenants.slug = %(tenant)s
"""

_SELECT = """
select tenants.slug, tenants.external_id, tenants.display_name, tenants.time_zone,
    tenants.country, tenants.created_at,
    (
        select coalesce(jsonb_object_agg(connections.system, connections.state), '{}')
        from integration.connections as connections
        where connections.tenant_id = tenants.slug
    ) as connections
from integration.tenants as tenants
"""
_LIST = _SELECT + " order by tenants.slug"
_ONE = _SELECT + " where tenants.slug = %s"
