"""History is kept for so many days; rows that are still needed stay at any age."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.retention import delete_old_history
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables

KEPT_DAYS = 30
AGES = (1, 29, 31, 4_000)  # days


def fill(control: ControlTables) -> None:
    """Rows of each age for two tenants, in every table that grows."""
    for tenant in ("acme", "beta"):
        for age in AGES:
            values = {"tenant": tenant, "age": age, "key": f"{tenant}-{age}"}
            for statement in _ROWS:
                with control.warehouse.transaction() as connection:
                    connection.execute(statement.encode(), values)


_WHOSE = "%(tenant)s, 'pipedrive'"
_AT = "now() - make_interval(days => %(age)s)"
_ROWS = (
    (
        "insert into integration.runs"
        " (tenant_id, system, sync_type, trigger, status, started_at, completed_at, dagster_run_id)"
        f" values ({_WHOSE}, 'full', 'manual', 'success', {_AT}, {_AT}, %(age)s),"
        f" ({_WHOSE}, 'sweep', 'manual', case when %(age)s = 31 then 'failed' else 'success' end,"
        f" {_AT}, {_AT}, %(age)s)"
    ),
    (
        "insert into integration.sync_requests"
        " (tenant_id, system, sync_type, trigger, state, requested_at, settled_at)"
        f" values ({_WHOSE}, 'full', 'manual', 'done', {_AT}, {_AT})"
    ),
    (
        "insert into integration.api_usage (tenant_id, system, company_id, used_on, call_kind)"
        f" values ({_WHOSE}, '77', ({_AT})::date, 'list persons')"
    ),
    (
        "insert into integration.alerts"
        " (tenant_id, system, code, sync_type, message, began_at, healed_at)"
        f" values ({_WHOSE}, 'x', 'full', 'x', {_AT}, {_AT})"
    ),
    (
        "insert into integration.rejected_values"
        " (tenant_id, system, entity, record_id, field, reason, last_seen_at)"
        f" values ({_WHOSE}, 'persons', %(age)s, 'x', 'x', {_AT})"
    ),
    (
        "insert into integration.connect_links"
        " (link_hash, tenant_id, system, created_by, expires_at)"
        f" values (%(key)s, {_WHOSE}, 'x', {_AT})"
    ),
    (
        "insert into integration.oauth_states"
        " (state_hash, session_hash, tenant_id, system, started_by, expires_at)"
        f" values (%(key)s, 'x', {_WHOSE}, 'x', {_AT})"
    ),
    (
        "insert into integration.pending_grants"
        " (id, session_hash, tenant_id, system, started_by, api_domain, company_id, company_name,"
        " company_domain, account_user_id, account_user_name, expires_at)"
        f" values (gen_random_uuid(), %(key)s, {_WHOSE}, 'x', 'x', 'x', 'x', 'x', 'x', 'x', {_AT})"
    ),
    (
        "insert into integration.outbox"
        " (tenant_id, system, mart, verb, request_hash, requested_by, created_at)"
        f" values ({_WHOSE}, 'deals', 'create', 'x', 'x', {_AT})"
    ),
)


def ages(control: ControlTables, table: str, time: str, more: str = "") -> list[Any]:
    """Ages of acme's rows in a table, in days."""
    rows = control.rows(
        f"select round(extract(epoch from now() - {time}) / 86400)::int as age"
        f" from integration.{table} where tenant_id = 'acme' {more} order by 1"
    )
    return [row["age"] for row in rows]


@pytest.mark.slow
def test_what_is_old_is_forgotten_and_what_is_needed_stays(control: ControlTables) -> None:
    fill(control)
    with control.warehouse.transaction() as connection:  # raw holds the person of 4,000 days ago
        connection.execute("create schema raw_pipedrive_acme")
        connection.execute("create table raw_pipedrive_acme.persons as select 4000::bigint as id")
    control.run(
        "insert into integration.audit_log (at, who, action) values ('1999-01-01', 'x', 'x')"
    )

    forgotten = delete_old_history(control.warehouse, Scope(ACME, SYSTEM), kept_days=KEPT_DAYS)

    assert ages(control, "runs", "started_at", "and sync_type = 'full'") == [1, 29]
    # The one failed sweep is the newest of its kind.
    assert ages(control, "runs", "started_at", "and sync_type = 'sweep'") == [1, 29, 31]
    assert ages(control, "sync_requests", "requested_at") == [1, 29]
    assert len(ages(control, "api_usage", "used_on")) == 2
    assert ages(control, "alerts", "began_at") == [1, 29]
    assert ages(control, "rejected_values", "last_seen_at") == [1, 29, 4_000]
    for table in ("connect_links", "oauth_states", "pending_grants"):
        assert ages(control, table, "expires_at") == [], table
    assert ages(control, "outbox", "created_at") == []
    assert forgotten["runs"] == 3
    assert control.rows(
        "select count(*) as n from integration.audit_log where at < '2000-01-01'"
    ) == [{"n": 1}]
    for table, count in (("runs", 2 * len(AGES)), ("outbox", len(AGES))):
        query = f"select count(*) as n from integration.{table} where tenant_id = 'beta'"
        assert control.rows(query) == [{"n": count}], table
    assert not any(
        delete_old_history(control.warehouse, Scope(ACME, SYSTEM), kept_days=KEPT_DAYS).values()
    )


@pytest.mark.slow
def test_the_last_run_stays_however_old_it_is(control: ControlTables) -> None:
    """When a sync is due, and how old the last sweep is, is read from it."""
    fill(control)

    delete_old_history(control.warehouse, Scope(ACME, SYSTEM), kept_days=1)

    # Of 1 day ago, a moment older than a day by now: the newest of each kind and outcome.
    assert ages(control, "runs", "started_at", "and sync_type = 'full'") == [1]
    assert ages(control, "runs", "started_at", "and sync_type = 'sweep'") == [1, 31]


def test_a_run_forgets_no_more_than_a_batch(control: ControlTables) -> None:
    """Years that are forgotten at once would hold the table, and the run."""
    fill(control)

    counts = [
        delete_old_history(
            control.warehouse, Scope(ACME, SYSTEM), kept_days=KEPT_DAYS, batch_rows=1
        )
        for _ in range(3)
    ]

    assert [row["sync_requests"] for row in counts] == [1, 1, 0]


def test_a_database_that_is_away_does_not_fail_the_run() -> None:
    nowhere = Warehouse("postgresql://127.0.0.1:9/none")

    assert not delete_old_history(nowhere, Scope(ACME, SYSTEM), kept_days=KEPT_DAYS)
