"""Builds one tenant's marts: everything that changed, in one transaction, or nothing.

A build reads the raw rows of pending loads, records whose deletion mark differs, and contacts with
a wrong link. It reads all of raw if the caller requests it (a sweep, a full read, `remap`,
`verify`), if a rebuild is due, or if the fingerprint differs: the SQL, the mapping, or the name of
a user, label or industry. Rows are compared before they are written, because `on conflict do update
… where` alone locks, and so writes, every row it reads.

Values are checked for changed records and for fields whose type changed; for all records if the
rules changed or the caller verifies. If these are many, another connection lists the misfits while
this one fills the marts; its list is true of raw even if the build is rolled back.
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
    RowComparison,
    differing_count,
    mark_extra,
    store_comparison,
)
from pipedrive_pipeline.marts.targets import TARGETS, Target
from pipedrive_pipeline.marts.writing import id_condition, read_count, upsert
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import added_objects, is_there
from pipedrive_pipeline.warehouse.database import Contended, Warehouse
from pipedrive_pipeline.warehouse.sql_files import audit_files, mart_file

ATTEMPTS: Final = 5  # each waits up to five seconds for a row that the app has locked
RETRY_SECONDS: Final = 60
MARK_PREFIX: Final = "mark-"  # prefix of the load ids under which deletion marks are registered


class BuildRefused(Permanent):
    """Postgres refused a build for a column, constraint, value or right; a person must act."""

    code = "build_refused"

    def __init__(self, tenant: Tenant, error: psycopg.Error, added: Sequence[str] = ()) -> None:
        self.tenant, self.sqlstate = tenant, error.sqlstate
        facts = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
        # Postgres's message may quote a row or a value; names of objects do not.
        where = " ".join(fact for fact in facts if fact)
        objects = f"The app added {', '.join(added)}. " if added else ""
        super().__init__(
            f"{tenant}: Postgres refused to build the marts (SQLSTATE {error.sqlstate}"
            f"{', ' + where if where else ''}); nothing was committed. {objects}Compare the raw "
            "tables and crm with docs/tables.md."
        )


@dataclass(frozen=True)
class RowCounts:
    """Outcome of the rows that a build read; each row counts once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0  # newly marked as deleted


@dataclass(frozen=True)
class MartsBuilt:
    """Outcome of one build.

    Attributes:
        counts: rows by outcome, by mart in the order of building.
        is_whole: all of raw was read.
        values: counts of the values that were checked.
        compared: by mart, rows that differed although their record had not changed; empty if not
            all of raw was read, or if the marts had never been built whole before.
    """

    counts: Mapping[str, RowCounts]
    is_whole: bool
    values: ValueCounts = field(default_factory=ValueCounts)
    compared: Mapping[str, RowComparison] = field(default_factory=dict)


@dataclass(frozen=True)
class MartState:
    """The state of a tenant's marts: fingerprint, rules of the value check, pending loads."""

    built_from: str | None = None  # fingerprint; None if a rebuild is due
    values_checked: str | None = None
    pending_loads: tuple[str, ...] = ()  # complete ones, which the build consumes
    row_version: str = ""


@dataclass(frozen=True)
class _TargetWork:
    """The records of a target to build, and those whose values to check; None means no record."""

    target: Target
    filled: sql.Composable | None
    checked: sql.Composable | None
    explained_ids: Sequence[int] | None = None  # changed at the source; None: any may have


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
    """Updates a tenant's marts from raw; the caller has the lock on the marts.

    Args:
        warehouse: has raw and marts.
        tenant: whose rows.
        system: whose raw schema.
        targets: customers, then contacts, without the tenant's mapping.
        is_whole: compare every row with raw, not only those that changed.
        is_verifying: check the values of all records too.
        is_confirmed: a person confirmed that many records are gone.
        is_read_running: a run may be loading at the same time; incomplete loads stay pending,
            although their rows so far may be built.

    Raises:
        AuditBreach: an audit found offending rows; a person must act.
        BuildRefused: raw or crm is not as the marts expect it; a person must act.
        Contended: the app had rows locked during all attempts; the next run does the work.
        DatabaseUnavailable: the connection was lost; the next run does the work.
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
            _ensure_state(connection, tenant, system)
            before = _state(connection, tenant, system, is_read_running=is_read_running)
            fields = refresh_catalogue(connection, tenant, system)
            check = ValueCheck(connection, tenant, system, fields)
            targets = mapped_targets(connection, tenant, system, fields, targets)
            after = MartState(_fingerprint(connection, targets, fields), check.rules)
            is_changed = before.built_from != after.built_from
            retyped = None if is_verifying else check.retyped_since(before.values_checked)
            listings = {
                target.entity: submit(partial(check.list_misfits, target.entity, EVERY_ID))
                for target in targets
                if retyped is None and are_many(connection, target.entity)
            }
            built: dict[str, RowCounts] = {}
            compared: dict[str, RowComparison] = {}
            works: list[_TargetWork] = []
            for target in targets:  # in order: changed contacts depend on the built customers
                work = _work_of(
                    connection,
                    target,
                    before,
                    is_whole=is_whole or is_changed,
                    is_all=retyped is None,
                )
                works.append(work)
                built[target.name], compared[target.name] = _write_rows(
                    connection, tenant, work, is_changed=is_changed
                )
                if is_whole:
                    compared[target.name] += mark_extra(
                        connection, tenant, system, target, is_confirmed=is_confirmed
                    )
            values = sum(
                (_check_values(check, work, retyped, listings) for work in works),
                ValueCounts(),
            )
            is_loaded = any(work.filled is not None for work in works)
            _store_state(
                connection, tenant, system, before, after, values=values, is_loaded=is_loaded
            )
            if is_whole:  # after _store_state, which checks whether the row was written meanwhile
                store_comparison(connection, tenant, system, compared)
    except psycopg.Error as error:  # transient errors have another class by now
        raise BuildRefused(tenant, error, _added(warehouse, targets)) from None
    return MartsBuilt(
        counts=built,
        is_whole=is_whole or is_changed,
        values=values,
        compared=compared if is_whole else {},
    )


def _added(warehouse: Warehouse, targets: Sequence[Target]) -> list[str]:
    with warehouse.transaction() as connection:
        return added_objects(connection, [target.table for target in targets])


def _ensure_state(connection: psycopg.Connection, tenant: Tenant, system: str) -> None:
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
            (tenant.slug, system),
        )
    except errors.ForeignKeyViolation:
        raise UnknownTenant(tenant.slug) from None


def _state(
    connection: psycopg.Connection, tenant: Tenant, system: str, *, is_read_running: bool
) -> MartState:
    """Returns the state after the last build.

    dlt records a load in its own table when all rows are committed; deletion marks are committed
    together with their entry in the pending loads.
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
    if is_read_running and is_there(connection, Scope(tenant, system).raw_schema, "_dlt_loads"):
        complete = {row[0] for row in connection.execute("select load_id from _dlt_loads")}
        loads = [load for load in loads if load in complete or load.startswith(MARK_PREFIX)]
    return MartState(built_from, values_checked, tuple(loads), row_version)


def _fingerprint(
    connection: psycopg.Connection, targets: tuple[Target, ...], fields: list[Field]
) -> str:
    """Returns a hash of everything that defines a mart's rows except the raw rows."""
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


def _work_of(
    connection: psycopg.Connection,
    target: Target,
    before: MartState,
    *,
    is_whole: bool,
    is_all: bool,
) -> _TargetWork:
    """Returns which records to build and to check: all of them, or those that changed."""
    if is_whole and is_all and before.built_from is None:
        return _TargetWork(target, EVERY_ID, EVERY_ID)
    explained = _changed(connection, target)
    changed = id_condition(sorted(explained)) if explained else None
    return _TargetWork(
        target,
        filled=EVERY_ID if is_whole else changed,
        checked=EVERY_ID if is_all else changed,
        explained_ids=[key for key, is_explained in explained.items() if is_explained],
    )


def _write_rows(
    connection: psycopg.Connection, tenant: Tenant, work: _TargetWork, *, is_changed: bool
) -> tuple[RowCounts, RowComparison]:
    """Writes a target's rows; returns counts by outcome, and the comparison if all were read.

    Args:
        connection: the build's own.
        tenant: whose rows.
        work: which records.
        is_changed: the fingerprint changed, so any row may differ.
    """
    target, condition = work.target, work.filled
    if condition is None:
        return RowCounts(), RowComparison()
    read = connection.execute(read_count(target, condition)).fetchone()
    outcomes: dict[str, tuple[int, int, int]] = {
        outcome: (rows, unexpected, links)
        for outcome, rows, unexpected, links in connection.execute(
            upsert(target, condition, work.explained_ids)
        )
    }
    audit(connection, tenant, target, condition)
    rows = {outcome: counts[0] for outcome, counts in outcomes.items()}
    counts = RowCounts(
        created=rows.get("created", 0),
        updated=rows.get("updated", 0),
        deleted=rows.get("deleted", 0),
        unchanged=(read[0] if read else 0) - sum(rows.values()),
    )
    if condition is not EVERY_ID or work.explained_ids is None:
        return counts, RowComparison()
    existing = [counts for outcome, counts in outcomes.items() if outcome != "created"]
    return counts, RowComparison(
        missing=outcomes.get("created", (0, 0, 0))[1],
        differing=0 if is_changed else sum(unexpected for _, unexpected, _ in existing),
        links=0 if is_changed else sum(links for _, _, links in existing),
        unhealed=differing_count(connection, target, condition) if outcomes else 0,
    )


def _check_values(
    check: ValueCheck,
    work: _TargetWork,
    retyped: frozenset[tuple[str, str]] | None,
    listings: Mapping[str, Future[ValueCounts]],
) -> ValueCounts:
    """Checks the values of the work's records, and all values of fields whose type changed."""
    target, counts = work.target, ValueCounts()
    if work.checked is not None:
        listing = listings.get(target.entity)
        counts += listing.result() if listing else check.list_misfits(target.entity, work.checked)
        check.delete_fitting(target.entity, work.checked)
    if keys := {key for entity, key in retyped or () if entity == target.entity}:
        counts += check.list_misfits(target.entity, EVERY_ID, only=keys)
        check.delete_fitting(target.entity, EVERY_ID, only=keys)
    if work.filled is not None:
        counts += check.list_refusals(target, work.filled)
    return counts


def _changed(connection: psycopg.Connection, target: Target) -> dict[int, bool]:
    """Returns ids of records whose row may differ: True if a change at the source explains it."""
    explained: dict[int, bool] = {}
    for key, is_explained in connection.execute(mart_file(f"{target.name}_changed").query):
        explained[key] = explained.get(key, False) or is_explained
    return explained


def _store_state(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
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
            tenant.slug,
            system,
        ),
    )
