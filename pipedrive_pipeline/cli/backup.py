"""`backup` and `restore`: everything but the keys, in a folder with two files, by `pg_dump`.

Source: https://www.postgresql.org/docs/current/app-pgdump.html (read 2026-11).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.cli.output import terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.errors import BadInput, DatabaseUnavailable
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import migrate

ROLES_FILE, DUMP_FILE = "roles.sql", "warehouse.dump"
FolderArgument = Annotated[Path, typer.Argument(help="A folder; `backup` makes it.")]


def backup(folder: FolderArgument) -> None:
    """Write the whole database into a folder; syncs may go on meanwhile."""
    session = open_session()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty; name a new folder for each backup.")
    url = session.warehouse.full_url()
    roles, dump = folder / ROLES_FILE, folder / DUMP_FILE
    roles.write_text(_roles_script(session.warehouse), encoding="utf-8")
    _run(session.settings, "pg_dump", "--dbname", url, "--format", "custom", "--file", str(dump))
    for file in (roles, dump):
        file.chmod(0o600)
    size = sum(file.stat().st_size for file in (roles, dump))
    terminal.print(f"{folder}: {size:,} bytes in {ROLES_FILE} and {DUMP_FILE}.", soft_wrap=True)
    terminal.print(_keys_reminder(session), soft_wrap=True)


def restore(folder: FolderArgument) -> None:
    """Fill the empty database of these settings from a folder that `backup` wrote."""
    settings = load_settings()
    roles, dump = folder / ROLES_FILE, folder / DUMP_FILE
    for file in (roles, dump):
        if not file.is_file():
            raise BadInput(f"{file} is missing; name a folder that `backup` wrote.")
    warehouse = warehouse_of(settings)
    _require_empty(warehouse)
    url = warehouse.full_url()
    # On the server of the original they exist already; psql says so of each, and goes on.
    _run(settings, "psql", "--dbname", url, "--quiet", "--file", str(roles), is_checked=False)
    _run(settings, "pg_restore", "--dbname", url, "--exit-on-error", str(dump))
    migrate(warehouse, notify=terminal.print)  # roles of its own if the original is still there
    terminal.print(f"{warehouse.place}: restored; `doctor` tells whether the keys fit.")


def _roles_script(warehouse: Warehouse) -> str:
    """The statements that make this installation's roles and their members; no other role's."""
    with warehouse.transaction() as connection:
        rows = connection.execute(_ROLES).fetchall()
    return "".join(f"{statement};\n" for (statement,) in rows)


def _require_empty(warehouse: Warehouse) -> None:
    """Returns if the database has no table of ours.

    Raises:
        BadInput: it has; a restore never overwrites.
    """
    with warehouse.transaction() as connection:
        row = connection.execute("select to_regnamespace('integration') is not null").fetchone()
    if row and row[0]:
        raise BadInput(
            f"{warehouse.place} is not empty; a restore needs a new database: set DATABASE_URL to "
            "one, or PIPELINE_HOME to a new folder."
        )


def _run(settings: Settings, program: str, *words: str, is_checked: bool = True) -> None:
    """Runs one of Postgres's programs to its end.

    Raises:
        BadInput: it is not on PATH.
        DatabaseUnavailable: it ended with an error; its own words say which.
    """
    path = _path(settings)
    executable = shutil.which(program, path=path)
    if executable is None:
        raise BadInput(f"{program} is not on PATH; install the PostgreSQL client.")
    ended = subprocess.run(  # noqa: S603 - Postgres's own programs
        [executable, *words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if is_checked and ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise DatabaseUnavailable(f"{program} ended with code {ended.returncode}: {last}")


def _path(settings: Settings) -> str:
    """The search path for Postgres's programs: the embedded server's folder, then PATH."""
    path = os.environ.get("PATH", "")
    if not settings.is_embedded:
        return path
    from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel

    return f"{of_the_wheel().folder}{os.pathsep}{path}"


def _keys_reminder(session: CommandSession) -> str:
    where = (
        str(session.settings.pipeline_home / "token-encryption-keys")
        if session.settings.is_embedded and not session.settings.token_encryption_keys
        else "TOKEN_ENCRYPTION_KEYS"
    )
    return f"The keys are not in it: keep {where} elsewhere, or every tenant must connect again."


# Logins come before what they are members of; passwords stay on the server.
_ROLES = """
with ours as (
    select
        pg_roles.oid,
        pg_roles.rolname
    from pg_catalog.pg_roles
    cross join integration.installation
    where pg_roles.rolname ~ ('^(pipeline|analyst)_.*_' || installation.id || '$')
),

members as (
    select
        ours.rolname as role_name,
        member.rolname as member_name,
        member.rolcanlogin
    from ours
    inner join pg_catalog.pg_auth_members
        on pg_auth_members.roleid = ours.oid
    inner join pg_catalog.pg_roles as member
        on member.oid = pg_auth_members.member
    where member.rolname <> current_user
)

select statements.text
from (
    select
        1 as step,
        format('create role %I nologin', ours.rolname) as text
    from ours
    union
    select
        2 as step,
        format('create role %I login', members.member_name) as text
    from members
    where members.rolcanlogin
    union
    select
        3 as step,
        format('grant %I to %I', members.role_name, members.member_name) as text
    from members
) as statements
order by
    statements.step asc,
    statements.text asc
"""
