"""The server as processes of its own: killed in the middle of a call, and several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from socket import socket

import httpx
import psutil
import psycopg
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.hooks import hook_of
from pipedrive_pipeline_tests.connect.tenants import filled_tenant
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME

PATIENCE_SECONDS = 60
CALL = {"idempotency-key": "once"}


def free_port() -> int:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(
    site: ConnectSite, home: Path, workers: int = 1
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`serve-connect` on the site's database; killed at the end, if it lives."""
    settings, port = site.world.vault.settings, free_port()
    assert settings.database_url
    assert settings.token_encryption_keys
    names = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    environment = {
        **inherited,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TOKEN_ENCRYPTION_KEYS": settings.token_encryption_keys[0].get_secret_value(),
        "PIPELINE_HOME": str(home),
        "CONNECT_PORT": str(port),
        "CONNECT_WORKERS": str(workers),
    }
    command = [sys.executable, "-m", "pipedrive_pipeline", "serve-connect"]
    process = subprocess.Popen(command, env=environment)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def until(holds: object) -> None:
    """Returns once it holds."""
    assert callable(holds)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_server_that_is_killed_amid_a_call_leaves_nothing_half_done(
    site: ConnectSite, tmp_path: Path
) -> None:
    """The client, which never saw an answer, repeats the call; it is done once."""
    tenant = filled_tenant(site, "acme", 1)
    headers = {"x-api-key": tenant.keys[Role.ADMIN], **CALL}
    database = site.world.vault.warehouse.url

    def repeat(url: str) -> httpx.Response:
        return httpx.post(f"{url}{ROUTES}/sync", json={}, headers=headers, timeout=30)

    with psycopg.connect(database) as holder, server(site, tmp_path) as (process, url):
        # The call waits for this lock with its Idempotency-Key written and not committed.
        holder.execute("lock table integration.sync_requests in exclusive mode")
        lost: list[Exception] = []
        caller = threading.Thread(target=lambda: lost.append(error_of(lambda: repeat(url))))
        caller.start()
        until(lambda: is_waiting(site))
        process.send_signal(signal.SIGKILL)
        caller.join()
    with server(site, tmp_path) as (_, url):
        first, second = repeat(url), repeat(url)

    assert [type(error) for error in lost] == [httpx.RemoteProtocolError]
    assert (first.status_code, second.status_code) == (202, 202)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["data"] == second.json()["data"]
    requests = site.world.rows(
        "select id from integration.sync_requests where sync_type = 'incremental'"
    )
    assert [str(row["id"]) for row in requests] == [first.json()["data"]["id"]]


def error_of(act: object) -> Exception:
    assert callable(act)
    try:
        act()
    except httpx.TransportError as error:
        return error
    return AssertionError("the call was answered")


def is_waiting(site: ConnectSite) -> bool:
    return bool(
        site.world.rows(
            "select pid from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query like '%%insert into integration.sync_req%%'"
        )
    )


@pytest.mark.slow
def test_several_processes_share_the_count_of_wrong_keys_and_end_together(
    site: ConnectSite, tmp_path: Path
) -> None:
    """And none of them goes on without the first process, holding its port."""
    with server(site, tmp_path, workers=2) as (process, url):
        until(lambda: len(app_processes(process)) == 2)
        workers = app_processes(process)
        refused = [
            httpx.get(f"{url}/api/integrations", headers={"x-api-key": f"key_acme.{n}"}, timeout=30)
            for n in range(24)  # each on a connection of its own, so that both processes answer
        ]
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not any(worker.is_running() for worker in workers))
        until(lambda: not answers(f"{url}/healthz"))

    assert [answer.status_code for answer in refused] == [401] * 20 + [429] * 4


def app_processes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that serve; not the one that keeps track of shared resources."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_event_that_was_answered_survives_a_kill_of_the_receiver(
    site: ConnectSite, tmp_path: Path
) -> None:
    """Events that arrive together share a transaction: no answer comes before it is committed."""
    answered = events_answered_until_killed(site, tmp_path, kills=2)

    stored = site.world.rows("select event_key, remote_id from integration.webhook_events")
    assert answered <= {row["event_key"] for row in stored}
    signalled = site.world.rows("select remote_id from integration.signals")
    assert {row["remote_id"] for row in stored} == {row["remote_id"] for row in signalled}


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_every_event_that_was_answered_survives_fifty_kills_of_the_receiver(
    site: ConnectSite, tmp_path: Path
) -> None:
    answered = events_answered_until_killed(site, tmp_path, kills=50)

    stored = site.world.rows("select event_key from integration.webhook_events")
    assert answered <= {row["event_key"] for row in stored}


def events_answered_until_killed(site: ConnectSite, home: Path, *, kills: int) -> set[str]:
    """The ids of the events that were answered with 200, by servers that each die amid a burst."""
    hook, answered = hook_of(site, ACME, OAuthCompany()), set[str]()
    numbers = count(1)

    def send(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client, suppress(httpx.TransportError):
            while True:
                event = hook.event(next(numbers))
                answer = replace(hook, client=client).send(event)
                if answer.status_code == httpx.codes.OK:
                    answered.add(event["meta"]["id"])

    for kill in range(kills):
        with server(site, home) as (process, url), ThreadPoolExecutor(8) as senders:
            enough = len(answered) + 10 + 7 * kill
            for _ in range(8):
                senders.submit(send, url)
            until(lambda enough=enough: len(answered) >= enough)
            process.send_signal(signal.SIGKILL)
    return answered
