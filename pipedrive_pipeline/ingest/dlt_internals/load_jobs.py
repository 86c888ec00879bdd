"""The two steps of a load that write rows: a COPY of our own file, and dlt's merge.

dlt receives the file unchanged. From a table it wrote Parquet, read that, and wrote CSV: a third of
the time that a load took.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from dlt.common.destination.client import HasFollowupJobs, RunnableLoadJob
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from pyarrow import csv

from pipedrive_pipeline.ingest import history
from pipedrive_pipeline.ingest.history import LOAD_ID

COPY_BUFFER_BYTES = 1 << 20
HISTORY_HINT = "x-history"  # of a table: the columns whose former values are kept
COPY_OPTIONS = "format csv, null '', encoding 'utf-8'"
_SPELLING = csv.WriteOptions(quoting_style="needed")  # text has quotes, null is nothing at all


def write_file(table: pa.Table, load_id: str, path: Path) -> None:
    """The rows as CSV with a header, each with the load's id."""
    of_load = pa.repeat(pa.scalar(load_id), table.num_rows)
    csv.write_csv(table.append_column(LOAD_ID, of_load), path, _SPELLING)


def _header(file: IO[bytes]) -> list[str]:
    """The names of the columns; what is left of the file is rows."""
    return [name.strip('"') for name in file.readline().decode().strip().split(",")]


class CopyJob(RunnableLoadJob, HasFollowupJobs):
    """COPY of one file in which "" is an empty string and nothing is null.

    The destination's own job forces "" to null in every nullable column (dlt 1.31), which would
    silently change a website of "" at the source.
    """

    def run(self) -> None:
        """Copies the file, in one transaction, into the staging table or, of new rows, into raw.

        dlt repeats it where the answer to its commit was lost: what it left is taken out first. All
        of a load's rows of a table are in this one file, since no limit of a file is set. New rows
        are added to the table's history in the same transaction.
        """
        client = self._job_client.sql_client  # type: ignore[attr-defined]
        kept: Any = None if client.is_staging_dataset_active else self._load_table.get(HISTORY_HINT)
        with Path(self._file_path).open("rb") as file:
            columns = ", ".join(map(client.escape_column_name, _header(file)))
            table = client.make_qualified_table_name(self.load_table_name)
            statement = f"copy {table} ({columns}) from stdin with ({COPY_OPTIONS})"
            with client.begin_transaction(), client.native_connection.cursor() as cursor:
                if self.job_file_info().retry_count:
                    histories = [client.make_qualified_table_name(kept["table"])] if kept else []
                    for written in (table, *histories):
                        undo = f"delete from {written} where {LOAD_ID} = %s"
                        cursor.execute(undo, (self._load_id,))
                cursor.copy_expert(statement, file, size=COPY_BUFFER_BYTES)
                if kept:
                    schema = client.dataset_name
                    source = (schema, self.load_table_name)
                    cursor.execute(
                        history.appending(
                            kept, raw_schema=schema, source=source, load_id=self._load_id
                        )
                    )


class MergeJob(SqlMergeFollowupJob):
    """Dlt's merge of staging into raw, which also adds new versions to the table's history."""

    @classmethod
    def _gen_table_setup_clauses(cls, table_chain: Any, sql_client: Any) -> list[str]:
        (table,) = table_chain
        statements = super()._gen_table_setup_clauses(table_chain, sql_client)
        if kept := table.get(HISTORY_HINT):
            source = (sql_client.staging_dataset_name, table["name"])
            statements.append(
                history.appending(kept, raw_schema=sql_client.dataset_name, source=source)
            )
        return statements
