"""Several tenants at once, and one tenant twice at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pipedrive_pipeline.errors import Busy, ExitCode
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import is_locked, tenant_lock
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of, world_at

BETA = Tenant("acme_staging")  # the name that a loader's own staging schema of acme would have
SYNC_TYPES: tuple[SyncType, ...] = ("full", "incremental")
TENANTS, SYNCS = 8, 25
BUSY_SECONDS = 5.0  # a second on an idle machine, of which imports take most


@pytest.fixture
def account() -> CrmAccount:
    return seeded(40, 600)


def rounds_of_two_tenants(
    count: int, template: str, home: Path, sandbox: Sandbox, account: CrmAccount
) -> None:
    for number in range(count):
        with (
            databases.copy_of(template) as url,
            serve(seeded(30, 550, seed=number)) as beta_sandbox,
        ):
            world = world_at(url, home)
            world.connect(ACME, sandbox)
            world.connect(BETA, beta_sandbox)
            for sync_type in SYNC_TYPES:
                account.edit("persons", number % 600 + 1, name=f"{sync_type} {number}")
                beta_sandbox.account.edit("persons", number % 550 + 1, name=f"beta {number}")
                processes = [
                    worker.start_sync(world, tenant, sync_type=sync_type) for tenant in (ACME, BETA)
                ]
                assert [worker.ended(process) for process in processes] == [0, 0]
            assert_all_equals_source(world, sandbox, ACME)
            assert_all_equals_source(world, beta_sandbox, BETA)


@pytest.mark.slow
def test_two_tenants_synced_at_once_each_hold_their_own_rows(
    database_template: str, tmp_path: Path, sandbox: Sandbox, account: CrmAccount
) -> None:
    """With one dataset for both, 14,000 of 212,000 rows were lost in green loads."""
    rounds_of_two_tenants(2, database_template, tmp_path, sandbox, account)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_two_tenants_synced_at_once_twenty_times_each_hold_their_own_rows(
    database_template: str, tmp_path: Path, sandbox: Sandbox, account: CrmAccount
) -> None:
    rounds_of_two_tenants(20, database_template, tmp_path, sandbox, account)


@pytest.mark.long
@pytest.mark.timeout(7_200)
def test_eight_tenants_synced_at_once_twenty_five_times_each_lose_and_hinder_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """First loads included; one company's burst window is none of another's."""
    world = world_at(database_url, tmp_path)
    tenants = [Tenant(f"tenant_{number}") for number in range(TENANTS)]
    with ExitStack() as running:
        sandboxes = []
        for number, tenant in enumerate(tenants):
            account = seeded(30, 550, seed=number)
            account.company_id += number
            sandboxes.append(running.enter_context(serve(account)))
            world.connect(tenant, sandboxes[-1])
        for sync_number in range(SYNCS):
            for sandbox in sandboxes:
                sandbox.account.edit("persons", sync_number + 1, name=f"Runde {sync_number}")
                sandbox.account.create("organizations", name=f"Runde {sync_number}")
            sync_type: SyncType = "sweep" if sync_number % 10 == 5 else "incremental"
            processes = [
                worker.start_sync(world, tenant, sync_type=sync_type) for tenant in tenants
            ]
            assert [worker.ended(process) for process in processes] == [0] * TENANTS

        for tenant, sandbox in zip(tenants, sandboxes, strict=True):
            assert_all_equals_source(world, sandbox, tenant)
            assert not is_locked(world.warehouse, tenant)
            assert sandbox.requests.statuses[429] == 0
            assert {row["status"] for row in world.history(tenant)} == {"success"}


@pytest.mark.slow
def test_of_four_syncs_of_one_tenant_at_once_one_works_and_the_others_are_refused(
    world: World, sandbox: Sandbox
) -> None:
    world.first_sync()
    before = sandbox.requests.count
    refused: list[int] = []

    def start_three_more() -> None:
        others = [worker.start_sync(world, ACME) for _ in range(3)]
        refused.extend(worker.ended(process) for process in others)

    sandbox.faults.before(1, start_three_more)  # the first run waits for its first answer

    first = worker.ended(worker.start_sync(world, ACME))

    assert (first, refused) == (0, [3, 3, 3])
    assert sandbox.requests.count - before == 5
    assert_all_equals_source(world, sandbox)


def test_a_second_run_of_a_tenant_is_refused_before_anything_is_written(world: World) -> None:
    with tenant_lock(world.warehouse, ACME), pytest.raises(Busy):
        world.sync()

    assert world.history() == []


@pytest.mark.slow
def test_the_command_of_a_busy_tenant_ends_at_once_with_code_three_and_no_call(
    world: World, sandbox: Sandbox
) -> None:
    before = sandbox.requests.count

    with environment_of(world) as variables, tenant_lock(world.warehouse, ACME):
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "pipedrive_pipeline", "sync", "--tenant", "acme"],
            cwd=PROJECT_ROOT,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            used = _cpu_seconds_until_end(process)
            message = process.stderr.read() if process.stderr else ""
        took = time.monotonic() - began

    assert process.returncode == ExitCode.BUSY
    assert "another sync of this tenant is running" in message
    assert len(message.strip().splitlines()) == 1
    assert sandbox.requests.count == before
    assert world.history() == []
    assert took < BUSY_SECONDS or used < 2.0


def _cpu_seconds_until_end(process: subprocess.Popen[str]) -> float:
    """Processor time of a child: what it took, however busy the machine is."""
    watched, used = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        try:
            times = watched.cpu_times()
        except psutil.Error:
            break
        used = times.user + times.system
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    return used
