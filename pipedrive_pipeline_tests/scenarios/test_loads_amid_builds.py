"""A run that needs no source builds everything while another one loads what has changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any, Literal

import pytest

from pipedrive_pipeline.marts import raw as raw_module
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.store import signal_records
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World
from pipedrive_pipeline_tests.waiting import wait_until

# By its name, because the package has a function of that name.
BUILDING = import_module("pipedrive_pipeline.marts.build")
SCOPE = Scope(ACME, SYSTEM)
pytestmark = pytest.mark.slow


@pytest.fixture
def account() -> CrmAccount:
    return seeded(30, 60)


def load_changes(world: World, account: CrmAccount) -> None:
    """Loads new and edited records of several kinds, as a sync does before it builds."""
    account.create("persons", name="Neu", org_id=1)
    account.create("organizations", name="Neu")
    account.edit_many("persons", range(1, 20), job_title="neu")
    account.edit_many("deals", range(1, 5), title="neu")
    with world.run() as run:
        list(run.read())


def is_load_waiting(world: World) -> bool:
    """True if a session waits for a raw table."""
    with world.warehouse.transaction() as connection:
        query = (
            "select exists (select from pg_locks where not granted"
            " and relation::regclass::text like 'raw_pipedrive_acme.%%')"
        )
        row = connection.execute(query).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize(("step", "sync_type"), [("_audit", "remap"), ("_work_of", "verify")])
def test_a_load_waits_for_a_build_of_everything_and_fails_nothing(
    world: World, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, step: str, sync_type: Any
) -> None:
    """Each statement of a build sees what is committed by then: a new record without its row."""
    kind: Literal["remap", "verify"] = sync_type
    world.first_sync()
    original: Callable[..., Any] = getattr(BUILDING, step)
    loads: list[Future[None]] = []
    have_waited: list[bool] = []
    with ThreadPoolExecutor(1) as pool:

        def amid_a_load(*args: Any, **named: Any) -> Any:
            if not loads:
                loads.append(pool.submit(load_changes, world, sandbox.account))
                wait_until(lambda: loads[0].done() or is_load_waiting(world), 30)
                have_waited.append(not loads[0].done())
            return original(*args, **named)

        monkeypatch.setattr(BUILDING, step, amid_a_load)
        with world.run(sync_type=kind) as run:
            built = run.build_marts()
            run.publish_views()
            run.assert_proven(run.field_facts())
        loads[0].result()

    assert have_waited == [True]  # an audit that fails once is repeated, and would hide it
    assert all(counts.unchanged >= 0 for counts in built.counts.values())
    assert not any(compared.differing or compared.missing for compared in built.compared.values())
    world.sync()
    assert_all_equals_source(world, sandbox)


def test_a_signal_is_served_while_a_raw_table_is_vacuumed(
    world: World, account: CrmAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever serves it has the lock on raw, so that nobody loads amid its build."""
    monkeypatch.setattr(raw_module, "HOLD_WAIT_SECONDS", 1)
    world.first_sync()
    account.edit("persons", 7, name="Meanwhile")
    signal_records(world.warehouse, SCOPE, "persons", ["7"])

    with world.warehouse.transaction() as vacuum:
        vacuum.execute("lock table raw_pipedrive_acme.organizations in share update exclusive mode")
        served = serve_waiting(world.warehouse, world.settings, SCOPE)

    assert served.count == 1
    assert world.raw(ACME, "persons")[6]["name"] == "Meanwhile"
