"""One build of one tenant's marts: everything that changed, in one transaction, or nothing.

Belongs here: which rows are read, the one upsert, the counts, and the state that the next build
starts from. Does not belong here: the values (`sql/marts`), the rules (`sql/audits`).

Work follows what changed: the raw rows of pending loads, marks of deletion that differ, people
whose organization arrived. All of raw is read when a rebuild is due or the fingerprint differs:
the SQL, the mapping, or the name of a user, label or industry. Rows are compared before they are
written: `on conflict do update … where` alone locks, and so writes, every row it looks at.

Where the values of many records are to be checked, another connection lists those that do not fit
while this one fills the marts: what it lists is true of raw, whatever becomes of the build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import psycopg
import stamina
from psycopg import errors, sql

from pipedrive_pipeline.errors import Permanent, UnknownTenant
from pipedrive_pipeline.marts.audit import audit
from pipedrive_pipeline.marts.beside import EVERY_ID, are_many, beside
from pipedrive_pipeline.marts.catalogue import Field, refresh_catalogue
from pipedrive_pipeline.marts.checking import ValueCheck, ValueCounts
from pipedrive_pipeline.marts.mapping.applying import mapped
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.targets import TARGETS, Target
from pipedrive_pipeline.marts.writing import one_of, read_count, upsert
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Contended, Warehouse
from pipedrive_pipeline.warehouse.sql_files import audit_files, mart_file

ATTEMPTS: Final = 5  # each waits up to five seconds for a row that the app holds
RETRY_SECONDS: Final = 60


class BuildRefused(Permanent):
    """Postgres refuses a build for a column, constraint, value or right; somebody must look."""

    code = "build_refused"

    def __init__(self, tenant: Tenant, error: psycopg.Error) -> None:
        self.tenant, self.sqlstate = tenant, error.sqlstate
        facts = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
        # Postgres's own words may quote a row or a value; the names of things do not.
        where = " ".join(fact for fact in facts if fact)
        super().__init__(
            f"{tenant}: Postgres refused to build the marts (SQLSTATE {error.sqlstate}"
            f"{', ' + where if where else ''}); nothing was committed. Compare the raw tables and "
            "crm with docs/tables.md."
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
    """What one build did. ``is_whole``: all of raw was read."""

    customers: Counts
    contacts: Counts
    is_whole: bool
    values: ValueCounts = field(default_factory=ValueCounts)


@dataclass(frozen=True)
class State:
    """Fingerprints of what the marts were built from and the values checked against."""

    built_from: str | None = None
    values_checked: str | None = None


@dataclass(frozen=True)
class _LookedAt:
    """Which of a target's records were filled in, and whose values are checked; None for none."""

    target: Target
    filled: sql.Composable | None
    checked: sql.Composable | None


def build(
    warehouse: Warehouse, tenant: Tenant, system: str, *, targets: tuple[Target, ...] = TARGETS
) -> MartsBuilt:
    """Bring a tenant's marts up to date with raw.

    Args:
        warehouse: where both lie.
        tenant: whose rows.
        system: whose raw schema.
        targets: customers, then contacts; the tenant's mapping is added here.

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
            return _build_once(warehouse, tenant, system, targets)
    raise AssertionError  # the loop above returns or raises


def _build_once(
    warehouse: Warehouse, tenant: Tenant, system: str, targets: tuple[Target, ...]
) -> MartsBuilt:
    try:
        with (
            raw_transaction(warehouse, tenant, system) as connection,
            beside(warehouse, tenant, system) as begin,
        ):
            before = _locked_state(connection, tenant, system)
            fields = refresh_catalogue(connection, tenant, system)
            check = ValueCheck(connection, tenant, system, fields)
            targets = mapped(connection, tenant, system, fields, targets)
            after = State(_fingerprint(connection, targets, fields), check.fingerprint)
            is_whole = before.built_from != after.built_from
            is_checking_all = before.values_checked != after.values_checked
            listed = {
                target.entity: begin(partial(check.list_misfits, target.entity, EVERY_ID))
                for target in targets
                if is_checking_all and are_many(connection, target.entity)
            }
            built: dict[str, Counts] = {}
            looked_at: list[_LookedAt] = []
            for target in targets:  # one by one: which contacts changed follows from customers
                looked_at.append(
                    _looked_at(connection, target, is_whole=is_whole, is_all=is_checking_all)
                )
                built[target.name] = _filled(connection, tenant, looked_at[-1])
            values = sum((_values(check, one, listed) for one in looked_at), ValueCounts())
            is_proof_due = is_whole or is_checking_all
            _settle(connection, tenant, system, after, values, is_proof_due=is_proof_due)
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError) as error:
        raise BuildRefused(tenant, error) from None
    return MartsBuilt(**built, is_whole=is_whole, values=values)


def _locked_state(connection: psycopg.Connection, tenant: Tenant, system: str) -> State:
    """What the last build left; two builds of a tenant take turns."""
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
    state = connection.execute(
        """
        select
            case when not mart_state.is_rebuild_due then mart_state.built_from end,
            mart_state.values_checked
        from integration.mart_state
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        for update
        """,
        (tenant.slug, system),
    ).fetchone()
    return State(*(state or ()))


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
            repr(sorted(one.labels.items()))
            for one in fields
            if one.labels and one.field_key in repr(target.mapped)
        ]
        parts += [file.text for file in audit_files(target.name)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _looked_at(
    connection: psycopg.Connection, target: Target, *, is_whole: bool, is_all: bool
) -> _LookedAt:
    """What a build looks at: all records to fill in, all to check, or those that changed."""
    if is_whole and is_all:
        return _LookedAt(target, EVERY_ID, EVERY_ID)
    ids = _changed_ids(connection, target)
    changed = one_of(ids) if ids else None
    return _LookedAt(
        target,
        filled=EVERY_ID if is_whole else changed,
        checked=EVERY_ID if is_all else changed,
    )


def _filled(connection: psycopg.Connection, tenant: Tenant, looked_at: _LookedAt) -> Counts:
    target, among = looked_at.target, looked_at.filled
    if among is None:
        return Counts()
    read = connection.execute(read_count(target, among)).fetchone()
    outcomes: dict[str, int] = dict(connection.execute(upsert(target, among)).fetchall())
    audit(connection, tenant, target, among)
    return Counts(
        created=outcomes.get("created", 0),
        updated=outcomes.get("updated", 0),
        deleted=outcomes.get("deleted", 0),
        unchanged=(read[0] if read else 0) - sum(outcomes.values()),
    )


def _values(
    check: ValueCheck, looked_at: _LookedAt, listed: Mapping[str, Future[ValueCounts]]
) -> ValueCounts:
    """The values of the records that were looked at; of many, they were listed meanwhile."""
    target, counts = looked_at.target, ValueCounts()
    if looked_at.checked is not None:
        listing = listed.get(target.entity)
        counts += (
            listing.result() if listing else check.list_misfits(target.entity, looked_at.checked)
        )
        check.strike(target.entity, looked_at.checked)
    if looked_at.filled is not None:
        counts += check.of_conversions(target, looked_at.filled)
    return counts


def _changed_ids(connection: psycopg.Connection, target: Target) -> list[int]:
    """The ids that the build must look at, where it does not look at all."""
    query = mart_file(f"{target.name}_changed").query
    return sorted(row[0] for row in connection.execute(query))


def _settle(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    state: State,
    values: ValueCounts,
    *,
    is_proof_due: bool,
) -> None:
    """Nothing is pending any more, but to be proven: the row has been locked since it was read."""
    connection.execute(
        """
        update integration.mart_state
        set
            pending_loads = '{}',
            unproven_loads = mart_state.unproven_loads || mart_state.pending_loads,
            is_proof_due = mart_state.is_proof_due or %s,
            is_rebuild_due = false,
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
            is_proof_due,
            state.built_from,
            state.values_checked,
            values.seen,
            values.kept,
            values.rejected,
            tenant.slug,
            system,
        ),
    )
