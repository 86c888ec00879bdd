"""Rules that every connector keeps, for any system.

A new connector joins with one `ConnectorCase`: an editable simulation of its system, and the
records that it truly has.
After Airbyte's connector acceptance tests (https://docs.airbyte.com/connector-development).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import (
    Access,
    ApiCall,
    ChangedSince,
    Children,
    Credential,
    CursorState,
    Entity,
    OpaqueToken,
    Page,
    Snapshot,
    Source,
    System,
)
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.connectors.refusals import StateExpired
from pipedrive_pipeline.errors import HostNotAllowed, ReauthNeeded
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.connectors import ledger
from pipedrive_pipeline_tests.connectors.doubles import run
from pipedrive_pipeline_tests.connectors.scripted import scripted
from pipedrive_pipeline_tests.databases import ENTITIES_READ

Rows = dict[str, dict[str, Any]]


@dataclass
class ConnectorCase:
    """One system that can be edited, and the connector that reads it."""

    system: System
    entity: str  # one that is read by increments
    url: str
    secret: str
    truth: Callable[[str], Rows]  # of an entity, by key
    edit: Callable[[int], str]  # change something; the key that it changed
    add: Callable[[], str]  # make a record; its key
    calls: list[ApiCall] = field(default_factory=list)
    entities: tuple[str, ...] = ()  # those of which the truth is known

    @property
    def by_name(self) -> dict[str, Entity]:
        """The entities that can be walked and of which the truth is known."""
        return {
            name: spec
            for name, spec in self.system.by_name.items()
            if not isinstance(spec.read, Children) and name in (self.entities or {name})
        }

    @property
    def access(self) -> Access:
        """With a good token."""
        return Access("acme", self.lend, AllowedHosts(("127.0.0.1",)), self.calls.append)

    def lend(self, refused: Credential | None = None) -> Credential:
        """The one token there is."""
        if refused:
            raise ReauthNeeded("acme", self.system.key, "401")
        return Credential("api_token", SecretStr(self.secret), self.url)

    def opened(self) -> AbstractAsyncContextManager[Source]:
        """A source with a good token."""
        return self.system.open(self.access)


OpenCase = Callable[[], AbstractAsyncContextManager[ConnectorCase]]


@asynccontextmanager
async def pipedrive() -> AsyncIterator[ConnectorCase]:
    """The sandbox, whose account has every optional feature."""
    account = seeded(organizations=1100, persons=1300, seed=11, has_features=True)
    with serve(account, has_limits=False) as sandbox:
        sandbox.clock.freeze()

        def edit(number: int) -> str:
            sandbox.clock.advance(1)
            account.edit("organizations", 1 + number, name=f"Edited {number}")
            return str(1 + number)

        def add() -> str:
            sandbox.clock.advance(1)
            return str(account.create("organizations", name="Neu", owner_id=900)["id"])

        yield ConnectorCase(
            PIPEDRIVE,
            "organizations",
            sandbox.url,
            sandbox.api_token,
            lambda entity: _sandbox_truth(sandbox, entity),
            edit,
            add,
            entities=ENTITIES_READ,
        )


def _sandbox_truth(sandbox: Sandbox, entity: str) -> Rows:
    if entity == "users":
        me = sandbox.account.admin_id
        rows: Iterable[dict[str, Any]] = (
            {**user, "is_you": user["id"] == me} for user in sandbox.account.users
        )
        return {str(user["id"]): user for user in rows}
    if entity.endswith("_fields"):
        of = entity.removesuffix("_fields") + "s"
        return {field.code: {"field_code": field.code} for field in sandbox.account.fields[of]}
    return {str(row["id"]): json.loads(json.dumps(row)) for row in sandbox.truth(entity)}


@asynccontextmanager
async def a_ledger() -> AsyncIterator[ConnectorCase]:
    """The test system."""
    world = ledger.LedgerScript()
    for number in range(9):
        world.put(f"ä-{number}/x", number + 1)

    def truth(entity: str) -> Rows:
        if entity == "books":
            return {"main": {"code": "main", "title": "Main book"}}
        return {ref: {"ref": ref, "amount": amount} for ref, amount in world.entries().items()}

    def edit(number: int) -> str:
        world.put(f"ä-{number}/x", 100 + number)
        return f"ä-{number}/x"

    def add() -> str:
        world.put("new", 7)
        return "new"

    async with scripted(world) as server:
        yield ConnectorCase(ledger.LEDGER, "entries", server.url, ledger.TOKEN, truth, edit, add)


@pytest.fixture(params=[pipedrive, a_ledger], ids=["pipedrive", "ledger"])
def open_case(request: pytest.FixtureRequest) -> OpenCase:
    """Each connector in turn."""
    return request.param  # type: ignore[no-any-return]


async def walked(
    source: Source, case: ConnectorCase, entity: str, state: CursorState | None
) -> list[Page]:
    """One whole walk."""
    return [page async for page in source.pages(case.system.by_name[entity], state)]


def rows_of(pages: list[Page], key: str) -> Rows:
    """The decoded records of a walk, the last of each key."""
    decoded = (
        {name: msgspec.json.decode(raw) for name, raw in record.items()}
        for page in pages
        for record in page.records
    )
    return {str(row[key]): row for row in decoded}


def test_a_full_read_is_the_truth(open_case: OpenCase) -> None:
    """Every record of every entity, value by value."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            for name, spec in case.by_name.items():
                pages = await walked(source, case, name, None)
                rows, truth = rows_of(pages, spec.key.name), case.truth(name)

                assert rows.keys() == truth.keys()
                for key, row in truth.items():
                    assert {k: rows[key][k] for k in row} == row
                assert sum(len(page.records) for page in pages) == len(truth)

    run(act())


def test_a_walk_ends_with_one_last_page_that_alone_commits(open_case: OpenCase) -> None:
    """The engine stores the state with the rows of that page, and only then."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            for name, spec in case.by_name.items():
                pages = await walked(source, case, name, None)

                assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
                assert all(page.commit is None for page in pages[:-1])
                assert (pages[-1].commit is None) == isinstance(spec.read, Snapshot)
                assert all(len(page.records) <= spec.cost.records_per_page for page in pages)

    run(act())


def test_two_full_reads_agree(open_case: OpenCase) -> None:
    """A list in random order would be seen here."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            for name in case.by_name:
                first = await walked(source, case, name, None)
                second = await walked(source, case, name, None)

                assert [page.records for page in first] == [page.records for page in second]

    run(act())


def test_declared_columns_are_sent_and_keys_sent_are_declared(open_case: OpenCase) -> None:
    """Otherwise a column stays empty for ever, or its values hide among the extras."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            for name, spec in case.by_name.items():
                pages = await walked(source, case, name, None)
                sent = {key for page in pages for record in page.records for key in record}
                declared = {spec.key.name, *(column.name for column in spec.columns)}

                assert sent <= declared
                assert declared - sent <= MAY_BE_ABSENT.get(f"{case.system.key}.{name}", set())

    run(act())


# Why a column may be absent in the look-alike: sent only on request, or live on some fields only.
MAY_BE_ABSENT = {
    f"pipedrive.{kind}_fields": {"is_optional_response_field", "description", "is_writable"}
    for kind in ("organization", "person")
}


def test_nothing_new_brings_nothing_new(open_case: OpenCase) -> None:
    """Only the overlap is read again, and nothing by an exact token."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            spec = case.system.by_name[case.entity]
            committed = (await walked(source, case, case.entity, None))[-1].commit
            again = await walked(source, case, case.entity, committed)
            rows = rows_of(again, spec.key.name)

            assert again[-1].commit == committed
            match spec.read:
                case OpaqueToken():
                    assert not rows
                case ChangedSince(column=column, overlap=overlap):
                    assert overlap.total_seconds() > 0
                    assert all(row[column] >= "2026" for row in rows.values())
                    assert len(rows) < len(case.truth(case.entity))

    run(act())


def test_reading_on_from_every_state_brings_all_that_came_after(open_case: OpenCase) -> None:
    """A state is valid whenever it is used: at once, or after a month of downtime."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            key = case.system.by_name[case.entity].key.name
            state = (await walked(source, case, case.entity, None))[-1].commit
            states, edited = [state], []
            for number in range(4):
                edited.append(case.edit(number))
                state = (await walked(source, case, case.entity, state))[-1].commit
                states.append(state)
            edited.append(case.add())
            truth = case.truth(case.entity)
            for position, former in enumerate(states):
                rows = rows_of(await walked(source, case, case.entity, former), key)

                for changed in edited[position:]:
                    assert {k: rows[changed][k] for k in truth[changed]} == truth[changed]

    run(act())


def test_a_walk_that_is_given_up_changes_nothing(open_case: OpenCase) -> None:
    """A killed run reads again from the state it had."""

    async def act() -> None:
        async with open_case() as case:
            async with case.opened() as source:
                async with aclosing(source.pages(case.system.by_name[case.entity], None)) as walk:
                    first = await anext(walk)
                assert first.commit is None
            async with case.opened() as source:
                key = case.system.by_name[case.entity].key.name
                rows = rows_of(await walked(source, case, case.entity, None), key)

                assert rows.keys() == case.truth(case.entity).keys()

    run(act())


def test_an_edit_between_two_pages_is_not_lost(open_case: OpenCase) -> None:
    """It is in this walk or in the next one."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            spec = case.system.by_name[case.entity]
            pages, changed = [], set()
            async for page in source.pages(spec, None):
                pages.append(page)
                changed.add(case.edit(len(pages)))
            changed.add(case.add())
            pages += await walked(source, case, case.entity, pages[-1].commit)
            rows, truth = rows_of(pages, spec.key.name), case.truth(case.entity)

            for key in changed:
                assert {k: rows[key][k] for k in truth[key]} == truth[key]
            assert rows.keys() == truth.keys()

    run(act())


def test_a_state_is_small_json_without_a_secret(open_case: OpenCase) -> None:
    """It is stored in the clear and shown to operators."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            committed = (await walked(source, case, case.entity, None))[-1].commit
            text = json.dumps(dict(committed or {}))

            assert json.loads(text) == committed
            assert len(text) < 2000
            assert case.secret not in text

    run(act())


def test_single_records_are_as_they_are_now(open_case: OpenCase) -> None:
    """Ids unknown to the source are absent, not an error."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            spec = case.system.by_name[case.entity]
            changed = case.edit(3)
            pages = await source.records(spec, [changed, "999999999", "no such id"])
            nothing = await source.records(spec, [])
            rows, truth = rows_of(pages, spec.key.name), case.truth(case.entity)

            assert rows.keys() == {changed}
            assert {k: rows[changed][k] for k in truth[changed]} == truth[changed]
            assert [page for page in nothing if page.records] == []

    run(act())


def test_a_wrong_token_asks_a_person(open_case: OpenCase) -> None:
    """Cleanly, after one call."""

    async def act() -> None:
        async with open_case() as case:
            case.secret = "0123456789abcdef0123456789abcdef01234567"
            async with case.opened() as source:
                with pytest.raises(ReauthNeeded) as caught:
                    await source.account()
            assert case.secret not in str(caught.value)
            assert len(case.calls) == 1

    run(act())


def test_a_host_that_is_not_allowed_is_not_called(open_case: OpenCase) -> None:
    """For every connector."""

    async def act() -> None:
        async with open_case() as case:
            access = replace(case.access, allowed_hosts=AllowedHosts(("*.pipedrive.com",)))
            async with case.system.open(access) as source:
                with pytest.raises(HostNotAllowed):
                    await source.account()
            assert case.calls == []

    run(act())


def test_the_account_is_returned_and_every_call_is_metered(open_case: OpenCase) -> None:
    """The meter plans the day; the account tells which company the rows belong to."""

    async def act() -> None:
        async with open_case() as case, case.opened() as source:
            account = await source.account()
            for name in case.by_name:
                await walked(source, case, name, None)

            assert account.company_id
            assert account.user_id
            assert all(call.tokens > 0 and call.status == 200 for call in case.calls)

    run(act())


def test_opening_a_source_does_nothing_yet() -> None:
    """The engine opens sources for definitions, where there is neither network nor token."""

    def lend(refused: Credential | None = None) -> Credential:
        raise AssertionError(refused)

    async def act() -> None:
        for system in (PIPEDRIVE, ledger.LEDGER):
            async with system.open(Access("acme", lend, AllowedHosts(), lambda _: None)):
                pass

    run(act())


def test_reported_deletions_come_as_tombstones() -> None:
    """A system may say itself what is gone."""

    async def act() -> list[Page]:
        world = ledger.LedgerScript()
        world.put("a", 1)
        world.put("b", 2)
        async with scripted(world) as server:
            system = ledger.LEDGER
            credential = Credential("api_token", SecretStr(ledger.TOKEN), server.url)
            access = Access(
                "acme", lambda _=None: credential, AllowedHosts(("127.0.0.1",)), lambda _: None
            )
            async with system.open(access) as source:
                entries = system.entity("entries")
                first = [page async for page in source.pages(entries, None)]
                world.put("a", None)
                later = [page async for page in source.pages(entries, first[-1].commit)]
                world.oldest_kept = 99
                with pytest.raises(StateExpired):
                    await anext(source.pages(entries, later[-1].commit))
                return later

    (page,) = run(act())

    assert [(gone.id, gone.reason) for gone in page.tombstones] == [("a", "deleted")]
    assert page.records == []
