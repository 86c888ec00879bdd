"""The floor: what reading an account costs where nothing is done with it.

A serial walk by cursor over organizations and persons, each page's records copied as whole JSON
into one table. No types, no state, no repetition after a crash, no marts: less than this would not
be a copy. Measured against it is the pipeline (`workloads.py`).
"""

from __future__ import annotations

import json
import sys
import time

import httpx
import msgspec
import psycopg

PAGE_RECORDS = 500  # Pipedrive's maximum
TABLE = "create table if not exists public.bench_floor (entity text, record jsonb)"


class Page(msgspec.Struct):
    """One list answer; the records stay JSON text."""

    data: list[msgspec.Raw]
    additional_data: dict[str, str | None] = {}


def walk(client: httpx.Client, copy: psycopg.Copy, entity: str) -> tuple[int, int]:
    """Copies every record of one entity; returns records and calls."""
    records, calls = 0, 0
    params: dict[str, str | int] = {"limit": PAGE_RECORDS}
    while True:
        answer = client.get(f"/api/v2/{entity}", params=params)
        answer.raise_for_status()
        page = msgspec.json.decode(answer.content, type=Page)
        for record in page.data:
            copy.write_row((entity, bytes(record).decode()))
        records, calls = records + len(page.data), calls + 1
        cursor = page.additional_data.get("next_cursor")
        if cursor is None:
            return records, calls
        params["cursor"] = cursor


def main(url: str, api_token: str, database_url: str) -> None:
    """Prints the floor as JSON: seconds, records, calls."""
    headers = {"x-api-token": api_token}
    began = time.perf_counter()
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
        psycopg.connect(database_url) as connection,
    ):
        connection.execute(TABLE)
        connection.execute("truncate public.bench_floor")
        with connection.cursor().copy("copy public.bench_floor from stdin") as copy:
            walked = [walk(client, copy, entity) for entity in ("organizations", "persons")]
    facts = {
        "seconds": time.perf_counter() - began,
        "records": sum(records for records, _ in walked),
        "calls": sum(calls for _, calls in walked),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
