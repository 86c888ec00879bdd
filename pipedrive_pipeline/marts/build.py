"""Builds one tenant's marts: everything that changed, in one transaction, or nothing.

A build reads the raw rows of pending loads and records whose deletion mark differs, and sets the
links to the rows that it wrote. A mart that no pending load concerns is left alone. It reads all of
raw, and compares all links, if the caller requests it (a sweep, a full read, `remap`,
`verify`), if a rebuild is due, or if the fingerprint differs: the SQL, the mapping, or the label of
an option. Rows are compared before they are written, because `on conflict do update … where` alone
locks, and so writes, every row it reads. Rows of other systems are neither read nor written.

Values are checked for changed records and for fields whose type changed; for all records if the
rules changed or the caller verifies. If these are many, another connection lists the misfits while
this one fills the marts; its list is true of raw even if the build is rolled back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Final

import psycopg
import stamina
from psycopg import errors, sql

from pipedrive_pipeline.errors import Permanent, UnknownTenant
from pipedrive_pipeline.marts import events
from pipedrive_pipeline.marts.audit import Breach, audit
from pipedrive_pipeline.marts.contact_points.upkeep import TABLE as CONTACT_POINTS
from pipedrive_pipeline.marts.contact_points.upkeep import update_points
from pipedrive_pipeline.marts.declared import MARTS, SCHEMA
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.fields.catalogue import Field, refresh_catalogue
from pipedrive_pipeline.marts.fields.value_checks import ValueCheck, ValueCounts
from pipedrive_pipeline.marts.mapping.mapped_sources import mapped_sources
from pipedrive_pipeline.marts.parallel_queries import EVERY_ID, are_many, parallel_transactions
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.row_comparison import (
    RowComparison,
    differing_count,
    mark_extra,
    store_comparison,
)
from pipedrive_pipeline.marts.schema_changes import missing
from pipedrive_pipeline.marts.sources import BuiltFrom, MartSource, RawColumns, mart_sources
from pipedrive_pipeline.marts.writing import (
    Known,
    changed,
    changed_entities,
    filled_marts,
    id_condition,
    linked_to,
    merged_marts,
    parts,
    parts_table,
    read_count,
    relink,
    rows,
    survivors,
    upsert,
    without_record,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.bulk_load import indexes_made_afterwards
from pipedrive_pipeline.warehouse.catalog import added_objects, is_there
from pipedrive_pipeline.warehouse.database import Contended, Warehouse, set_local
from pipedrive_pipeline.warehouse.sql_files import SqlFile, audit_files
from pipedrive_pipeline.warehouse.vacuum import renew_statistics

ATTEMPTS: Final = 5  # each waits up to five seconds for a row that the app has locked
RETRY_SECONDS: Final = 60
# Rows of a tenant that is new are in no statistics, and the next builds would be planned for one
# row of it.
MANY_CREATED: Final = 500
NOT_THERE: Final = ("42703", "42P01", "42883")  # undefined column, table, function
MARK_PREFIX: Final = "mark-"  # prefix of the load ids under which deletion marks are registered


class BuildRefused(Permanent):
    """Postgres refused a build for a column, constraint, value or right; a person must act.

    Args:
        tenant: whose marts or views they are.
        error: what Postgres said.
        added: rules and triggers of the app on the marts.
        dropped: tables and columns of `crm` that somebody dropped.
        act: what was begun.
    """

    code = "build_refused"

    def __init__(
        self,
        tenant: Tenant,
        error: psycopg.Error,
        added: Sequence[str] = (),
        dropped: Sequence[str] = (),
        *,
        act: str = "build the marts",
    ) -> None:
        self.tenant, self.sqlstate, self.dropped = tenant, error.sqlstate, tuple(dropped)
        diag = error.diag
        facts = [diag.table_name, diag.column_name, diag.constraint_name]
        # Postgres's message may quote a row or a value; names of objects do not, nor does the
        # message of a statement that names what is not there.
        if error.sqlstate in NOT_THERE and diag.context is None:
            facts.append(diag.message_primary)
        where = " ".join(fact for fact in facts if fact)
        objects = f"The app added {', '.join(added)}. " if added else ""
        repair = (
            "Compare the raw tables and crm with docs/tables.md, and the mart's select with its "
            "raw table."
        )
        if dropped:
            repair = (
                f"Somebody dropped {', '.join(dropped)}: `migrate` makes it again, then "
                f"`remap --tenant {tenant}` fills it."
            )
        super().__init__(
            f"{tenant}: Postgres refused to {act} (SQLSTATE {error.sqlstate}"
            f"{', ' + where if where else ''}); nothing was committed. {objects}{repair}"
        )


@dataclass(frozen=True)
class RowCounts:
    """Outcome of the rows that a build read; each row counts once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0  # newly marked as deleted

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.created + other.created,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.deleted + other.deleted,
        )


@dataclass(frozen=True)
class MartsBuilt:
    """Outcome of one build.

    Attributes:
        counts: rows by outcome, by mart in the order of building.
        is_whole: all of raw was read.
        values: counts of the values that were checked.
        compared: by mart, rows that differed although their record had not changed; empty if not
            all of raw was read, or if the marts had never been built whole before.
        built_from: the sources; None where nothing was built.
    """

    counts: Mapping[str, RowCounts]
    is_whole: bool
    values: ValueCounts = field(default_factory=ValueCounts)
    compared: Mapping[str, RowComparison] = field(default_factory=dict)
    built_from: BuiltFrom | None = None


@dataclass(frozen=True)
class MartState:
    """The state of a tenant's marts: fingerprint, rules of the value check, pending loads."""

    built_from: str | None = None  # fingerprint; None if a rebuild is due
    values_checked: str | None = None
    pending_loads: tuple[str, ...] = ()  # complete ones, which the build consumes
    has_pending: bool = False  # complete or not
    row_version: str = ""
    noted: frozenset[str] = frozenset()  # marts whose changes a webhook of an app wants


@dataclass(frozen=True)
class _MartWork:
    """The records of a mart to build, and those whose values to check; None means no record."""

    source: MartSource
    built: sql.Composable | None
    checked: sql.Composable | None
    changed_ids: Sequence[str] | None = None  # remote ids of the records to build; None: all
    explained_ids: Sequence[str] | None = None  # changed at the source; None: any may have

    @property
    def is_compared(self) -> bool:
        """True if every row is compared, and the reason of each difference is known."""
        return self.built is EVERY_ID and self.explained_ids is not None


@dataclass
class _Written:
    """Rows of a mart that a build has written so far."""

    read: int = 0
    outcomes: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # see `upsert`
    relinked: list[tuple[str, bool, bool, bool]] = field(default_factory=list)  # see `relink`


def build(
    warehouse: Warehouse,
    scope: Scope,
    *,
    sources: tuple[MartSource, ...] | None = None,
    is_whole: bool = False,
    is_verifying: bool = False,
    is_confirmed: bool = False,
    is_read_running: bool = False,
    is_raw_held: bool = False,
) -> MartsBuilt:
    """Updates a tenant's marts from one system's raw; the caller has the lock on the marts.

    Args:
        warehouse: has raw and marts.
        scope: whose rows, from which system.
        sources: of the marts, in the order of building, without the tenant's mapping; None: all
            that the system has.
        is_whole: compare every row with raw, not only those that changed.
        is_verifying: check the values of all records too.
        is_confirmed: a person confirmed that many records are gone.
        is_read_running: a run is reading; incomplete loads stay pending, although their rows so far
            may be built.
        is_raw_held: that run is another one, so it may load at the same time: it waits for the end
            of the build.

    Raises:
        AuditBreach: an audit found offending rows, twice; a person must act.
        BuildRefused: raw or crm is not as the marts expect it; a person must act.
        Contended: the app had rows locked during all attempts; the next run does the work.
        DatabaseUnavailable: the connection was lost; the next run does the work.
    """
    build_once = partial(
        _build_once,
        warehouse,
        scope,
        mart_sources(scope.system) if sources is None else sources,
        is_whole=is_whole or is_verifying,
        is_verifying=is_verifying,
        is_confirmed=is_confirmed,
        is_read_running=is_read_running,
        is_raw_held=is_raw_held,
    )
    for attempt in stamina.retry_context(
        on=Contended, attempts=ATTEMPTS, timeout=RETRY_SECONDS, wait_initial=0.2
    ):
        with attempt:
            try:
                built = build_once()
            except Breach:  # the app may have changed a row between its comparison and its audit
                built = build_once()
            renew_statistics(
                warehouse,
                {
                    mart_of(name).table: mart_of(name).key_columns
                    for name, counts in built.counts.items()
                    if counts.created >= MANY_CREATED
                },
            )
            return built
    raise AssertionError  # the loop above returns or raises


def is_build_due(connection: psycopg.Connection, scope: Scope) -> bool:
    """True unless the last build left nothing to do, and no load or mark has come to raw since."""
    values = [scope.tenant.slug, scope.system]
    row = connection.execute(_IS_BUILT, values).fetchone()
    return row is None or not row[0]


def _build_once(
    warehouse: Warehouse,
    scope: Scope,
    sources: tuple[MartSource, ...],
    *,
    is_whole: bool,
    is_verifying: bool,
    is_confirmed: bool,
    is_read_running: bool,
    is_raw_held: bool,
) -> MartsBuilt:
    try:
        with (
            raw_transaction(warehouse, scope, is_held=is_raw_held) as connection,
            parallel_transactions(warehouse, scope) as submit,
        ):
            _ensure_state(connection, scope)
            before = _state(connection, scope, is_read_running=is_read_running)
            fields = refresh_catalogue(connection, scope)
            check = ValueCheck(connection, scope, fields)
            sources = mapped_sources(connection, scope, fields, sources)
            fingerprint = _fingerprint(connection, sources, fields)
            after = MartState(fingerprint, check.rules)
            is_changed = before.built_from != after.built_from
            retyped = None if is_verifying else check.retyped_since(before.values_checked)
            listings = {
                source.entity: submit(partial(check.list_misfits, source, EVERY_ID))
                for source in sources
                if retyped is None
                and not source.is_of_parts
                and are_many(connection, source.entity)
            }
            is_every = is_whole or is_changed or retyped is None
            active = _active(connection, sources, before, is_every=is_every)
            works = [
                _work_of(
                    connection,
                    source,
                    before,
                    is_whole=is_whole or is_changed,
                    is_all=retyped is None,
                )
                if source.name in active
                else _MartWork(source, None, None, (), ())
                for source in sources
            ]
            works = [_with_parts(connection, work) for work in works]
            events.begin(connection, before.noted)
            written, known = _write(connection, works, before.noted)
            compared = {source.name: RowComparison() for source in sources}
            for work, done in zip(works, written, strict=True):
                if work.source.name not in active and not done.relinked:
                    continue
                with _planned(connection, is_whole=work.changed_ids is None):
                    _audit(connection, scope.tenant, work, done)
                    if is_whole:
                        compared[work.source.name] = _comparison(
                            connection, work, done, known, is_changed=is_changed
                        ) + mark_extra(
                            connection,
                            scope.tenant,
                            work.source,
                            is_confirmed=is_confirmed,
                            is_noted=work.source.name in before.noted,
                        )
            _update_points(connection, scope, works)
            events.record(connection, scope.tenant, before.noted)
            values = sum(
                (_check_values(check, work, retyped, listings) for work in works),
                ValueCounts(),
            )
            is_loaded = any(work.built is not None for work in works)
            _store_state(connection, scope, before, after, values=values, is_loaded=is_loaded)
            if is_whole:  # after _store_state, which checks whether the row was written meanwhile
                store_comparison(connection, scope, compared)
    except psycopg.Error as error:  # transient errors have another class by now
        raise refused(warehouse, scope.tenant, error) from None
    return MartsBuilt(
        counts={
            work.source.name: _counts(work, done) for work, done in zip(works, written, strict=True)
        },
        is_whole=is_whole or is_changed,
        values=values,
        compared=compared if is_whole else {},
        built_from=BuiltFrom(sources, fingerprint),
    )


def refused(
    warehouse: Warehouse, tenant: Tenant, error: psycopg.Error, *, act: str = "build the marts"
) -> BuildRefused:
    """Returns the error that names what of Postgres's refusal can be seen in the catalogue."""
    with warehouse.transaction() as connection:
        dropped = missing(connection)
        is_there = [mart.table for mart in MARTS if f"{SCHEMA}.{mart.name}" not in dropped]
        return BuildRefused(tenant, error, added_objects(connection, is_there), dropped, act=act)


def _ensure_state(connection: psycopg.Connection, scope: Scope) -> None:
    """Inserts the state's row if it does not exist.

    The row is not locked during the build, because a read that runs at the same time registers its
    loads there. Two builds are kept apart by the lock on the marts.
    """
    try:
        connection.execute(
            """
            insert into integration.mart_state (tenant_id, system)
            values (%s, %s)
            on conflict (tenant_id, system) do nothing
            """,
            (scope.tenant.slug, scope.system),
        )
    except errors.ForeignKeyViolation:
        raise UnknownTenant(scope.tenant.slug) from None


def _state(connection: psycopg.Connection, scope: Scope, *, is_read_running: bool) -> MartState:
    """Returns the state after the last build.

    dlt records a load in its own table when all rows are committed; deletion marks are committed
    together with their entry in the pending loads.
    """
    row = connection.execute(
        f"""
        select
            case when not mart_state.is_rebuild_due then mart_state.built_from end,
            mart_state.values_checked,
            mart_state.pending_loads,
            mart_state.xmin::text,
            {events.WANTED_TYPES}
        from integration.mart_state
        where mart_state.tenant_id = %(tenant)s
            and mart_state.system = %(system)s
        """,
        {"tenant": scope.tenant.slug, "system": scope.system},
    ).fetchone()
    built_from, values_checked, loads, row_version, wanted = row or (None, None, [], "", [])
    has_pending = bool(loads)
    if is_read_running and is_there(connection, scope.raw_schema, "_dlt_loads"):
        complete = {row[0] for row in connection.execute("select load_id from _dlt_loads")}
        loads = [load for load in loads if load in complete or load.startswith(MARK_PREFIX)]
    noted = events.wanted_marts(wanted)
    return MartState(built_from, values_checked, tuple(loads), has_pending, row_version, noted)


def _fingerprint(
    connection: psycopg.Connection, sources: tuple[MartSource, ...], fields: list[Field]
) -> str:
    """Returns a hash of everything that defines a mart's rows except raw and linked rows."""
    parts = [file.text for file in audit_files()]
    parts += _contents(connection, {table for source in sources for table in source.also_read})
    for source in sources:
        parts.append(rows(source, EVERY_ID).as_string(connection))
        named = {key for keys in source.options.values() for key in keys}
        mapped = repr(source.mapped)  # a mapped option's label is looked up by its field's key
        parts += [
            repr((*field.identity, sorted(field.labels.items())))
            for field in sorted(fields, key=lambda field: field.identity)
            if field.labels
            and (
                (field.entity == source.entity and field.field_key in named)
                or field.field_key in mapped
            )
        ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _contents(connection: psycopg.Connection, tables: Collection[RawColumns]) -> list[str]:
    """Returns a hash of each of these columns, which any row may depend on; they are short."""
    hashes = [
        sql.SQL(
            "(select md5(string_agg(record::text, ',' order by record::text))"
            " from (select {} from {}) as record)"
        ).format(sql.SQL(", ").join(map(sql.Identifier, table.columns)), table.identifier)
        for table in sorted(tables, key=astuple)
    ]
    query = sql.SQL("select array[{}]::text[]").format(sql.SQL(", ").join(hashes))
    row = connection.execute(query).fetchone() if hashes else None
    return [str(content) for content in row[0]] if row else []


def _active(
    connection: psycopg.Connection,
    sources: Sequence[MartSource],
    before: MartState,
    *,
    is_every: bool,
) -> set[str]:
    """Returns the marts in which there may be something to do, by one query for all of them.

    Args:
        connection: the build's own.
        sources: of the marts.
        before: the state after the last build.
        is_every: every record is looked at, not only those that changed.
    """
    if not sources or not (is_every or before.has_pending):
        return set()
    if is_every:
        return {row[0] for row in connection.execute(filled_marts(sources))}
    entities = {row[0] for row in connection.execute(changed_entities(sources))}
    return {
        source.name
        for source in sources
        if not entities.isdisjoint((source.entity, *(other.entity for other in source.changed_by)))
    }


def _work_of(
    connection: psycopg.Connection,
    source: MartSource,
    before: MartState,
    *,
    is_whole: bool,
    is_all: bool,
) -> _MartWork:
    """Returns which records to build and to check: all of them, or those that changed."""
    if is_whole and is_all and before.built_from is None:
        return _MartWork(source, EVERY_ID, EVERY_ID)
    explained: dict[int | str, bool] = {}
    for key, is_explained in connection.execute(changed(source)):
        if key is not None:
            explained[key] = explained.get(key, False) or is_explained
    changed_ids = id_condition(sorted(explained), source.record_id) if explained else None
    return _MartWork(
        source,
        built=EVERY_ID if is_whole else changed_ids,
        checked=EVERY_ID if is_all else changed_ids,
        changed_ids=None if is_whole else [str(key) for key in explained],
        explained_ids=[str(key) for key, is_explained in explained.items() if is_explained],
    )


def _with_parts(connection: psycopg.Connection, work: _MartWork) -> _MartWork:
    """Returns the work with a source whose parts are computed once, for all that read them."""
    if not work.source.is_of_parts or work.built is None:
        return work
    with _planned(connection, is_whole=work.changed_ids is None):
        connection.execute(parts(work.source, work.built))
    table = sql.Identifier("pg_temp", parts_table(work.source))
    connection.execute(sql.SQL("analyze {}").format(table))
    select = SqlFile(work.source.name, f"select * from {table.as_string(connection)}")
    return replace(work, source=replace(work.source, select=select))


def _write(
    connection: psycopg.Connection, works: Sequence[_MartWork], noted: Collection[str]
) -> tuple[list[_Written], Known]:
    """Writes the rows of every mart, then the links that the upserts could not set.

    Rows of the marts in ``noted`` are noted with their former values (`marts/events.py`).
    Returns what was written, in the order of the works, and what is known of other records.
    """
    if all(work.built is None for work in works):
        return [_Written() for _ in works], Known()
    query = merged_marts([work.source for work in works])
    with_merged = {row[0] for row in connection.execute(query)}
    before = {
        work.source.name: _survivors(connection, work.source)
        if work.source.name in with_merged
        else {}
        for work in works
    }
    merged = dict(before)  # each mart's again after its rows
    known = Known({work.source.name: work.explained_ids for work in works}, merged)
    written = [_Written() for _ in works]
    for work, mart in zip(works, written, strict=True):
        if work.built is not None:
            if not work.source.is_of_parts:
                counted = connection.execute(read_count(work.source, work.built)).fetchone()
                mart.read = counted[0] if counted else 0
            statement = upsert(
                work.source,
                work.built,
                known,
                work.changed_ids,
                is_noted=work.source.name in noted,
            )
            with (
                _planned(connection, is_whole=work.changed_ids is None),
                _filling(connection, [work], work.source.mart.table),
            ):
                mart.outcomes = {
                    outcome: (count, unexpected, links)
                    for outcome, count, unexpected, links in connection.execute(statement)
                }
            if work.source.is_of_parts:
                mart.read, _, _ = mart.outcomes.pop("read")
            merged[work.source.name] = _survivors(connection, work.source)
    touched = {work.source.name: _touched(work, before, merged) for work in works}
    for place, (work, mart) in enumerate(zip(works, written, strict=True)):
        later = {work.source.name for work in works[place:]}
        condition = _to_relink(work, touched, later)
        if condition is not None:
            with _planned(connection, is_whole=work.changed_ids is None):
                is_noted = work.source.name in noted
                statement = relink(work.source, known, condition, is_noted=is_noted)
                mart.relinked = connection.execute(statement).fetchall()
    return written, known


def _touched(
    work: _MartWork,
    before: Mapping[str, Mapping[str, str]],
    after: Mapping[str, Mapping[str, str]],
) -> Collection[str] | None:
    """Returns the rows of a mart to which links may have to change; None: any.

    Args:
        work: the records that were built.
        before: by mart, the survivors of merged records as they were.
        after: the same as they are now.
    """
    if work.changed_ids is None or (work.changed_ids and work.source.is_of_parts):
        return None
    left = set(before[work.source.name].items()) ^ set(after[work.source.name].items())
    return {*work.changed_ids, *(key for pair in left for key in pair)}


def _to_relink(
    work: _MartWork, touched: Mapping[str, Collection[str] | None], later: set[str]
) -> sql.Composable | None:
    """Returns a condition on ``target`` that selects the rows whose links to compare; None: none.

    Where all records were built, the upsert has compared the links to marts that were built before.

    Args:
        work: the records of the mart that were built.
        touched: the rows of each mart to which links may have to change.
        later: the mart itself and the marts that are built after it.
    """
    to = {link.mart: touched[link.mart] for link in work.source.links if link.mart in touched}
    if any(ids is None for ids in to.values()):
        if work.built is None:  # all is built, and this mart has no row
            return None
        is_compared = work.built is EVERY_ID and later.isdisjoint(to)
        return without_record(work.source) if is_compared else sql.SQL("true")
    ids_by_mart = {name: sorted(ids) for name, ids in to.items() if ids}
    return linked_to(work.source, ids_by_mart) if ids_by_mart else None


def _survivors(connection: psycopg.Connection, source: MartSource) -> dict[str, str]:
    return dict(connection.execute(survivors(source)).fetchall())


@contextmanager
def _planned(connection: psycopg.Connection, *, is_whole: bool) -> Iterator[None]:
    """Keeps Postgres from joining all rows of a tenant by nested loops during the block.

    A tenant that is new has no statistics: Postgres expects one row of it in each table, and would
    read all of one mart for each row of another. 20,000 customers and 60,000 contacts took hours.
    """
    if is_whole:
        set_local(connection, "enable_nestloop", "off")
    yield
    if is_whole:
        set_local(connection, "enable_nestloop", "on")


def _update_points(
    connection: psycopg.Connection, scope: Scope, works: Sequence[_MartWork]
) -> None:
    """Brings the contact points of the rows that were built up to date."""
    pointed = [work for work in works if work.built is not None and work.source.mart.points]
    with _filling(connection, pointed, CONTACT_POINTS):
        for work in pointed:
            with _planned(connection, is_whole=work.changed_ids is None):
                update_points(
                    connection,
                    scope.tenant,
                    work.source.mart,
                    system=scope.system,
                    ids=work.changed_ids,
                )


@contextmanager
def _filling(
    connection: psycopg.Connection, works: Sequence[_MartWork], table: tuple[str, str]
) -> Iterator[None]:
    """Makes the indexes of an empty table after the block if the works read many records."""
    with ExitStack() as stack:
        if any(
            work.built is EVERY_ID and are_many(connection, work.source.entity) for work in works
        ):
            stack.enter_context(indexes_made_afterwards(connection, table))
        yield


def _counts(work: _MartWork, written: _Written) -> RowCounts:
    """Returns a mart's rows by outcome; a row that was relinked only is updated."""
    count = {outcome: counts[0] for outcome, counts in written.outcomes.items()}
    relinked = [key for key, is_written, _, _ in written.relinked if not is_written]
    retired = count.pop("retired", 0)  # not among the rows that were read
    changed = None if work.changed_ids is None else set(work.changed_ids)
    read = [key for key in relinked if changed is None or key in changed]
    return RowCounts(
        created=count.get("created", 0),
        updated=count.get("updated", 0) + len(relinked),
        deleted=count.get("deleted", 0) + retired,
        unchanged=written.read - sum(count.values()) - len(read),
    )


def _comparison(
    connection: psycopg.Connection,
    work: _MartWork,
    written: _Written,
    known: Known,
    *,
    is_changed: bool,
) -> RowComparison:
    """Returns how the rows differed from raw if all were compared.

    Args:
        connection: the build's own, after all rows and links were written.
        work: which records.
        written: the rows that were written.
        known: what was known of other records when they were.
        is_changed: the fingerprint changed, so any row may differ.
    """
    if not work.is_compared:
        return RowComparison()
    existing = [counts for outcome, counts in written.outcomes.items() if outcome != "created"]
    relinked = [
        is_linked_otherwise
        for _, is_written, is_expected, is_linked_otherwise in written.relinked
        if not is_written and not is_expected
    ]
    is_any_written = bool(written.outcomes or written.relinked)
    return RowComparison(
        missing=written.outcomes.get("created", (0, 0, 0))[1],
        differing=0 if is_changed else sum(counts[1] for counts in existing) + len(relinked),
        links=0 if is_changed else sum(counts[2] for counts in existing) + sum(relinked),
        unhealed=differing_count(connection, work.source, known) if is_any_written else 0,
    )


def _audit(
    connection: psycopg.Connection, tenant: Tenant, work: _MartWork, written: _Written
) -> None:
    """Audits the rows that were built, and the links that were set."""
    linked: sql.Composable | None = EVERY_ID
    if work.built is not EVERY_ID:
        ids = [*(work.changed_ids or ()), *(key for key, *_ in written.relinked)]
        linked = id_condition(ids, work.source.record_id) if ids else None
    audit(connection, tenant, work.source, work.built, linked, ids=work.changed_ids)


def _check_values(
    check: ValueCheck,
    work: _MartWork,
    retyped: frozenset[tuple[str, str]] | None,
    listings: Mapping[str, Future[ValueCounts]],
) -> ValueCounts:
    """Checks the values of the work's records, and all values of fields whose type changed."""
    source, counts = work.source, ValueCounts()
    if source.is_of_parts:  # the values are those of the record
        return counts
    if work.checked is not None:
        listing = listings.get(source.entity)
        counts += listing.result() if listing else check.list_misfits(source, work.checked)
        check.delete_fitting(source, work.checked)
    if keys := {key for entity, key in retyped or () if entity == source.entity}:
        counts += check.list_misfits(source, EVERY_ID, only=keys)
        check.delete_fitting(source, EVERY_ID, only=keys)
    if work.built is not None:
        counts += check.list_refusals(source, work.built)
    return counts


def _store_state(
    connection: psycopg.Connection,
    scope: Scope,
    before: MartState,
    after: MartState,
    *,
    values: ValueCounts,
    is_loaded: bool,
) -> None:
    """Removes the built loads from the pending ones and stores the state.

    A rebuild stays due if the row was written since it was read, because a read that runs at the
    same time may have requested it. If the loads changed no record (``is_loaded`` is False), their
    values need no comparison.
    """
    connection.execute(
        """
        update integration.mart_state
        set
            pending_loads = array(
                select pending.load_id
                from unnest(mart_state.pending_loads) as pending (load_id)
                where pending.load_id <> all (%s::text[])
            ),
            unproven_loads = mart_state.unproven_loads || %s::text[],
            is_rebuild_due = mart_state.is_rebuild_due and mart_state.xmin::text <> %s,
            built_at = now(),
            built_from = %s,
            values_checked = %s,
            values_seen = %s,
            values_kept = %s,
            values_rejected = %s
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        """,
        (
            list(before.pending_loads),
            list(before.pending_loads) if is_loaded else [],
            before.row_version,
            after.built_from,
            after.values_checked,
            values.seen,
            values.kept,
            values.rejected,
            scope.tenant.slug,
            scope.system,
        ),
    )


_IS_BUILT: Final = """
select
    mart_state.built_from is not null
    and not mart_state.is_rebuild_due
    and cardinality(mart_state.pending_loads) = 0
from integration.mart_state
where mart_state.tenant_id = %s
    and mart_state.system = %s
"""
