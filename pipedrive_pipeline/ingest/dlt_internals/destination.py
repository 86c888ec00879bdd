"""How dlt is set up here: no telemetry, no foreign configuration, and jobs that lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.runtime.telemetry import stop_telemetry
from dlt.common.storages.load_package import ParsedLoadJobFileName
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.pipeline import trace
from psycopg import sql

from pipedrive_pipeline.ingest.dlt_internals.fenced_client import FencedSqlClient, IdleConnections
from pipedrive_pipeline.ingest.dlt_internals.load_jobs import CopyJob, MergeJob
from pipedrive_pipeline.warehouse.fences import Fence

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


class LosslessPostgresClient(PostgresClient):
    """The Postgres client with our COPY, behind the run's fence."""

    # Of the class, which is one run's own:
    url: str = ""
    fence: Fence | None = None
    idle: IdleConnections | None = None

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

    An INSERT whose commit's answer was lost would be repeated with its row there, and refused.
    """

    url: str = ""
    fence: Fence | None = None
    idle: IdleConnections | None = None
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
    idle: IdleConnections | None = None,
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
