"""Brings in what a look-up did not find: the CRM's own search, then a refresh of its records.

A search and the refresh spend tokens of the tenant's share; enough for the syncs of all tenants of
the company stays. If another run reads the tenant, it reads the records at its next chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import RecordRef, SearchKind
from pipedrive_pipeline.errors import BudgetSpent, Busy, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.budget.daily_budget import KEPT_FOR_SYNCS
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.signals.store import has_due_signals, signal_records
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connections import connections
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse

TURNS = 2  # builds of the marts: the records, and what came meanwhile
WAIT_SECONDS = 5.0  # for another run that reads the tenant
POLL_SECONDS = 0.25

State = Literal["read", "not_found", "pending", "failed"]


@dataclass(frozen=True)
class Searched:
    """What one system's search brought.

    Attributes:
        system: the system's key.
        state: ``read``: its records are in crm; ``not_found``: it has none; ``pending``: another
            run of the tenant reads them now; ``failed``: see ``code``.
        code, message: of the error; empty if there was none.
    """

    system: str
    state: State
    code: str = ""
    message: str = ""

    def as_unseen(self) -> Searched:
        """The same for somebody who may see none of what was read: as if there were nothing."""
        return replace(self, state="not_found") if self.state == "read" else self


def search_sources(
    vault: Vault, tenant: Tenant, kind: SearchKind, texts: Sequence[str]
) -> list[Searched]:
    """Searches every connected system that has a search, and brings in what is there.

    Args:
        vault: its warehouse and settings.
        tenant: whose systems.
        kind: what is searched for.
        texts: its spellings, the likeliest first; the first with a result ends the search.

    Returns:
        One entry for each system; empty if none that is connected has a search.
    """
    return [
        _search(vault, Scope(tenant, row.system), kind, tuple(texts))
        for row in connections(vault, tenant)
        if row.state is ConnectionState.CONNECTED and registry.system(row.system).search
    ]


def _search(vault: Vault, scope: Scope, kind: SearchKind, texts: tuple[str, ...]) -> Searched:
    """One system's; an error of it must not hide what another system has."""
    try:
        refs = _found(vault.warehouse, vault.settings, scope, kind, texts)
        return Searched(scope.system, _brought_in(vault.warehouse, vault.settings, scope, refs))
    except PipelineError as error:
        return Searched(scope.system, "failed", error.code, str(error))


def _found(
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    kind: SearchKind,
    texts: tuple[str, ...],
) -> list[RecordRef]:
    source = SourceAccess(warehouse, settings, scope, kept_share=KEPT_FOR_SYNCS)

    async def find() -> list[RecordRef]:
        async with source.open_search() as search:
            return await search.find(kind, texts)

    try:
        return asyncio.run(find())
    except BudgetSpent as spent:
        source.note_spent_days([spent])
        raise
    finally:
        source.usage.write()


def _brought_in(
    warehouse: Warehouse, settings: Settings, scope: Scope, refs: Sequence[RecordRef]
) -> State:
    ids: dict[str, list[str]] = defaultdict(list)
    read = entities_read(warehouse, scope)
    for ref in refs:
        if ref.entity in read:
            ids[ref.entity].append(ref.id)
    if not ids:
        return "not_found"
    for entity, of_entity in ids.items():
        signal_records(warehouse, scope, entity, of_entity)
    # Imports dlt and Arrow, which a process that only answers from crm never needs.
    from pipedrive_pipeline.sync.signals.refresh import serve_waiting

    try:
        served = serve_waiting(warehouse, settings, scope, turns=TURNS, may_walk=False)
    except Busy:
        return "read" if _served_meanwhile(warehouse, scope) else "pending"
    if served.errors:
        raise served.errors[0]
    return "read"


def _served_meanwhile(warehouse: Warehouse, scope: Scope) -> bool:
    """True if the run that reads the tenant has read them within a few seconds."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if not has_due_signals(warehouse, scope):
            return True
        time.sleep(POLL_SECONDS)
    return False
