"""Raw tables of one tenant, filled record by record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors.contract import CursorState, Entity, Page, Record, next_number
from pipedrive_pipeline.ingest.batches import Batch, batch_of
from pipedrive_pipeline.ingest.outcome import Loaded
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.ingest.entities import SYSTEM, THINGS

ACME = Tenant("acme")


def record(**values: Any) -> Record:
    """Returns a record as a connector hands it on; a `Raw` value stays as it is."""
    return {
        key: value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))
        for key, value in values.items()
    }


def answer(*records: Record, sent: int | None = None, arrived: int | None = None) -> Page:
    """The answer to a request that was sent and answered now, or at the given numbers."""
    return Page(
        list(records),
        next_number() if sent is None else sent,
        next_number() if arrived is None else arrived,
    )


@dataclass
class RawLoader:
    """One tenant's raw tables and a way to put records into them."""

    warehouse: Warehouse
    home: Path

    def store(self) -> RawStore:
        """The raw tables as a new run finds them."""
        return RawStore(self.warehouse, Scope(ACME, SYSTEM), self.home / "scratch")

    def put(
        self,
        *records: Record,
        entity: Entity = THINGS,
        cursor: CursorState | None = None,
        store: RawStore | None = None,
    ) -> tuple[Loaded, Batch]:
        """One load of these records, as a run of their own unless a store is given."""
        return self.put_answer(answer(*records), entity=entity, cursor=cursor, store=store)

    def put_answer(
        self,
        page: Page,
        *,
        entity: Entity = THINGS,
        cursor: CursorState | None = None,
        store: RawStore | None = None,
    ) -> tuple[Loaded, Batch]:
        """One load of this answer, as a run of its own unless a store is given."""
        batch = batch_of(entity, page)
        opened = store or self.store()
        loaded = opened.load([batch])
        opened.move({} if cursor is None else {entity.name: cursor}, {})
        return loaded[entity.name], batch

    def rows(self, entity: Entity = THINGS) -> list[dict[str, Any]]:
        """What is stored, by key, with `xmin`."""
        query = sql.SQL("select xmin::text as xmin, * from {} order by {}").format(
            sql.Identifier(Scope(ACME, SYSTEM).raw_schema, entity.name),
            sql.Identifier(entity.key.name),
        )
        with self.warehouse.connect() as connection:
            return connection.cursor(row_factory=dict_row).execute(query).fetchall()

    def scalar(self, query: str) -> Any:
        """The one value of a query."""
        with self.warehouse.connect() as connection:
            row = connection.execute(query).fetchone()
        return row and row[0]


@pytest.fixture
def loader(warehouse: Warehouse, tmp_path: Path) -> RawLoader:
    """Tenant acme, with no raw table yet."""
    registry.add(warehouse, Settings(pipeline_home=tmp_path), ACME)
    return RawLoader(warehouse, tmp_path)
