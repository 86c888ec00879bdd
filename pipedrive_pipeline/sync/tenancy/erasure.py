"""A person erased because somebody asked for it, and kept out until they are edited at the source.

Belongs here: the one transaction in which every place forgets them, and its entry in the audit log.
Does not belong here: what raw and marts hold of a record (`ingest/erasure.py`, `marts/erasure.py`),
what ages out by itself (`ageing.py`). What is not reached is told in `docs/erasure.md`.

The audit log outlives everything, so it names a receipt and no id: who asks for proof is answered
by the receipt, and once the record's own entry is gone nothing leads from it to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.registry import connector
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.ingest.erased_records import is_edited
from pipedrive_pipeline.ingest.erasure import RawErasure
from pipedrive_pipeline.ingest.rejections import forget_rejected
from pipedrive_pipeline.marts.erasure import Holders, changed_at, erase_rows, holders_of_email
from pipedrive_pipeline.marts.targets import CONTACTS
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.scratch import clear_scratch
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.vacuum import clear_remains


class NobodyToErase(BadInput):
    """Nothing here holds what was named."""

    code = "nobody_to_erase"


@dataclass(frozen=True)
class Erased:
    """What one erasure came to: rows by place, and who may come back by an edit."""

    receipt: UUID
    ids: list[str]  # of the system; duplicates that were merged into the person are among them
    raw_rows: int
    contacts: int
    rejected_values: int
    at_source: list[str]  # were there when last looked; the source itself was not touched

    @property
    def rows(self) -> dict[str, int]:
        """For people, programs and the audit log."""
        return {
            "raw_rows": self.raw_rows,
            "contacts": self.contacts,
            "rejected_values": self.rejected_values,
        }


def persons_with_email(warehouse: Warehouse, tenant: Tenant, email: str) -> Holders:
    """Who holds an e-mail address in the tenant's contacts."""
    with warehouse.transaction(tenant=tenant) as connection:
        return holders_of_email(connection, tenant, CONTACTS, email)


def erase_persons(
    lock: TenantLock,
    settings: Settings,
    system: str,
    ids: Sequence[str],
    *,
    former: Sequence[UUID] = (),
    who: str,
) -> Erased:
    """Erases persons from everything that this project keeps, or changes nothing.

    Args:
        lock: the tenant's, held.
        settings: where a run's files are.
        system: whose ids these are.
        ids: of persons in the system.
        former: ids of rows of `crm.contacts` from a company that the tenant left.
        who: asked for it, for the audit log.

    Raises:
        NobodyToErase: nothing of them is here, and they were not erased before.
        ErasureRefused: a table of the app refers to one of them; its owner must act.
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
    clear_scratch(settings, warehouse, tenant, system)
    clear_remains(
        warehouse,
        [
            (tenant.raw_schema(system), CONTACTS.entity),
            (tenant.staging_schema(system), CONTACTS.entity),
            CONTACTS.table,
            ("integration", "rejected_values"),
        ],
    )
    return erased


def erase_returned_records(
    warehouse: Warehouse, tenant: Tenant, system: str, *, is_raw_ours: bool = True
) -> None:
    """Erases again what came back: by a process that had lost its lock, or with an older dump.

    Such a dump brings rows of `crm` whose record raw does not have.

    Args:
        warehouse: where they are.
        tenant: whose marts lock the caller holds.
        system: of which CRM.
        is_raw_ours: the caller holds the lock on raw too; else only `crm` is touched.
    """
    entity = connector(system).entities[CONTACTS.entity]
    with warehouse.transaction(tenant=tenant) as connection:
        raw = RawErasure(connection, tenant, system)
        erased = raw.erased(entity)
        if not erased:
            return
        in_raw = raw.versions(entity, list(erased))
        stale = [key for key, version in in_raw.items() if not is_edited(version, erased[key])]
        if stale and is_raw_ours:
            raw.erase(entity, stale)
        restored = changed_at(connection, tenant, CONTACTS, list(erased))
        keys = [*(stale if is_raw_ours else ()), *sorted(restored.keys() - in_raw.keys())]
        if keys:
            erase_rows(connection, tenant, CONTACTS, keys)
            forget_rejected(connection, tenant, system, entity, keys, with_unidentified=True)


def _erase(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    ids: Sequence[str],
    former: Sequence[UUID],
) -> Erased:
    entity = connector(system).entities[CONTACTS.entity]
    raw, whose = RawErasure(connection, tenant, system), [tenant.slug, system, entity.name]
    keys = raw.with_merged(entity, ids)
    marked, held = raw.marked(entity, keys), raw.versions(entity, keys)
    # A contact may be left of a person whom raw holds no more.
    versions = changed_at(connection, tenant, CONTACTS, keys) | held
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
        contacts=erase_rows(connection, tenant, CONTACTS, keys, former),
        rejected_values=forget_rejected(
            connection, tenant, system, entity, keys, with_unidentified=True
        ),
        at_source=sorted(held.keys() - marked),
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
