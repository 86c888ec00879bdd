"""The daemon sends the alert of a run that ended without sending it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from pipedrive_pipeline.defs.failure_alerts import failed_runs
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.scenarios.world import ACME, World

pytestmark = pytest.mark.slow


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What arrives at the operator's address."""
    with receiver() as (address, alerts):
        monkeypatch.setenv("ALERT_URLS", address)
        yield alerts


def failed(instance: dg.DagsterInstance) -> tuple[dg.DagsterRun, dg.DagsterEvent]:
    """A run of acme that ended in a failure, and the event of it."""
    result = LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False
    )
    assert not result.success
    return of(instance, result.run_id)


def killed(instance: dg.DagsterInstance, **tags: str) -> tuple[dg.DagsterRun, dg.DagsterEvent]:
    """A run of acme whose process is gone, ended by the reaper or a code server."""
    dead = instance.create_run_for_job(
        LOCATION.resolve_job_def("sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "acme", **tags},
    )
    instance.report_run_failed(dead, "The run's process is gone.")
    return of(instance, dead.run_id)


def of(instance: dg.DagsterInstance, run_id: str) -> tuple[dg.DagsterRun, dg.DagsterEvent]:
    run = instance.get_run_by_id(run_id)
    ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert run is not None
    assert ends[-1].dagster_event is not None
    return run, ends[-1].dagster_event


def look(instance: dg.DagsterInstance, end: tuple[dg.DagsterRun, dg.DagsterEvent]) -> None:
    """One evaluation of the sensor."""
    run, event = end
    failed_runs(
        dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=run,
        ).for_run_failure()
    )


def test_a_crash_that_its_retry_did_not_mend_alerts_once_and_the_next_run_heals_it(
    instance: dg.DagsterInstance, arrived: list[dict[str, Any]]
) -> None:
    first, again = (killed(instance, **{"dagster/max_retries": "0"}) for _ in range(2))

    look(instance, first)
    look(instance, again)
    assert LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme"
    )

    assert [alert["title"] for alert in arrived] == [
        "acme: killed, a person must act",
        "acme: works again",
    ]
    assert "Who must act: the operator." in arrived[0]["message"]
    assert f"Run: http://127.0.0.1:3000/runs/{first[0].run_id}" in arrived[0]["message"]


def test_a_crash_that_is_tried_again_sends_no_alert(
    instance: dg.DagsterInstance, arrived: list[dict[str, Any]]
) -> None:
    """A night's reboot that healed itself wakes nobody."""
    end = killed(instance)
    assert end[0].tags["dagster/will_retry"] == "true"

    look(instance, end)

    assert arrived == []


def test_an_error_before_the_first_step_is_named_in_the_alert_and_not_tried_again(
    world: World, instance: dg.DagsterInstance, arrived: list[dict[str, Any]]
) -> None:
    """A release without its migration: the run has no row to tell from."""
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.alembic_version set version_num = '0001'")

    end = failed(instance)
    look(instance, end)

    assert [alert["title"] for alert in arrived] == ["acme: schema_behind, a person must act"]
    assert "migrate" in arrived[0]["message"]
    assert end[0].tags["dagster/will_retry"] == "false"


def test_a_run_that_sent_its_own_alert_gets_no_second_alert(
    sandbox: Sandbox, instance: dg.DagsterInstance, arrived: list[dict[str, Any]]
) -> None:
    sandbox.revoke()

    look(instance, failed(instance))

    assert [alert["title"] for alert in arrived] == ["acme: needs_reauth, a person must act"]


def test_a_run_that_found_its_tenant_busy_sends_no_alert(
    world: World, instance: dg.DagsterInstance, arrived: list[dict[str, Any]]
) -> None:
    with tenant_lock(world.warehouse, ACME):
        end = failed(instance)

    look(instance, end)

    assert arrived == []
