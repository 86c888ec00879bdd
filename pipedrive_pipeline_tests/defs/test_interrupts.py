"""A run that is cancelled in Dagster, or whose process is told to end, ends at once and says so.

With a retry policy on the step, Dagster took an interrupt for a failure to be tried again a minute
later; that attempt found nothing to do, and the run was shown as a success.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import dagster as dg
import dlt
import pytest
from dlt.common.exceptions import SignalReceivedException
from dlt.pipeline.exceptions import PipelineStepFailed

from pipedrive_pipeline.cli.job_run import RunOptions, run_system
from pipedrive_pipeline.cli.session import CommandSession
from pipedrive_pipeline.defs.event_log import EventLogStorage
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.defs.runs import new_run_id
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline_tests.scenarios.world import ACME, World

PIPEDRIVE = Scope(ACME, "pipedrive")
IN_OUR_CODE = None  # the line of the log with the price of a full read
IN_DAGSTERS_CODE = dg.DagsterEventType.ASSET_MATERIALIZATION  # it stores a result of the step
InterruptedAt = Callable[[dg.DagsterEventType | None, Callable[[], None]], None]


def cancel(instance: dg.DagsterInstance, run_id: str) -> None:
    """A person presses Terminate in the UI; the interrupt follows."""
    if run := instance.get_run_by_id(run_id):
        instance.report_run_canceling(run)


@pytest.fixture
def interrupted_at(monkeypatch: pytest.MonkeyPatch) -> InterruptedAt:
    """Has the process interrupted at the first event of a type, after something else is done."""

    def planted(event_type: dg.DagsterEventType | None, first: Callable[[], None]) -> None:
        store_event, waiting = EventLogStorage.store_event, [first]

        def interrupted(storage: EventLogStorage, event: dg.EventLogEntry) -> None:
            store_event(storage, event)
            if event.dagster_event_type is event_type and event.step_key and waiting:
                waiting.pop()()
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(EventLogStorage, "store_event", interrupted)

    return planted


@pytest.mark.slow
@pytest.mark.parametrize("event_type", [IN_OUR_CODE, IN_DAGSTERS_CODE])
@pytest.mark.parametrize("is_cancelled", [True, False])
def test_an_interrupted_run_is_not_tried_again_in_its_process(
    world: World,
    instance: dg.DagsterInstance,
    interrupted_at: InterruptedAt,
    *,
    event_type: dg.DagsterEventType | None,
    is_cancelled: bool,
) -> None:
    """A cancelled one is over; the other one is started again by run retries."""
    run_id = new_run_id()
    interrupted_at(event_type, partial(cancel, instance, run_id) if is_cancelled else lambda: None)

    result = LOCATION.resolve_job_def("full_resync").execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False, run_id=run_id
    )

    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    (row,) = world.history()
    ending = (run.status.value, row["status"], [error["code"] for error in row["errors"]])
    if is_cancelled:
        assert ending == ("CANCELED", "cancelled", ["cancelled"])
    else:
        assert ending == ("FAILURE", "failed", ["killed"])
        assert run.tags["dagster/failure_reason"] == "UNEXPECTED_TERMINATION"
    assert row["tokens_spent"] > 0  # what was spent until then is booked
    with world.warehouse.transaction() as connection:
        assert connection.execute("select code from integration.alerts").fetchall() == []


@pytest.mark.usefixtures("instance")
def test_ctrl_c_ends_a_command_at_once(world: World) -> None:
    """It waited for a minute, then said that the tenant is up to date, with exit code 0."""

    def interrupt(_read: EntityRead) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_system(
            CommandSession(world.settings, world.warehouse),
            PIPEDRIVE,
            RunOptions("full", on_page=interrupt),
        )

    (row,) = world.history()
    assert (row["status"], row["errors"][0]["code"]) == ("cancelled", "cancelled")
    assert "a person at the command line" in row["errors"][0]["message"]


def test_an_interrupt_that_dlt_caught_is_no_refused_load(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told the operator of a load that Postgres had refused."""

    def interrupted(pipeline: dlt.Pipeline, *_: object, **__: object) -> None:
        error = SignalReceivedException(signal.SIGTERM)
        raise PipelineStepFailed(pipeline, "normalize", "1", error, None)  # type: ignore[arg-type]

    monkeypatch.setattr(dlt.Pipeline, "normalize", interrupted)

    result = LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False
    )

    assert not result.success
    (row,) = world.history()
    assert [error["code"] for error in row["errors"]] == ["killed"]


@pytest.mark.slow
def test_a_cancelled_run_that_answered_a_request_may_be_executed_again(
    world: World,
    instance: dg.DagsterInstance,
    interrupted_at: InterruptedAt,
) -> None:
    """Dagster copies its tags, with the id of the request that was cancelled with it."""
    with world.warehouse.transaction(tenant=ACME) as connection:
        request = requests.request_sync(connection, PIPEDRIVE, "incremental", who="a test")
    tags, run_id = {"pipeline/request": str(request.id)}, new_run_id()
    job = LOCATION.resolve_job_def("sync")
    interrupted_at(IN_DAGSTERS_CODE, partial(cancel, instance, run_id))
    job.execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False, run_id=run_id, tags=tags
    )

    again = job.execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False, tags=tags
    )

    assert again.success
    assert [row["status"] for row in world.history()] == ["cancelled", "success"]
