"""Keys that a read of everything has seen are compared with raw, however many there are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipedrive_pipeline.ingest.seen_keys import SeenKeys
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, record
from pipedrive_pipeline_tests.ingest.entities import SYSTEM, THINGS

SCOPE = Scope(ACME, SYSTEM)
ROWS = 40_000
# Statistics that know another entity's keys only, as in the middle of a first read.
FILL = f"""
insert into {SCOPE.staging_schema}.seen_keys (entity, id)
select 'labels', n::text from generate_series(1, 2000) as n;
analyze {SCOPE.staging_schema}.seen_keys;
insert into {SCOPE.raw_schema}.things (id, _dlt_load_id)
select n, '1' from generate_series(2, {ROWS}) as n;
insert into {SCOPE.staging_schema}.seen_keys (entity, id)
select 'things', n::text from generate_series(2, {ROWS} + 1) as n;
"""


@pytest.mark.slow
def test_many_keys_are_compared_without_statistics(loader: RawLoader) -> None:
    """Each row was compared with each key: 200,000 took twenty minutes, and 40,000 one."""
    loader.put(record(id=1))
    keys = SeenKeys(loader.warehouse, SCOPE)
    keys.begin({THINGS.name: datetime.now(UTC)})
    with loader.warehouse.connect(autocommit=True) as connection:
        name = connection.info.dbname
        for statement in FILL.strip().split(";\n"):
            connection.execute(statement.encode())
        connection.execute(f"alter database {name} set statement_timeout = '20s'".encode())

    compared = keys.compare(THINGS)

    assert (compared.seen, compared.known, compared.missing) == (ROWS, ROWS, 1)
    assert compared.extra == ["1"]
    assert keys.behind(THINGS) == [str(ROWS + 1)]
