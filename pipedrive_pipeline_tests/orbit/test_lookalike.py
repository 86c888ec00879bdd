"""Orbit's look-alike and its connector agree: walks, changes, expired tokens, consent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Access, Credential, CursorState, Page, Source
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.refusals import SourceRefused, StateExpired
from pipedrive_pipeline.sandbox.kit.grants import pkce_challenge
from pipedrive_pipeline_tests.orbit.connector import ACCOUNTS, CAMPAIGNS, NOTES, ORBIT, PEOPLE
from pipedrive_pipeline_tests.orbit.lookalike import OrbitSandbox, serve_orbit
from pipedrive_pipeline_tests.orbit.world import ODD_KEYS, seeded_orbit
from pipedrive_pipeline_tests.trust import TLS

T = TypeVar("T")
CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 64


@pytest.fixture
def sandbox() -> Iterator[OrbitSandbox]:
    with serve_orbit(seeded_orbit()) as running:
        yield running


def _read(sandbox: OrbitSandbox, work: Callable[[Source], Coroutine[Any, Any, T]]) -> T:
    """What a source reads with a fresh token of the admin."""
    with sandbox.orbit.lock:
        code = sandbox.grants.code("U-1", CALLBACK)
        token = sandbox.grants.exchange(code, CALLBACK).access_token
    credential = Credential("oauth", SecretStr(token), sandbox.url)
    access = Access(
        "acme", lambda _=None: credential, AllowedHosts(("127.0.0.1",)), lambda _call: None
    )

    async def run() -> T:
        async with ORBIT.open(access) as source:
            return await work(source)

    return asyncio.run(run())


async def _walk(source: Source, name: str, state: CursorState | None = None) -> list[Page]:
    return [page async for page in source.pages(ORBIT.entity(name), state)]


def _keys(pages: list[Page]) -> list[str]:
    return [msgspec.json.decode(record["key"]) for page in pages for record in page.records]


def test_a_walk_reads_everything_and_ends_with_a_token(sandbox: OrbitSandbox) -> None:
    pages = _read(sandbox, lambda source: _walk(source, "people"))

    assert sorted(_keys(pages)) == [row["key"] for row in sandbox.truth("people")]
    assert len(pages) == 3
    assert [page.is_last for page in pages] == [False, False, True]
    assert pages[-1].commit is not None


def test_changes_and_removals_come_after_a_token(sandbox: OrbitSandbox) -> None:
    token = _read(sandbox, lambda source: _walk(source, "accounts"))[-1].commit
    sandbox.orbit.put("accounts", "A-9", title="Renamed")
    sandbox.orbit.remove("accounts", "17", reason="merged", into="0017")
    sandbox.orbit.remove("people", "3")

    pages = _read(sandbox, lambda source: _walk(source, "accounts", token))

    assert _keys(pages) == ["A-9"]
    assert [(gone.id, gone.reason, gone.merged_into) for gone in pages[0].tombstones] == [
        ("17", "merged", "0017")
    ]


def test_an_expired_token_is_said_to_be_expired(sandbox: OrbitSandbox) -> None:
    token = _read(sandbox, lambda source: _walk(source, "people"))[-1].commit
    sandbox.orbit.forget()

    with pytest.raises(StateExpired):
        _read(sandbox, lambda source: _walk(source, "people", token))


def test_odd_keys_and_children_are_found(sandbox: OrbitSandbox) -> None:
    keys = list(ODD_KEYS)

    accounts = _read(sandbox, lambda source: source.records(ACCOUNTS, [*keys, "gone"]))
    notes = _read(sandbox, lambda source: source.records(NOTES, keys[:2]))
    statuses = _read(sandbox, lambda source: source.record_statuses(PEOPLE, ["1", "0001"]))

    assert _keys(accounts) == keys
    assert _keys(notes) == ["n-0", "n-1"]
    assert statuses == {"1": "live", "0001": "deleted"}


def test_a_list_that_the_plan_lacks_is_refused_with_402(sandbox: OrbitSandbox) -> None:
    sandbox.orbit.lacking.add("campaigns")

    with pytest.raises(SourceRefused) as refused:
        _read(sandbox, lambda source: _walk(source, CAMPAIGNS.name))

    assert refused.value.status == 402


def test_consent_needs_scopes_and_pkce_and_the_secret_in_the_body(sandbox: OrbitSandbox) -> None:
    query = {
        "client_id": sandbox.client_id,
        "redirect_uri": CALLBACK,
        "state": "s",
        "scope": "crm.read users.read",
    }
    pkce = {"code_challenge": pkce_challenge(VERIFIER), "code_challenge_method": "S256"}

    def back(**more: str) -> dict[str, list[str]]:
        answer = httpx.get(f"{sandbox.url}/connect/authorize", params=query | more, verify=TLS)
        return parse_qs(urlsplit(answer.headers["location"]).query)

    def answer(form: dict[str, str], auth: tuple[str, str] | None = None) -> httpx.Response:
        fields = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, **form}
        return httpx.post(f"{sandbox.url}/connect/token", data=fields, auth=auth, verify=TLS)

    client = {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    code = back(**pkce)["code"][0]
    proof = {"code": code, "code_verifier": VERIFIER}
    basic = answer(proof, (sandbox.client_id, sandbox.client_secret))
    wrong = answer(client | proof | {"code_verifier": "w" * 64})
    tokens = answer(client | proof).json()

    assert back()["error"] == ["invalid_request"]
    assert back(**pkce, scope="crm.write")["error"] == ["invalid_scope"]
    assert basic.json()["error"] == "invalid_client"
    assert wrong.json()["error"] == "invalid_grant"
    assert tokens["home"] == sandbox.url
    assert tokens["scope"] == "crm.read people.read users.read"
