"""How quickly the API answers: `status` and `history` at a steady rate, many tenants at once.

Makes a warehouse of its own with 100 tenants and 10,000 runs, starts the Connect app with
`--workers` processes, and sends 100 requests a second from another process, each tenant with its
own key. Each request has its own due time, independent of earlier answers: a slow answer does not
reduce the rate.

    uv run --frozen --group dev python bench/api.py [--rate 100] [--workers 1] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
from cryptography.fernet import Fernet
from processors import spent

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import EmbeddedServer, ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate

RUNS = 10_000
CUSTOMERS_OF_EACH = 200
LINES_MAX = 50  # connections to the app
LINE_IDLE_SECONDS = 3.0  # the app closes idle connections after 5; a request then would be lost
PATHS = ("/api/integrations/pipedrive/status", "/api/integrations/pipedrive/sync/history")
FILL = """
insert into integration.tenants (slug) select 't' || n from generate_series(1, %(tenants)s) as n;
insert into integration.connections (
    tenant_id, system, kind, state, access_token, api_domain, company_id, company_name, scopes
)
select slug, 'pipedrive', 'oauth', 'connected', 'x', 'https://x.pipedrive.com', slug, slug,
    array['base', 'contacts:read', 'users:read']
from integration.tenants;
insert into integration.runs (
    tenant_id, system, sync_type, trigger, status, started_at, completed_at, tokens_spent
)
select 't' || 1 + n %% %(tenants)s, 'pipedrive', 'incremental', 'schedule', 'success',
    now() - n * interval '1 minute', now() - n * interval '1 minute' + interval '9 s', 60
from generate_series(1, %(runs)s) as n;
insert into integration.run_entities (
    tenant_id, run_id, system, entity, started_at, status, fetched, watermark_after, missing,
    checked_at
)
select runs.tenant_id, runs.id, runs.system, read.entity, runs.started_at, 'complete',
    read.fetched, '2026-11-01T00:00:00+00:00', 0, now()
from integration.runs
cross join (values ('organizations', 12), ('persons', 34)) as read (entity, fetched);
insert into integration.run_marts (tenant_id, run_id, system, mart, entity)
select runs.tenant_id, runs.id, runs.system, built.mart, built.entity
from integration.runs
cross join (values ('customers', 'organizations'), ('contacts', 'persons'))
    as built (mart, entity);
insert into crm.customers (tenant_id, system, remote_id, name)
select slug, 'pipedrive', n::text, 'customer ' || n
from integration.tenants cross join generate_series(1, %(customers)s) as n;
analyze
"""


def filled(warehouse: Warehouse, tenants: int) -> list[str]:
    """The keys of as many tenants, each with runs and customers."""
    migrate(warehouse)
    values = {"tenants": tenants, "runs": RUNS, "customers": CUSTOMERS_OF_EACH}
    texts = []
    with warehouse.transaction() as connection:
        for statement in FILL.split(";\n"):
            connection.execute(statement.encode(), values)
        for n in range(1, tenants + 1):
            tenant = Tenant(f"t{n}")
            texts.append(keys.add(connection, tenant, Role.USER, "bench", who="bench").text)
    return texts


async def latencies(
    url: str, given: list[str], *, rate: int, seconds: int, paths: Sequence[str] = PATHS
) -> list[float]:
    """Milliseconds from the due time of each request to its answer, in the order of requests."""
    turn = len(PATHS)  # so many requests of a key, then the next key
    taken = [0.0] * (rate * seconds)
    idle: list[Line] = []
    lines = asyncio.Semaphore(LINES_MAX)

    async def ask(n: int, due: float) -> None:
        path = paths[n % len(paths)]
        async with lines:  # the wait for a connection counts from the due time
            line = reusable(idle) or await Line.to(url)
            status = await line.ask(path, given[n // turn % len(given)])
            line.used_at = time.perf_counter()
            idle.append(line)
        taken[n] = (time.perf_counter() - due) * 1_000
        if status != 200:
            raise SystemExit(f"{path}: {status}")

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(rate * seconds):
            due = began + n / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(n, due))
    for line in idle:
        line.writer.close()
    return taken


@dataclass
class Line:
    """One connection that is kept open. An HTTP library would work as hard as the app itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float = 0.0  # when its last answer was here

    @classmethod
    async def to(cls, url: str) -> Line:
        """A connection to this address."""
        where = urlsplit(url)
        return cls(*await asyncio.open_connection(where.hostname, where.port))

    async def ask(self, path: str, key: str) -> int:
        """The status of the answer, once all of it is here."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await self.reader.readexactly(length)
        return int(head.split(b" ", 2)[1])


def reusable(idle: list[Line]) -> Line | None:
    """The most recently used connection if the app still has it open; otherwise closes all."""
    line = idle.pop() if idle else None
    if line is None or time.perf_counter() - line.used_at < LINE_IDLE_SECONDS:
        return line
    for stale in (line, *idle):
        stale.writer.close()
    idle.clear()
    return None


@dataclass(frozen=True)
class Work:
    """Processor seconds so far: of the app, of Postgres and of the client."""

    app: float
    postgres: float
    asking: float

    @classmethod
    def so_far(cls, app: psutil.Process, postgres: psutil.Process) -> Work:
        """Of this moment; sessions that Postgres has closed are its own."""
        return cls(spent(app), spent(postgres), time.process_time())


def until_it_answers(url: str) -> None:
    """Returns when the app is up."""
    for _ in range(600):
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the app did not start")


def measured(
    url: str,
    app: psutil.Process,
    postgres: psutil.Process,
    given: list[str],
    *,
    rate: int,
    seconds: int,
    paths: Sequence[str] = PATHS,
) -> dict[str, float]:
    """Percentiles, and how much each one worked."""
    # Connections and prepared statements first.
    asyncio.run(latencies(url, given, rate=min(rate, 50), seconds=3, paths=paths))
    before = Work.so_far(app, postgres)
    taken = asyncio.run(latencies(url, given, rate=rate, seconds=seconds, paths=paths))
    after = Work.so_far(app, postgres)
    cuts = statistics.quantiles(taken, n=100)
    each_ms = 1_000 / len(taken)
    return {
        "questions": len(taken),
        "rate": rate,
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "p99_ms": round(cuts[98], 1),
        "app_cpu_ms_each": round(each_ms * (after.app - before.app), 2),
        "postgres_cpu_ms_each": round(each_ms * (after.postgres - before.postgres), 2),
        "asking_cpu_ms_each": round(each_ms * (after.asking - before.asking), 2),
        "machine_load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Prints the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=100)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--tenants", type=int, default=100)
    given = options.parse_args()
    with database() as (running, home):
        of_tenants = filled(Warehouse(running.url), given.tenants)
        with app_of(running, home, CONNECT_WORKERS=str(given.workers)) as (url, app):
            process = psutil.Process(app.pid)
            leader = int((running.data_dir / "postmaster.pid").read_text().split()[0])
            postgres = psutil.Process(leader)
            facts = measured(
                url, process, postgres, of_tenants, rate=given.rate, seconds=given.seconds
            )
            print(json.dumps(facts | {"database_connections": connections(running.url)}))


@contextmanager
def database() -> Iterator[tuple[EmbeddedServer, Path]]:
    """A Postgres of its own and its home, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    home.chmod(0o755)  # the server may run as another account
    running = ensure_running(home)
    try:
        yield running, home
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def app_of(
    running: EmbeddedServer, home: Path, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and process of a Connect app over a database, once it answers."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "-m", "pipedrive_pipeline", "serve-connect"],
        env={
            **os.environ,
            "DATABASE_URL": running.url,
            "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "PIPELINE_HOME": str(home),
            "CONNECT_PORT": str(port),
            **settings,
        },
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until_it_answers(url)
        yield url, app
    finally:
        app.terminate()
        app.wait()


def connections(url: str) -> int:
    """How many sessions the app holds."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'pipedrive-pipeline'"
        ).fetchone()
    return row[0] if row else 0


if __name__ == "__main__":
    main()
