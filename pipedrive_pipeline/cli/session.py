"""The start of every command: settings, an open warehouse, and the environment of Dagster.

The embedded Postgres is started on first use.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pipedrive_pipeline.connectors.registry import check_settings, system_keys
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings, load_settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import locks, urls
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import is_current, migrate, require_current
from pipedrive_pipeline.warehouse.reused_connection import reusing

DAGSTER_SCHEMA = "dagster"
DAGSTER_TABLES_LOCK = "dagster_tables"
DAGSTER_TABLES_WAIT_SECONDS = 120
LAST_TABLE_MADE = "job_ticks"  # by Dagster, which makes those of schedules last
PLANNED_EVENTS_MAX = 1_000  # that Dagster stores at once, when it makes a run


@dataclass(frozen=True)
class CommandSession:
    """Settings and an open warehouse whose schema is current."""

    settings: Settings
    warehouse: Warehouse


def open_session() -> CommandSession:
    """A session; starts and migrates the embedded warehouse if it is the default.

    Raises:
        SettingsError: a setting is wrong.
        DatabaseUnavailable: the database is down.
        SchemaBehind: `DATABASE_URL` is set and `migrate` was not run.
    """
    settings = load_settings()
    check_settings(settings)
    warehouse = warehouse_of(settings)
    with reusing(warehouse) as reused:
        if settings.is_embedded and not is_current(reused):
            migrate(warehouse)
        require_current(reused)
    return CommandSession(settings, warehouse)


def open_session_of(tenant: str) -> tuple[CommandSession, Tenant]:
    """A session, and the tenant with this name.

    Raises:
        BadSlug, UnknownTenant: there is none.
        PipelineError: as `open_session`.
    """
    from pipedrive_pipeline.sync.tenancy.registry import known

    session = open_session()
    return session, known(session.warehouse, Tenant(tenant)).tenant


def who() -> str:
    """The person at the terminal, for the audit log."""
    return f"command line: {getpass.getuser()}"


@contextmanager
def sandbox_within_reach(settings: Settings, tenant: Tenant | None) -> Iterator[None]:
    """Serves the sandbox while a command works on its tenant, unless it is served already."""
    has_sandbox = any(settings.sandbox_file(key).exists() for key in system_keys())
    if tenant is None or not tenant.is_make_believe or not has_sandbox:
        yield
        return
    from pipedrive_pipeline.cli.sandbox import is_answering, served

    with nullcontext() if is_answering(settings) else served(settings):
        yield


def dagster_environment(session: CommandSession) -> dict[str, str]:
    """The variables with which any Dagster process finds our instance."""
    settings = session.settings
    if settings.dagster_database_url:
        url = settings.dagster_database_url.get_secret_value()
    else:
        url = urls.with_search_path(session.warehouse.url, DAGSTER_SCHEMA)
        if not _has_dagster_tables(session):
            with session.warehouse.transaction() as connection:
                connection.execute(f"create schema if not exists {DAGSTER_SCHEMA}")
    return {
        "DAGSTER_HOME": str(_dagster_home(settings.pipeline_home)),
        urls.DAGSTER_SETTING: url,
        "DAGSTER_EVENT_BATCH_SIZE": str(PLANNED_EVENTS_MAX),
        "PIPELINE_HOME": str(settings.pipeline_home),
        "SCHEDULES": settings.schedules,
    }


def enter_dagster(session: CommandSession) -> None:
    """Sets the environment for our Dagster instance; creates its tables on first use.

    Under a lock: without it, two first commands at once both create them and one fails.
    """
    os.environ.update(dagster_environment(session))
    if _has_dagster_tables(session):
        return
    import dagster as dg

    with session.warehouse.lock_session(DAGSTER_TABLES_LOCK) as connection:
        locks.take(connection, DAGSTER_TABLES_LOCK, wait_seconds=DAGSTER_TABLES_WAIT_SECONDS)
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()
            instance.all_instigator_state()


def _has_dagster_tables(session: CommandSession) -> bool:
    """True if Dagster's tables are in our own database."""
    if session.settings.dagster_database_url:
        return False
    with session.warehouse.transaction() as connection:
        return is_there(connection, DAGSTER_SCHEMA, LAST_TABLE_MADE)


def postgres_environment(warehouse: Warehouse) -> dict[str, str]:
    """The variables with which libpq's programs find the warehouse, as safely as we do.

    Not host and name alone: psql would go without the encryption that `sslmode` asks for.
    """
    facts = urls.facts_of(warehouse.url)
    options = ((o.keyword.decode(), o.envvar) for o in psycopg.pq.Conninfo.get_defaults())
    return {
        variable.decode(): facts[name] for name, variable in options if variable and facts.get(name)
    }


def _dagster_home(home: Path) -> Path:
    """Dagster's home folder: with the project's `dagster.yaml` in it, or with an operator's own."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    link, target = dagster_home / "dagster.yaml", PROJECT_ROOT / "dagster.yaml"
    if _is_operators(link) or (link.is_symlink() and link.readlink() == target):
        return dagster_home
    draft = dagster_home / f"dagster.yaml.{os.getpid()}"
    draft.symlink_to(target)
    draft.replace(link)
    return dagster_home


def _is_operators(file: Path) -> bool:
    """True if it is a copy, or a link to one, such as that of `deploy/celery`.

    A link to the file of a project is ours, also if the project was moved away.
    """
    if not file.exists():
        return False
    return not file.is_symlink() or not (file.resolve().parent / "workspace.yaml").exists()
