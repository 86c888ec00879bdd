"""Applies the files of `sql/functions` and `sql/schema` under a lock, and reports what is missing.

Belongs here: the order, the lock and the state of migrations, Alembic (`revisions.py`), and the
roles of a copied database. Does not belong here: the tables themselves (`sql/schema`), tenants' raw
schemas (`ingest/` makes them). Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html.

A run shares the lock `migration` as long as it lives; `migrate` needs it exclusively. It waits for
it a few seconds at a time, so that runs that begin meanwhile never wait longer than that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import psycopg
import stamina
from psycopg import errors

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import DATABASE_IDENTITY, Contended, Warehouse
from pipedrive_pipeline.warehouse.requirements import locale_limit, require_fit
from pipedrive_pipeline.warehouse.sql_files import SqlFile, function_files, schema_files

VERSION_TABLE: Final = "alembic_version"
VERSION_SCHEMA: Final = "integration"
PATIENCE_SECONDS = 2  # of one attempt at the lock; a sync that begins meanwhile waits no longer
WAIT_SECONDS = 3_600  # a first full read of a large account takes about that long

log = logging.getLogger(__name__)


class SchemaBehind(PersonMustAct):
    """The database lacks what this release needs; somebody must run `migrate`."""

    code = "schema_behind"


class EarlierRelease(PersonMustAct):
    """The database has the tables of a release that this one cannot upgrade."""

    code = "earlier_release"
    who_acts = "the operator"


class RoleTooWeak(PersonMustAct):
    """The role of DATABASE_URL lacks rights that a migration or our tables need."""

    code = "role_too_weak"


@dataclass(frozen=True)
class _State:
    """The migrations that a database has."""

    revision: str  # number of the newest applied file of sql/schema; empty in a new database
    is_prepared: bool  # it has an installation id
    is_copy: bool  # its roles were made for another database
    newest: dict[str, str]  # hash of the text in use, by file of sql/functions
    applied: frozenset[tuple[str, str]]  # every file of sql/functions, and hash, ever applied

    @property
    def is_newer(self) -> bool:
        """True if a newer release migrated it; this release works on it and changes nothing."""
        return self.revision > head()

    @property
    def missing(self) -> list[str]:
        """The names of the files that `migrate` would apply, in order."""
        if self.is_newer:
            return []
        files = schema_files()
        return [
            *(file.name for file in self.functions_missing),
            *(file.number for file in files if file.number > self.revision),
        ]

    @property
    def functions_missing(self) -> list[SqlFile]:
        """The files of `sql/functions` whose text is not the one in use."""
        if self.is_newer:
            return []
        return [file for file in function_files() if self.newest.get(file.name) != file.text_hash]

    @property
    def serves_this_release(self) -> bool:
        """True if all that this release needs was applied, also if a newer text replaced it."""
        return self.revision >= head() and (
            self.is_newer
            or all((file.name, file.text_hash) in self.applied for file in function_files())
        )


def head() -> str:
    """The number of the newest schema file."""
    return schema_files()[-1].number


def is_current(warehouse: Warehouse) -> bool:
    """True if `migrate` would change nothing."""
    with warehouse.connect() as connection:
        state = _state(warehouse, connection)
    return state.is_prepared and not state.is_copy and not state.missing


def is_newer(warehouse: Warehouse) -> bool:
    """True if a newer release migrated the database."""
    with warehouse.connect() as connection:
        return _state(warehouse, connection).is_newer


def require_current(warehouse: Warehouse) -> None:
    """Returns if the database can hold a warehouse, and its schema and roles are current.

    Raises:
        EarlierRelease: an operator must make a new database.
        SchemaBehind: an operator must run `migrate`.
        WrongEncoding, TransactionPooler: DATABASE_URL must name another database, or another way.
    """
    require_fit(warehouse)
    with warehouse.connect() as connection:
        state = _state(warehouse, connection)
    if not state.serves_this_release:
        raise SchemaBehind(
            f"{warehouse.place}: the schema is at {state.revision or 'nothing'}, this release "
            f"needs {head()} and its functions; run `migrate`."
        )
    if state.is_copy:
        raise SchemaBehind(
            f"{warehouse.place} is a copy: its roles and grants belong to the database that it was "
            "copied from; run `migrate`, which makes roles of its own and changes nothing else."
        )


@contextmanager
def schema_held(warehouse: Warehouse) -> Iterator[None]:
    """A block during which the schema is current and no migration begins.

    Raises:
        SchemaBehind: an operator must run `migrate`.
        Contended: a migration is running; the same again a little later works.
    """
    require_current(warehouse)
    with warehouse.lock_session() as session:
        locks.take(session, locks.MIGRATION, is_shared=True)
        require_current(warehouse)
        yield


def migrate(
    warehouse: Warehouse,
    *,
    notify: Callable[[str], None] = log.warning,
    wait_seconds: float = WAIT_SECONDS,
) -> list[str]:
    """Applies missing files in one transaction, and gives a copied database roles of its own.

    Args:
        warehouse: the database to bring up to date.
        notify: called with one line that says what is being waited for, or what a person should do.
        wait_seconds: how long running syncs and other migrations are waited for.

    Returns:
        What was applied, in order: names of `sql/functions`, numbers of `sql/schema`, `roles` for a
        copy; empty when nothing was missing.

    Raises:
        EarlierRelease: an operator must make a new database.
        RoleTooWeak: an administrator of the server must make roles or grant rights.
        Contended: syncs, or sessions that lock our tables, did not end in time.
        WrongEncoding, TransactionPooler: DATABASE_URL must name another database, or another way.
    """
    require_fit(warehouse)
    if is_current(warehouse):
        return []
    prepare(warehouse)
    with _alone(warehouse, notify, wait_seconds), warehouse.connect(autocommit=True) as connection:
        state = _state(warehouse, connection)
        with _rights_named(connection):
            for attempt in stamina.retry_context(on=Contended, attempts=12, timeout=wait_seconds):
                with attempt:
                    applied = _upgrade(warehouse, state)
            if limit := locale_limit(warehouse):
                notify(f"{warehouse.place}: {limit}.")
            return applied + (_own_roles(warehouse, notify) if state.is_copy else [])


def prepare(warehouse: Warehouse) -> None:
    """Makes the lock and the installation's id if they are missing; safe for concurrent calls."""
    with (
        warehouse.connect(autocommit=True) as connection,
        _rights_named(connection),
        suppress(errors.DuplicateSchema, errors.DuplicateTable, errors.UniqueViolation),
    ):
        if not _state(warehouse, connection).is_prepared:
            connection.execute(schema_files()[0].text.encode())


def _state(warehouse: Warehouse, connection: psycopg.Connection) -> _State:
    """Reads the database's state.

    Raises:
        EarlierRelease: its tables are another release's.
        RoleTooWeak: they are another login's.
    """
    try:
        tables = connection.execute(_TABLES).fetchone()
        assert tables is not None  # noqa: S101 - it has no `from`
        revisions, installation = tables
        revision = connection.execute(_REVISION).fetchone() if revisions else None
        number = (revision and revision[0]) or ""
        if not installation:
            if number:
                raise EarlierRelease(_EARLIER.format(place=warehouse.place, revision=number))
            return _State("", is_prepared=False, is_copy=False, newest={}, applied=frozenset())
        copy = connection.execute(_IS_COPY).fetchone()
        files = connection.execute(_FUNCTION_FILES).fetchall()
    except errors.InsufficientPrivilege as error:
        raise RoleTooWeak(
            f"role {connection.info.user} may not read our tables in {warehouse.place} "
            f"({str(error).splitlines()[0]}); let DATABASE_URL name the login that ran `migrate`."
        ) from error
    return _State(
        number,
        is_prepared=True,
        is_copy=bool(copy and copy[0]),
        newest=dict(files),
        applied=frozenset(files),
    )


@contextmanager
def _alone(
    warehouse: Warehouse, notify: Callable[[str], None], wait_seconds: float
) -> Iterator[None]:
    """Waits until no run and no other migration is alive; none begins within the block."""
    deadline = time.monotonic() + wait_seconds
    with warehouse.lock_session() as session:
        while True:
            try:
                with session.transaction():
                    locks.take(session, locks.MIGRATION, wait_seconds=PATIENCE_SECONDS)
                break
            except errors.LockNotAvailable:
                if time.monotonic() >= deadline:
                    raise
                notify("migrate waits for running syncs or another migrate to end …")
        yield


@contextmanager
def _rights_named(connection: psycopg.Connection) -> Iterator[None]:
    try:
        yield
    except errors.InsufficientPrivilege as error:
        role, database = connection.info.user, connection.info.dbname
        steps = [f'grant create on database "{database}" to "{role}"']
        if (tables := connection.execute(_TABLES).fetchone()) and tables[1]:
            row = connection.execute(_NAMED_ID)
            names = [f"pipeline_{kind}_{identity}" for (identity,) in row for kind in _KINDS]
            steps = [
                *(f"create role {name} nologin" for name in names),
                f'grant {", ".join(names)} to "{role}"',
                *steps,
            ]
        raise RoleTooWeak(
            f"role {role} may not prepare database {database} ({str(error).splitlines()[0]}); "
            f"let an administrator of the server run once: {'; '.join(steps)}; "
            "then run `migrate` again."
        ) from error


def _upgrade(warehouse: Warehouse, state: _State) -> list[str]:
    from pipedrive_pipeline.warehouse.migrations.revisions import upgrade

    applied = state.missing
    if applied:
        with warehouse.connect() as connection:
            upgrade(
                connection,
                functions=state.functions_missing,
                version_table=VERSION_TABLE,
                version_schema=VERSION_SCHEMA,
            )
    return applied


def _own_roles(warehouse: Warehouse, notify: Callable[[str], None]) -> list[str]:
    """Gives a copied or restored database roles that no other database uses.

    What the original does outside of its database, such as notifying an app, it does alone.
    """
    with warehouse.connect() as connection:
        members = connection.execute(_MEMBERS).fetchall()
        shared = connection.execute("select integration.are_roles_shared()").fetchone()
        is_shared = bool(shared and shared[0])
        connection.execute(_NEXT_ID, (is_shared,))
        connection.commit()  # an administrator may have to make the roles that this id names
        connection.execute("select integration.renew_roles()" if is_shared else _KEEP_ROLES)
        outside = connection.execute("select * from integration.leave_to_the_original()").fetchone()
        connection.execute(_SET_IDENTITY)
    for line, count in zip(_LEFT, outside or (), strict=True):
        if count:
            notify(line.format(count=count))
    for kind, login in members if is_shared else ():
        notify(
            f"{login} has no right in this copy; if it should have that of the original, run "
            f"in psql: select integration.grant_role('{kind}', '{login}');"
        )
    return ["roles"]


_LEFT: Final = (
    (
        "{count} webhooks of apps are paused, since the original goes on to notify them; if this "
        "database takes its place, run for each: `webhooks resume --tenant T --webhook ID`."
    ),
    (
        "{count} writes to a CRM wait for a decision on the page Problems, since the original may "
        "have sent them."
    ),
)
_KINDS: Final = ("engine", "app", "reader")

_TABLES = """
select
    to_regclass('integration.alembic_version') is not null,
    to_regclass('integration.installation') is not null
"""

_REVISION = "select max(alembic_version.version_num) from integration.alembic_version"

_IS_COPY = f"""
select installation.database_identity <> ({DATABASE_IDENTITY})
from integration.installation
"""

_NAMED_ID = """
select coalesce(installation.next_id, installation.id)
from integration.installation
"""

_NEXT_ID = """
update integration.installation
set next_id = case
    when %s then coalesce(next_id, left(replace(gen_random_uuid()::text, '-', ''), 8))
end
"""

_KEEP_ROLES = "select integration.make_roles()"

_SET_IDENTITY = """
update integration.installation
set database_identity = integration.database_identity()
"""

_MEMBERS = """
select
    integration.role_kind(pg_roles.rolname),
    member.rolname
from pg_catalog.pg_auth_members
inner join pg_catalog.pg_roles
    on pg_roles.oid = pg_auth_members.roleid
inner join pg_catalog.pg_roles as member
    on member.oid = pg_auth_members.member
cross join integration.installation
where pg_roles.rolname ~ ('^(pipeline|analyst)_.*_' || installation.id || '$')
    and member.rolname <> current_user
order by
    member.rolname asc,
    pg_roles.rolname asc
"""

_FUNCTION_FILES = """
select
    function_files.name,
    function_files.text_hash
from integration.function_files
order by function_files.applied_at asc
"""

_EARLIER = (
    "{place} has the tables of an earlier release (revision {revision}), which this release does "
    "not upgrade; nothing was changed. Make a new database: `createdb --encoding UTF8 --template "
    "template0 NAME`, and let DATABASE_URL name it; without DATABASE_URL set PIPELINE_HOME to a "
    "new folder. Then run `migrate` and connect the tenants again."
)
