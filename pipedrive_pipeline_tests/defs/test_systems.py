"""Two systems in one installation, as Dagster runs them; two of their entities have one name."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests import forked
from pipedrive_pipeline_tests.orbit.lookalike import OrbitSandbox, serve_orbit
from pipedrive_pipeline_tests.orbit.world import seeded_orbit
from pipedrive_pipeline_tests.scenarios.world import World

pytestmark = pytest.mark.slow
Worker = Callable[..., dict[str, Any]]
PATIENCE_SECONDS = 100
MARTS = {"crm/users", "crm/customers", "crm/contacts"}


@pytest.fixture
def orbit() -> Iterator[OrbitSandbox]:
    with serve_orbit(seeded_orbit()) as running:
        yield running


@pytest.fixture
def worker(
    world: World,  # noqa: ARG001 - both set this process's environment
    instance: dg.DagsterInstance,  # noqa: ARG001
    orbit: OrbitSandbox,
) -> Worker:
    """Runs `worker.py` with both systems registered; acme is connected to Pipedrive only."""
    port = urlsplit(orbit.url).port
    variables = {
        **os.environ,
        "SYSTEM_MODULES": "pipedrive_pipeline_tests.orbit.connector",
        "ORBIT_CLIENT_ID": orbit.client_id,
        "ORBIT_CLIENT_SECRET": orbit.client_secret,
        "ORBIT_OAUTH_URL": f"http://localhost:{port}",
        "ORBIT_ALLOWED_HOSTS": "localhost",
    }

    def work(*words: str) -> dict[str, Any]:
        begun = forked.begun("pipedrive_pipeline_tests.defs.worker", words, variables)
        code, output, errors = begun.ended(PATIENCE_SECONDS)
        assert code == 0, errors[-3000:]
        facts: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return facts

    return work


def runs(world: World) -> list[tuple[str, str]]:
    """System and status of each run, oldest first."""
    return [(row["system"], row["status"]) for row in world.history()]


def test_a_system_that_is_not_connected_keeps_no_mart_from_being_built(
    world: World, worker: Worker
) -> None:
    """A second connector in the registry stopped every Pipedrive tenant: 0 customers."""
    done = worker("run", "sync", "")

    assert done["success"]
    assert set(done["materialized"]) >= MARTS
    assert not any(key.startswith("orbit/") for key in done["materialized"])
    assert runs(world) == [("pipedrive", "success")]
    assert len(world.rows("crm", "customers")) == 20


def test_a_run_by_hand_syncs_every_connected_system_one_after_another(
    world: World, worker: Worker, orbit: OrbitSandbox
) -> None:
    """Entities of one name were read twice, and materialized under the wrong system."""
    worker("connect", "orbit")

    done = worker("run", "sync", "")

    assert done["success"]
    assert runs(world) == [("pipedrive", "success"), ("orbit", "success")]
    first, second = world.history()
    assert first["completed_at"] <= second["started_at"]
    materialized: Counter[str] = Counter(done["materialized"])
    assert set(materialized.values()) == {1}
    assert {"pipedrive/users", "orbit/users", *MARTS} <= materialized.keys()
    assert {row["key"] for row in world.rows("raw_orbit_acme", "users", "key")} == {
        row["key"] for row in orbit.truth("users")
    }
    assert Counter(row["system"] for row in world.rows("crm", "customers")) == {
        "pipedrive": 20,
        "orbit": len(orbit.truth("accounts")),
    }


@pytest.mark.timeout(300)  # three interpreters, one of them with Dagster's code server
def test_a_run_by_hand_over_several_systems_waits_for_the_lock_of_each(worker: Worker) -> None:
    """It had the first one's lock as its tag, and was refused as busy by the others."""
    worker("connect", "orbit")

    needed = worker("queue", "sync")

    assert needed["queued"] == {"pipedrive": "raw/acme/pipedrive", "orbit": "raw/acme/orbit"}
    assert needed["of_one_system"] == ["raw/acme/orbit"]
    assert needed["of_marts"] == ["raw/acme/pipedrive", "raw/acme/orbit"]


def test_a_requested_run_carries_its_system_and_leaves_the_other_alone(
    world: World, worker: Worker, sandbox: Sandbox
) -> None:
    """Scheduled and requested runs lost their system on the way to Dagster."""
    worker("connect", "orbit")
    requests = sandbox.requests.count

    done = worker("run", "full_resync", "orbit")

    assert done["success"]
    assert done["tags"]["pipeline/system"] == "orbit"
    assert set(done["materialized"]) >= {"orbit/users", *MARTS}
    assert not any(key.startswith("pipedrive/") for key in done["materialized"])
    assert sandbox.requests.count == requests
    assert runs(world) == [("orbit", "success")]


def test_the_failure_of_one_system_keeps_the_next_from_nothing(
    world: World, worker: Worker, sandbox: Sandbox
) -> None:
    """Red, since somebody must connect again; Orbit's rows are there all the same."""
    worker("connect", "orbit")
    sandbox.revoke()

    done = worker("run", "sync", "")

    assert not done["success"]
    assert runs(world) == [("pipedrive", "failed"), ("orbit", "success")]
    assert set(done["materialized"]) >= {"orbit/users", *MARTS}
    assert {row["system"] for row in world.rows("crm", "customers")} == {"orbit"}
