"""Which lists of children are due, found by indexes however much raw holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipedrive_pipeline.connectors.contract import Children, Column, ColumnType, Entity
from pipedrive_pipeline.ingest.batches import batch_of
from pipedrive_pipeline.ingest.due_parents import DueParents
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, answer, record
from pipedrive_pipeline_tests.ingest.entities import SYSTEM, THINGS

SCOPE = Scope(ACME, SYSTEM)
ROWS = 20_000
OF_THINGS = Children(of="things", column="thing_id", batch=100)
PARTS = Entity(
    name="parts",
    label="Parts",
    key=Column("id", ColumnType.BIGINT, "Number of the part."),
    columns=(Column("thing_id", ColumnType.BIGINT, "Its thing."),),
    read=OF_THINGS,
    cost=THINGS.cost,
    description="Parts, listed by their thing.",
)
FILL = f"""
insert into {SCOPE.raw_schema}.things (id, changed_at, _dlt_load_id)
select n, '2026-01-01', '1' from generate_series(2, {ROWS}) as n;
insert into {SCOPE.raw_schema}.parts (id, thing_id, _dlt_load_id)
select n, n, '1' from generate_series(2, {ROWS}) as n;
analyze {SCOPE.raw_schema}.things;
analyze {SCOPE.raw_schema}.parts;
"""
ROWS_READ_WHOLE = """
select coalesce(sum(tables.seq_tup_read), 0)::bigint
from pg_catalog.pg_stat_user_tables as tables
where tables.schemaname = '{schema}' and tables.relname in ('things', 'parts')
"""


@pytest.mark.slow
@pytest.mark.parametrize("read", [OF_THINGS, replace(OF_THINGS, due_by="changed_at")])
def test_a_page_of_parents_reads_no_table_whole(read: Children, loader: RawLoader) -> None:
    """Each page of deals, and each batch of their lists, read all deals or all lines."""
    child = replace(PARTS, read=read)
    due_parents = DueParents(loader.warehouse, SCOPE, (THINGS, child))
    loader.put(record(id=1, changed_at="2026-01-01T00:00:00Z"))
    loader.put(record(id=1, thing_id=1), entity=child)
    with loader.warehouse.connect(autocommit=True) as connection:
        for statement in FILL.strip().split(";\n"):
            connection.execute(statement.encode())
    before = rows_read_whole(loader)

    changed = record(id=7, changed_at="2026-02-01T00:00:00Z")
    same = record(id=8, changed_at="2026-01-01T00:00:00Z")
    due_parents.note(batch_of(THINGS, answer(changed, same)))

    assert due_parents.due(child) == ("7",)
    assert due_parents.listed_in_raw(child, ["7", "8", "no number"]) == ["7", "8"]
    assert rows_read_whole(loader) == before


def rows_read_whole(loader: RawLoader) -> int:
    """Rows that reads of whole tables have read; a session that stays open counts them late."""
    with loader.warehouse.connect() as connection:
        connection.execute("select pg_stat_force_next_flush()")
    count = loader.scalar(ROWS_READ_WHOLE.format(schema=SCOPE.raw_schema))
    assert isinstance(count, int)
    return count
