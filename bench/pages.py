"""How quickly pages come: home, problems, a system and its history, for an operator and tenants.

Makes a warehouse of its own with 1,000 tenants and 100,000 runs, starts the Connect app with two
processes, and asks for pages at a steady rate, each with its own due time: a slow page does not
reduce the rate. The floor is the login page, which asks the database nothing: no page can be
quicker than a template and the way through the app.

    uv run --frozen --group dev python bench/pages.py [--rate 10] [--workers 2] [--seconds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import time
from dataclasses import dataclass

import api as api_bench
import httpx

from pipedrive_pipeline.warehouse.database import Warehouse

TENANTS, RUNS = 1_000, 100_000
OPERATOR_KEY = secrets.token_urlsafe(32)
TENANT_PAGES = {
    "home_tenant": "/",
    "problems_tenant": "/problems",
    "system": "/integrations/pipedrive",
    "history": "/integrations/pipedrive/history",
}
OPERATOR_PAGES = {"home_operator": "/", "problems_operator": "/problems"}
FLOOR = {"floor_login": "/login"}
# Troubles of an ordinary day: 2 % must connect again, 5 % have refused values, 1 % a full disk.
TROUBLE = """
update integration.connections set state = 'needs_reauth', state_reason = 'invalid_grant'
where right(tenant_id, 2) in ('13', '57');
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
select tenants.slug, 'pipedrive', 'organizations', n::text, 'aaa', 'x', 'is no number'
from integration.tenants cross join generate_series(1, 40) as n
where right(tenants.slug, 1) = '5' and length(tenants.slug) % 2 = 0;
insert into integration.alerts (tenant_id, system, code, sync_type, message)
select slug, 'pipedrive', 'disk_full', 'incremental', 'full' from integration.tenants
where right(slug, 2) = '99';
insert into integration.api_usage
    (tenant_id, system, company_id, used_on, call_kind, calls, tokens)
select slug, 'pipedrive', slug, current_date, 'list', 10, 600 from integration.tenants;
analyze
"""


@dataclass(frozen=True)
class Reader:
    """A signed-in browser and the pages that it asks for."""

    client: httpx.AsyncClient
    pages: dict[str, str]


async def signed_in(url: str, key: str, pages: dict[str, str]) -> Reader:
    """A browser with an open session of this key."""
    client = httpx.AsyncClient(base_url=url, headers={"accept": "text/html"}, timeout=60)
    answer = await client.post("/login", data={"key": key}, headers={"origin": url})
    if answer.status_code != 303:
        raise SystemExit(f"nobody could sign in: {answer.status_code}")
    return Reader(client, pages)


async def milliseconds(
    url: str, given: list[str], *, rate: int, seconds: int
) -> dict[str, list[float]]:
    """From the due time of each page to its last byte, by page."""
    readers = [
        Reader(httpx.AsyncClient(base_url=url, timeout=60), FLOOR),
        await signed_in(url, OPERATOR_KEY, OPERATOR_PAGES),
        *[await signed_in(url, key, TENANT_PAGES) for key in given],
    ]
    asked = [(reader, page) for reader in readers for page in reader.pages]
    # Each page equally often, each tenant in turn.
    asked.sort(key=lambda entry: (readers.index(entry[0]) > 1, entry[1]))
    by_page: dict[str, list[Reader]] = {}
    for reader, page in asked:
        by_page.setdefault(page, []).append(reader)
    taken: dict[str, list[float]] = {page: [] for page in by_page}

    async def ask(n: int, due: float) -> None:
        page = list(by_page)[n % len(by_page)]
        reader = by_page[page][n // len(by_page) % len(by_page[page])]
        answer = await reader.client.get(reader.pages[page])
        taken[page].append((time.perf_counter() - due) * 1_000)
        if answer.status_code != 200:
            raise SystemExit(f"{page}: {answer.status_code}")

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(rate * seconds):
            due = began + n / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(n, due))
    for reader in readers:
        await reader.client.aclose()
    return taken


def figures(taken: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Percentiles of each page."""
    cuts = {page: statistics.quantiles(values, n=100) for page, values in taken.items()}
    return {
        page: {
            "pages": len(taken[page]),
            "p50_ms": round(cut[49], 1),
            "p95_ms": round(cut[94], 1),
        }
        for page, cut in cuts.items()
    }


def main() -> None:
    """Prints the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=10)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--seconds", type=int, default=60)
    asked = options.parse_args()
    api_bench.RUNS = RUNS
    with api_bench.database() as (running, home):
        warehouse = Warehouse(running.url)
        given = api_bench.filled(warehouse, TENANTS)[::100]
        with warehouse.transaction() as connection:
            for statement in TROUBLE.split(";\n"):
                connection.execute(statement.encode())
        settings = {"OPERATOR_KEY": OPERATOR_KEY, "CONNECT_WORKERS": str(asked.workers)}
        with api_bench.app_of(running, home, **settings) as (url, _app):
            # Connections and templates first.
            asyncio.run(milliseconds(url, given, rate=10, seconds=6))
            taken = asyncio.run(milliseconds(url, given, rate=asked.rate, seconds=asked.seconds))
    load = {"machine_load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"rate": asked.rate, **load, **figures(taken)}, indent=1))


if __name__ == "__main__":
    main()
