"""Who tries again, how often, and that the tries of two layers do not multiply beyond a bound.

A call is tried 4 times within the attempt, a step 3 times within the run, and a run once more only
if its process died: 12 calls for one failing page in a run that lives.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import dagster as dg
import pytest
import yaml

from pipedrive_pipeline.connectors.transport import Limits
from pipedrive_pipeline.defs.failures import TRANSIENT_RETRIES
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.scenarios.world import World

CALLS_PER_FAILING_PAGE = 12
ORGANIZATIONS = "/api/v2/organizations"


@dataclass
class SkippedTime:
    """Dagster's clock between two attempts: it moves by itself, and notes by how much."""

    slept_seconds: list[float] = field(default_factory=list)

    def time(self) -> float:
        """Now, and what was slept."""
        return time.time() + sum(self.slept_seconds)

    def sleep(self, seconds: float) -> None:
        """Waits for nothing."""
        self.slept_seconds.append(seconds)


def test_the_calls_of_a_failing_page_are_bounded() -> None:
    attempts = TRANSIENT_RETRIES.max_retries + 1

    assert attempts == 3
    assert (TRANSIENT_RETRIES.delay, TRANSIENT_RETRIES.backoff) == (60, dg.Backoff.EXPONENTIAL)
    assert Limits().attempts * attempts == CALLS_PER_FAILING_PAGE


def test_no_step_has_a_retry_policy_and_run_retries_are_for_crashes() -> None:
    """A step's own retries and a run's would multiply.

    A policy would also try a step again that was interrupted; the step asks for its retries itself.
    """
    configured = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["run_retries"]

    policies = [
        node.definition.retry_policy  # type: ignore[attr-defined]
        for node in LOCATION.resolve_job_def("sync").nodes
    ]

    assert policies == [None]
    assert configured["retry_on_asset_or_op_failure"] is False
    assert configured["max_retries"] == 1


@pytest.mark.long
def test_a_source_that_stays_down_gets_twelve_requests_in_three_attempts(
    world: World,
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long for the waits within each attempt; those between attempts are skipped."""
    clock = SkippedTime()
    monkeypatch.setattr("dagster._core.execution.plan.active.time", clock)
    sandbox.faults.add("http_503", times=999, path=ORGANIZATIONS)

    result = LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False
    )

    assert not result.success
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 2
    assert [round(seconds, -1) for seconds in clock.slept_seconds] == [60, 180]
    assert len(sandbox.requests.of(ORGANIZATIONS)) == CALLS_PER_FAILING_PAGE
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/will_retry"] == "false"
    assert [row["errors"][0]["code"] for row in world.history()] == ["source_unavailable"]
