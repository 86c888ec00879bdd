"""One build of one tenant's marts: everything that changed, in one transaction, or nothing.

Work follows what changed: the raw rows of pending loads, marks of deletion that differ, links that
are not what they should be. All of raw is read when the caller asks for it (a sweep, a full read,
`remap`, `verify`), when a rebuild is due, or when the fingerprint differs: the SQL, the mapping, or
the name of a user, label or industry. Rows are compared before they are written: `on conflict do
update … where` alone locks, and so writes, every row it looks at.

Values are checked of the records that changed and of the fields whose type changed; of all records
where the rules changed, or the caller verifies. Where these are many, another connection lists the
values that do not fit while this one fills the marts: its list is true of raw even if the build is
rolled back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import psycopg
import stamina
from psycopg import errors, sql

from pipedrive_pipeline.errors import Permanent, UnknownTenant
from pipedrive_pipeline.marts.audit import audit
from pipedrive_pipeline.marts.fields.catalogue import Field, refresh_catalogue
from pipedrive_pipeline.marts.fields.value_checks import ValueCheck, ValueCounts
from pipedrive_pipeline.marts.mapping.mapped_targets import mapped_targets
from pipedrive_pipeline.marts.parallel import EVERY_ID, are_many, parallel_transactions
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.row_comparison import (
    Comparison,
    differing_count,
    mark_extra,
    store_comparison,
)
from pipedrive_pipeline.marts.targets import TARGETS, Target
from pipedrive_pipeline.marts.writing import one_of, read_count, upsert
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import added_objects, is_there
from pipedrive_pipeline.warehouse.database import Contended, Warehouse
from pipedrive_pipeline.warehouse.sql_files import audit_files, mart_file

ATTEMPTS: Final = 5  # each waits up to five seconds for a row that the app holds
RETRY_SECONDS: Final = 60
MARK_PREFIX: Final = "mark-"  # of the ids that marks of deletion are announced with


class BuildRefused(Permanent):
    """Postgres refuses a build for a column, constraint, value or right; somebody must look."""

    code = "build_refused"

    def __init__(self, tenant: Tenant, error: psycopg.Error, added: Sequence[str] = ()) -> None:
        self.tenant, self.sqlstate = tenant, error.sqlstate
        facts = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
        # Postgres's own words may quote a row or a value; the names of things do not.
        where = " ".join(fact for fact in facts if fact)
        objects = f"The app added {', '.join(added)}. " if added else ""
        super().__init__(
            f"{tenant}: Postgres refused to build the marts (SQLSTATE {error.sqlstate}"
            f"{', ' + where if where else ''}); nothing was committed. {objects}Compare the raw "
            "tables and crm with docs/tables.md."
        )


@dataclass(frozen=True)
class Counts:
    """What became of the rows that a build read; each row counts once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0  # newly marked as deleted


@dataclass(frozen=True)
class MartsBuilt:
    """Outcome of one build.

    Attributes:
        customers, contacts: rows of each mart by outcome.
        is_whole: all of raw was read.
        values: of the custom fields that were checked.
        compared: by mart, rows that had no reason to differ; empty where all of raw was not read,
            or the marts had never been built whole before.
    """

    customers: Counts
    contacts: Counts
    is_whole: bool
    values: ValueCounts = field(default_factory=ValueCounts)
    compared: Mapping[str, Comparison] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What the marts were built from and the values checked against."""

    built_from: str | None = None  # None where a rebuild is due
    values_checked: str | None = None
    pending_loads: tuple[str, ...] = ()  # those that the build takes in whole
    row_version: str = ""


@dataclass(frozen=True)
class _Work:
    """Which of a target's records are filled in, and whose values are checked; None for none."""

    target: Target
    filled: sql.Composable | None
    checked: sql.Composable | None
    explained_ids: Sequence[int] | None = None  # changed at the source; None: all may have


def build(
    warehouse: Warehouse,
    tenant: Tenant,
    system: str,
    *,
    targets: tuple[Target, ...] = TARGETS,
    is_whole: bool = False,
    is_verifying: bool = False,
    is_confirmed: bool = False,
    is_read_running: bool = False,
) -> MartsBuilt:
    """Bring a tenant's marts up to date with raw. The caller holds the lock on the marts.

    Args:
        warehouse: where both lie.
        tenant: whose rows.
        system: whose raw schema.
        targets: customers, then contacts; the tenant's mapping is added here.
        is_whole: compare every row with raw, not only those that changed.
        is_verifying: check the values of all records too.
        is_confirmed: a person said that many records are really gone.
        is_read_running: a run may be loading at the same time; loads that are not complete stay
            pending, though what is there of them may be built.

    Raises:
        AuditBreach: a promise would be broken; somebody must look.
        BuildRefused: raw or crm is not as the marts expect it; somebody must look.
        Contended: the app held rows longer than all attempts; the next run does the work.
        DatabaseUnavailable: Postgres went away; the next run does the work.
    """
    for attempt in stamina.retry_context(
        on=Contended, attempts=ATTEMPTS, timeout=RETRY_SECONDS, wait_initial=0.2
    ):
        with attempt:
            return _build_once(
                warehouse,
                tenant,
                system,
                targets,
                is_whole=is_whole or is_verifying,
                is_verifying=is_verifying,
                is_confirmed=is_confirmed,
                is_read_running=is_read_running,
            )
    raise AssertionError  # the loop above returns or raises


def _build_once(
    warehouse: Warehouse,
    tenant: Tenant,
    system: str,
    targets: tuple[Target, ...],
    *,
    is_whole: bool,
    is_verifying: bool,
    is_confirmed: bool,
    is_read_running: bool,
) -> MartsBuilt:
    try:
        with (
            raw_transaction(warehouse, tenant, system) as connection,
            parallel_transactions(warehouse, tenant, system) as submit,
        ):
            _begin_state(connection, tenant, system)
            before = _state(connection, tenant, system, is_read_running=is_read_running)
            fields = refresh_catalogue(connection, tenant, system)
            check = ValueCheck(connection, tenant, system, fields)
            targets = mapped_targets(connection, tenant, system, fields, targets)
            after = State(_fingerprint(connection, targets, fields), check.rules)
            is_changed = before.built_from != after.built_from
            retyped = None if is_verifying else check.retyped_since(before.values_checked)
            listed = {
                target.entity: submit(partial(check.list_misfits, target.entity, EVERY_ID))
                for target in targets
                if retyped is None and are_many(connection, target.entity)
            }
            built: dict[str, Counts] = {}
            compared: dict[str, Comparison] = {}
            works: list[_Work] = []
            for target in targets:  # one by one: which contacts changed follows from customers
                work = _work(
                    connection,
                    target,
                    before,
                    is_whole=is_whole or is_changed,
                    is_all=retyped is None,
                )
                works.append(work)
                built[target.name], compared[target.name] = _filled(
                    connection, tenant, work, is_changed=is_changed
                )
                if is_whole:
                    compared[target.name] += mark_extra(
                        connection, tenant, system, target, is_confirmed=is_confirmed
                    )
            values = sum((_values(check, work, retyped, listed) for work in works), ValueCounts())
            is_loaded = any(work.filled is not None for work in works)
            _settle(connection, tenant, system, before, after, values=values, is_loaded=is_loaded)
            if is_whole:  # afterwards: the former looks whether the row was written meanwhile
                store_comparison(connection, tenant, system, compared)
    except psycopg.Error as error:  # what may pass by itself has another name by now
        raise BuildRefused(tenant, error, _added(warehouse, targets)) from None
    return MartsBuilt(
        **built,
        is_whole=is_whole or is_changed,
        values=values,
        compared=compared if is_whole else {},
    )


def _added(warehouse: Warehouse, targets: Sequence[Target]) -> list[str]:
    with warehouse.transaction() as connection:
        return added_objects(connection, [target.table for target in targets])


def _begin_state(connection: psycopg.Connection, tenant: Tenant, system: str) -> None:
    """Makes the state's row where it does not exist.

    It is not locked until the build ends: a read that goes on at the same time announces its loads
    there. Two builds take turns by the lock on the marts.
    """
    try:
        connection.execute(
            """
            insert into integration.mart_state (tenant_id, system)
            values (%s, %s)
            on conflict (tenant_id, system) do nothing
            """,
            (tenant.slug, system),
        )
    except errors.ForeignKeyViolation:
        raise UnknownTenant(tenant.slug) from None


def _state(
    connection: psycopg.Connection, tenant: Tenant, system: str, *, is_read_running: bool
) -> State:
    """What the last build left.

    dlt notes a load in its own table when all of its rows are committed; marks of deletion are
    committed together with their entry among the pending loads.
    """
    row = connection.execute(
        """
        select
            case when not mart_state.is_rebuild_due then mart_state.built_from end,
            mart_state.values_checked,
            mart_state.pending_loads,
            mart_state.xmin::text
        from integration.mart_state
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        """,
        (tenant.slug, system),
    ).fetchone()
    built_from, values_checked, loads, row_version = row or (None, None, [], "")
    if is_read_running and is_there(connection, tenant.raw_schema(system), "_dlt_loads"):
        complete = {row[0] for row in connection.execute("select load_id from _dlt_loads")}
        loads = [load for load in loads if load in complete or load.startswith(MARK_PREFIX)]
    return State(built_from, values_checked, tuple(loads), row_version)


def _fingerprint(
    connection: psycopg.Connection, targets: tuple[Target, ...], fields: list[Field]
) -> str:
    """Changes with everything but raw rows that a mart is made of."""
    names = connection.execute(
        sql.SQL(
            """
            select md5(string_agg(names::text, ',' order by names.kind, names.id, names.name))
            from ({}) as names
            """
        ).format(mart_file("names").query)
    ).fetchone()
    parts = [str(names)]
    for target in targets:
        parts += [repr(target), mart_file(target.name).text]
        # A mapped option's label is looked up by its field's key.
        parts += [
            repr(sorted(field.labels.items()))
            for field in fields
            if field.labels and field.field_key in repr(target.mapped)
        ]
        parts += [file.text for file in audit_files(target.name)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _work(
    connection: psycopg.Connection, target: Target, before: State, *, is_whole: bool, is_all: bool
) -> _Work:
    """All records to fill in, all to check, or those that changed."""
    if is_whole and is_all and before.built_from is None:
        return _Work(target, EVERY_ID, EVERY_ID)
    explained = _changed(connection, target)
    changed = one_of(sorted(explained)) if explained else None
    return _Work(
        target,
        filled=EVERY_ID if is_whole else changed,
        checked=EVERY_ID if is_all else changed,
        explained_ids=[key for key, is_explained in explained.items() if is_explained],
    )


def _filled(
    connection: psycopg.Connection, tenant: Tenant, work: _Work, *, is_changed: bool
) -> tuple[Counts, Comparison]:
    """Rows by outcome; and those that had no reason to differ, where all of raw was looked at.

    Args:
        connection: the build's own.
        tenant: whose rows.
        work: which records.
        is_changed: the marts are made of something else now, so any row may differ.
    """
    target, among = work.target, work.filled
    if among is None:
        return Counts(), Comparison()
    read = connection.execute(read_count(target, among)).fetchone()
    outcomes: dict[str, tuple[int, int, int]] = {
        outcome: (rows, unexpected, links)
        for outcome, rows, unexpected, links in connection.execute(
            upsert(target, among, work.explained_ids)
        )
    }
    audit(connection, tenant, target, among)
    rows = {outcome: counts[0] for outcome, counts in outcomes.items()}
    counts = Counts(
        created=rows.get("created", 0),
        updated=rows.get("updated", 0),
        deleted=rows.get("deleted", 0),
        unchanged=(read[0] if read else 0) - sum(rows.values()),
    )
    if among is not EVERY_ID or work.explained_ids is None:
        return counts, Comparison()
    there = [counts for outcome, counts in outcomes.items() if outcome != "created"]
    return counts, Comparison(
        missing=outcomes.get("created", (0, 0, 0))[1],
        differing=0 if is_changed else sum(unexpected for _, unexpected, _ in there),
        links=0 if is_changed else sum(links for _, _, links in there),
        unhealed=differing_count(connection, target, among) if outcomes else 0,
    )


def _values(
    check: ValueCheck,
    work: _Work,
    retyped: frozenset[tuple[str, str]] | None,
    listed: Mapping[str, Future[ValueCounts]],
) -> ValueCounts:
    """Check the values of the work's records, and all values of the fields that were retyped."""
    target, counts = work.target, ValueCounts()
    if work.checked is not None:
        listing = listed.get(target.entity)
        counts += listing.result() if listing else check.list_misfits(target.entity, work.checked)
        check.strike(target.entity, work.checked)
    if keys := {key for entity, key in retyped or () if entity == target.entity}:
        counts += check.list_misfits(target.entity, EVERY_ID, only=keys)
        check.strike(target.entity, EVERY_ID, only=keys)
    if work.filled is not None:
        counts += check.of_conversions(target, work.filled)
    return counts


def _changed(connection: psycopg.Connection, target: Target) -> dict[int, bool]:
    """The ids to look at where not all are: whether a change at the source is the reason."""
    explained: dict[int, bool] = {}
    for key, is_explained in connection.execute(mart_file(f"{target.name}_changed").query):
        explained[key] = explained.get(key, False) or is_explained
    return explained


def _settle(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    before: State,
    after: State,
    *,
    values: ValueCounts,
    is_loaded: bool,
) -> None:
    """Take the loads that were built off the pending ones.

    A rebuild stays due if the row was written since it was read: the read that goes on at the same
    time may have asked for it. Where the loads changed no record (``is_loaded`` is False), their
    values are not to be compared.
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
            tenant.slug,
            system,
        ),
    )
