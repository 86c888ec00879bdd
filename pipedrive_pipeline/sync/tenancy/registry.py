"""Registers, lists and looks up tenants in `integration.tenants`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import available_timezones

from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.settings import SANDBOX_TENANT, Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class RegisteredTenant:
    """One row of `integration.tenants`, with the state of its connection."""

    tenant: Tenant
    external_id: str | None
    display_name: str | None
    time_zone: str
    created_at: datetime
    state: str | None  # of its connection; None if it never had one


def add(
    warehouse: Warehouse,
    settings: Settings,
    tenant: Tenant,
    *,
    external_id: str | None = None,
    display_name: str | None = None,
    time_zone: str | None = None,
    who: str = "operator",
    is_sandbox: bool = False,
) -> bool:
    """Registers a tenant; True if it is new.

    Raises:
        BadInput: ``external_id`` belongs to another tenant, the name is the sandbox's, or there is
            no such time zone.
    """
    if time_zone is not None and time_zone not in available_timezones():
        raise BadInput(f"{time_zone!r} is no IANA time zone such as Europe/Berlin.")
    if tenant.is_make_believe and not is_sandbox:
        raise BadInput(
            f"{tenant.slug!r} is the name of the make-believe tenant; `up --sandbox` adds it. "
            "Choose another name."
        )
    with warehouse.transaction(tenant=tenant) as connection:
        other = connection.execute(
            "select slug from integration.tenants where external_id = %s and slug <> %s",
            [external_id, tenant.slug],
        ).fetchone()
        if other:
            raise BadInput(f"external id {external_id!r} belongs to tenant {other[0]} already.")
        is_new = connection.execute(
            _ADD,
            [tenant.slug, external_id, display_name, time_zone or settings.default_time_zone],
        ).rowcount
        if is_new:
            connection.execute(
                "insert into integration.audit_log (who, tenant_id, action, subject)"
                " values (%s, %s, 'tenant.add', %s)",
                [who, tenant.slug, tenant.slug],
            )
    return bool(is_new)


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


_ADD = """
insert into integration.tenants (slug, external_id, display_name, time_zone)
values (%s, %s, %s, %s)
on conflict (slug) do nothing
"""

_SELECT = """
select tenants.slug, tenants.external_id, tenants.display_name, tenants.time_zone,
    tenants.created_at, connections.state
from integration.tenants as tenants
left join integration.connections as connections on connections.tenant_id = tenants.slug
"""
_LIST = _SELECT + " order by tenants.slug"
_ONE = _SELECT + " where tenants.slug = %s"
