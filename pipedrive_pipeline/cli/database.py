"""`migrate`, `psql`, `env`: the way into the warehouse."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.cli.output import terminal
from pipedrive_pipeline.cli.session import dagster_environment, open_session, postgres_environment
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.schema_changes import restore
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import PROJECT_ROOT, load_settings
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import warehouse_of
from pipedrive_pipeline.warehouse.migrations import head
from pipedrive_pipeline.warehouse.migrations import migrate as apply_migrations


def migrate() -> None:
    """Bring the database's tables up to this release. Safe to repeat, and while syncs run.

    Tables and columns of crm that somebody dropped are made again.
    """
    warehouse = warehouse_of(load_settings())
    applied = apply_migrations(warehouse, notify=terminal.print)
    terminal.print(f"applied {', '.join(applied)}." if applied else f"up to date ({head()}).")
    if restored := restore(warehouse):
        terminal.print(
            f"made again, empty: {', '.join(restored)}. `remap` of each tenant fills it.",
            soft_wrap=True,
        )


def env() -> None:
    """Print exports, so that psql and a bare `dagster dev` find the same instance.

    Use it as: eval "$(./run env)"
    """
    session = open_session()
    for name, value in {
        **postgres_environment(session.warehouse),
        **dagster_environment(session),
    }.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def psql(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Option(help="Look at this tenant's views and raw tables first.")
    ] = None,
) -> None:
    """Open psql on the warehouse; further words go to psql, such as -c 'select 1'."""
    session = open_session()
    program = psql_program(session.settings.is_embedded)
    variables = postgres_environment(session.warehouse)
    if tenant:
        name = known(session.warehouse, Tenant(tenant)).tenant
        raw = (Scope(name, key).raw_schema for key in system_keys())
        path = ",".join([name.analytics_schema, "crm", *raw, "integration"])
        with session.warehouse.connect(autocommit=True) as connection:
            is_pooled = sessions.set_up(connection)
        if is_pooled:
            raise BadInput(
                f"psql: the pooler before {session.warehouse.place} refuses settings at the start "
                f"of a session. Run `psql` without --tenant, and in it: set search_path to {path}; "
                f"set pipeline.tenant_id to '{name}';"
            )
        variables["PGOPTIONS"] = f"-csearch_path={path} -cpipeline.tenant_id={name}"
    sys.stdout.flush()
    os.execve(program, [program, *context.args], {**os.environ, **variables})  # noqa: S606


def dagster(context: typer.Context) -> None:
    """Run a command of Dagster on this installation, such as `dagster dev`."""
    os.environ.update(dagster_environment(open_session()))
    words = [sys.executable, str(Path(sys.executable).with_name("dagster")), *context.args]
    os.chdir(PROJECT_ROOT)
    sys.stdout.flush()
    os.execv(sys.executable, words)  # noqa: S606


def psql_program(is_embedded: bool) -> str:
    """The path of a psql: the embedded server's own, else the one on PATH.

    Raises:
        BadInput: there is none.
    """
    settings = load_settings()
    if is_embedded:
        from pipedrive_pipeline.warehouse.embedded import ensure_running

        embedded = ensure_running(settings.pipeline_home, tcp_port=settings.postgres_port).psql
        if embedded:
            return str(embedded)
    psql_path = shutil.which("psql")
    if not psql_path:
        raise BadInput("psql is not on PATH; install the PostgreSQL client.")
    return psql_path
