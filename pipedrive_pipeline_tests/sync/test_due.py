"""When a tenant is due: a year of nights, changes of clocks and downtime."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipedrive_pipeline.sync.schedule.due import (
    ScheduleStatus,
    SweepStatus,
    due_sweeps,
    due_syncs,
    due_verifications,
    latest_daily,
)
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, ControlTables

BERLIN = "Europe/Berlin"


def standing(**facts: object) -> ScheduleStatus:
    """A tenant of Berlin that was connected at New Year and never synced."""
    return ScheduleStatus(
        **{  # type: ignore[arg-type]
            "tenant_id": "acme",
            "system": "pipedrive",
            "sync_time": time(2, 0),
            "time_zone": BERLIN,
            "every_hours": None,
            "connected_at": datetime(2026, 1, 1, tzinfo=UTC),
            "last_started_at": None,
            "paused_until": None,
            **facts,
        }
    )


def test_two_o_clock_is_two_o_clock_in_the_tenant_s_own_zone() -> None:
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)

    assert latest_daily(now, time(2, 0), ZoneInfo(BERLIN)) == datetime(2026, 7, 1, 0, tzinfo=UTC)
    assert latest_daily(now, time(2, 0), ZoneInfo("UTC")) == datetime(2026, 7, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("at", [time(2, 0), time(2, 30), time(3, 0), time(0, 0)])
@pytest.mark.parametrize("seed", range(5))
def test_each_due_time_of_a_year_is_served_once_or_by_one_catch_up(at: time, seed: int) -> None:
    """Clocks change twice, ticks are missed at random; nothing is skipped and nothing doubled."""
    chance = random.Random(seed)  # noqa: S311 - downtime, not secrets
    zone = ZoneInfo(BERLIN)
    now, last = datetime(2026, 1, 1, tzinfo=UTC), None
    served: list[datetime] = []
    while now < datetime(2027, 1, 1, tzinfo=UTC):
        due_at = standing(sync_time=at, last_started_at=last).due_at(now)
        if due_at is not None:
            served.append(due_at)
            last = now
        now += timedelta(minutes=15) * chance.choice([1] * 200 + [8, 96, 300])

    days = [due_at.astimezone(zone).date() for due_at in served]
    assert days == sorted(set(days))
    assert all(due_at == latest_daily(due_at, at, zone) for due_at in served)


@pytest.mark.parametrize("at", [time(2, 30), time(3, 0)])
def test_a_year_without_downtime_has_one_sync_a_day(at: time) -> None:
    """Also on the day that has no half past two, and on the one that has two."""
    now, last, count = datetime(2026, 1, 1, tzinfo=UTC), None, 0
    while now < datetime(2027, 1, 1, tzinfo=UTC):
        if standing(sync_time=at, last_started_at=last).due_at(now):
            last, count = now, count + 1
        now += timedelta(minutes=15)

    assert count == 365


def test_every_few_hours_counts_from_the_daily_time() -> None:
    tenant = standing(every_hours=6, last_started_at=datetime(2026, 7, 1, 0, 1, tzinfo=UTC))

    assert tenant.due_at(datetime(2026, 7, 1, 5, 59, tzinfo=UTC)) is None
    assert tenant.due_at(datetime(2026, 7, 1, 6, 0, tzinfo=UTC)) == datetime(
        2026, 7, 1, 6, tzinfo=UTC
    )


def test_a_paused_tenant_is_left_alone_until_its_budget_returns() -> None:
    """What was paused goes on by itself then; the night's own sync comes at its hour."""
    midnight = datetime(2026, 7, 2, tzinfo=UTC)
    tenant = standing(
        sync_time=time(0, 0),
        time_zone="UTC",
        paused_until=midnight + timedelta(hours=1),
        last_started_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
    )

    assert tenant.due_at(midnight) is None
    assert tenant.due_at(midnight + timedelta(hours=1)) == midnight


def test_a_tenant_that_was_connected_after_its_hour_waits_for_the_next() -> None:
    """Connecting queued its first sync."""
    tenant = standing(connected_at=datetime(2026, 7, 1, 9, tzinfo=UTC))

    assert tenant.due_at(datetime(2026, 7, 1, 12, tzinfo=UTC)) is None


def test_any_run_answers_a_due_time(control: ControlTables) -> None:
    """A person who syncs by hand at noon has served the night that was missed."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    before = due_syncs(control.warehouse, tomorrow)
    control.begin(ACME)
    control.run("update integration.runs set started_at = %s", [tomorrow])

    assert [sync.scope.tenant for sync in before] == [ACME, BETA]
    assert [sync.scope.tenant for sync in due_syncs(control.warehouse, tomorrow)] == [BETA]


def test_a_tenant_that_wants_no_automatic_sync_is_never_due(control: ControlTables) -> None:
    control.run(
        "insert into integration.sync_settings (tenant_id, system, auto_sync)"
        " values ('acme', 'pipedrive', false)"
    )

    due = due_syncs(control.warehouse, datetime.now(UTC) + timedelta(days=1))

    assert [sync.scope.tenant for sync in due] == [BETA]


def test_a_tenant_that_wants_everything_read_is_due_for_a_full_sync(control: ControlTables) -> None:
    control.run(
        "insert into integration.sync_settings (tenant_id, system, incremental_sync)"
        " values ('acme', 'pipedrive', false)"
    )

    due = due_syncs(control.warehouse, datetime.now(UTC) + timedelta(days=1))

    assert {sync.scope.tenant: sync.sync_type for sync in due} == {
        ACME: "full",
        BETA: "incremental",
    }


def test_a_tenant_that_is_not_connected_is_never_due(control: ControlTables) -> None:
    """A revoked tenant must not be tried every quarter of an hour."""
    control.run("update integration.connections set state = 'needs_reauth'")

    assert due_syncs(control.warehouse, datetime.now(UTC) + timedelta(days=1)) == []


def sweep_standing(**facts: object) -> SweepStatus:
    """A tenant of Berlin whose first sync proved everything at New Year."""
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    return SweepStatus(
        **{  # type: ignore[arg-type]
            "tenant_id": "acme",
            "system": "pipedrive",
            "sync_time": time(2, 0),
            "time_zone": BERLIN,
            "every_hours": None,
            "attempted_at": new_year,
            "proven_at": new_year,
            "paused_until": None,
            "allowance": 15_000,
            **facts,
        }
    )


@pytest.mark.parametrize(
    ("tokens", "every_hours", "sweeps"),
    [(750, None, 365), (751, None, 52), (9_999, 24, 365), (1, 168, 52), (1, 12, 731)],
)
def test_a_year_has_a_sweep_a_day_where_it_is_cheap_and_one_a_week_where_it_is_dear(
    tokens: int, every_hours: int | None, sweeps: int
) -> None:
    """Also over the two days on which clocks change; one of them has room for one more."""
    now, count = datetime(2026, 1, 1, 4, tzinfo=UTC), 0
    tenant = sweep_standing(every_hours=every_hours, attempted_at=now, proven_at=now)
    while now < datetime(2027, 1, 1, 4, tzinfo=UTC):
        if tenant.due_at(now, lambda: tokens):
            count += 1
            tenant = replace(tenant, attempted_at=now, proven_at=now)
        now += timedelta(minutes=15)

    assert count == sweeps


def test_a_weekly_sweep_that_failed_is_tried_again_the_next_day() -> None:
    failed_at = datetime(2026, 1, 8, 3, tzinfo=UTC)
    tenant = sweep_standing(attempted_at=failed_at)

    assert tenant.due_at(failed_at + timedelta(hours=20), lambda: 9_999) is None
    assert tenant.due_at(failed_at + timedelta(hours=24), lambda: 9_999)


def test_a_sweep_is_due_where_raw_is_small_and_a_full_read_answers_it(
    control: ControlTables,
) -> None:
    """The cost comes from Postgres's own figures: a sensor reads no table of a tenant."""
    control.run("update integration.connections set connected_at = now() - interval '9 days'")
    for tenant, days, sync_type in ((ACME, 3, "full"), (BETA, 3, "sweep"), (ACME, 0, "sweep")):
        row = control.begin(tenant, sync_type)  # type: ignore[arg-type]
        control.run(
            "update integration.runs set status = 'success', completed_at = now(),"
            " started_at = now() - %s * interval '1 day' where id = %s",
            [days, row.id],
        )
        swept(control, row.id, organizations=days, persons=days)
    soon = datetime.now(UTC)

    assert [sweep.scope.tenant for sweep in due_sweeps(control.warehouse, soon)] == [BETA]

    control.run("create schema raw_pipedrive_beta")
    control.run(
        "create table raw_pipedrive_beta.persons as"
        " select i as id, repeat('x', 100) as name from generate_series(1, 40000) i"
    )
    assert due_sweeps(control.warehouse, soon) == []
    control.run("delete from raw_pipedrive_beta.persons where id > 30000")
    control.run("analyze raw_pipedrive_beta.persons")
    (due,) = due_sweeps(control.warehouse, soon)
    assert due.run_key.startswith("sweep/pipedrive/beta/20")
    control.run(
        "insert into integration.budget_statements (tenant_id, system, company_id, daily_limit,"
        " daily_left, told_at, tokens_booked, resets_at)"
        " values ('beta', 'pipedrive', '77', 20000, 1, now(), 0, now())"
    )
    assert due_sweeps(control.warehouse, soon) == []


def swept(control: ControlTables, run_id: object, **days_ago: float | None) -> None:
    """Notes of a run that its look at all records of these entities began so long ago."""
    marts = {"organizations": "customers", "persons": "contacts"}
    for entity, days in days_ago.items():
        control.run(
            "insert into integration.run_entities"
            " (tenant_id, run_id, system, entity, started_at, status, missing, swept_at)"
            " select tenant_id, id, system, %s, started_at, 'complete', 0,"
            " now() - %s::float8 * interval '1 day' from integration.runs where id = %s",
            [entity, days, run_id],
        )
        control.run(
            "insert into integration.run_marts (tenant_id, run_id, system, mart, entity)"
            " select tenant_id, id, system, %s, %s from integration.runs where id = %s",
            [marts[entity], entity, run_id],
        )


@pytest.mark.parametrize(
    ("organizations", "persons", "is_read", "is_due"),
    [
        (1, 1, True, False),
        (1, 8, True, True),  # the read of persons went on from one of last week
        (8, 1, True, True),
        (1, None, True, True),  # compared, and not believed
        (1, None, False, False),
        (1, 8, False, False),
    ],
)
def test_a_tenant_is_swept_as_long_ago_as_its_entity_that_was_looked_at_longest_ago(
    organizations: float,
    persons: float | None,
    *,
    is_read: bool,
    is_due: bool,
    control: ControlTables,
) -> None:
    """A resumed read of everything saw only a part since its last run began."""
    control.run("update integration.connections set connected_at = now() - interval '20 days'")
    control.run("delete from integration.connections where tenant_id <> 'acme'")
    control.run(
        "insert into integration.sync_settings"
        " (tenant_id, system, sweep_every_hours, entities_off)"
        " values ('acme', 'pipedrive', 168, %s)"
        " on conflict (tenant_id, system) do update set sweep_every_hours = 168,"
        " entities_off = excluded.entities_off",
        [[] if is_read else ["persons"]],
    )
    row = control.begin(ACME, "full")
    control.run(
        "update integration.runs set status = 'success', completed_at = now(),"
        " started_at = now() - interval '25 hours' where id = %s",
        [row.id],
    )
    swept(control, row.id, organizations=organizations, persons=persons)

    assert bool(due_sweeps(control.warehouse, datetime.now(UTC))) is is_due


def test_a_tenant_that_never_synced_is_not_swept(control: ControlTables) -> None:
    assert due_sweeps(control.warehouse, datetime.now(UTC) + timedelta(days=30)) == []


def test_marts_are_compared_with_raw_once_a_week_and_the_day_after_a_failure(
    control: ControlTables,
) -> None:
    """It is not requested, and a tenant that never synced has nothing to compare."""
    control.run("update integration.connections set connected_at = now() - interval '40 days'")
    now = datetime.now(UTC)

    def ran(sync_type: str, status: str, days: float) -> None:
        control.run(
            "insert into integration.runs (tenant_id, system, sync_type, trigger, status,"
            " started_at, completed_at) values ('acme', 'pipedrive', %s, 'schedule', %s, %s, %s)",
            [sync_type, status, *[now - timedelta(days=days)] * 2],
        )

    def due() -> list[str]:
        return [sync.scope.tenant.slug for sync in due_verifications(control.warehouse, now)]

    assert due() == []
    ran("full", "success", 6.0)
    assert due() == []
    ran("full", "success", 9.0)
    assert due() == ["acme"]
    (verification,) = due_verifications(control.warehouse, now)
    assert verification.run_key.startswith("verify/pipedrive/acme/20")
    ran("verify", "failed", 2.0)
    assert due() == ["acme"]
    ran("verify", "failed", 0.0)
    assert due() == []
    ran("verify", "success", 1.1)
    ran("remap", "success", 0.5)
    assert due() == []


def test_a_verification_answers_no_sync_and_no_sweep(control: ControlTables) -> None:
    """It reads nothing from the source, so it says nothing of how fresh raw is."""
    control.run("update integration.connections set connected_at = now() - interval '9 days'")
    before = [sync.scope.tenant for sync in due_syncs(control.warehouse, datetime.now(UTC))]
    for tenant in (ACME, BETA):
        control.begin(tenant, "verify").complete()

    assert [sync.scope.tenant for sync in due_syncs(control.warehouse, datetime.now(UTC))] == before
    assert set(before) == {ACME, BETA}
    query = "select from integration.connections where last_sync_at is not null"
    assert control.rows(query) == []
