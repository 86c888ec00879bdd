"""Runs that are started by hand: they wait for their lock, and one that cannot begin says why."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.defs.run_queue import RunQueue, locks_needed, needs_lock
from pipedrive_pipeline.defs.runs import REPOSITORY, facts_of
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of

FRAMES_MAX = 15  # of Dagster's own around the step; there were forty


def refused(done: dg.ExecuteInProcessResult) -> Any:
    """The error of the step that could not begin."""
    (failure,) = [event.step_failure_data for event in done.all_events if event.is_step_failure]
    return failure


@pytest.mark.slow
def test_a_run_by_hand_needs_the_lock_of_its_kind(world: World) -> None:
    """It was started and refused as busy; the queue lets it wait for this tag."""
    world.sync()
    by_hand = {"dagster/partition": "acme"}

    locks = [
        [*locks_needed(dg.DagsterRun(tags={**by_hand, "pipeline/sync_type": kind}, job_name="x"))]
        for kind in ("full", "remap")
    ]

    assert locks == [["raw/acme/pipedrive"], ["marts/acme"]]
    assert needs_lock(by_hand)
    assert not needs_lock({**by_hand, "pipeline/lock": "raw/acme/other"})


@pytest.mark.slow
def test_a_run_of_an_unknown_tenant_fails_in_the_queue_in_one_line(
    instance: dg.DagsterInstance,
) -> None:
    """It ended in forty frames of Dagster's own."""
    run = instance.create_run_for_job(
        LOCATION.resolve_job_def("sync"),
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={"dagster/partition": "ghost"},
    )
    queue = instance.run_coordinator
    assert isinstance(queue, RunQueue)

    ghost = queue.submit_run(dg.SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]

    assert ghost.status is dg.DagsterRunStatus.FAILURE
    assert ghost.tags["dagster/will_retry"] == "false"
    (end,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert end.dagster_event is not None
    assert "tenants add" in str(end.dagster_event.message)
    assert end.dagster_event.event_specific_data is None  # no trace


@pytest.mark.slow
def test_a_run_that_cannot_begin_shows_no_frames_of_ours(
    world: World, instance: dg.DagsterInstance
) -> None:
    """Its step says the reason and who must act; neither is retried as a crash."""
    instance.add_dynamic_partitions("tenants", ["ghost"])
    job = LOCATION.resolve_job_def("sync")

    unknown = refused(
        job.execute_in_process(instance=instance, partition_key="ghost", raise_on_error=False)
    )
    with tenant_lock(world.warehouse, ACME):
        busy = refused(
            job.execute_in_process(instance=instance, partition_key="acme", raise_on_error=False)
        )

    for failure, code in ((unknown, "unknown_tenant"), (busy, "busy")):
        assert failure.user_failure_data.metadata["error_code"].value == code
        assert failure.error.cause.stack == []
        assert len(failure.error.stack) < FRAMES_MAX


@pytest.mark.slow
def test_the_retry_of_a_killed_run_that_finds_its_tenant_busy_is_asked_for_again(
    world: World, instance: dg.DagsterInstance
) -> None:
    """It ended as busy, and run retries begin no second one: the full read was forgotten."""
    job = LOCATION.resolve_job_def("full_resync")
    with world.warehouse.transaction() as connection:
        connection.execute("delete from integration.sync_requests")  # of the connection
    with tenant_lock(world.warehouse, ACME):
        for tags in ({}, {"dagster/retry_number": "1"}):
            asked_before = requests.queued(world.warehouse, limit=10)
            refused(
                job.execute_in_process(
                    instance=instance, partition_key="acme", tags=tags, raise_on_error=False
                )
            )

    (asked,) = requests.queued(world.warehouse, limit=10)
    assert asked_before == []  # one that a person started, who reads that the tenant is busy
    assert (asked.scope, asked.sync_type, asked.trigger) == (
        Scope(ACME, "pipedrive"),
        "full",
        "manual",
    )


def test_restart_and_confirm_are_run_config_with_a_schema() -> None:
    """They were tags that a person had to type; a typing error was ignored."""
    job = LOCATION.resolve_job_def("sweep")
    scope = Scope(ACME, "pipedrive")

    valid = dg.validate_run_config(job, {"resources": {"runs": {"config": {"confirm": True}}}})
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"resources": {"runs": {"config": {"confirmed": True}}}})
    config = valid["resources"]["runs"]["config"]
    facts = facts_of({"pipeline/sync_type": "sweep"}, scope, None, config)

    assert config == {"confirm": True, "restart": False}
    assert (facts.is_confirmed, facts.is_restarted) == (True, False)


def test_runs_of_the_command_line_name_the_location_that_dagster_loads() -> None:
    """The page of a job lists the runs with this tag."""
    repository = LOCATION.get_repository_def().name

    assert f"{repository}@pipedrive_pipeline" == REPOSITORY


@pytest.mark.slow
def test_a_run_of_the_command_line_is_on_the_page_of_its_job(
    world: World, instance: dg.DagsterInstance
) -> None:
    with environment_of(world) as settings:
        assert Terminal(settings).run("sync", "--tenant", "acme").code == 0

    (run,) = instance.get_runs(
        filters=dg.RunsFilter(job_name="sync", tags={".dagster/repository": REPOSITORY})
    )

    assert run.tags["dagster/partition"] == "acme"
    assert run.tags["pipeline/lock"] == "raw/acme/pipedrive"
