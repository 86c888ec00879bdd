"""A write of an app is on its way while somebody connects the tenant to another company."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sync.writes import outbox
from pipedrive_pipeline.sync.writes.errors import CompanyChanged
from pipedrive_pipeline.sync.writes.requests import WriteRequest, intended
from pipedrive_pipeline.sync.writes.sending import Sending
from pipedrive_pipeline_tests.scenarios.world import ACME, World
from pipedrive_pipeline_tests.scenarios.writing import SCOPE, Caller, allow_writes
from pipedrive_pipeline_tests.waiting import wait_until

pytestmark = pytest.mark.slow
PERSON = "7"


@pytest.fixture
def account() -> CrmAccount:
    return seeded(5, 9)


@pytest.fixture
def other() -> Iterator[Sandbox]:
    """The account of another company, whose ids mean other people."""
    account = seeded(5, 9, seed=4)
    account.company_id += 1
    with serve(account) as running:
        yield running


def name_of(sandbox: Sandbox) -> str:
    return str(next(row["name"] for row in sandbox.truth("persons") if str(row["id"]) == PERSON))


def test_a_write_never_arrives_in_a_company_that_it_was_not_meant_for(
    world: World, sandbox: Sandbox, other: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is signed with the token that the tenant has when it is sent, and names an id."""
    world.first_sync()
    allow_writes(world)
    before = name_of(other)
    send_all = Sending.send_all
    connected: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:

        async def send_amid_a_consent(*args: Any) -> None:
            connected.append(
                pool.submit(world.connect, ACME, other, is_other_company=True),
            )
            wait_until(lambda: connected[0].done() or is_waited_for(world), 10, every_seconds=0.05)
            await send_all(*args)

        monkeypatch.setattr(Sending, "send_all", send_amid_a_consent)
        Caller(world).write("contacts", "update", remote_id=PERSON, values={"name": "Neu"})
        connected[0].result()

    assert name_of(other) == before
    assert name_of(sandbox) == "Neu"


@pytest.mark.parametrize(("is_sent", "told"), [(True, "It was sent there"), (False, "Nothing was")])
def test_of_a_write_to_the_former_company_it_is_told_whether_it_was_sent(
    world: World, other: Sandbox, is_sent: bool, told: str
) -> None:
    """An app that is told "nothing was sent" sends it again."""
    world.first_sync()
    allow_writes(world)
    request = WriteRequest("contacts", "create", "a test", {"name": "Neu"})
    entry = intended(world.warehouse, SCOPE, request)
    if is_sent:
        outbox.note_sending(world.warehouse, entry, {"name": "Neu"})
    world.connect(ACME, other, is_other_company=True)

    (ended,) = Caller(world).engine().do([entry])

    assert isinstance(ended, CompanyChanged)
    assert told in str(ended)


def is_waited_for(world: World) -> bool:
    """True if a session waits for the end of the write."""
    with world.warehouse.transaction() as connection:
        row = connection.execute(
            "select exists (select from pg_locks where not granted"
            " and relation = format('pipeline_locks.%%I', %s::text)::regclass)",
            [SCOPE.write_lock],
        ).fetchone()
    return bool(row and row[0])
