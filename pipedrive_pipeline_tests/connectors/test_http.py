"""The one HTTP client against everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipedrive_pipeline.connectors.answers import SourceCall
from pipedrive_pipeline.connectors.contract import ApiCall, Credential
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.envelope import listed
from pipedrive_pipeline.connectors.refusals import (
    SourceBlocked,
    SourceRedirected,
    SourceRefused,
)
from pipedrive_pipeline.connectors.transport import Limits
from pipedrive_pipeline.errors import (
    BudgetSpent,
    ExitCode,
    HostNotAllowed,
    PipelineError,
    ReauthNeeded,
    ScopeMissing,
    SourceBroke,
    SourceUnavailable,
    Transient,
)
from pipedrive_pipeline_tests.connectors.doubles import (
    IMPATIENT,
    PATIENT,
    TOKEN,
    FakeClock,
    FakeVault,
    run,
)
from pipedrive_pipeline_tests.connectors.scripted import (
    ReceivedRequest,
    Reply,
    Script,
    ScriptedServer,
    as_json,
    scripted,
)

GOOD = as_json({"success": True, "data": [{"id": 1}], "additional_data": {"next_cursor": None}})
ASK = SourceCall("list persons", "/api/v2/persons", 10, {"limit": 500, "cursor": "private-cursor"})
HTML = Reply(403, b"<!DOCTYPE html><html>Attention Required!</html>", content_type="text/html")


class FetchResult:
    """The result of one fetch: its value or error, the requests, the waits and the meter."""

    def __init__(self, vault: FakeVault, time: FakeClock, server: ScriptedServer) -> None:
        self.vault, self.time, self.server = vault, time, server
        self.error: PipelineError | None = None
        self.ids: list[bytes] = []

    @property
    def requests(self) -> int:
        """The number of requests that the source received."""
        return len(self.server.requests)

    @property
    def calls(self) -> list[ApiCall]:
        """The calls that the meter recorded."""
        return self.vault.calls

    @property
    def text(self) -> str:
        """The error with its whole chain, as a log would show it."""
        return "".join(traceback.format_exception(self.error)) if self.error else ""


def fetched(
    script: Script | list[Reply], *, limits: Limits = PATIENT, kind: str = "oauth", url: str = ""
) -> FetchResult:
    """One fetch against a scripted server; a list answers in turn, its last for ever."""
    answers = list(script) if isinstance(script, list) else []

    def in_turn(_: ReceivedRequest) -> Reply:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def act() -> FetchResult:
        async with scripted(in_turn if isinstance(script, list) else script) as server:
            vault, time = FakeVault(url or server.url, kind), FakeClock()
            world = FetchResult(vault, time, server)
            async with Client(
                PipedriveDialect(), vault.access, limits=limits, clock=time.clock
            ) as client:
                try:
                    page = await client.fetch(ASK, listed)
                    world.ids = [bytes(record["id"]) for record in page.records]
                except PipelineError as error:
                    world.error = error
            return world

    world = run(act())
    assert TOKEN not in world.text
    assert "private-cursor" not in world.text
    return world


def daily(**headers: str) -> Reply:
    """A 429 with headers whose names are written with underscores."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return as_json({"success": False, "error": "no", "errorCode": 429}, 429, headers=names)


def test_a_call_is_signed_and_reported() -> None:
    """The meter plans the day's budget from these reports."""
    good = replace(
        GOOD,
        headers={
            "x-daily-ratelimit-token-limit": "30000",
            "x-daily-ratelimit-token-remaining": "29990",
        },
    )
    world = fetched([good])

    assert world.ids == [b"1"]
    assert world.server.requests[0].headers["authorization"] == f"Bearer {TOKEN}-0"
    assert world.calls == [ApiCall("list persons", 10, 200, 30000, 29990)]


def test_an_api_token_goes_into_its_header_never_into_the_address() -> None:
    """Addresses end up in the logs of proxies."""
    world = fetched([GOOD], kind="api_token")

    assert world.server.requests[0].headers["x-api-token"] == f"{TOKEN}-0"
    assert "authorization" not in world.server.requests[0].headers
    assert "api_token" not in world.server.requests[0].query


@pytest.mark.parametrize(
    "bad",
    [
        Reply(500),
        Reply(502, b"<html>bad gateway</html>", content_type="text/html"),
        Reply(503, b"<html>maintenance</html>", content_type="text/html"),
        Reply(520),
        Reply(408),
        replace(GOOD, status=500),
        as_json({"success": True, "data": []}, 503),
        replace(GOOD, cut_after=0),
        replace(GOOD, cut_after=20),
        replace(GOOD, cut_after=180),
        replace(GOOD, claimed_bytes=10_000),
        replace(GOOD, body=GOOD.body[:-5]),
        replace(GOOD, body=b""),
        replace(GOOD, body=b"<html>hello</html>", content_type="text/html"),
        replace(GOOD, body=b"<html>hello</html>"),
        replace(GOOD, body='{"success":true,"data":[{"name":"ü"}]}'.encode("latin-1")),
        replace(GOOD, headers={"content-encoding": "gzip"}),
        as_json({"success": False, "error": "internal"}),
        as_json({"success": False, "data": []}),
        as_json({"success": True, "data": None}),
        as_json({"success": True, "data": {"id": 1}}),
        as_json({"data": []}),
        as_json([]),
    ],
    ids=str,
)
def test_a_bad_answer_is_requested_again(bad: Reply) -> None:
    """Once is absorbed; for ever ends after four attempts, and never as "no more rows"."""
    absorbed, given_up = fetched([bad, GOOD]), fetched([bad])

    assert absorbed.ids == [b"1"]
    assert absorbed.requests == 2
    assert given_up.requests == 4
    assert isinstance(given_up.error, SourceUnavailable | SourceBroke)
    assert "acme" in str(given_up.error)
    assert "4 attempts" in str(given_up.error)
    assert "\n" not in str(given_up.error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "slow", [replace(GOOD, second_per_byte=0.02), Reply(is_silent=True)], ids=["slow-loris", "mute"]
)
def test_a_trickling_answer_ends_at_the_deadline(slow: Reply) -> None:
    """Each byte resets a read timeout; only a total deadline ends this."""
    began = time.monotonic()
    absorbed = fetched([slow, GOOD], limits=IMPATIENT)
    given_up = fetched([slow], limits=IMPATIENT)

    assert absorbed.ids == [b"1"]
    assert given_up.requests == 4
    assert isinstance(given_up.error, SourceUnavailable)
    assert time.monotonic() - began < 5 * IMPATIENT.call_seconds + 5


def test_waits_grow_between_attempts() -> None:
    """A source that is unwell is not helped by a storm."""
    world = fetched([Reply(500)])

    assert world.time.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.25),
        ({"retry-after": "Tue, 03 Feb 2026 08:00:30 GMT"}, 30.25),
        ({"retry-after": "-5"}, 2.25),
        ({"retry-after": "soon", "x-ratelimit-reset": "86400"}, 2.25),
        ({"retry-after": "9" * 400}, 2.25),
        ({"x-ratelimit-reset": "1", "x-ratelimit-remaining": "0"}, 1.25),
        ({}, 2.25),
    ],
    ids=str,
)
def test_a_burst_waits_as_long_as_the_answer_says(headers: dict[str, str], wait: float) -> None:
    """By Retry-After, else by x-ratelimit-reset, else by the length of the window."""
    burst = as_json({"error": "Request over limit", "errorCode": 429}, 429, headers=headers)
    world = fetched([burst, GOOD])

    assert world.ids == [b"1"]
    assert world.time.waits[0] == wait


def test_a_burst_that_does_not_end_is_given_up() -> None:
    """Bounded, and transient: a later run may find it over."""
    world = fetched([as_json({"error": "Request over limit"}, 429, headers={"retry-after": "1"})])

    assert isinstance(world.error, SourceUnavailable)
    assert world.requests == 4


@pytest.mark.parametrize(
    "reply",
    [
        as_json({"error": "daily request budget exceeded"}, 429, headers={"retry-after": "3600"}),
        as_json({"error": "daily request budget exceeded"}, 429, headers={"retry-after": "30"}),
        daily(x_daily_ratelimit_token_remaining="0", retry_after="3600"),
        daily(x_ratelimit_remaining="79"),
        daily(retry_after="3600"),
        daily(retry_after="Tue, 03 Feb 2026 09:00:00 GMT"),
    ],
    ids=lambda reply: f"{reply.body!r} {reply.headers}",
)
def test_a_spent_day_stops_at_once(reply: Reply) -> None:
    """Asking on would be answered by Cloudflare's page for all tenants of this machine."""
    world = fetched([reply])

    assert isinstance(world.error, BudgetSpent)
    assert world.requests == 1
    assert world.error.exit_code is ExitCode.PAUSED


UNBELIEVABLE = ["-20", "1" + "0" * 300, "plenty", "nan", "inf", "", "1e3", "1_000", "7, 8", "٣"]


@pytest.mark.parametrize("text", UNBELIEVABLE)
@pytest.mark.parametrize(
    "header",
    [
        "x-daily-ratelimit-token-limit",
        "x-daily-ratelimit-token-remaining",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
        "date",
    ],
)
def test_a_header_out_of_range_is_ignored_and_logged(
    header: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's or a vendor's slip in one header once ended every run as `unexpected`."""
    good = replace(GOOD, headers={header: text.encode().decode("latin-1")}, date=None)

    with caplog.at_level("WARNING"):
        world = fetched([good])

    assert world.ids == [b"1"]
    assert world.calls == [ApiCall("list persons", 10, 200, None, None)]
    if header not in ("retry-after", "date"):  # those are read where an answer refuses
        assert caplog.text.count(f"the header {header}") == 1


def test_a_limit_of_nothing_or_less_than_what_is_left_is_not_believed() -> None:
    """A limit of 0 cannot be stored, and more left than there is would spend another's share."""
    names = ("x-daily-ratelimit-token-limit", "x-daily-ratelimit-token-remaining")
    none = replace(GOOD, headers=dict(zip(names, ("0", "9"), strict=True)))
    more = replace(GOOD, headers=dict(zip(names, ("100", "101"), strict=True)))

    assert fetched([none]).calls == [ApiCall("list persons", 10, 200, None, 9)]
    assert fetched([more]).calls == [ApiCall("list persons", 10, 200, None, None)]


@pytest.mark.parametrize(
    "wait",
    ["2592000", "9" * 400, "-1", "Tue, 31 Dec 9999 23:59:59 GMT", "Tue, 03 Mar 2026 08:00:00 GMT"],
)
def test_a_spent_day_ends_within_a_day_for_any_refusal(wait: str) -> None:
    """A wait of 30 days once paused a tenant for 30 days without an alert."""
    error = fetched([daily(x_daily_ratelimit_token_remaining="0", retry_after=wait)]).error

    assert isinstance(error, BudgetSpent)
    assert error.resets_at == datetime(2026, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 +1400"]
)
def test_a_date_that_cannot_be_believed_moves_no_reset(date: str) -> None:
    reply = replace(daily(x_daily_ratelimit_token_remaining="0", retry_after="3600"), date=date)

    error = fetched([reply]).error

    assert isinstance(error, BudgetSpent)
    assert error.resets_at == datetime(2026, 2, 3, 9, tzinfo=UTC)


def test_the_budget_returns_when_the_refusal_says_or_at_the_server_s_midnight() -> None:
    """Without a Retry-After the next midnight in UTC counts, by the server's clock."""
    error = fetched([daily(retry_after="3939", x_daily_ratelimit_token_remaining="0")]).error
    untold = fetched([daily(x_daily_ratelimit_token_remaining="0")]).error

    assert isinstance(error, BudgetSpent)
    assert error.resets_at == datetime(2026, 2, 3, 9, 5, 39, tzinfo=UTC)
    assert isinstance(untold, BudgetSpent)
    assert untold.resets_at == datetime(2026, 2, 4, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [90, 7200])
def test_a_long_retry_after_of_an_unwell_source_ends_the_run(seconds: int) -> None:
    """A worker does not sleep for long; the next run asks again."""
    world = fetched([Reply(503, headers={"retry-after": str(seconds)})])

    assert isinstance(world.error, SourceUnavailable)
    assert world.requests == 1
    assert world.time.waits == []


def test_an_expired_token_is_renewed_once_and_the_call_replayed() -> None:
    """Tokens end in the middle of long reads."""
    world = fetched([as_json({"error": "unauthorized access"}, 401), GOOD])

    assert world.ids == [b"1"]
    assert [credential.generation for credential in world.vault.refused] == [0]
    assert [request.headers["authorization"][-2:] for request in world.server.requests] == [
        "-0",
        "-1",
    ]
    assert world.time.waits == []
    assert [call.tokens for call in world.calls] == [0, 10]


def test_a_second_401_asks_a_person() -> None:
    """Renewing for ever would burn the grant and hide that consent is gone."""
    world = fetched([as_json({"error": "unauthorized access"}, 401)])

    assert isinstance(world.error, ReauthNeeded)
    assert world.requests == 2
    assert len(world.vault.refused) == 1


def test_a_401_after_a_renewal_and_a_503_is_the_second_one() -> None:
    """Each attempt must not bring its own renewal."""
    denied = as_json({"error": "unauthorized access"}, 401)
    world = fetched([denied, Reply(503), denied])

    assert isinstance(world.error, ReauthNeeded)
    assert world.requests == 3


@pytest.mark.parametrize(
    ("reply", "error", "needle"),
    [
        (as_json({"error": "Scope and URL mismatch"}, 403), ScopeMissing, "scope"),
        (HTML, SourceBlocked, "edge"),
        (as_json({"error": "no permission"}, 403), SourceRefused, "administrator"),
        (as_json({"error": "payment"}, 402), SourceRefused, "account is closed"),
        (as_json({"error": "not found"}, 404), SourceRefused, "API URL"),
        (as_json({"error": "Gone"}, 410), SourceRefused, "retired"),
        (as_json({"error": "bad", "secret": "Ada Lovelace"}, 400), SourceRefused, "400"),
        (Reply(405), SourceRefused, "405"),
    ],
    ids=str,
)
def test_a_refused_request_is_not_repeated(
    reply: Reply, error: type[PipelineError], needle: str
) -> None:
    """The same answer would come; each names what a person can do, and nothing of the body."""
    world = fetched([reply])

    assert isinstance(world.error, error)
    assert not isinstance(world.error, Transient)
    assert world.error.exit_code is ExitCode.PERSON_MUST_ACT
    assert world.requests == 1
    assert needle in str(world.error)
    assert "Ada" not in str(world.error)


@pytest.mark.parametrize("kind", ["oauth", "api_token"])
def test_a_redirect_is_named_and_not_followed(kind: str) -> None:
    """The token must not travel; with OAuth a renamed company's address comes with a new token."""

    async def act() -> FetchResult:
        async with scripted(lambda _: GOOD) as elsewhere:
            target = elsewhere.url.replace("127.0.0.1", "localhost") + "/x?code=private-cursor"
            reply = Reply(301, headers={"location": target})
            async with scripted(lambda _: reply) as server:
                vault, time = FakeVault(server.url, kind), FakeClock()
                world = FetchResult(vault, time, server)
                async with Client(PipedriveDialect(), vault.access, clock=time.clock) as client:
                    with pytest.raises(SourceRedirected) as caught:
                        await client.fetch(ASK, listed)
                world.error = caught.value
            assert elsewhere.requests == []
            return world

    world = run(act())

    assert "localhost" in str(world.error)
    assert "private-cursor" not in world.text
    assert world.requests == (2 if kind == "oauth" else 1)


def test_a_renamed_company_is_found_by_a_renewed_token() -> None:
    """The token answer carries the new address; every later call goes there."""

    async def act() -> tuple[list[bytes], int]:
        async with scripted(lambda _: GOOD) as new:
            reply = Reply(301, headers={"location": new.url})
            async with scripted(lambda _: reply) as old:
                vault = FakeVault(old.url)

                def lend(refused: Credential | None = None) -> Credential:
                    credential = vault(refused)
                    return replace(credential, base_url=new.url) if refused else credential

                access = replace(vault.access, lend=lend)
                async with Client(PipedriveDialect(), access) as client:
                    page = await client.fetch(ASK, listed)
                return [bytes(record["id"]) for record in page.records], len(new.requests)

    assert run(act()) == ([b"1"], 1)


def test_a_host_that_is_not_listed_gets_no_request() -> None:
    """Checked at each call, since a renewed credential may name another host."""
    world = fetched([GOOD], url="http://127.0.0.2:9")

    assert isinstance(world.error, HostNotAllowed)
    assert world.requests == 0
    assert world.calls == []


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_body_over_the_cap_ends_cleanly(is_packed: bool) -> None:
    """A gzip bomb of 5 MB for a cap of 1 MB; asking again would only repeat it."""
    body = b"[" + b" " * 5_000_000
    headers = {"content-encoding": "gzip"} if is_packed else {}
    reply = Reply(200, gzip.compress(body) if is_packed else body, headers)
    world = fetched([reply], limits=Limits(body_bytes=1024 * 1024))

    assert isinstance(world.error, SourceBroke)
    assert "larger than 1 MB" in str(world.error)
    assert world.requests == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate"])
def test_a_compression_that_was_not_requested_is_not_opened(encoding: str) -> None:
    """Some reach a million to one, so that a cap on what comes out comes too late."""
    world = fetched([replace(GOOD, headers={"content-encoding": encoding})])

    assert isinstance(world.error, SourceBroke)
    assert world.requests == 1


def test_a_gzipped_page_is_read() -> None:
    """Gzip is the compression that is requested."""
    packed = replace(GOOD, body=gzip.compress(GOOD.body), headers={"content-encoding": "gzip"})
    world = fetched([packed])

    assert world.ids == [b"1"]
    assert world.server.requests[0].headers["accept-encoding"] == "gzip"


def failure_at(url: str, limits: Limits = PATIENT) -> str:
    """The message of a fetch from an address where nobody answers well."""

    async def act() -> str:
        vault, time = FakeVault(url), FakeClock()
        access = replace(
            vault.access, allowed_hosts=AllowedHosts(("127.0.0.1", "*.invalid", "localhost"))
        )
        async with Client(PipedriveDialect(), access, limits=limits, clock=time.clock) as client:
            with pytest.raises(SourceUnavailable) as caught:
                await client.fetch(ASK, listed)
        assert all(call.status is None and call.tokens == 0 for call in vault.calls)
        return str(caught.value)

    return run(act())


def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection_is_named() -> None:
    """The usual cause is a wrong port or a server that is down."""
    port = free_port()

    message = failure_at(f"http://127.0.0.1:{port}")

    assert f"127.0.0.1:{port} refuses connections" in message


def test_a_name_that_does_not_resolve_is_named() -> None:
    """The usual cause is a mistyped company domain."""
    message = failure_at("https://acme.invalid")

    assert "acme.invalid cannot be resolved" in message


@pytest.mark.slow
def test_a_connection_that_nobody_takes_is_named() -> None:
    """A full backlog answers no SYN, as a firewall that drops them."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for task in crowd:
            task.setblocking(False)
            task.connect_ex(("127.0.0.1", port))
        impatient = Limits(connect_seconds=0.2, call_seconds=5.0)
        message = failure_at(f"http://127.0.0.1:{port}", impatient)
        for task in crowd:
            task.close()

    assert "took no connection within 0.2 s" in message


def test_an_untrusted_certificate_is_named_and_not_tried_again(certificate: Path) -> None:
    """And never answered by going on without TLS."""

    async def act() -> tuple[str, int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        vault, time = (
            FakeVault(f"https://localhost:{server.sockets[0].getsockname()[1]}"),
            FakeClock(),
        )
        async with Client(PipedriveDialect(), vault.access, clock=time.clock) as client:
            with pytest.raises(SourceUnavailable) as caught:
                await client.fetch(ASK, listed)
        server.close()
        return str(caught.value), len(vault.calls)

    message, calls = run(act())

    assert "TLS certificate of localhost is refused" in message
    assert calls == 1


def test_a_server_without_tls_is_named() -> None:
    """The usual cause is https:// before a port that speaks http."""

    async def act() -> str:
        async with scripted(lambda _: GOOD) as server:
            vault, time = FakeVault(server.url.replace("http://", "https://")), FakeClock()
            async with Client(PipedriveDialect(), vault.access, clock=time.clock) as client:
                with pytest.raises(SourceUnavailable) as caught:
                    await client.fetch(ASK, listed)
            return str(caught.value)

    assert "check that it speaks https" in run(act())


def test_many_calls_at_once_renew_a_token_once() -> None:
    """Twenty refused calls must not ask the vault twenty times."""

    def script(request: ReceivedRequest) -> Reply:
        is_old = request.headers["authorization"].endswith("-0")
        return as_json({"error": "unauthorized access"}, 401) if is_old else GOOD

    async def act() -> FakeVault:
        async with scripted(script) as server:
            vault = FakeVault(server.url)
            async with Client(PipedriveDialect(), vault.access) as client:
                await asyncio.gather(*(client.fetch(ASK, listed) for _ in range(20)))
            return vault

    assert run(act()).lent == 1


def test_nothing_private_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Httpx logs each address with its query, httpcore each header, unless they are silenced."""
    with caplog.at_level(logging.DEBUG):
        fetched([Reply(500), GOOD])

    assert "list persons" in caplog.text
    assert "private-cursor" not in caplog.text
    assert TOKEN not in caplog.text


def test_plain_http_passes_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read the token, which https hides from it."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    assert fetched([GOOD]).ids == [b"1"]


def test_what_the_vault_raises_goes_through() -> None:
    """The reader must see "connect again", not "no answer"."""

    def lend(refused: Credential | None = None) -> Credential:
        raise ReauthNeeded("acme", "pipedrive", f"consent is gone {refused}")

    async def act() -> None:
        async with Client(PipedriveDialect(), replace(FakeVault("").access, lend=lend)) as client:
            await client.fetch(ASK, listed)

    with pytest.raises(ReauthNeeded):
        run(act())


@pytest.mark.parametrize("secret", ["", "a\nb", "tokén", "a b"])
def test_a_token_that_no_header_can_carry_asks_a_person(secret: str) -> None:
    """Pasted with a line break, it would split the request."""

    def lend(refused: Credential | None = None) -> Credential:
        credential = FakeVault("http://127.0.0.1:9")(refused)
        return replace(credential, secret=type(credential.secret)(secret))

    async def act() -> None:
        async with Client(PipedriveDialect(), replace(FakeVault("").access, lend=lend)) as client:
            await client.fetch(ASK, listed)

    with pytest.raises(ReauthNeeded):
        run(act())


def test_the_meter_may_stop_the_run() -> None:
    """The share of a day that a tenant may spend is decided above, at each call."""

    async def act() -> int:
        async with scripted(lambda _: GOOD) as server:
            vault = FakeVault(server.url)

            def stop(_: ApiCall) -> None:
                raise BudgetSpent("acme", "Pipedrive", datetime.now(UTC))

            access = replace(vault.access, on_call=stop)
            async with Client(PipedriveDialect(), access) as client:
                with pytest.raises(BudgetSpent):
                    await client.fetch(ASK, listed)
            return len(server.requests)

    assert run(act()) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody has signed but itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path
