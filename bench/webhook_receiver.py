"""How many events of webhooks one process receives, and how quickly: one durable insert each.

Makes a warehouse of its own with `--tenants` connected tenants and their webhooks, starts the
Connect app with one process, and sends `--rate` events a second from another process. Each event
has its own due time, independent of earlier answers. The floor is measured in the same way: a bare
ASGI app that reads the body and commits it as one row.

    uv run --frozen --group dev python bench/webhook_receiver.py [--rate 500] [--tenants 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
from api import LINES_MAX, Line, reusable, until_it_answers
from cryptography.fernet import Fernet
from processors import spent

from pipedrive_pipeline.sync.webhooks.lifecycle import USER
from pipedrive_pipeline.sync.webhooks.rows import Secrets, hashed
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.embedded.server import EmbeddedServer
from pipedrive_pipeline.warehouse.migrations import migrate

TENANTS = """
insert into integration.tenants (slug) select 't' || n from generate_series(1, %(tenants)s) as n;
insert into integration.connections (
    tenant_id, system, kind, state, access_token, api_domain, company_id, company_name
)
select slug, 'pipedrive', 'api_token', 'connected', 'x', 'https://x.pipedrive.com', '1', slug
from integration.tenants
"""
WEBHOOK = """
insert into integration.webhooks (
    id, tenant_id, system, state, app_url, token_hash, password_hash, remote_id
)
values (%s, %s, 'pipedrive', 'live', '', %s, %s, '1')
"""
FLOOR_TABLE = "create table public.bench_events (id uuid, body text, at timestamptz default now())"
Sent = Callable[[int], bytes]


def filled(warehouse: Warehouse, tenants: int) -> list[Secrets]:
    """The webhook of each tenant."""
    migrate(warehouse)
    webhooks = [Secrets() for _ in range(tenants)]
    with warehouse.transaction() as connection:
        for statement in TENANTS.split(";\n"):
            connection.execute(statement.encode(), {"tenants": tenants})
        connection.cursor().executemany(
            WEBHOOK,
            [
                (each.id, f"t{n}", hashed(each.token), hashed(each.password))
                for n, each in enumerate(webhooks, start=1)
            ],
        )
        connection.execute(FLOOR_TABLE)
    return webhooks


def event(n: int) -> bytes:
    """A change of a deal, as large as those of the documentation."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    deal = {
        "id": n,
        "title": f"Deal {n}",
        "add_time": now,
        "update_time": now,
        "stage_id": 3,
        "pipeline_id": 1,
        "status": "open",
        "value": 1200.5,
        "currency": "EUR",
        "owner_id": 7,
        "person_id": 12,
        "org_id": 5,
        "label_ids": [1, 2],
        "custom_fields": {
            f"{field:040x}": {"type": "varchar", "value": "x" * 20} for field in range(10)
        },
    }
    meta = {
        "action": "change",
        "entity": "deal",
        "entity_id": str(n),
        "company_id": "1",
        "user_id": "7",
        "id": str(uuid4()),
        "correlation_id": str(uuid4()),
        "timestamp": now,
        "type": "general",
        "version": "2.0",
        "webhook_id": "1",
        "change_source": "app",
        "is_bulk_edit": False,
        "attempt": 1,
        "host": "x.pipedrive.com",
    }
    return json.dumps({"meta": meta, "data": deal, "previous": {"stage_id": 2}}).encode()


def request(path: str, body: bytes, authorization: str) -> bytes:
    """One HTTP request, as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: {authorization}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def events_of(webhooks: list[Secrets]) -> Sent:
    """Events of all tenants in turn."""

    def sent(n: int) -> bytes:
        webhook = webhooks[n % len(webhooks)]
        basic = base64.b64encode(f"{USER}:{webhook.password}".encode()).decode()
        path = f"/api/integrations/pipedrive/webhook/{webhook.token}"
        return request(path, event(n), f"Basic {basic}")

    return sent


async def answered(line: Line, sent: bytes) -> int:
    """The status of the answer, once all of it is here."""
    line.writer.write(sent)
    head = await line.reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await line.reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def latencies(url: str, sent: Sent, *, rate: int, seconds: int) -> list[float]:
    """Milliseconds from the due time of each event to its answer."""
    taken: list[float] = []
    idle: list[Line] = []
    lines = asyncio.Semaphore(LINES_MAX)
    where = urlsplit(url)

    async def send(n: int, due: float) -> None:
        body = sent(n)
        async with lines:  # the wait for a connection counts from the due time
            line = reusable(idle) or Line(
                *await asyncio.open_connection(where.hostname, where.port)
            )
            status = await answered(line, body)
            line.used_at = time.perf_counter()
            idle.append(line)
        taken.append((time.perf_counter() - due) * 1_000)
        if status != 200:
            raise SystemExit(f"an event was answered with {status}")

    began, first = time.perf_counter(), time.time_ns() // 1_000_000  # ids of new records
    async with asyncio.TaskGroup() as group:
        for n in range(rate * seconds):
            due = began + n / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(send(first + n, due))
    for line in idle:
        line.writer.close()
    return taken


def measured(
    url: str, process: psutil.Process, sent: Sent, *, rate: int, seconds: int
) -> dict[str, float]:
    """Percentiles, and how much the receiving process worked."""
    asyncio.run(latencies(url, sent, rate=min(rate, 50), seconds=3))  # connections first
    before, began, memory = spent(process), time.perf_counter(), process.memory_info().rss
    taken = asyncio.run(latencies(url, sent, rate=rate, seconds=seconds))
    elapsed, cuts = time.perf_counter() - began, statistics.quantiles(taken, n=100)
    return {
        "events": len(taken),
        "rate": rate,
        "answered_a_second": round(len(taken) / elapsed),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "p99_ms": round(cuts[98], 1),
        "cpu_ms_each": round(1_000 * (spent(process) - before) / len(taken), 2),
        "memory_mb_before": round(memory / 1e6),
        "memory_mb": round(process.memory_info().rss / 1e6),
        "machine_load": round(os.getloadavg()[0], 1),
    }


@contextmanager
def server(command: list[str], environment: dict[str, str], port: int) -> Iterator[psutil.Process]:
    """A server on this port, until the end of the block."""
    process = subprocess.Popen(command, env={**os.environ, **environment})  # noqa: S603 - ours
    try:
        until_it_answers(f"http://127.0.0.1:{port}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


FLOOR_APP = """
import os
import sys
from contextlib import asynccontextmanager

import uvicorn
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

pool = AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=4, max_size=10, open=False)
INSERT = "insert into public.bench_events (id, body) values (gen_random_uuid(), %s)"


@asynccontextmanager
async def opened(_):
    async with pool:
        yield


async def event(request):
    body = await request.body()
    async with pool.connection() as connection:
        await connection.execute(INSERT, (body.decode(),))
    return JSONResponse({"stored": 1})


async def alive(_):
    return JSONResponse({})


app = Starlette(
    routes=[Route("/event", event, methods=["POST"]), Route("/healthz", alive)], lifespan=opened
)
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


def both(running: EmbeddedServer, home: Path, options: argparse.Namespace) -> dict[str, object]:
    """The figures of the floor and of the app."""
    webhooks = filled(Warehouse(running.url), options.tenants)
    floor_port, port = free_port(), free_port()
    environment = {
        "DATABASE_URL": running.url,
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PIPELINE_HOME": str(home),
        "CONNECT_PORT": str(port),
    }
    floor_command = [sys.executable, "-c", FLOOR_APP, str(floor_port)]
    given = {"rate": options.rate, "seconds": options.seconds}

    def bare(n: int) -> bytes:
        return request("/event", event(n), "none")

    with server(floor_command, environment, floor_port) as process:
        floor = measured(f"http://127.0.0.1:{floor_port}", process, bare, **given)
    command = [sys.executable, "-m", "pipedrive_pipeline", "serve-connect"]
    with server(command, environment, port) as process:
        app = measured(f"http://127.0.0.1:{port}", process, events_of(webhooks), **given)
    with psycopg.connect(running.url) as connection:
        row = connection.execute("select count(*) from integration.webhook_events").fetchone()
    return {"floor": floor, "app": app, "stored": row and row[0]}


def main() -> None:
    """Prints the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=500)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--tenants", type=int, default=1_000)
    home = Path(tempfile.mkdtemp(prefix="bench-webhooks-"))
    home.chmod(0o755)  # the server may run as another account
    running = ensure_running(home)
    try:
        print(json.dumps(both(running, home, options.parse_args()), indent=2))
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
