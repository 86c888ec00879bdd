"""The status of each tenant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipedrive_pipeline.connect.api import presenters
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import ScopeMissing, SourceUnavailable, UnknownTenant
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.status.entity_states import entity_states
from pipedrive_pipeline.sync.status.tenant_status import sparkline, tenant_statuses
from pipedrive_pipeline.sync.status.trends import run_figures
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables


def test_a_tenant_that_never_ran_says_so(control: ControlTables) -> None:
    (status,) = tenant_statuses(control.warehouse, ACME)

    assert status.cells()[4] == "never"
    assert status.facts()["rows_of_recent_runs"] == []


def test_the_last_run_and_its_error_are_shown(control: ControlTables) -> None:
    control.begin().complete()
    row = control.begin()
    row.errors.append(SourceUnavailable("acme: Pipedrive does not answer."))
    row.complete()

    (status,) = tenant_statuses(control.warehouse, ACME)

    assert status.facts()["last_status"] == "failed"
    assert status.last_error == "acme: Pipedrive does not answer."


def test_a_tenant_whose_lock_is_taken_is_running(control: ControlTables) -> None:
    control.begin()

    with tenant_lock(control.warehouse, ACME):
        (status,) = tenant_statuses(control.warehouse, ACME)

    assert status.is_running
    assert [status.is_running for status in tenant_statuses(control.warehouse)] == [False, False]


@pytest.mark.slow
def test_a_skipped_entity_is_shown_with_its_reason_wherever_a_status_is_read(
    control: ControlTables,
) -> None:
    """Five readers had five queries; one view answers them, so none can say another thing."""
    users = registry.system(SYSTEM).entity("users")
    refusal = ScopeMissing("acme: the plan does not include users.")
    row = control.begin()
    row.reads["users"] = EntityRead(replace(users, is_required=False), None, error=refusal)
    row.complete()
    publish_views(control.warehouse, ACME)

    (status,) = tenant_statuses(control.warehouse, ACME)
    (analysts,) = control.rows("select * from analytics_acme.sync_status")
    with control.warehouse.as_app(ACME) as connection:
        (state,) = entity_states(connection, ACME, SYSTEM)

    assert status.row.last_status == "success"
    assert status.remarks == ["users is skipped: acme: the plan does not include users."]
    shown = presenters.entity(state)
    for said in (status.facts()["entities"]["users"], analysts, shown.model_dump()):
        assert (said["state"], said["reason"]) == ("skipped", str(refusal))


def test_an_unknown_tenant_is_named(control: ControlTables) -> None:
    with pytest.raises(UnknownTenant):
        tenant_statuses(control.warehouse, Tenant("neu"))


def test_recent_runs_are_bars_with_the_newest_as_a_number(control: ControlTables) -> None:
    """What grows from night to night is seen at a glance; one that still runs has no end."""
    for fetched, seconds in ((10, 2), (1_200, 65)):
        control.run(
            "with run as (insert into integration.runs"
            " (tenant_id, system, sync_type, trigger, status, started_at, completed_at)"
            " values ('acme', 'pipedrive', 'full', 'manual', 'success',"
            " clock_timestamp(), clock_timestamp() + %s * '1 s'::interval)"
            " returning id, started_at)"
            " insert into integration.run_entities"
            " (tenant_id, run_id, system, entity, started_at, status, fetched)"
            " select 'acme', id, 'pipedrive', 'persons', started_at, 'complete', %s from run",
            [seconds, fetched],
        )
    control.begin()

    (status,) = tenant_statuses(control.warehouse, ACME)

    assert status.cells()[-3:-1] == ["▁█ 1,200", "▁█ 65"]
    assert status.facts()["seconds_of_recent_runs"] == [2, 65]


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0], "▁"), ([0, 0], "▁▁"), ([5], "█"), ([0, 7, 14], "▁▅█")]
)
def test_a_sparkline_has_one_bar_for_each_value(values: list[int], line: str) -> None:
    assert sparkline(values) == line


def test_the_trends_are_the_runs_that_ended_oldest_first_with_three_figures(
    control: ControlTables,
) -> None:
    """One tenant's rows, seconds and tokens over time; another tenant's are not among them."""
    for rows, tokens in ((7, 60), (0, 40)):
        row = control.begin()
        users = registry.system(SYSTEM).entity("users")
        row.reads["users"] = EntityRead(users, None, is_complete=True, fetched=rows)
        row.tokens_spent, row.api_calls = tokens, 2
        row.complete()
    control.begin()  # it has not ended

    with control.warehouse.transaction(ACME) as connection:
        figures = run_figures(connection, Scope(ACME, SYSTEM), limit=30)
        newest = run_figures(connection, Scope(ACME, SYSTEM), limit=1)
        of_others = run_figures(connection, Scope(Tenant("beta"), SYSTEM), limit=30)

    assert [(run.rows_read, run.tokens_spent, run.api_calls) for run in figures] == [
        (7, 60, 2),
        (0, 40, 2),
    ]
    assert newest == figures[-1:]
    assert of_others == []
