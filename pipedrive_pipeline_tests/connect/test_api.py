"""The dialect: envelopes, cursors, limits, repeated calls, two at once; by HTTP alone."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Message

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.middleware import StrictHttp
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite, served
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, client_with, filled_tenant

HISTORY = f"{ROUTES}/sync/history"


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    """Acme, connected, with something in every table."""
    return filled_tenant(site, "acme", 1)


@pytest.fixture
def admin(site: ConnectSite, tenant: FilledTenant) -> httpx.Client:
    return client_with(site, tenant.keys[Role.ADMIN])


def at_once(count: int, act: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """The answers to the same call from several clients at the same moment."""
    answers: list[httpx.Response] = []
    barrier = threading.Barrier(count)

    def act_at_the_barrier() -> None:
        barrier.wait()
        answers.append(act())

    threads = [threading.Thread(target=act_at_the_barrier) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def queued(site: ConnectSite, sync_type: str = "incremental") -> int:
    rows = site.world.rows(
        "select id from integration.sync_requests where sync_type = %s and state = 'queued'",
        sync_type,
    )
    return len(rows)


# --- keys


def test_a_key_is_shown_once_stored_as_a_hash_and_opens_its_tenant(
    site: ConnectSite, admin: httpx.Client
) -> None:
    answer = admin.post("/api/keys", json={"name": "app", "role": "user"})

    key = answer.json()["data"]["key"]
    assert answer.status_code == 201
    assert client_with(site, key).get("/api/integrations").status_code == 200
    assert key not in admin.get("/api/keys").text
    stored = site.world.rows("select api_keys::text as line from integration.api_keys")
    assert not any(key in row["line"] or key.partition(".")[2] in row["line"] for row in stored)


def test_a_revoked_key_opens_nothing_and_both_changes_are_in_the_audit_log(
    site: ConnectSite, admin: httpx.Client
) -> None:
    key = admin.post("/api/keys", json={"name": "app", "role": "user"}).json()["data"]
    client = client_with(site, key["key"])
    before = client.get("/api/integrations").status_code

    revoked = admin.delete(f"/api/keys/{key['id']}")
    again = admin.delete(f"/api/keys/{key['id']}")

    assert (before, client.get("/api/integrations").status_code) == (200, 401)
    assert revoked.json()["data"]["revokedAt"] == again.json()["data"]["revokedAt"] is not None
    log = site.world.rows(
        "select action, who, subject from integration.audit_log where subject = %s order by id",
        key["prefix"],
    )
    assert [row["action"] for row in log] == ["key.add", "key.revoke"]
    assert all(row["who"].startswith("key word_of_acme (key_acme.") for row in log)


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "a\nb", "x" * 101, 7, None])
def test_a_key_without_a_usable_name_is_refused(admin: httpx.Client, name: object) -> None:
    answer = admin.post("/api/keys", json={"name": name, "role": "user"})

    assert answer.status_code == 422
    assert [answer["field"] for answer in answer.json()["error"]["details"]] == ["body.name"]


def test_wrong_keys_are_refused_before_they_are_compared(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    """After twenty wrong keys even a right one is refused: it was not looked at."""
    guesses = [client_with(site, f"key_acme.{n}").get("/api/integrations") for n in range(25)]

    lucky = client_with(site, tenant.keys[Role.USER]).get("/api/integrations")
    assert [answer.status_code for answer in guesses] == [401] * 20 + [429] * 5
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 15
    assert lucky.status_code == 429


def test_a_right_key_from_another_address_works_meanwhile(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    """An attacker must not lock a tenant out."""
    for n in range(21):
        client_with(site, f"key_acme.{n}").get("/api/integrations")

    elsewhere = httpx.HTTPTransport(local_address="127.0.0.9")
    with httpx.Client(transport=elsewhere, base_url=site.url) as client:
        answer = client.get("/api/integrations", headers={"x-api-key": tenant.keys[Role.USER]})

    assert answer.status_code == 200


def test_the_delay_doubles_with_each_further_wrong_key(site: ConnectSite) -> None:
    waits = []
    for _ in range(23):
        client_with(site, "key_acme.wrong").get("/api/integrations")
        rows = site.world.rows(
            "select round(extract(epoch from refused_until - last_failed_at))::integer as seconds"
            " from integration.failed_attempts where subject like 'address %%'"
        )
        waits.append(rows[0]["seconds"])
        site.world.execute("update integration.failed_attempts set refused_until = now()")

    assert waits == [None] * 19 + [15, 30, 60, 120]


def test_an_account_that_is_attacked_from_everywhere_stays_open_to_its_own_addresses(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    """Two hundred failures from many addresses close it to strangers only."""
    own = client_with(site, tenant.keys[Role.USER])
    own.get("/api/integrations")
    site.world.execute(
        "insert into integration.failed_attempts"
        " (subject, tenant_id, failures, last_failed_at, refused_until)"
        " values ('account acme', 'acme', 200, now(), now() + interval '1 minute')"
    )

    elsewhere = httpx.HTTPTransport(local_address="127.0.0.9")
    with httpx.Client(transport=elsewhere, base_url=site.url) as stranger:
        refused = stranger.get("/api/integrations", headers={"x-api-key": "key_acme.wrong"})

    assert refused.status_code == 429
    assert own.get("/api/integrations").status_code == 200


def test_failures_are_counted_across_processes_and_in_a_bounded_table(site: ConnectSite) -> None:
    """Two apps on one database share the counts; accounts that do not exist have no row."""
    with served(site.world) as other:
        for n in range(20):
            client_with(site if n % 2 else other, f"key_acme.{n}").get("/api/integrations")
        answers = [
            client_with(row, "key_nobody.x").get("/api/integrations") for row in (site, other)
        ]

    assert [answer.status_code for answer in answers] == [429, 429]
    rows = site.world.rows("select subject from integration.failed_attempts order by subject")
    assert [row["subject"].partition(" ")[0] for row in rows] == ["account", "address"]


def test_a_forged_forwarded_address_is_ignored(site: ConnectSite) -> None:
    """Without a configured proxy the header is any client's invention."""
    answers = [
        client_with(site, f"key_acme.{n}", **{"x-forwarded-for": f"203.0.113.{n}"}).get(
            "/api/integrations"
        )
        for n in range(22)
    ]

    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2


def test_the_address_that_a_trusted_proxy_forwards_is_counted(site: ConnectSite) -> None:
    """Behind a proxy all clients would share its address, and one would lock the others out."""
    with served(site.world, trusted_proxies=("127.0.0.1",)) as behind:
        forwarded = [f"203.0.113.{n % 2}" for n in range(42)]
        answers = [
            client_with(behind, "key_acme.x", **{"x-forwarded-for": address}).get(
                "/api/integrations"
            )
            for address in forwarded
        ]
        spoofed = {"x-forwarded-for": "198.51.100.7, 203.0.113.0"}
        again = client_with(behind, "key_acme.x", **spoofed).get("/api/integrations")

    assert [answer.status_code for answer in answers] == [401] * 40 + [429] * 2
    assert again.status_code == 429  # the last address is the one that the proxy saw


def test_a_key_has_a_window_of_its_own(site: ConnectSite, tenant: FilledTenant) -> None:
    site.limit_requests(3)
    busy, quiet = (client_with(site, tenant.keys[role]) for role in (Role.USER, Role.ADMIN))

    answers = [busy.get("/api/integrations") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:3]] == ["2", "1", "0"]
    assert answers[3].json()["error"]["code"] == "too_many_requests"
    assert quiet.get("/api/integrations").status_code == 200


def test_a_window_is_counted_across_processes(site: ConnectSite, tenant: FilledTenant) -> None:
    site.limit_requests(3)
    key = tenant.keys[Role.USER]

    with served(site.world) as other:
        other.limit_requests(3)
        answers = [
            client_with(row, key).get("/api/integrations")
            for row in (site, other, site, other, site)
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]


def test_a_window_begins_again_after_a_minute(site: ConnectSite, tenant: FilledTenant) -> None:
    site.limit_requests(1)
    client = client_with(site, tenant.keys[Role.USER])
    full = [client.get("/api/integrations").status_code for _ in range(2)]
    site.world.execute(
        "update integration.request_windows set began_at = began_at - interval '61 s'"
    )

    again = client.get("/api/integrations")

    assert full == [200, 429]
    assert (again.status_code, again.headers["x-ratelimit-remaining"]) == (200, "0")


# --- syncs


def test_two_clicks_on_sync_are_one_request(site: ConnectSite, admin: httpx.Client) -> None:
    answers = at_once(6, lambda: admin.post(f"{ROUTES}/sync", json={}))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    assert queued(site) == 1


def test_a_request_that_runs_answers_the_next_one_too(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A full sync also answers a request for an incremental one."""
    first = admin.post(f"{ROUTES}/sync", json={"syncType": "full"}).json()["data"]
    site.world.execute(
        "update integration.sync_requests set state = 'running' where id = %s", first["id"]
    )

    again = admin.post(f"{ROUTES}/sync", json={"syncType": "full"}).json()["data"]
    smaller = admin.post(f"{ROUTES}/sync").json()["data"]

    assert [row["id"] for row in (again, smaller)] == [first["id"]] * 2
    assert again["state"] == "running"


def test_the_same_idempotency_key_does_nothing_twice_even_when_the_first_is_over(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A client that lost the answer repeats the call minutes later: the sync has ended by then."""
    headers = {"idempotency-key": "one-click"}
    first = admin.post(f"{ROUTES}/sync", json={}, headers=headers)
    site.world.execute("update integration.sync_requests set state = 'done', settled_at = now()")

    again = admin.post(f"{ROUTES}/sync", json={}, headers=headers)
    other = admin.post(f"{ROUTES}/sync", json={"syncType": "full"}, headers=headers)
    new = admin.post(f"{ROUTES}/sync", json={}, headers={"idempotency-key": "two"})

    assert (again.status_code, again.json()["data"]) == (202, first.json()["data"])
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert new.json()["data"]["id"] != first.json()["data"]["id"]


def test_the_same_idempotency_key_at_once_makes_one_key(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """One caller sees the secret; the others learn that it was made, not what it is."""
    body = {"name": "app", "role": "user"}
    headers = {"idempotency-key": "x"}

    answers = at_once(5, lambda: admin.post("/api/keys", json=body, headers=headers))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    secrets = [answer.json()["data"]["key"] for answer in answers]
    assert len([row for row in secrets if row]) == 1
    stored = site.world.rows("select answer::text as answer from integration.idempotency_keys")
    assert not any(secret and secret in row["answer"] for secret in secrets for row in stored)


def test_a_key_of_yesterday_is_forgotten(site: ConnectSite, admin: httpx.Client) -> None:
    headers = {"idempotency-key": "daily"}
    admin.post("/api/keys", json={"name": "a", "role": "user"}, headers=headers)
    site.world.execute(
        "update integration.idempotency_keys set created_at = now() - interval '25 hours'"
    )

    answer = admin.post("/api/keys", json={"name": "b", "role": "user"}, headers=headers)

    assert answer.json()["data"]["name"] == "b"


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("disconnected", 404, "not_connected"),
        ("pending", 404, "not_connected"),
        ("needs_reauth", 409, "needs_reauth"),
    ],
)
def test_a_sync_that_could_only_fail_is_not_queued(
    site: ConnectSite, admin: httpx.Client, state: str, status: int, code: str
) -> None:
    site.world.execute(
        "update integration.connections set state = %s, access_token = null, refresh_token = null",
        state,
    )

    answer = admin.post(f"{ROUTES}/sync", json={})

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert queued(site) == 0


def test_a_sync_is_followed_from_queued_to_done(site: ConnectSite, admin: httpx.Client) -> None:
    asked = admin.post(f"{ROUTES}/sync", json={}).json()["data"]
    waiting = admin.get(f"{ROUTES}/status").json()["data"]["current"]
    run_id = begun(site, asked["id"])
    running = admin.get(f"{ROUTES}/sync/requests/{asked['id']}").json()["data"]
    shown = admin.get(HISTORY, params={"status": "running"}).json()["data"]
    site.world.execute(
        "update integration.runs set status = 'success', completed_at = now(), progress = null"
        " where id = %s",
        run_id,
    )
    last = admin.get(f"{ROUTES}/status").json()["data"]["lastRun"]

    assert [row["id"] for row in waiting if row["syncType"] == "incremental"] == [asked["id"]]
    assert (running["state"], running["runId"]) == ("running", run_id)
    progress = {
        "phase": "reading",
        "stage": "persons",
        "pages": 4,
        "rows": 2000,
        "seconds": 2.5,
        "rowsPerSecond": 800.0,
        "tokens": 0,
        "share": None,
        "secondsLeft": None,
        "entities": {},
    }
    assert running["progress"] == shown[0]["progress"] == progress
    assert (last["id"], last["status"]) == (run_id, "success")


def begun(site: ConnectSite, request_id: str) -> str:
    """A run that serves the request, and is in the middle of it."""
    rows = site.world.rows(
        """
        with log as (
            insert into integration.runs (tenant_id, system, sync_type, trigger, progress)
            values (
                'acme', 'pipedrive', 'incremental', 'manual',
                '{"stage": "persons", "pages": 4, "rows": 2000, "seconds": 2.5}'
            )
            returning id
        )
        update integration.sync_requests
        set state = 'running', run_id = log.id
        from log
        where sync_requests.id = %s
        returning run_id
        """,
        request_id,
    )
    return str(rows[0]["run_id"])


# --- history


def filled(site: ConnectSite, runs: int) -> None:
    site.world.execute(
        """
        insert into integration.runs (
            tenant_id, system, sync_type, trigger, status, started_at, completed_at
        )
        select
            'acme', 'pipedrive', case when n %% 2 = 0 then 'full' else 'incremental' end,
            'schedule', 'success', '2026-01-01'::timestamptz + n / 3 * interval '1 hour', now()
        from generate_series(1, %s) as n
        """,
        runs,
    )


def walked(client: httpx.Client, **params: Any) -> list[list[dict[str, Any]]]:
    """Every page."""
    pages: list[list[dict[str, Any]]] = []
    cursor: str | None = None
    while cursor or not pages:
        body = client.get(
            HISTORY, params={**params, **({"cursor": cursor} if cursor else {})}
        ).json()
        pages.append(body["data"])
        cursor = body["meta"]["pagination"]["next_cursor"]
    return pages


def test_history_is_walked_page_by_page_without_a_gap_or_a_repetition(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """Three runs share each instant; a page must not end between them and lose one."""
    filled(site, 100)

    pages = walked(admin, limit=7)

    runs = [run for page in pages for run in page]
    assert len(runs) == len({run["id"] for run in runs}) == 102  # one before, one that waits
    assert {len(page) for page in pages[:-1]} == {7}
    instants = [run["startedAt"] or run["requestedAt"] for run in runs]
    assert instants == sorted(instants, reverse=True)


def test_a_run_that_begins_meanwhile_moves_no_page(site: ConnectSite, admin: httpx.Client) -> None:
    filled(site, 10)
    first = admin.get(HISTORY, params={"limit": 5}).json()
    whole = [run["id"] for page in walked(admin) for run in page]
    filled(site, 1)
    site.world.execute(
        "insert into integration.runs (tenant_id, system, sync_type, trigger)"
        " values ('acme', 'pipedrive', 'full', 'manual')"
    )

    cursor = first["meta"]["pagination"]["next_cursor"]
    second = admin.get(HISTORY, params={"limit": 5, "cursor": cursor}).json()

    assert [run["id"] for run in second["data"]] == whole[5:10]


def test_the_trends_have_the_figures_of_the_newest_runs_for_a_chart(
    site: ConnectSite, admin: httpx.Client
) -> None:
    filled(site, 10)

    runs = admin.get(f"{ROUTES}/sync/trends", params={"limit": 4}).json()["data"]
    refused = admin.get(f"{ROUTES}/sync/trends", params={"limit": 0})

    began = [run["startedAt"] for run in runs]
    assert began == sorted(began)
    assert len(runs) == 4
    assert set(runs[0]) == {
        *("startedAt", "syncType", "status"),
        *("rowsRead", "seconds", "tokensSpent", "apiCalls"),
    }
    assert refused.status_code == 422


def test_history_is_filtered(site: ConnectSite, admin: httpx.Client) -> None:
    filled(site, 30)

    full = walked(admin, syncType="full", trigger="schedule")[0]
    either = walked(admin, status=["queued", "partial"])[0]
    window = {"since": "2026-01-01T02:00:00Z", "until": "2026-01-01T04:00:00Z"}

    assert (len(full), {run["syncType"] for run in full}) == (15, {"full"})
    assert {run["status"] for run in either} == {"queued", "partial"}
    assert len(walked(admin, **window)[0]) == 6


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": 201}, 422),
        ({"limit": "x"}, 422),
        ({"status": "gone"}, 422),
        ({"since": "2026-01-01T00:00:00"}, 422),  # in which time zone?
        ({"since": "yesterday"}, 422),
        ({"cursor": "made up"}, 400),
        ({"cursor": "MjAyNg"}, 400),
        ({"cursor": "x" * 300}, 422),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(
    admin: httpx.Client, params: dict[str, Any], status: int
) -> None:
    answer = admin.get(HISTORY, params=params)

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "meta"}


# --- settings


def test_settings_are_saved_shown_and_audited_and_what_is_left_out_stays(
    site: ConnectSite, admin: httpx.Client
) -> None:
    url = "slack://aaaaaaaaa/bbbbbbbbb/cccccccccccccccccccccccc"
    first = admin.put(
        f"{ROUTES}/sync-config",
        json={"syncTime": "04:30", "budgetShare": 0.25, "alertUrls": [url]},
    )
    second = admin.put(f"{ROUTES}/sync-config", json={**first.json()["data"], "everyHours": None})

    shown = second.json()["data"]
    assert (shown["syncTime"], shown["timeZone"], shown["budgetShare"]) == (
        "04:30",
        "Europe/Berlin",
        0.25,
    )
    assert (first.json()["data"]["everyHours"], shown["everyHours"]) == (5, None)
    assert shown["alertUrls"] == ["slack://***"]
    (row,) = site.world.rows(
        "select alert_urls, sync_time::text as sync_time from integration.sync_settings"
        " where tenant_id = %s",
        "acme",
    )
    assert "aaaaaaaaa" not in row["alert_urls"]
    assert row["sync_time"] == "04:30:00"
    from pipedrive_pipeline.sync.tenancy import configuration
    from pipedrive_pipeline_tests.vault.world import ACME

    with site.world.vault.warehouse.as_app(ACME) as connection:
        stored = configuration.read(connection, site.world.vault.cipher, Scope(ACME, "pipedrive"))
    assert stored.alert_urls == (url,)
    log = site.world.rows(
        "select before, after from integration.audit_log where action = 'sync_config.save'"
        " order by id"
    )
    assert [row["after"]["every_hours"] for row in log] == [5, None]
    assert "aaaaaaaaa" not in str(log)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("syncTime", "24:00"),
        ("syncTime", "2:00"),
        ("timeZone", "Europe/Nowhere"),
        ("timeZone", "../../etc/passwd"),
        ("everyHours", 0),
        ("everyHours", 169),
        ("sweepEveryHours", 9_000),
        ("budgetShare", 0),
        ("budgetShare", 1.01),
        ("budgetShare", "NaN"),
        ("dailyTokenBudget", 0),
        ("dailyTokenBudget", 2**63),
        ("alertUrls", ["a,b://c"]),
        ("alertUrls", "slack://x"),
        ("eraseDeletedAfterDays", -1),
        ("autoSync", None),
        ("nonsense", 1),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(
    site: ConnectSite, admin: httpx.Client, name: str, value: object
) -> None:
    before = site.world.rows("select * from integration.sync_settings")

    answer = admin.put(f"{ROUTES}/sync-config", json={name: value})

    assert answer.status_code == 422
    assert name in answer.json()["error"]["details"][0]["field"]
    assert site.world.rows("select * from integration.sync_settings") == before


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://x",
        "syslog://localhost",
        "json://example.com/x",
        "https://127.0.0.1/x",
        "https://2130706433/graphql",
        "https://0x7f000001/graphql",
        "https://0177.0.0.1/graphql",
        "https://127.1/graphql",
        "https://[::1]/x",
        "https://localhost:5432",
        "https://ip6-loopback/x",
        "https://postgres/x",
        "https://user@example.com/x",
        "https://example.com@127.0.0.1/x",
        "jsons://169.254.169.254/latest",
        "mailtos://user:secret@example.com?smtp=127.0.0.1",
        "mailto:person@example.com?smtp=127.0.0.1",
        "mailto:person@example.com",
        "slack://aaaaaaaaa/bbbbbbbbb/cccccccccccccccccccccccc?verify=no",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?template=/etc/passwd",
        "workflows://evil.example/643e69ff567189c4dd/signature",
        "workflows://logic.azure.com.evil.example/643e69ff567189c4dd/signature",
        "slack://***",
    ],
)
def test_an_alert_cannot_be_sent_into_our_own_network(admin: httpx.Client, url: str) -> None:
    """Server-side request forgery: a tenant's manager does not run this machine."""
    answer = admin.put(f"{ROUTES}/sync-config", json={"alertUrls": [url]})

    assert answer.status_code == 400
    assert "alertUrls" in answer.json()["error"]["message"]


# --- mapping


def test_of_two_editors_of_a_mapping_the_second_gets_a_conflict(
    site: ConnectSite, admin: httpx.Client
) -> None:
    body = {"mapping": {"organizations": {}, "persons": {}}, "version": 1}

    answers = at_once(2, lambda: admin.put(f"{ROUTES}/field-mapping", json=body))

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json()["error"]
    assert refused["code"] == "mapping_outdated"
    assert admin.get(f"{ROUTES}/field-mapping").json()["data"]["version"] == 2
    versions = admin.get(f"{ROUTES}/field-mapping/versions").json()["data"]
    assert [(row["version"], row["isActive"]) for row in versions] == [(2, True), (1, False)]
    assert queued(site, "remap") == 1


def test_a_mapping_that_cannot_be_used_names_each_entry(admin: httpx.Client) -> None:
    mapping = {"organizations": {"nowhere": "phone"}, "persons": {"x": "no_column"}}

    answer = admin.put(f"{ROUTES}/field-mapping", json={"mapping": mapping, "version": 1})

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "bad_mapping"
    assert {row["field"] for row in error["details"]} == {"organizations.nowhere", "persons.x"}
    assert admin.get(f"{ROUTES}/field-mapping").json()["data"]["version"] == 1


# --- borders


def test_a_body_beyond_the_limit_is_refused(admin: httpx.Client) -> None:
    answer = admin.post("/api/keys", content=b" " * 300_000)

    assert answer.status_code == 413


def test_a_body_that_never_ends_is_given_up() -> None:
    """A client that sends a byte a minute would occupy a connection without end."""

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    answered: list[Message] = []

    async def send(message: Message) -> None:
        answered.append(message)

    async def app(*_: object) -> None:
        raise AssertionError

    def unforeseen(*_: object) -> Response:
        raise AssertionError

    strict = StrictHttp(app, is_https=False, on_unexpected=unforeseen, body_seconds=0.01)
    scope = {"type": "http", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(strict(scope, never, send))

    assert answered[0]["status"] == 408


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"\xff", b'"x"', b"null", b'{"name": "\\ud800", "role": "user"}', b"[" * 90_000],
)
def test_a_body_that_is_no_object_is_refused(admin: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}

    answer = admin.post("/api/keys", content=body, headers=headers)

    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["code"] == "bad_input"


def test_a_key_expires(site: ConnectSite, admin: httpx.Client) -> None:
    """It opens nothing afterwards, nor does a session that was begun with it."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = admin.post("/api/keys", json={"name": "a", "role": "user", "expiresAt": tomorrow})
    client = client_with(site, made.json()["data"]["key"])
    assert client.get(f"{ROUTES}/status").status_code == 200

    site.world.execute("update integration.api_keys set expires_at = now() where name = 'a'")
    past = admin.post(
        "/api/keys", json={"name": "b", "role": "user", "expiresAt": "2020-01-01T00:00:00Z"}
    )

    assert client.get(f"{ROUTES}/status").status_code == 401
    assert past.status_code == 400
    assert "future" in past.json()["error"]["message"]


def test_lists_of_keys_and_versions_page(admin: httpx.Client) -> None:
    for number in range(3):
        body = {"version": 1 + number, "mapping": {}}
        assert admin.put(f"{ROUTES}/field-mapping", json=body).status_code == 200
    for path, key in (("/api/keys", "id"), (f"{ROUTES}/field-mapping/versions", "version")):
        whole = [row[key] for row in admin.get(path).json()["data"]]
        paged, cursor = [], None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            answer = admin.get(path, params=query).json()
            paged += [row[key] for row in answer["data"]]
            cursor = answer["meta"]["pagination"]["next_cursor"]
            if cursor is None:
                break

        assert len(whole) == 4
        assert paged == whole
        assert admin.get(path, params={"cursor": "made up"}).status_code == 400


def test_a_refused_method_is_told_every_allowed_one(admin: httpx.Client) -> None:
    """Starlette names the methods of one route only, although another serves PUT there."""
    answer = admin.patch(f"{ROUTES}/sync-config")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PUT")


def test_no_other_site_is_allowed_to_read_an_answer(admin: httpx.Client) -> None:
    """No CORS by default: neither a simple request nor a preflight says that it may."""
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}

    answers = [
        admin.get("/api/integrations", headers=headers),
        admin.options("/api/integrations", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [200, 405]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_every_answer_of_a_list_has_a_cursor_and_an_id(admin: httpx.Client) -> None:
    answer = admin.get("/api/keys")

    assert answer.json()["meta"] == {
        "request_id": answer.headers["x-request-id"],
        "pagination": {"next_cursor": None},
    }


def test_an_id_that_no_tenant_has_is_not_found(admin: httpx.Client) -> None:
    for path in (
        f"{HISTORY}/{uuid.uuid4()}",
        f"{ROUTES}/field-mapping/versions/77",
        "/api/integrations/hubspot/status",
        "/api/nothing",
    ):
        answer = admin.get(path)

        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


POLLED = (f"{ROUTES}/status", HISTORY)


@pytest.mark.parametrize("path", POLLED)
def test_a_key_that_is_revoked_polls_nothing_from_then_on(
    site: ConnectSite, admin: httpx.Client, path: str
) -> None:
    """These routes look up the key by themselves; it must not live on in any of them."""
    key = admin.post("/api/keys", json={"name": "a poller", "role": "user"}).json()["data"]
    poller = client_with(site, key["key"])
    before = [poller.get(path).status_code for _ in range(3)]

    admin.delete(f"/api/keys/{key['id']}")

    after = poller.get(path)
    assert before == [200, 200, 200]
    assert (after.status_code, after.json()["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("path", POLLED)
def test_polled_routes_answer_get_alone(admin: httpx.Client, path: str) -> None:
    answers = [admin.request(method, path) for method in ("HEAD", "POST", "DELETE")]

    assert [answer.status_code for answer in answers] == [405, 405, 405]
    assert {answer.headers["allow"] for answer in answers} == {"GET"}


def test_a_caller_who_is_not_signed_in_gets_401_for_every_query(site: ConnectSite) -> None:
    """A query that does not fit is no way around the count of wrong keys."""
    answers = [
        client_with(site, "key_acme.made-up").get(HISTORY, params={"limit": limit})
        for limit in (1, 0)
    ]

    assert [answer.status_code for answer in answers] == [401, 401]


def test_a_query_that_does_not_fit_names_its_fields_and_counts_in_the_window(
    admin: httpx.Client,
) -> None:
    given = {
        "limit": "0",
        "status": ["success", "odd"],
        "since": "2026-11-01T00:00:00",
        "other": "x",
    }

    answer = admin.get(HISTORY, params=given)

    details = answer.json()["error"]["details"]
    assert answer.status_code == 422
    assert {row["field"] for row in details} == {"query.limit", "query.status.1", "query.since"}
    assert answer.headers["x-ratelimit-limit"] == "600"
