"""Who is overdue: one look, every tenant, each by its own schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipedrive_pipeline.sync.schedule.freshness import GRACE, freshness
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, ControlTables

CONNECTED = datetime(2026, 6, 1, tzinfo=UTC)
TWO = datetime(2026, 7, 1, 2, tzinfo=UTC)  # when both are due, in UTC
JUST_IN_TIME = TWO + GRACE - timedelta(minutes=1)
TOO_LATE = TWO + GRACE + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def connected_in_june(control: ControlTables) -> None:
    control.run("update integration.connections set connected_at = %s", [CONNECTED])


def ran(
    control: ControlTables, tenant: str, at: datetime, status: str = "success", **more: object
) -> None:
    """A run of this tenant, as the history holds it."""
    values = {"sync_type": "incremental", "errors": "[]", "resume_at": None, **more}
    control.run(
        "insert into integration.runs (tenant_id, system, sync_type, trigger, started_at,"
        " status, completed_at, errors, resume_at) values (%s, 'pipedrive', %s, 'schedule', %s, %s,"
        " case when %s = 'running' then null else %s end, %s::jsonb, %s)",
        [
            tenant,
            values["sync_type"],
            at,
            status,
            status,
            at,
            values["errors"],
            values["resume_at"],
        ],
    )


def overdue(control: ControlTables, now: datetime) -> list[str]:
    return [sync.scope.tenant.slug for sync in freshness(control.warehouse, now).overdue]


def test_a_tenant_is_overdue_when_its_grace_is_over_and_no_sync_succeeded(
    control: ControlTables,
) -> None:
    """One fresh tenant must not hide another."""
    ran(control, "acme", TWO + timedelta(minutes=3))
    ran(control, "beta", TWO - timedelta(days=1))

    assert overdue(control, JUST_IN_TIME) == []
    assert overdue(control, TOO_LATE) == ["beta"]


def test_a_failed_run_does_not_make_a_tenant_fresh_and_its_code_is_shown(
    control: ControlTables,
) -> None:
    for tenant in (ACME, BETA):
        ran(control, tenant.slug, TWO - timedelta(days=1))
    ran(control, "acme", TWO, "failed", errors='[{"code": "source_unavailable", "message": "x"}]')
    ran(control, "beta", TWO, sync_type="sweep")

    (overdue,) = freshness(control.warehouse, TOO_LATE).overdue

    assert str(overdue) == (
        "acme/pipedrive: due 2026-07-01 02:00 UTC, last good sync 2026-06-30 02:00 UTC; "
        "its last run: failed (source_unavailable)"
    )


def test_a_rebuild_from_raw_makes_nothing_fresher(control: ControlTables) -> None:
    for tenant in (ACME, BETA):
        ran(control, tenant.slug, TWO, sync_type="remap")

    assert overdue(control, TOO_LATE) == ["acme", "beta"]


def test_who_is_being_synced_is_not_overdue(control: ControlTables) -> None:
    """A long read ends by itself."""
    ran(control, "acme", TWO, "running")
    ran(control, "beta", TWO, "running")

    assert overdue(control, TOO_LATE) == []


def test_a_paused_tenant_is_overdue_and_says_until_when(control: ControlTables) -> None:
    """A refusal that named a wait of 30 days once kept a tenant's tables old in silence."""
    paused = '[{"code": "budget_spent", "message": "x"}]'
    ran(control, "acme", TWO - timedelta(days=1))
    ran(control, "acme", TWO, "paused", resume_at=TWO + timedelta(hours=22), errors=paused)
    ran(control, "beta", TWO)

    assert overdue(control, JUST_IN_TIME) == []
    (late,) = freshness(control.warehouse, TOO_LATE).overdue
    assert late.scope.tenant == ACME
    assert late.why == "its last run: paused until 2026-07-02 00:00 UTC (budget_spent)"


def test_who_lost_its_connection_is_overdue_and_who_wants_no_sync_is_not(
    control: ControlTables,
) -> None:
    control.run(
        "update integration.connections set state = 'needs_reauth' where tenant_id = 'acme'"
    )
    control.run(
        "insert into integration.sync_settings (tenant_id, system, auto_sync)"
        " values ('beta', 'pipedrive', false)"
    )

    report = freshness(control.warehouse, TOO_LATE)

    assert report.looked_at == 1
    assert [sync.why for sync in report.overdue] == ["its connection is needs_reauth"]


def test_each_tenant_has_its_own_clock(control: ControlTables) -> None:
    """Every two hours, or daily in Auckland."""
    control.run(
        "insert into integration.sync_settings (tenant_id, system, every_hours, time_zone) values"
        " ('acme', 'pipedrive', 2, 'UTC'), ('beta', 'pipedrive', null, 'Pacific/Auckland')"
    )
    for tenant in (ACME, BETA):
        ran(control, tenant.slug, TWO)

    assert overdue(control, TWO + timedelta(hours=4, minutes=59)) == []
    assert overdue(control, TWO + timedelta(hours=5, minutes=1)) == ["acme"]
    two_in_auckland = datetime(2026, 7, 1, 14, tzinfo=UTC)
    assert "beta" not in overdue(control, two_in_auckland + GRACE - timedelta(minutes=1))
    assert "beta" in overdue(control, two_in_auckland + GRACE + timedelta(minutes=1))
