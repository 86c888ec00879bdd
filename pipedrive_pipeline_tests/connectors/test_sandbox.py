"""Pipedrive's look-alike read with every fault it knows, in the middle of a walk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter

import msgspec
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Access, ApiCall, Credential, Page
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.oauth import OAuthApp
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE, PIPEDRIVE_OAUTH, opener
from pipedrive_pipeline.connectors.refusals import (
    GrantRefused,
    SourceBlocked,
    SourceRedirected,
    SourceRefused,
)
from pipedrive_pipeline.connectors.transport import Limits
from pipedrive_pipeline.errors import (
    BudgetSpent,
    ClientRejected,
    PipelineError,
    ReauthNeeded,
    ScopeMissing,
    SourceBroke,
)
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, run
from pipedrive_pipeline_tests.databases import ENTITIES_READ

LOOPBACK = AllowedHosts(("127.0.0.1",))
VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:8000/api/integrations/pipedrive/callback"
SMALL = Limits(body_bytes=8 * 1024 * 1024)


@dataclass
class SandboxTenant:
    """A tenant whose walks are remembered."""

    sandbox: Sandbox
    limits: Limits = SMALL
    time: FakeClock = field(default_factory=FakeClock)
    calls: list[ApiCall] = field(default_factory=list)

    @property
    def access(self) -> Access:
        """By API token."""
        return Access("acme", self.lend, LOOPBACK, self.calls.append)

    def lend(self, refused: Credential | None = None) -> Credential:
        """The account's token; there is no newer one."""
        if refused:
            raise ReauthNeeded("acme", "pipedrive", "401")
        return Credential("api_token", SecretStr(self.sandbox.api_token), self.sandbox.url)

    def walk(self, entity: str = "persons", state: object = None) -> list[Page]:
        """One whole walk."""

        async def act() -> list[Page]:
            opened = opener(limits=self.limits, clock=self.time.clock)
            async with opened(self.access) as source:
                walk = source.pages(PIPEDRIVE.by_name[entity], state)  # type: ignore[arg-type]
                return [page async for page in walk]

        return run(act())


@contextmanager
def reading(account: CrmAccount | None = None, **switches: object) -> Iterator[SandboxTenant]:
    """A tenant of an account with 1,300 persons."""
    account = account or seeded(organizations=20, persons=1300, seed=5)
    with serve(account, None, **switches) as sandbox:  # type: ignore[arg-type]
        yield SandboxTenant(sandbox)


def ids(pages: list[Page]) -> list[int]:
    """In the order of arrival."""
    return [int(bytes(record["id"])) for page in pages for record in page.records]


ABSORBED = (
    "burst_429",
    "burst_429_retry_after",
    "http_500",
    "http_502",
    "http_503",
    "html_503",
    "html_200",
    "empty_200",
    "success_false",
    "truncated_json",
    "reset_mid_body",
    "lost_answer",
    "byte_a_second",
    "empty_page",
)


@pytest.mark.parametrize("kind", ABSORBED)
def test_one_fault_in_a_walk_is_absorbed(kind: str) -> None:
    """Nothing is lost, nothing comes twice, and the walk commits."""
    with reading() as tenant:
        tenant.sandbox.faults.add(kind, after=1, path="/api/v2/persons")
        tenant.limits = replace(SMALL, call_seconds=1.0 if kind == "byte_a_second" else 60.0)

        pages = tenant.walk()

        assert sorted(ids(pages)) == [row["id"] for row in tenant.sandbox.truth("persons")]
        assert pages[-1].commit
        assert tenant.sandbox.faults.waiting() in (0, [], (), {})


@pytest.mark.parametrize("kind", ["expired_cursor", "bad_cursor"])
def test_a_refused_cursor_restarts_the_walk(kind: str) -> None:
    """Rows of the first attempt come twice; none is missing."""
    with reading() as tenant:
        tenant.sandbox.faults.add(kind, after=1, path="/api/v2/persons")

        pages = tenant.walk()

        assert set(ids(pages)) == {row["id"] for row in tenant.sandbox.truth("persons")}
        assert len(ids(pages)) > 1300
        assert pages[-1].commit


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("daily_429", BudgetSpent),
        ("cloudflare_403", SourceBlocked),
        ("scope_403", ScopeMissing),
        ("unauthorized_401", ReauthNeeded),
        ("payment_402", SourceRefused),
        ("gone_410", SourceRefused),
        ("moved_301", SourceRedirected),
        ("repeated_cursor", SourceBroke),
        ("huge_page", SourceBroke),
    ],
)
def test_a_fault_that_stays_ends_the_walk_with_its_name(
    kind: str, error: type[PipelineError]
) -> None:
    """And not one call is made after it."""
    with reading() as tenant:
        tenant.sandbox.faults.add(kind, after=1, times=99, path="/api/v2/persons")

        with pytest.raises(error):
            tenant.walk()

        assert len(tenant.calls) <= 4
        assert tenant.time.waits == []


@pytest.mark.slow
def test_a_healthy_run_provokes_no_429() -> None:
    """Lite with an API token: 20 calls in 2 seconds, in real time."""
    account = seeded(organizations=20, persons=300, seed=5)
    with serve(account, None, plan="lite", seats=1) as sandbox:
        tenant = SandboxTenant(sandbox)

        async def act() -> None:
            pipedrive = PIPEDRIVE
            async with pipedrive.open(tenant.access) as source:
                for _ in range(45):
                    await source.account()

        run(act())

        assert {call.status for call in tenant.calls} == {200}
        assert tenant.calls[-1].daily_limit == 30_000
        assert tenant.calls[-1].daily_left == sandbox.budget.remaining


def test_tokens_reported_are_tokens_spent() -> None:
    """The meter and the company's own budget agree to the token."""
    with reading(has_limits=True) as tenant:
        for entity in ENTITIES_READ:
            tenant.walk(entity)

        assert sum(call.tokens for call in tenant.calls) == tenant.sandbox.requests.tokens_spent


def test_nothing_private_is_logged_in_a_whole_read(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor a name, an address or a cursor."""
    with caplog.at_level(logging.DEBUG), reading() as tenant:
        tenant.sandbox.faults.add("http_500", after=1, path="/api/v2/persons")
        tenant.walk()
        names = [row["name"] for row in tenant.sandbox.truth("persons")][:50]

        ours = [r.getMessage() for r in caplog.records if "sandbox" not in r.name]
        text = "\n".join(ours)
        assert "list persons" in text
        assert tenant.sandbox.api_token not in text
        assert "cursor" not in text
        assert not [name for name in names if name in text]


def test_a_server_clock_that_is_wrong_is_the_one_that_counts() -> None:
    """Ten minutes either way, edits in between: nothing is lost."""
    for minutes in (-10, 10):
        with reading() as tenant:
            tenant.sandbox.clock.set(datetime.now(UTC) + timedelta(minutes=minutes))
            first = tenant.walk()
            tenant.sandbox.account.edit("persons", 7, name="Neu")

            later = tenant.walk(state=first[-1].commit)

            assert 7 in ids(later)


def test_values_come_as_they_were_sent() -> None:
    """Digits and Unicode stay; what is no JSON comes as text."""
    with reading() as tenant:
        tenant.sandbox.account.plant("persons", 3, job_title=msgspec.Raw(b'"a\\ud800b"'))
        tenant.sandbox.account.plant("persons", 4, picture_id=msgspec.Raw(b"NaN"))
        tenant.sandbox.account.plant("persons", 5, notes=msgspec.Raw(b"123456789012345678901.50"))

        pages = tenant.walk()
        records = {int(bytes(r["id"])): r for page in pages for r in page.records}

        assert bytes(records[3]["job_title"]) == b'"a\\ufffdb"'
        assert bytes(records[4]["picture_id"]) == b'"NaN"'
        assert bytes(records[5]["notes"]) == b"123456789012345678901.50"
        assert sum(page.mended_count for page in pages) == 2


def test_consent_to_records_by_oauth() -> None:
    """A code, a pair, a read, a refresh, an expired token, a revocation: the whole life."""
    account = seeded(organizations=20, persons=30, seed=5)
    with serve(account, None, redirect_uri=REDIRECT, rotates_refresh_token=True) as sandbox:
        app = OAuthApp(
            "pipedrive",
            PIPEDRIVE_OAUTH,
            sandbox.url,
            sandbox.client_id,
            SecretStr(sandbox.client_secret),
            REDIRECT,
            LOOPBACK,
        )
        first = app.exchange(
            SecretStr(sandbox.grants.code(sandbox.account.admin_id, REDIRECT)), VERIFIER
        )
        read = [PIPEDRIVE.by_name[name] for name in ENTITIES_READ]
        assert all(set(entity.scopes) & set(first.scopes) for entity in read)
        assert first.refresh_token
        tokens = [first]

        def lend(refused: Credential | None = None) -> Credential:
            if refused:
                former = tokens[-1].refresh_token
                assert former
                tokens.append(app.refresh(former))
            return Credential(
                "oauth", tokens[-1].access_token, tokens[-1].api_domain or "", len(tokens)
            )

        async def rows_read() -> int:
            pipedrive = PIPEDRIVE
            access = Access("acme", lend, LOOPBACK, lambda _: None)
            count = 0
            async with pipedrive.open(access) as source:
                for number, spec in enumerate(read):
                    if number == 2:
                        sandbox.grants.expire_access_tokens()
                    count += sum([len(page.records) async for page in source.pages(spec, None)])
            return count

        assert run(rows_read()) > 50
        assert len(tokens) == 2
        with pytest.raises(GrantRefused) as caught:
            app.refresh(first.refresh_token)
        assert caught.value.error == "invalid_grant"
        wrong = replace(app, client_secret=SecretStr("wrong"))
        last = tokens[-1].refresh_token
        assert last
        with pytest.raises(ClientRejected):
            wrong.refresh(last)
        app.revoke(last)
        with pytest.raises(GrantRefused):
            app.refresh(last)


@pytest.mark.slow
def test_a_large_account_is_read_completely_in_few_more_calls_than_it_has_pages() -> None:
    """160 pages: 20,000 organizations with 40 custom fields, 60,000 persons with 20.

    Each list takes one call for its newest record, which proves that the end was reached, one for
    its last page, which is read again after all others, and at most one for each split.
    """
    account = seeded(organizations=20_000, persons=60_000, seed=7)
    with serve(account, None, has_limits=False) as sandbox:
        tenant = SandboxTenant(sandbox)
        counts = {entity: len(ids(tenant.walk(entity))) for entity in ("organizations", "persons")}

        assert counts == {"organizations": 20_000, "persons": 60_000}
        assert 160 + 2 <= len(tenant.calls) <= 1.15 * 160  # 171; an idle worker splits more


def test_records_of_a_large_page_are_equal_to_the_truth() -> None:
    """Value by value through JSON, awkward records included."""
    with reading(seeded(organizations=700, persons=10, seed=9, has_features=True)) as tenant:
        pages = tenant.walk("organizations")
        read = [
            {key: json.loads(bytes(raw)) for key, raw in record.items()}
            for page in pages
            for record in page.records
        ]

        truth = [json.loads(json.dumps(row)) for row in tenant.sandbox.truth("organizations")]
        assert sorted(read, key=itemgetter("id")) == truth
