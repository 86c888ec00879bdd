"""Each fault does to a caller what its name says, to the request that it was meant for."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.faults import KINDS
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, installed

PATH = "/api/v2/persons"


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("burst_429", 429, "Request over limit"),
        ("burst_429_retry_after", 429, "Request over limit"),
        ("daily_429", 429, "daily request budget exceeded"),
        ("daily_429_for_a_month", 429, "daily request budget exceeded"),
        ("cloudflare_403", 403, "<!DOCTYPE html>"),
        ("scope_403", 403, "Scope and URL mismatch"),
        ("unauthorized_401", 401, "unauthorized access"),
        ("payment_402", 402, "closed"),
        ("gone_410", 410, "Gone"),
        ("moved_301", 301, ""),
        ("http_500", 500, "Internal Server Error"),
        ("http_502", 502, "<html>"),
        ("http_503", 503, "Service Unavailable"),
        ("html_503", 503, "<!DOCTYPE html>"),
        ("html_200", 200, "<!DOCTYPE html>"),
        ("empty_200", 200, ""),
        ("bad_cursor", 400, "cursor"),
        ("expired_cursor", 400, "expired"),
        ("success_false", 200, '"success":false'),
    ],
)
def test_a_fault_spoils_one_answer_and_the_next_is_whole(
    client: SandboxClient, kind: str, status: int, text: str
) -> None:
    client.sandbox.faults.add(kind)

    spoiled, whole = client.get(PATH), client.get(PATH)

    assert spoiled.status_code == status
    assert text in spoiled.text
    assert "date" in spoiled.headers
    assert whole.status_code == 200
    assert [request.fault for request in client.sandbox.requests] == [kind, None]


def test_the_retry_after_of_a_429_comes_only_where_its_name_says_so(client: SandboxClient) -> None:
    headers = []
    for kind in ("burst_429", "burst_429_retry_after", "daily_429", "daily_429_for_a_month"):
        client.sandbox.faults.add(kind)
        headers.append(client.get(PATH).headers.get("retry-after"))

    assert headers == [None, "2", "3939", "2592000"]


def test_a_fault_waits_for_its_call_and_is_served_as_often_as_planned(
    client: SandboxClient,
) -> None:
    client.sandbox.faults.add("http_500", after=2, times=3, path="/persons")

    statuses = [client.get(PATH, limit=1).status_code for _ in range(7)]
    other = client.get("/v1/users/me").status_code

    assert statuses == [200, 200, 500, 500, 500, 200, 200]
    assert other == 200
    assert client.sandbox.faults.waiting() == []


def test_a_fault_may_wait_for_one_query_only(client: SandboxClient) -> None:
    client.sandbox.faults.add("http_500", path="cursor=")

    pages = client.pages(PATH, limit=100)

    assert len(next(pages)) == 100
    with pytest.raises(AssertionError, match="Internal"):
        next(pages)


def test_pages_with_wrong_cursors_are_served_as_planned(client: SandboxClient) -> None:
    def cursor_of(kind: str, **query: str) -> tuple[int, object]:
        client.sandbox.faults.add(kind)
        body = client.get(PATH, limit=20, **query).json()
        return len(body["data"]), body["additional_data"].get("next_cursor", "missing")

    second = client.get(PATH, limit=20).json()["additional_data"]["next_cursor"]
    for kind in ("no_cursor_key", "missing_cursor"):
        assert cursor_of(kind) == (20, "missing")
    for kind in ("early_null_cursor", "null_cursor"):
        assert cursor_of(kind) == (20, None)
    assert cursor_of("repeated_cursor", cursor=second) == (20, second)
    assert cursor_of("empty_page") == (0, second)
    assert cursor_of("empty_account") == (0, None)


def test_a_page_without_additional_data_keeps_its_records(client: SandboxClient) -> None:
    client.sandbox.faults.add("no_additional_data")

    body = client.get(PATH, limit=20).json()

    assert body.keys() == {"success", "data"}
    assert len(body["data"]) == 20


def test_half_a_page_loses_the_rest_and_its_cursor_skips_it(client: SandboxClient) -> None:
    client.sandbox.faults.add("half_page")

    pages = [[row["id"] for row in page] for page in client.pages(PATH, limit=50)]

    assert pages[0] == list(range(1, 26))
    assert pages[1] == list(range(51, 101))


def test_a_null_or_a_record_without_id_comes_between_records_and_replaces_none(
    client: SandboxClient,
) -> None:
    client.sandbox.faults.add("null_record")
    client.sandbox.faults.add("keyless_record", after=1)

    null, keyless, whole = (client.data(PATH, limit=20) for _ in range(3))

    assert null == [whole[0], None, *whole[1:]]
    assert [row.get("id") for row in keyless[:3]] == [1, None, 2]
    assert [keyless[0], *keyless[2:]] == whole


def test_a_record_out_of_place_is_newer_than_its_place(client: SandboxClient) -> None:
    client.sandbox.faults.add("out_of_place")

    spoiled, whole = (client.data(PATH, sort_by="update_time", limit=20) for _ in range(2))

    assert spoiled[1:] == whole[1:]
    assert spoiled[0]["update_time"] > spoiled[-1]["update_time"] > whole[0]["update_time"]
    assert spoiled[0] | {"update_time": whole[0]["update_time"]} == whole[0]


def test_faults_of_rows_leave_answers_without_rows_as_they_are(client: SandboxClient) -> None:
    for kind in ("half_page", "null_record", "keyless_record", "out_of_place"):
        client.sandbox.faults.add(kind)
        assert client.get(f"{PATH}/1").json() == client.get(f"{PATH}/1").json()


@pytest.mark.parametrize(
    ("kind", "date"),
    [
        ("date_ahead", "Fri, 01 Jan 2027 00:10:00 GMT"),
        ("date_far_ahead", "Thu, 28 Oct 2027 00:00:00 GMT"),
        ("date_behind", "Thu, 31 Dec 2026 23:50:00 GMT"),
        ("no_date", None),
    ],
)
def test_the_date_header_of_one_answer_lies_or_is_missing(
    client: SandboxClient, kind: str, date: str | None
) -> None:
    clock = client.sandbox.clock
    clock.freeze()
    clock.set(datetime(2027, 1, 1, tzinfo=UTC))
    client.sandbox.faults.add(kind)

    spoiled, whole = client.get(PATH), client.get(PATH)

    assert spoiled.headers.get("date") == date
    assert whole.headers["date"] == "Fri, 01 Jan 2027 00:00:00 GMT"
    assert spoiled.json() == whole.json()


@pytest.mark.parametrize(
    ("kind", "text"),
    [("budget_negative", "-20"), ("budget_huge", "1" + 300 * "0"), ("budget_text", "unlimited")],
)
def test_the_budget_headers_of_one_answer_lie(client: SandboxClient, kind: str, text: str) -> None:
    names = ("x-daily-ratelimit-token-limit", "x-daily-ratelimit-token-remaining")
    client.sandbox.faults.add(kind)

    spoiled, whole = client.get(PATH), client.get(PATH)

    assert [spoiled.headers[name] for name in names] == [text, text]
    assert [whole.headers[name].isdigit() for name in names] == [True, True]


def test_truncated_json_has_a_whole_length_and_does_not_parse(client: SandboxClient) -> None:
    client.sandbox.faults.add("truncated_json")

    answer = client.get(PATH)

    assert int(answer.headers["content-length"]) == len(answer.content)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("kind", ["reset_mid_body", "lost_answer"])
def test_a_reset_reaches_the_caller_as_a_broken_connection(
    client: SandboxClient, kind: str
) -> None:
    client.sandbox.faults.add(kind)

    with pytest.raises(httpx.ReadError):
        client.get(PATH)

    assert client.get(PATH).status_code == 200


def test_half_a_body_arrives_before_the_reset(client: SandboxClient) -> None:
    client.sandbox.faults.add("reset_mid_body")
    received = b""

    with (
        contextlib.suppress(httpx.ReadError),
        client.http.stream("GET", PATH) as answer,
    ):
        for part in answer.iter_bytes():
            received += part

    assert received.startswith(b'{"success":true')
    assert 0 < len(received) < int(answer.headers["content-length"])


def test_a_lost_answer_was_worked_on_all_the_same(client: SandboxClient) -> None:
    """The harder half of a network failure: the other side has done it."""
    client.sandbox.faults.add("lost_answer")

    with pytest.raises(httpx.ReadError):
        client.http.post(PATH, json={"name": "Doch angelegt"})

    assert client.data(f"{PATH}/151")["name"] == "Doch angelegt"


def test_a_lost_refresh_answer_has_used_up_a_rotating_token(sandbox: Sandbox) -> None:
    sandbox.service.grants._options = type(sandbox.options)(rotates_refresh_token=True)
    tokens = installed(sandbox)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    sandbox.faults.add("lost_answer", path="/oauth/token")
    with SandboxClient(sandbox) as client:
        with pytest.raises(httpx.ReadError):
            client.token_answer(**form)

        assert client.token_answer(**form).json()["error"] == "invalid_grant"


def test_an_invalid_grant_waits_for_the_token_route(sandbox: Sandbox) -> None:
    tokens = installed(sandbox)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    sandbox.faults.add("invalid_grant")
    with SandboxClient(sandbox) as client:
        assert client.get(PATH).status_code == 200
        assert client.token_answer(**form).json()["error"] == "invalid_grant"
        assert client.token_answer(**form).status_code == 200


@pytest.mark.slow
def test_bytes_drip_one_a_second(client: SandboxClient) -> None:
    client.sandbox.faults.add("byte_a_second")
    started = time.monotonic()

    with client.http.stream("GET", PATH) as answer:
        parts = answer.iter_raw()
        first = [next(parts), next(parts)]

    assert [len(part) for part in first] == [1, 1]
    assert time.monotonic() - started > 0.9


def test_a_huge_page_goes_on_far_beyond_any_sane_answer(client: SandboxClient) -> None:
    client.sandbox.faults.add("huge_page")
    size = 0

    with client.http.stream("GET", PATH) as answer:
        for part in answer.iter_raw(1_000_000):
            size += len(part)
            if size > 20_000_000:
                break

    assert "content-length" not in answer.headers
    assert size > 20_000_000


@pytest.mark.slow
def test_a_huge_page_has_500_megabytes_and_ends_as_json_does(client: SandboxClient) -> None:
    client.sandbox.faults.add("huge_page")
    size, tail = 0, b""

    with client.http.stream("GET", PATH) as answer:
        for part in answer.iter_raw(1_000_000):
            size += len(part)
            tail = (tail + part)[-20:]

    assert 499_000_000 < size < 501_000_000
    assert tail.endswith(b"]}")


def test_a_slow_first_byte_keeps_the_caller_waiting(client: SandboxClient) -> None:
    client.sandbox.faults.add("slow", seconds=0.2)
    started = time.monotonic()

    assert client.get(PATH, limit=1).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_an_edit_happens_just_before_its_call(client: SandboxClient) -> None:
    account = client.sandbox.account
    client.sandbox.faults.before(2, lambda: account.delete("persons", 60), path=PATH)

    pages = [[row["id"] for row in page] for page in client.pages(PATH, limit=50)]

    assert pages[0] == list(range(1, 51))
    assert pages[1][:10] == [51, 52, 53, 54, 55, 56, 57, 58, 59, 61]


def test_an_unknown_fault_is_refused_by_name(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="known: burst_429"):
        sandbox.faults.add("earthquake")


def test_waiting_faults_can_be_cleared(client: SandboxClient) -> None:
    for kind in KINDS.names:
        client.sandbox.faults.add(kind)

    client.sandbox.faults.clear()

    assert client.get(PATH).status_code == 200


def test_the_paging_of_v1_may_be_flat_end_early_or_repeat_itself(client: SandboxClient) -> None:
    """The vendor's document has it flat for leads, live answers have it nested."""

    def paging(kind: str) -> dict[str, Any]:
        client.sandbox.faults.add(kind, path="/v1/leads")
        additional: dict[str, Any] = client.get("/v1/leads", limit=5).json()["additional_data"]
        return additional

    assert paging("flat_pagination") == {
        "start": 0, "limit": 5, "more_items_in_collection": True, "next_start": 5,
    }  # fmt: skip
    assert paging("early_last_page")["pagination"]["more_items_in_collection"] is False
    assert paging("repeated_start")["pagination"]["next_start"] == 0
    client.sandbox.faults.add("flat_pagination")
    assert client.get(PATH, limit=5).json()["additional_data"]["next_cursor"]  # v2 has none


@pytest.mark.parametrize("kind", ["http_503", "null_record", "half_page", "reset_mid_body"])
@pytest.mark.parametrize("path", ["/api/v2/deals", "/v1/notes", "/v1/activityTypes"])
def test_a_fault_spoils_a_call_of_any_kind(client: SandboxClient, path: str, kind: str) -> None:
    whole = client.data(path)
    client.sandbox.faults.add(kind, path=path)

    try:
        spoiled = client.get(path)
        data = spoiled.json().get("data")
    except httpx.TransportError:
        data = "cut"

    expected = {"http_503": None, "reset_mid_body": "cut"}
    if kind in expected:
        assert data == expected[kind]
    elif kind == "null_record":
        assert [data[0], data[1], data[2]] == [whole[0], None, whole[1]]
    else:
        assert data == whole[: len(whole) // 2]
    assert client.data(path) == whole


def test_an_edit_happens_between_two_pages_of_deals(client: SandboxClient) -> None:
    account = client.sandbox.account
    client.sandbox.faults.add(
        "edit", after=1, path="/deals", action=lambda: account.delete("deals", 30)
    )

    assert 30 not in client.ids("/api/v2/deals", limit=20)
