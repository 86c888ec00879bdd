"""One refresh for all callers, and no grant is lost at any point where a process dies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import lend
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey
from pipedrive_pipeline.vault.rotation import check_keys, rotate_keys
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests import forked
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany, Rotation
from pipedrive_pipeline_tests.vault.worker import serve
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup

PROCESSES, CALLERS = 8, 8  # callers in each
PATIENCE_SECONDS = 60
POINTS_MAX = 200


@contextmanager
def worker(action: str, settings: Settings) -> Iterator[Connection]:
    """A process that answers numbers; see `worker.py`."""
    context = forked.context()
    ours, its = context.Pipe()
    with ours:
        process = context.Process(target=serve, args=(action, settings, its))
        process.start()
        its.close()
        yield ours
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == 0


def one_refresh_each_round(world: VaultSetup, rotation: Rotation, rounds: int) -> None:
    world.connect_acme()
    world.oauth.rotation = rotation
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker("callers", world.vault.settings)) for _ in range(PROCESSES)
        ]
        for number in range(1, rounds + 1):
            world.expire()

            for process in workers:
                process.send(CALLERS)
            lent = [digest for process in workers for digest in process.recv()]

            assert len(lent) == PROCESSES * CALLERS == 64
            assert len(set(lent)) == 1
            assert not lent[0].startswith("error")
            assert world.oauth.count("refresh") == number
    assert world.oauth.refusals == []
    assert world.row()["state"] == "connected"


@pytest.mark.slow
@pytest.mark.parametrize("rotation", ["static", "strict"])
def test_64_callers_in_8_processes_make_one_refresh(acme: VaultSetup, rotation: Rotation) -> None:
    """Under strict rotation a second refresh would end the grant."""
    one_refresh_each_round(acme, rotation, rounds=20)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rotation", ["static", "strict"])
def test_64_callers_make_one_refresh_a_hundred_times(acme: VaultSetup, rotation: Rotation) -> None:
    one_refresh_each_round(acme, rotation, rounds=100)


@pytest.mark.slow
@pytest.mark.parametrize("rotation", ["static", "grace", "strict"])
def test_a_refresh_that_dies_anywhere_loses_no_grant_still_honoured(
    acme: VaultSetup, rotation: Rotation
) -> None:
    """SIGKILL before and after each statement, commit and call of a refresh.

    Under strict rotation the source itself must have refused, after an answer that was lost.
    """
    died = 0
    with worker("lend", acme.vault.settings) as dying:
        for point in range(1, POINTS_MAX):
            acme.forget()
            acme.connect_acme()
            acme.oauth.rotation = rotation
            acme.expire()
            dying.send(point)
            if not dying.recv():
                break
            died += 1
            acme.oauth.calls.clear()
            acme.oauth.refusals.clear()

            if rotation != "strict":
                assert works(acme)
            elif not works(acme):
                assert acme.oauth.refusals == ["invalid_grant"]
                assert acme.row()["state_reason"] == "refresh_answer_lost"
            assert acme.oauth.count("refresh") <= 1
    assert 50 <= died < POINTS_MAX - 1


@pytest.mark.slow
def test_a_rotation_of_keys_that_dies_anywhere_goes_on_where_it_ended(acme: VaultSetup) -> None:
    """Half the rows under each key is a state like any other: everything can be read."""
    old = acme.vault.settings.encryption_keys()
    both = (SecretStr(Fernet.generate_key().decode()), *old)
    after = acme.vault.settings.model_copy(update={"token_encryption_keys": both})
    died = 0
    with worker("rotate", after) as dying:
        for point in range(1, POINTS_MAX):
            acme.forget()
            acme.connect_acme()
            acme.store(Tenant("bravo"), *acme.oauth.granted(OAuthCompany(id=2)), OAuthCompany(id=2))
            dying.send(point)
            if not dying.recv():
                break
            died += 1
            vault = Vault(acme.vault.warehouse, after)

            for tenant in ("acme", "bravo"):
                assert lend(tenant, PIPEDRIVE, warehouse=vault.warehouse, settings=after)
            rotate_keys(vault)

            only_new = after.model_copy(update={"token_encryption_keys": both[:1]})
            assert check_keys(Vault(acme.vault.warehouse, only_new)) == 4
    assert 20 <= died < POINTS_MAX - 1


def test_rotated_keys_leave_nothing_that_needs_the_old_one(acme: VaultSetup) -> None:
    """And a process that still has only the old key says so, and stops no connection."""
    acme.connect_acme()
    old = acme.vault.settings.encryption_keys()
    both = (SecretStr(Fernet.generate_key().decode()), *old)
    vault = Vault(
        acme.vault.warehouse,
        acme.vault.settings.model_copy(update={"token_encryption_keys": both}),
    )

    first, second = rotate_keys(vault), rotate_keys(vault)

    assert (first.resealed_count, first.current_count) == (2, 0)
    assert (second.resealed_count, second.current_count) == (0, 2)
    with pytest.raises(WrongKey):
        lent(acme)
    assert acme.row()["state"] == "connected"
    new = vault.settings.model_copy(update={"token_encryption_keys": both[:1]})
    assert lend(ACME, PIPEDRIVE, warehouse=vault.warehouse, settings=new)


@pytest.mark.slow
def test_a_thousand_swapped_or_altered_ciphertexts_are_refused(acme: VaultSetup) -> None:
    """Each stops its own connection, sends nothing, and leaves the neighbour's alone."""
    random_of_test = random.Random(6)  # noqa: S311 - which byte, not a secret
    bravo = Tenant("bravo")
    acme.connect_acme()
    acme.store(bravo, *acme.oauth.granted(OAuthCompany(id=2)), OAuthCompany(id=2))
    mine, theirs = acme.row(), acme.row(bravo)
    foreign = [mine["refresh_token"], theirs["access_token"], theirs["refresh_token"]]
    refused = 0
    for number in range(1_000):
        good = mine["access_token"]
        at = random_of_test.randrange(len(good))
        flipped = good[:at] + chr(ord(good[at]) ^ 1) + good[at + 1 :]
        acme.execute(
            "update integration.connections set access_token = %s, state = 'connected', "
            "state_reason = null where tenant_id = 'acme'",
            flipped if number % 2 else foreign[number % 3],
        )

        with pytest.raises((SecretUnreadable, WrongKey)):
            lent(acme)

        refused += 1
    assert refused == 1_000
    assert acme.oauth.calls == []
    assert lent(acme, bravo)
    acme.execute(
        "update integration.connections set access_token = %s where tenant_id = 'acme'", foreign[1]
    )
    acme.execute("update integration.connections set state = 'connected'")
    with pytest.raises(SecretUnreadable):
        lent(acme)
    assert acme.row()["state_reason"] == "token_unreadable"


@pytest.mark.slow
def test_a_disconnect_during_a_refresh_is_the_last_word(acme: VaultSetup) -> None:
    """No token comes back to life by a run that finishes, and none is left at the source."""
    for _ in range(10):
        acme.forget()
        acme.connect_acme()
        acme.oauth.rotation = "strict"
        acme.expire()
        with ThreadPoolExecutor(8) as threads:
            callers = [threads.submit(works, acme) for _ in range(7)]
            ended = threads.submit(
                disconnect, acme.vault, Scope(ACME, PIPEDRIVE), who="a test"
            ).result()
            assert all(caller.result() in {True, False} for caller in callers)

        row = acme.row()
        assert ended.is_revoked
        assert (row["state"], row["access_token"], row["refresh_token"]) == (
            "disconnected",
            None,
            None,
        )
        assert acme.oauth.grants[0].is_revoked
        assert not works(acme)


def lent(world: VaultSetup, tenant: Tenant = ACME) -> bool:
    return bool(
        lend(tenant, PIPEDRIVE, warehouse=world.vault.warehouse, settings=world.vault.settings)
    )


def works(world: VaultSetup) -> bool:
    try:
        return lent(world)
    except PipelineError:
        return False
