"""How dlt is set up here: no telemetry, no foreign configuration, and a COPY that loses nothing."""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
import psycopg2
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import HasFollowupJobs, LoadJob, RunnableLoadJob
from dlt.common.runtime.telemetry import stop_telemetry
from dlt.common.storages.load_package import ParsedLoadJobFileName
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from dlt.pipeline import trace
from psycopg import sql
from psycopg2 import extensions

from pipedrive_pipeline.ingest import history
from pipedrive_pipeline.ingest.dlt_internals import copy_file
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import CONNECT_TIMEOUT_SECONDS, Warehouse
from pipedrive_pipeline.warehouse.fences import Fence

COPY_BUFFER_BYTES = 1 << 20
HISTORY_HINT = "x-history"  # of a table: the columns whose former values are kept

# A record of 2 to 8 kB stays in its row as it is. By default Postgres tries to compress it, and
# finds little: 40 keys of random digits repeat nothing. The attempt was half the time of a COPY of
# 20,000 organizations with 40 custom fields, and the table no smaller for it.
STORAGE = "with (toast_tuple_target = 8160)"

DLT_SETTINGS: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL"},  # rows could be in its logs
    # Files live for a second, and COPY reads them as they are.
    "extract": {"data_writer": {"disable_compression": True}},
    "normalize": {"data_writer": {"disable_compression": True}},
    "load": {"workers": 2, "raise_on_max_retries": 3},
}


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
            columns = ", ".join(map(client.escape_column_name, copy_file.header(file)))
            table = client.make_qualified_table_name(self.load_table_name)
            statement = f"copy {table} ({columns}) from stdin with ({copy_file.COPY_OPTIONS})"
            with client.begin_transaction(), client.native_connection.cursor() as cursor:
                if self.job_file_info().retry_count:
                    histories = [client.make_qualified_table_name(kept["table"])] if kept else []
                    for written in (table, *histories):
                        undo = f"delete from {written} where {copy_file.LOAD_ID} = %s"
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


class Sessions:
    """The idle connections of one run's loads: dlt opens one for each job, 26 for a load."""

    def __init__(self) -> None:
        self._idle: list[tuple[str, psycopg2.extensions.connection]] = []

    def taken(self, search_path: str) -> psycopg2.extensions.connection | None:
        """An idle connection with this search path that the server has not closed."""
        while self._idle:
            try:
                path, connection = self._idle.pop()
            except IndexError:  # another job was quicker
                break
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if path == search_path and not poll.poll(0):
                return connection
            connection.close()
        return None

    def give(self, connection: psycopg2.extensions.connection, search_path: str) -> bool:
        """Keeps a connection that is in no transaction; True if it was kept."""
        is_idle = not connection.closed and (
            connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
        )
        if is_idle:
            self._idle.append((search_path, connection))
        return is_idle

    def close(self) -> None:
        """Closes all of them."""
        while self._idle:
            self._idle.pop()[1].close()


class FencedSqlClient(Psycopg2SqlClient):
    """A session in which every statement runs in a transaction that holds the run's fence.

    dlt truncates, merges and completes a load in transactions of their own. Any of them, made by a
    run that was stopped amid a load and woke up after the next one began, would spoil that one's.
    """

    url: str = ""
    fence: Fence | None = None
    idle: Sessions | None = None  # None: each connection is closed after use

    def open_connection(self) -> psycopg2.extensions.connection:
        """A connection with our settings; dlt's own needs `options`, which PgBouncer refuses."""
        kept = self.idle.taken(self._search_path) if self.idle else None
        if kept:
            self._conn = kept
            return kept
        # dlt's reading of the URL would take the blanks at the ends of a password away.
        self._conn = psycopg2.connect(
            self.url,
            client_encoding=sessions.CLIENT_ENCODING,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        self._reset_connection()
        return self._conn

    def close_connection(self) -> None:
        """Gives the connection back for the next job of this run, unless it is broken."""
        if self._conn and self.idle and self.idle.give(self._conn, self._search_path):
            self._conn = None
        else:
            super().close_connection()

    @property
    def _search_path(self) -> str:
        return f"{self.fully_qualified_dataset_name()}, public"

    def _reset_connection(self) -> None:
        super()._reset_connection()  # which resets every setting
        path = self._search_path
        with self._conn.cursor() as cursor:
            cursor.execute(
                sessions.statement(
                    self._conn.server_version,
                    lock_timeout=f"{sessions.LOAD_LOCK_SECONDS}s",
                    search_path=path,
                )
            )

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """A transaction that counts while this run is current.

        Raises:
            Superseded: this run may not write any more.
        """
        with super().begin_transaction() as transaction:
            if self.fence:
                with self.native_connection.cursor() as cursor:
                    self.fence.hold(cursor)
            yield transaction

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As dlt's, in a transaction of its own if there is none."""
        if not self.native_connection.autocommit:
            with super().execute_query(query, *args, **kwargs) as cursor:
                yield cursor
            return
        with self.begin_transaction(), super().execute_query(query, *args, **kwargs) as cursor:
            yield cursor


class LosslessPostgresClient(PostgresClient):
    """The Postgres client with our COPY, behind the run's fence."""

    # Of the class, which is one run's own:
    url: str = ""
    fence: Fence | None = None
    idle: Sessions | None = None

    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        of_dlt = self.sql_client
        self.sql_client = FencedSqlClient(
            of_dlt.dataset_name, of_dlt.staging_dataset_name, of_dlt.credentials, capabilities
        )
        self.sql_client.url = self.url
        self.sql_client.fence, self.sql_client.idle = self.fence, self.idle

    def create_load_job(
        self, table: Any, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """A job for one file of a load package."""
        if ParsedLoadJobFileName.parse(file_path).file_format == "csv":
            return CopyJob(file_path)
        return super().create_load_job(table, file_path, load_id, restore)

    def _create_merge_followup_jobs(self, table_chain: Any) -> list[Any]:
        return [MergeJob.from_table_chain(table_chain, self.sql_client)]

    def _get_table_update_sql(
        self, table_name: str, new_columns: Any, generate_alter: bool
    ) -> list[str]:
        """Statements of dlt's, and comments; a table that they make is stored as `STORAGE` says."""
        statements = super()._get_table_update_sql(table_name, new_columns, generate_alter)
        table = self.sql_client.make_qualified_table_name(table_name)
        comments = [
            _comment(f"column {table}.{self.sql_client.escape_column_name(column['name'])}", text)
            for column in new_columns
            if (text := column.get("description"))
        ]
        if generate_alter:
            return [*statements, *comments]
        if text := self.prepare_load_table(table_name).get("description"):
            comments.insert(0, _comment(f"table {table}", text))
        create, *others = statements
        return [f"{create} {STORAGE}", *others, *comments]


def _comment(of: str, text: str) -> str:
    return f"comment on {of} is {sql.Literal(text).as_string()}"


class lossless_postgres(postgres):  # noqa: N801 - dlt names a destination by its class, in lower case
    """Dlt's Postgres destination with our COPY, also of dlt's own state.

    An INSERT whose commit's answer was lost would be repeated beside what it left, and refused.
    """

    url: str = ""
    fence: Fence | None = None
    idle: Sessions | None = None
    _capabilities: DestinationCapabilitiesContext | None = None

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        of_dlt = super()._raw_capabilities()
        of_dlt.preferred_loader_file_format = "csv"
        return of_dlt

    def capabilities(
        self, config: Any = None, naming: Any = None
    ) -> DestinationCapabilitiesContext:
        """Returns a copy of what dlt found at the first call.

        A load asks eleven times, and dlt resolves the whole configuration at each.
        """
        if config is not None or naming is not None:
            return super().capabilities(config, naming)
        if self._capabilities is None:
            self._capabilities = super().capabilities()
        return self._capabilities.copy()

    @property
    def client_class(self) -> type[PostgresClient]:
        """The client that dlt makes its jobs with; dlt instantiates it by itself."""
        of_run = {"url": self.url, "fence": self.fence, "idle": self.idle}
        return type("FencedPostgresClient", (LosslessPostgresClient,), of_run)


def pipeline(
    name: str,
    *,
    dataset: str,
    staging: str,
    url: str,
    working_directory: Path,
    fence: Fence | None = None,
    idle: Sessions | None = None,
) -> dlt.Pipeline:
    """A dlt pipeline that reads no configuration but ours and keeps nothing between runs."""
    plugged = Container()[PluggableRunContext]
    ours = CustomLoaderDocProvider("pipedrive_pipeline", lambda: DLT_SETTINGS)
    plugged.providers.providers[:] = [ours]
    plugged.context.reset_config()  # what `import dlt` resolved from files and environment
    stop_telemetry()  # started by `import dlt` regardless of later settings, once per process
    plugged.context.initialize_runtime()
    trace.TRACKING_MODULES = []  # they write an id into the user's home even with telemetry off
    destination = lossless_postgres(credentials=url, staging_dataset_name_layout=staging)
    destination.url, destination.fence, destination.idle = url, fence, idle
    return dlt.pipeline(
        name,
        pipelines_dir=str(working_directory),
        dataset_name=dataset,
        destination=destination,
    )


DLT_SCHEMAS = "_dlt_version"  # dlt's note of the tables that it made in a schema


def heal_staging(warehouse: Warehouse, scope: Scope, own_tables: Sequence[str]) -> None:
    """Lets dlt make staging tables and columns that somebody dropped.

    dlt looks at the tables only where its own note of them is not the newest. Without one it makes
    what is missing; with one every load of the tenant would be refused from then on.

    Args:
        warehouse: the tenant's database.
        scope: the tenant and system.
        own_tables: names of the tables in the raw schema that dlt has no part in.
    """
    raw, staging = scope.raw_schema, scope.staging_schema
    with warehouse.transaction() as connection:
        if not is_there(connection, staging, DLT_SCHEMAS):
            return
        names = {"raw": raw, "staging": staging, "history": history.ORDER, "own": own_tables}
        row = connection.execute(_IS_ANY_MISSING, names).fetchone()
        if row and row[0]:
            note = sql.Identifier(staging, DLT_SCHEMAS)
            connection.execute(sql.SQL("delete from {}").format(note))


# The histories are ours too, and dlt's own tables have no part in a load.
_IS_ANY_MISSING = """
select exists (
    select
    from information_schema.columns as raw
    left join information_schema.columns as staging
        on staging.table_schema = %(staging)s
        and staging.table_name = raw.table_name
        and staging.column_name = raw.column_name
    where raw.table_schema = %(raw)s
        and raw.table_name <> all(%(own)s)
        and raw.table_name !~ '^_dlt_'
        and staging.column_name is null
        and not exists (
            select from information_schema.columns as history
            where history.table_schema = raw.table_schema
                and history.table_name = raw.table_name
                and history.column_name = %(history)s
        )
)
"""
