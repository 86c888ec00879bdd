"""A deletion that an event stated is not undone by an answer that is older."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import Page, Tombstone, next_number
from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.ingest.batches import Batch, batch_of
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.own_tables import prepare
from pipedrive_pipeline.ingest.raw import OWN_TABLES
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SCOPE = Scope(Tenant("acme"), "pipedrive")
PERSONS = ENTITIES["persons"]
DELETED_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
GONE = Tombstone("7", "deleted")


@pytest.fixture
def deletions(warehouse: Warehouse, tmp_path: Path) -> Deletions:
    """The marks of a run."""
    registry.add(warehouse, Settings(pipeline_home=tmp_path), SCOPE.tenant)
    prepare(warehouse, SCOPE, OWN_TABLES)
    return Deletions(warehouse, SCOPE)


def page(sent: int, changed_at: datetime) -> Batch:
    """An answer with person 7, alive."""
    stamp = f'"{changed_at.isoformat()}"'.encode()
    record = {"id": Raw(b"7"), "update_time": Raw(stamp)}
    return batch_of(PERSONS, Page([record], sent=sent, arrived=next_number()))


def marks(warehouse: Warehouse) -> list[str]:
    """The records that are marked."""
    with warehouse.transaction() as connection:
        rows = connection.execute("select id from raw_pipedrive_acme.deletions")
        return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("is_asked_later", "is_edited_later", "is_gone"),
    [(False, False, True), (False, True, False), (True, False, False)],
)
def test_an_answer_undoes_a_deletion_only_if_it_is_newer(
    warehouse: Warehouse,
    deletions: Deletions,
    *,
    is_asked_later: bool,
    is_edited_later: bool,
    is_gone: bool,
) -> None:
    """Pages are read ahead: one that was asked for before the deletion is loaded after it."""
    sent = next_number()
    changed_at = DELETED_AT + timedelta(minutes=1 if is_edited_later else -1)
    deletions.remember(PERSONS, GONE, DELETED_AT)
    deletions.mark(PERSONS, [GONE], {"7": DELETED_AT})

    restored = deletions.unmark(page(next_number() if is_asked_later else sent, changed_at))

    assert marks(warehouse) == (["7"] if is_gone else [])
    assert restored == (0 if is_gone else 1)


def test_a_record_that_raw_did_not_hold_yet_is_marked_when_its_old_version_is_loaded(
    warehouse: Warehouse, deletions: Deletions
) -> None:
    sent = next_number()
    deletions.remember(PERSONS, GONE, DELETED_AT)

    deletions.unmark(page(sent, DELETED_AT - timedelta(days=1)))

    assert marks(warehouse) == ["7"]
