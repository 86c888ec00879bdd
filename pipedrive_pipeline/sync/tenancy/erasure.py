"""Erases a person on request, and keeps them out until they are edited at the source.

One transaction deletes the person from every table and writes the audit log.
`docs/erasure.md` lists the places that an erasure does not reach.

The audit log is never shortened, so it names a receipt and no id. The receipt serves as proof of
the erasure; once the record's own entry is gone, it leads to no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.ingest.erased_records import is_edited
from pipedrive_pipeline.ingest.erasure import RawErasure
from pipedrive_pipeline.ingest.rejections import forget_rejected
from pipedrive_pipeline.marts.declared import CONTACTS
from pipedrive_pipeline.marts.erasure import Holders, changed_at, erase_rows, holders_of_email
from pipedrive_pipeline.marts.sources import mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.scratch import clear_scratch
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.vacuum import clear_remains


class NobodyToErase(BadInput):
    """No stored row matches the ids or the address."""

    code = "nobody_to_erase"


@dataclass(frozen=True)
class Erased:
    """The result of one erasure: deleted rows by place, and persons who return if edited."""

    receipt: UUID
    ids: list[str]  # in the system; includes duplicates that were merged into the person
    raw_rows: int
    contacts: int
    rejected_values: int
    at_source: list[str]  # existed at the last read; the source itself was not changed

    @property
    def rows(self) -> dict[str, int]:
        """Returns the counts by place, for the CLI, JSON and the audit log."""
        return {
            "raw_rows": self.raw_rows,
            "contacts": self.contacts,
            "rejected_values": self.rejected_values,
        }


def persons_with_email(warehouse: Warehouse, scope: Scope, email: str) -> Holders:
    """Returns the persons in the tenant's contacts who have this e-mail address."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        contacts = mart_source(CONTACTS, scope.system)
        return holders_of_email(connection, scope.tenant, contacts, email)


def erase_persons(
    lock: TenantLock,
    settings: Settings,
    system: str,
    ids: Sequence[str],
    *,
    former: Sequence[UUID] = (),
    who: str,
) -> Erased:
    """Erases persons from every table and file of this project, or changes nothing.

    Args:
        lock: the tenant's locks; the caller has taken them.
        settings: locates the files of runs.
        system: the CRM that the ids belong to.
        ids: persons' ids in that CRM.
        former: ids of rows of `crm.contacts` from a company that the tenant left.
        who: the person who requested the erasure, for the audit log.

    Raises:
        NobodyToErase: no row of these persons is stored, and they were not erased before.
        ErasureRefused: a table of the app refers to such a row; its owner must act.
    """
    tenant, warehouse = lock.tenant, lock.warehouse
    lock.assert_held()
    with warehouse.transaction(tenant=tenant) as connection:
        erased = _erase(connection, tenant, system, ids, former)
        connection.execute(
            "insert into integration.audit_log (who, tenant_id, action, subject, after)"
            " values (%s, %s, 'person.erase', %s, %s)",
            [who, tenant.slug, str(erased.receipt), Jsonb(erased.rows)],
        )
    clear_scratch(settings, warehouse, Scope(tenant, system))
    clear_remains(
        warehouse,
        [
            (Scope(tenant, system).raw_schema, mart_source(CONTACTS, system).entity),
            (Scope(tenant, system).staging_schema, mart_source(CONTACTS, system).entity),
            CONTACTS.table,
            ("integration", "rejected_values"),
        ],
    )
    return erased


def erase_returned_records(
    warehouse: Warehouse, tenant: Tenant, system: str, *, is_raw_ours: bool = True
) -> None:
    """Erases again records that a process without its lock or an older dump brought back.

    Such a dump restores rows of `crm` whose record is not in raw.

    Args:
        warehouse: the tenant's database.
        tenant: the caller holds its lock on the marts.
        system: the CRM of the records.
        is_raw_ours: True if the caller holds the lock on raw too; otherwise only `crm` is changed.
    """
    entity = registry.system(system).entity(mart_source(CONTACTS, system).entity)
    with warehouse.transaction(tenant=tenant) as connection:
        raw = RawErasure(connection, Scope(tenant, system))
        erased = raw.erased(entity)
        if not erased:
            return
        in_raw = raw.versions(entity, list(erased))
        stale = [key for key, version in in_raw.items() if not is_edited(version, erased[key])]
        if stale and is_raw_ours:
            raw.erase(entity, stale)
        restored = changed_at(connection, tenant, mart_source(CONTACTS, system), list(erased))
        keys = [*(stale if is_raw_ours else ()), *sorted(restored.keys() - in_raw.keys())]
        if keys:
            erase_rows(connection, tenant, mart_source(CONTACTS, system), keys)
            forget_rejected(connection, Scope(tenant, system), entity, keys, with_unidentified=True)


def _erase(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    ids: Sequence[str],
    former: Sequence[UUID],
) -> Erased:
    entity = registry.system(system).entity(mart_source(CONTACTS, system).entity)
    raw, whose = RawErasure(connection, Scope(tenant, system)), [tenant.slug, system, entity.name]
    keys = raw.with_merged(entity, ids)
    marked, raw_versions = raw.marked(entity, keys), raw.versions(entity, keys)
    # A contact may remain although its person is no longer in raw.
    versions = changed_at(connection, tenant, mart_source(CONTACTS, system), keys) | raw_versions
    known = {row[0] for row in connection.execute(_KNOWN, [*whose, *whose])}
    if strangers := sorted(set(keys) - marked - versions.keys() - known):
        raise NobodyToErase(
            f"{tenant}: no {entity.name} with the id {', '.join(strangers)}; nothing was erased. "
            f"Ids are those of {system}; `--email` looks for an address."
        )
    receipt = uuid4()
    rows = [(*whose, key, versions.get(key), receipt) for key in keys]
    connection.cursor().executemany(_KEEP_OUT, rows)
    return Erased(
        receipt=receipt,
        ids=keys,
        raw_rows=raw.erase(entity, keys),
        contacts=erase_rows(connection, tenant, mart_source(CONTACTS, system), keys, former),
        rejected_values=forget_rejected(
            connection, Scope(tenant, system), entity, keys, with_unidentified=True
        ),
        at_source=sorted(raw_versions.keys() - marked),
    )


_KNOWN = """
select erased_records.record_id
from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
    and erased_records.entity = %s
union all
select rejected_values.record_id
from integration.rejected_values
where rejected_values.tenant_id = %s
    and rejected_values.system = %s
    and rejected_values.entity = %s
    and rejected_values.record_id is not null
"""

_KEEP_OUT = """
insert into integration.erased_records as known
    (tenant_id, system, entity, record_id, version, receipt)
values (%s, %s, %s, %s, %s, %s)
on conflict (tenant_id, system, entity, record_id) do update
set version = coalesce(excluded.version, known.version),
    receipt = excluded.receipt,
    erased_at = now()
"""
