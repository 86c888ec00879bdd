"""`backup` and `restore`: everything but the keys, in a folder with two files, by `pg_dump`.

Source: https://www.postgresql.org/docs/current/app-pgdump.html (read 2026-11).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import make_conninfo

from pipedrive_pipeline.cli.output import terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session, postgres_environment
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import BadInput, DatabaseUnavailable
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.sync.tenancy.registry import all_tenants
from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel
from pipedrive_pipeline.warehouse.embedded.errors import StartFailed
from pipedrive_pipeline.warehouse.migrations import migrate

ROLES_FILE, DUMP_FILE = "roles.sql", "warehouse.dump"
FolderArgument = Annotated[Path, typer.Argument(help="A folder; `backup` makes it.")]


def backup(folder: FolderArgument) -> None:
    """Write the whole database into a folder; syncs may go on meanwhile."""
    session = open_session()
    roles, dump = folder / ROLES_FILE, folder / DUMP_FILE
    with _filled(folder):
        roles.write_text(_roles_script(session.warehouse), encoding="utf-8")
        words = ["--format", "custom", "--file", str(dump), *_left_out(session.warehouse)]
        _run(session.settings, session.warehouse, "pg_dump", *words)
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
        if not os.path.isfile(file):  # noqa: PTH113 - a Path raises if the name is too long
            raise BadInput(f"{file} is missing; name a folder that `backup` wrote.")
    warehouse = warehouse_of(settings)
    _require_empty(warehouse)
    # On the server of the original they exist already; psql says so of each, and goes on.
    _run(settings, warehouse, "psql", "--quiet", "--file", str(roles), is_checked=False)
    try:
        _run(settings, warehouse, "pg_restore", "--exit-on-error", str(dump))
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            f"{error} The database is filled in part: drop it and make it again before the next "
            "attempt."
        ) from error
    migrate(warehouse, notify=terminal.print)  # roles of its own if the original is still there
    terminal.print(f"{warehouse.place}: restored; `doctor` tells whether the keys fit.")


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Makes an empty folder for a backup; a backup that fails leaves none of its files.

    Raises:
        BadInput: the folder cannot be made, read or written, or it is not empty.
    """
    is_new = not os.path.lexists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_used = any(folder.iterdir())
        if not is_used:
            (folder / ROLES_FILE).touch()
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be used ({error.strerror}); name a folder that can be made and "
            "written."
        ) from error
    if is_used:
        raise BadInput(f"{folder} is not empty; name a new folder for each backup.")
    with _removed_on_error(folder, is_new=is_new):
        yield


@contextmanager
def _removed_on_error(folder: Path, *, is_new: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for name in (ROLES_FILE, DUMP_FILE):
            (folder / name).unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # a file of somebody else's is in it
                folder.rmdir()
        raise


def _roles_script(warehouse: Warehouse) -> str:
    """The statements that make the roles of this database, and their members; no other role's.

    Those of the installation, and every role that owns something in the database or has a right in
    it: of the app's tables, of a service that reads an exported token, of an analyst.
    """
    with warehouse.transaction() as connection:
        rows = connection.execute(_ROLES).fetchall()
    return "".join(f"{statement};\n" for (statement,) in rows)


def _left_out(warehouse: Warehouse) -> Iterator[str]:
    """The arguments that leave out the tables in which loads are staged; a sync makes them again.

    pg_dump locks each table of a dump until its end, and a load empties these by `truncate`.
    """
    schemas = {
        Scope(each.tenant, system).staging_schema
        for each in all_tenants(warehouse)
        for system in system_keys()
    }
    with warehouse.transaction() as connection:
        rows = connection.execute(_PRESENT, [sorted(schemas)]).fetchall()
    for (name,) in rows:
        yield f'--exclude-schema="{name}"'  # quoted, a name is no pattern


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


def _run(
    settings: Settings,
    warehouse: Warehouse,
    program: str,
    *words: str,
    is_checked: bool = True,
) -> None:
    """Runs one of Postgres's programs on the warehouse to its end.

    The password is in its environment, since every user of the machine can read its arguments.

    Raises:
        BadInput: no program of this name is new enough for the server or for the file.
        DatabaseUnavailable: it ended with an error; its own words say which.
    """
    with warehouse.transaction() as connection:
        server = connection.info.server_version // 10_000
        database = make_conninfo(dbname=connection.info.dbname)
    ended = subprocess.run(  # noqa: S603 - Postgres's own programs
        [_program(settings, program, server), "--dbname", database, *words],
        env={
            **os.environ,
            **postgres_environment(warehouse),
            "PGCLIENTENCODING": sessions.CLIENT_ENCODING,  # the role may have another
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if is_checked and ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["no reason was given"]
        reason = next((line for line in lines if "error:" in line), lines[-1])
        if "unsupported version" in reason:
            raise BadInput(
                f"{reason}. A newer PostgreSQL than this {program} wrote the file; install the "
                "client of that version, or a newer one."
            )
        raise DatabaseUnavailable(f"{program} ended with code {ended.returncode}: {reason}.")


def _program(settings: Settings, name: str, server: int) -> str:
    """The program that is used: the first that is not older than the server.

    pg_dump refuses a newer server, and an older pg_restore cannot read the file.

    Raises:
        BadInput: there is none; the message says which version to install.
    """
    versions = {path: _version(path) for path in _programs(settings, name)}
    for path, version in versions.items():
        if version >= server:
            return path
    found = ", ".join(f"{path} is of version {version}" for path, version in versions.items())
    raise BadInput(
        f"{found or f'{name} is not on PATH'}; install the PostgreSQL client, version {server} "
        "(the server's) or newer."
    )


def _programs(settings: Settings, name: str) -> list[str]:
    """The programs of this name: on PATH and in the embedded server's package, its own first."""
    folders = [os.environ.get("PATH", "")]
    with suppress(StartFailed):
        own = str(of_the_wheel().folder)
        folders.insert(0 if settings.is_embedded else 1, own)
    return [path for folder in folders if (path := shutil.which(name, path=folder))]


def _version(program: str) -> int:
    """The major version of a program; 0 if it does not say it."""
    try:
        answer = subprocess.run(  # noqa: S603 - Postgres's own programs
            [program, "--version"], capture_output=True, text=True, check=False
        )
    except OSError:  # it cannot be executed
        return 0
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(version[1]) if version else 0


def _keys_reminder(session: CommandSession) -> str:
    where = (
        str(session.settings.pipeline_home / "token-encryption-keys")
        if session.settings.is_embedded and not session.settings.token_encryption_keys
        else "TOKEN_ENCRYPTION_KEYS"
    )
    return f"The keys are not in it: keep {where} elsewhere, or every tenant must connect again."


_PRESENT = """
select pg_namespace.nspname
from pg_catalog.pg_namespace
where pg_namespace.nspname = any (%s)
order by pg_namespace.nspname asc
"""

# Passwords, and the right of a superuser, stay on the server. Attributes come after the role, since
# the restoring user may make roles and yet not give each of them. Settings name lists unquoted.
_ROLES = """
with recursive needed as (
    select pg_roles.oid
    from pg_catalog.pg_roles
    cross join integration.installation
    where pg_roles.rolname ~ ('^(pipeline|analyst|sink)_.*_' || installation.id || '$')
    union
    select pg_shdepend.refobjid
    from pg_catalog.pg_shdepend
    inner join pg_catalog.pg_database
        on pg_database.oid = pg_shdepend.dbid
    where pg_shdepend.refclassid = 'pg_catalog.pg_authid'::regclass
        and pg_database.datname = current_database()
    union
    select pg_auth_members.member
    from needed
    inner join pg_catalog.pg_auth_members
        on pg_auth_members.roleid = needed.oid
),

roles as (
    select pg_roles.*
    from needed
    inner join pg_catalog.pg_roles
        on pg_roles.oid = needed.oid
)

select statements.text
from (
    select
        1 as step,
        format('create role %I ', roles.rolname)
        || case when roles.rolcanlogin then 'login' else 'nologin' end as text
    from roles
    union
    select
        2 as step,
        format('alter role %I %s', roles.rolname, attributes.name) as text
    from roles
    cross join lateral (
        values
            (roles.rolcreaterole, 'createrole'),
            (roles.rolbypassrls, 'bypassrls'),
            (not roles.rolinherit, 'noinherit')
    ) as attributes (is_set, name)
    where attributes.is_set
    union
    select
        3 as step,
        format(
            case
                when settings.name = 'search_path' then 'alter role %I set %I to %s'
                else 'alter role %I set %I to %L'
            end,
            roles.rolname,
            settings.name,
            settings.value
        ) as text
    from roles
    cross join lateral unnest(roles.rolconfig) as entry (text)
    cross join lateral (
        select
            split_part(entry.text, '=', 1) as name,
            substr(entry.text, strpos(entry.text, '=') + 1) as value
    ) as settings
    union
    select
        4 as step,
        format('grant %I to %I', roles.rolname, member.rolname)
        || case when bool_or(pg_auth_members.admin_option) then ' with admin option' else '' end
            as text
    from roles
    inner join pg_catalog.pg_auth_members
        on pg_auth_members.roleid = roles.oid
    inner join pg_catalog.pg_roles as member
        on member.oid = pg_auth_members.member
    group by
        roles.rolname,
        member.rolname
) as statements
order by
    statements.step asc,
    statements.text asc
"""
