"""How long others wait while one tenant is slow, and while sockets occupy the app's connections.

    uv run --frozen --group dev python bench/slow_neighbours.py [--json]

Makes a warehouse of its own, starts the Connect app in one process, and sends `/healthz`, `/login`
and other tenants' `status` at a steady rate, each request on a new connection. First nothing else
happens: that is the floor. Then the same while

- one tenant sends 60 `test` calls, and its CRM does not answer;
- one tenant sends 60 previews of a mapping;
- 205 sockets are open, half of them idle, half with a head that gets two bytes a second.

Measuring starts a second after the first of them. A refused call is sent again after the time that
its refusal names and at most twice as long, so that not all come back in one moment; a socket that
the app closes is opened again after a second. The situations take turns, because a machine's speed
varies. A request without a good answer counts as a wait of ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from socket import socket
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from api import filled, until_it_answers
from remap import TENANT, fill, other_mapping

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline_tests.vault import oauth_server
from pipedrive_pipeline_tests.vault.oauth_server import (
    CLIENT_ID,
    CLIENT_SECRET,
    OAuthCompany,
    OAuthServer,
)
from pipedrive_pipeline_tests.vault.world import PIPEDRIVE, VaultSetup, settings_for

GOAL_MILLISECONDS = 100
CALLERS = 60
KEYS = 10  # of the slow tenant; with one, its quota of 600 requests a minute would end the calls
OTHER_TENANTS = 20
RECORDS = {"organizations": 1_500, "persons": 4_500}  # of the slow tenant
ROUTES = "/api/integrations/pipedrive"
PATHS = ("/healthz", "/login", f"{ROUTES}/status")
PATIENCE_MILLISECONDS = 10_000.0
SETTLE_SECONDS = 1.0  # until a situation is complete
REOPEN_SECONDS = 1.0
BYTE_SECONDS = 0.5  # between two bytes of a slow head
SLOW_HEAD = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "
# Linux has the whole network on loopback. From one address only 100 connections would stay open.
OWN_SOURCE, *SOURCES = (f"127.0.0.{number}" for number in range(1, 7))
RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """The app, the keys to it, and the CRM of the slow tenant."""

    url: str
    keys_of_others: list[str]
    keys_of_slow_tenant: list[str]
    crm: OAuthServer

    async def connection(self, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection from this address."""
        address = urlsplit(self.url)
        return await asyncio.open_connection(address.hostname, address.port, local_addr=(source, 0))

    async def answer(self, request: str, key: str, body: bytes = b"", *, source: str) -> bytes:
        """The whole answer to a request on a new connection; empty if there was none."""
        reader, writer = await self.connection(source)
        try:
            head = (
                f"{request} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 if the connection ended without one."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def source(number: int) -> str:
    """The address from which a call or socket of a situation comes."""
    return SOURCES[number % len(SOURCES)]


@dataclass
class Attack:
    """The calls or sockets of one situation, counted."""

    waiting: int = 0  # calls without an answer yet, or open sockets
    waiting_most: int = 0
    ended: Counter[str] = field(default_factory=Counter)  # by status, or `closed`

    @contextmanager
    def waits(self) -> Iterator[None]:
        """A block in which one more call or socket waits."""
        self.waiting += 1
        self.waiting_most = max(self.waiting, self.waiting_most)
        try:
            yield
        finally:
            self.waiting -= 1


Situation = Callable[[Target, Attack, int], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def quiet(_target: Target, _attack: Attack, _count: int) -> AsyncIterator[None]:
    """Nothing else happens."""
    yield


@asynccontextmanager
async def slow_tests(target: Target, attack: Attack, count: int) -> AsyncIterator[None]:
    """One tenant tests its connection to a CRM that does not answer."""
    target.crm.answers_me.clear()
    async with _together(count, partial(_call, target, attack, path=f"{ROUTES}/test", body=b"")):
        try:
            yield
        finally:
            target.crm.answers_me.set()


@asynccontextmanager
async def previews(target: Target, attack: Attack, count: int) -> AsyncIterator[None]:
    """One tenant previews a mapping of all its records."""
    body = json.dumps({"mapping": other_mapping(0)}).encode()
    path = f"{ROUTES}/field-mapping/preview"
    async with _together(count, partial(_call, target, attack, path=path, body=body)):
        yield


@asynccontextmanager
async def sockets(target: Target, attack: Attack, count: int) -> AsyncIterator[None]:
    """Sockets without a request, and heads that do not end."""
    async with _together(count, partial(_occupy, target, attack)):
        yield


@asynccontextmanager
async def _together(
    count: int, act: Callable[[int, asyncio.Event], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """Runs as many at once; at the end of the block each ends what it has begun."""
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(act(number, is_over))
        await asyncio.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            is_over.set()


async def _call(
    target: Target, attack: Attack, number: int, is_over: asyncio.Event, *, path: str, body: bytes
) -> None:
    key = target.keys_of_slow_tenant[number % KEYS]
    while not is_over.is_set():
        with attack.waits():
            answer = await target.answer(f"POST {path}", key, body, source=source(number))
        attack.ended[str(status_of(answer))] += 1
        retry_after = RETRY_AFTER.search(answer)
        seconds = int(retry_after[1]) * (1 + number / CALLERS) if retry_after else 0
        with suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), seconds)


async def _occupy(target: Target, attack: Attack, number: int, is_over: asyncio.Event) -> None:
    begin, more = (SLOW_HEAD, b"x") if number % 2 else (b"", b"")
    while not is_over.is_set():
        reader, writer = await target.connection(source(number))
        with attack.waits(), suppress(ConnectionError):
            try:
                writer.write(begin)
                while not (reader.at_eof() or is_over.is_set()):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(65_536), BYTE_SECONDS)
                    writer.write(more)
            finally:
                writer.close()
        attack.ended["closed"] += not is_over.is_set()
        with suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), REOPEN_SECONDS)


SITUATIONS: dict[str, Situation] = {
    "quiet": quiet,
    "tests": slow_tests,
    "previews": previews,
    "sockets": sockets,
}


async def waits(target: Target, *, rate: int, seconds: int) -> dict[str, list[float]]:
    """Milliseconds from each request's due time to its answer, by path."""
    taken: dict[str, list[float]] = defaultdict(list)
    keys_in_turn = cycle(target.keys_of_others)

    async def ask(path: str, key: str, due: float) -> None:
        status = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_MILLISECONDS / 1_000):
                status = status_of(await target.answer(f"GET {path}", key, source=OWN_SOURCE))
        wait = (time.perf_counter() - due) * 1_000
        taken[path].append(wait if status == 200 else PATIENCE_MILLISECONDS)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, path in enumerate(PATHS * rate * seconds):
            due = began + number / rate / len(PATHS)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(path, next(keys_in_turn), due))
    return taken


async def measured(target: Target, arguments: argparse.Namespace) -> dict[str, Any]:
    """Percentiles by situation and path, and what happened in each situation."""
    sizes = {"tests": arguments.callers, "previews": arguments.callers, "quiet": 0}
    await waits(target, rate=arguments.rate, seconds=1)  # opens the app's database connections
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    attacks: dict[str, Attack] = defaultdict(Attack)
    for _ in range(arguments.rounds):
        for name, situation in SITUATIONS.items():
            size = sizes.get(name, arguments.sockets)
            async with situation(target, attacks[name], size):
                of_round = await waits(target, rate=arguments.rate, seconds=arguments.seconds)
            for path, milliseconds in of_round.items():
                taken[name][path] += milliseconds
    return {
        name: {
            "paths": {path: _figures(taken[name][path], taken["quiet"][path]) for path in PATHS},
            "waiting_most": attacks[name].waiting_most,
            "ended": attacks[name].ended,
        }
        for name in SITUATIONS
    }


def _figures(milliseconds: list[float], floor: list[float]) -> dict[str, float]:
    cuts, p95_of_floor = quantiles(milliseconds, n=20), quantiles(floor, n=20)[18]
    return {
        "requests": len(milliseconds),
        "failed": sum(wait >= PATIENCE_MILLISECONDS for wait in milliseconds),
        "p50_ms": round(cuts[9], 1),
        "p95_ms": round(cuts[18], 1),
        "ratio_of_p95": round(cuts[18] / p95_of_floor, 2),
    }


@contextmanager
def running_app() -> Iterator[Target]:
    """The app in a process of its own, on a warehouse with one slow tenant and many others."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="bench-slow-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o755)  # the server may run as another account
        server = ensure_running(home)
        stack.callback(server.stop)
        crm = stack.enter_context(oauth_server.running())
        stack.callback(crm.answers_me.set)
        settings, warehouse = settings_for(server.url, crm), Warehouse(server.url)
        keys_of_others = filled(warehouse, OTHER_TENANTS)
        url = stack.enter_context(_app(settings, home))
        fill(warehouse, RECORDS)  # while the app starts
        company = OAuthCompany()
        VaultSetup(Vault(warehouse, settings), crm).store(TENANT, *crm.granted(company), company)
        with warehouse.transaction() as connection:
            keys_of_slow_tenant = [
                keys.add(connection, TENANT, Role.MANAGER, "bench", who="bench").text
                for _ in range(KEYS)
            ]
        until_it_answers(url)
        yield Target(url, keys_of_others, keys_of_slow_tenant, crm)


@contextmanager
def _app(settings: Settings, home: Path) -> Iterator[str]:
    """The address of a process that may not answer yet, and ends with the block."""
    assert settings.database_url and settings.token_encryption_keys  # noqa: S101, PT018 - given
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "-m", "pipedrive_pipeline", "serve-connect"],
        env={
            **os.environ,
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "TOKEN_ENCRYPTION_KEYS": settings.token_encryption_keys[0].get_secret_value(),
            "PIPELINE_HOME": str(home),
            "CONNECT_PORT": str(port),
            "CONNECT_WORKERS": "1",
            "PIPEDRIVE_CLIENT_ID": CLIENT_ID,
            "PIPEDRIVE_CLIENT_SECRET": CLIENT_SECRET,
            "PIPEDRIVE_OAUTH_URL": str(settings.system(PIPEDRIVE).oauth_url),
            "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
        },
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.terminate()
        app.wait()


def _sentences(situations: dict[str, Any]) -> str:
    lines = [f"{'':9} {'':38} {'p50':>8} {'p95':>8} {'to quiet':>9} {'failed':>7}"]
    for name, facts in situations.items():
        for path, figures in facts["paths"].items():
            lines.append(
                f"{name:9} {path:38} {figures['p50_ms']:>5.1f} ms {figures['p95_ms']:>5.1f} ms"
                f" {figures['ratio_of_p95']:>9.2f} {figures['failed']:>7}"
            )
        if name != "quiet":
            ended = ", ".join(f"{count} {how}" for how, count in facts["ended"].items())
            lines.append(
                f"{'':9} at most {facts['waiting_most']} at once; ended: {ended or 'none'}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints; ends with 1 if a request had no good answer."""
    arguments = _arguments()
    with running_app() as target:
        situations = asyncio.run(measured(target, arguments))
    figures = [paths for facts in situations.values() for paths in facts["paths"].values()]
    is_within_goal = all(each["p95_ms"] <= GOAL_MILLISECONDS for each in figures)
    load = round(os.getloadavg()[0], 1)
    if arguments.json:
        facts = {"machine_load": load, "is_within_goal": is_within_goal, "situations": situations}
        print(json.dumps(facts, indent=2))
    else:
        print(_sentences(situations))
        met = "within" if is_within_goal else "not within"
        print(f"{met} the goal: a p95 of {GOAL_MILLISECONDS} ms. The machine's load is {load}.")
    sys.exit(any(each["failed"] for each in figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=20, help="requests a second, of each path")
    parser.add_argument("--seconds", type=int, default=2, help="of each situation and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--callers", type=int, default=CALLERS, help="of tests or previews at once")
    parser.add_argument("--sockets", type=int, default=205)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
