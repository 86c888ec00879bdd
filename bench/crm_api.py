"""How quickly the CRM API lists, searches and reads: a million contacts and 300,000 deals.

Makes a warehouse of its own, starts the Connect app with `--workers` processes, and sends 100
requests a second from another process, each at its own due time. Filling takes some minutes;
`--contacts` makes less. For each kind of request it prints the percentiles of the answers, and at
last the processor time of one request.

    uv run --frozen --group dev python bench/crm_api.py [--rate 100] [--workers 2] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
from itertools import cycle

import psutil
from api import Work, app_of, database, latencies

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import migrate

ACME = Tenant("acme")
KEYS = 200  # each with its own limit of 1,000 requests in ten minutes
DROPPED = """
select indexname, indexdef
from pg_catalog.pg_indexes
where schemaname = 'crm'
    and indexname like '%\\_api\\_%'
"""
FILL = """
set enable_nestloop = off;
insert into integration.tenants (slug) values ('acme');
insert into crm.users (tenant_id, system, remote_id, name, role)
select 'acme', 'pipedrive', n::text, 'User ' || n, (n % 5)::text from generate_series(1, 50) as n;
insert into crm.customers (
    tenant_id, system, remote_id, name, website, owner_id, owner_remote_id, visible_to,
    remote_created_at
)
select
    'acme', 'pipedrive', n::text, 'Firma ' || substr(md5(n::text), 1, 6) || ' GmbH',
    'www.' || substr(md5(n::text), 1, 8) || '.de', users.id, users.remote_id,
    (array['1', '3', '7'])[1 + n % 3], '2020-01-01'::timestamptz + n * interval '10 min'
from generate_series(1, {customers}) as n
inner join crm.users on users.remote_id = (1 + n % 50)::text;
insert into crm.contacts (
    tenant_id, system, remote_id, name, email, phone, emails, phones, customer_id,
    customer_remote_id, owner_id, owner_remote_id, visible_to, remote_created_at
)
select
    'acme', 'pipedrive', n::text, made.first || ' ' || made.last, made.email, made.phone,
    jsonb_build_array(jsonb_build_object('value', made.email, 'primary', true)),
    jsonb_build_array(jsonb_build_object('value', made.phone, 'primary', true)),
    customers.id, customers.remote_id, customers.owner_id, customers.owner_remote_id,
    (array['1', '3', '7'])[1 + n % 3], '2020-01-01'::timestamptz + n * interval '2 min'
from generate_series(1, {contacts}) as n
cross join lateral (
    select
        initcap(substr(md5('f' || n % 500), 1, 5)) as first,
        initcap(substr(md5('l' || n % 20000), 1, 7)) as last,
        substr(md5(n::text), 1, 9) || '@' || substr(md5((n % {customers})::text), 1, 8) || '.de'
            as email,
        '+49 30 ' || (1000000 + n)::text as phone
) as made
inner join crm.customers on customers.remote_id = (1 + n % {customers})::text;
insert into crm.pipelines (tenant_id, system, remote_id, name)
values ('acme', 'pipedrive', '1', 'Sales');
insert into crm.stages (tenant_id, system, remote_id, name, pipeline_id, pipeline_remote_id)
select 'acme', 'pipedrive', n::text, 'Stage ' || n, pipelines.id, '1'
from generate_series(1, 6) as n cross join crm.pipelines;
insert into crm.deals (
    tenant_id, system, remote_id, name, status, amount, currency, customer_id, customer_remote_id,
    contact_id, contact_remote_id, owner_id, owner_remote_id, stage_id, stage_remote_id,
    pipeline_id, visible_to, remote_created_at, expected_close_date
)
select
    'acme', 'pipedrive', n::text, 'Deal ' || substr(md5(n::text), 1, 8),
    (array['open', 'open', 'won', 'lost', 'lost'])[1 + n % 5], (n::bigint * 7919) % 100000, 'EUR',
    contacts.customer_id, contacts.customer_remote_id, contacts.id, contacts.remote_id,
    contacts.owner_id, contacts.owner_remote_id, stages.id, stages.remote_id, stages.pipeline_id,
    (array['1', '3', '7'])[1 + n % 3], '2020-01-01'::timestamptz + n * interval '7 min',
    '2026-01-01'::date + (n % 700)::int
from generate_series(1, {deals}) as n
inner join crm.contacts on contacts.remote_id = (3 * n)::text
inner join crm.stages on stages.remote_id = (1 + n % 6)::text;
"""


def filled(warehouse: Warehouse, contacts: int) -> list[str]:
    """The keys of a tenant with as many contacts, and three deals to ten of them."""
    migrate(warehouse)
    sizes = {"contacts": contacts, "customers": contacts // 5, "deals": contacts * 3 // 10}
    with warehouse.connect(autocommit=True) as connection:
        indexes = connection.execute(DROPPED).fetchall()
        for name, _ in indexes:
            connection.execute(f"drop index crm.{name}".encode())
        for statement in FILL.format(**sizes).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("vacuum analyze")
    with warehouse.as_app(ACME) as connection:
        return [
            keys.add(connection, ACME, Role.USER, f"bench {n}", who="bench").text
            for n in range(KEYS)
        ]


def requests(contacts: int) -> dict[str, list[str]]:
    """Paths by kind of request, with values that exist."""
    chance = random.Random(1)  # noqa: S311 - no secret
    numbers = [chance.randint(1, contacts) for _ in range(200)]
    deals = [f"pipedrive:{1 + n % (contacts * 3 // 10)}" for n in numbers]
    users = [f"pipedrive:{1 + n % 50}" for n in numbers]
    return {
        "read": [
            *(f"persons/pipedrive:{n}" for n in numbers),
            *(f"deals/{deal}" for deal in deals),
        ],
        "list": [
            *("persons", "persons?sort=name", "deals?sort=-value", "deals?sort=-created_at"),
            *(f"persons?owner_id={user}" for user in users[:20]),
            *(f"deals?owner_id={user}&status=open" for user in users[:20]),
            *(f"deals?stage_id=pipedrive:{n}&sort=expected_close_date" for n in range(1, 7)),
            *(f"deals?value_min={n % 100_000}&value_max={n % 100_000 + 50}" for n in numbers[:20]),
            *(f"persons?org_id=pipedrive:{1 + n % (contacts // 5)}" for n in numbers[:20]),
        ],
        "list with linked records": ["deals?include=org,person,owner,stage&limit=50"],
        "search": [
            *(f"persons?search=%2B49+30+{1_000_000 + n}" for n in numbers[:50]),
            *(f"persons?search={word(n, 9)}" for n in numbers[:50]),
            *(f"persons?search={word(n, 4)}" for n in numbers[:50]),
            *(f"organizations?search=firma+{word(n, 5)}" for n in numbers[:50]),
            *(f"deals?search=deal+{word(n, 6)}" for n in numbers[:50]),
        ],
    }


def word(number: int, characters: int) -> str:
    """Beginning of a word that the filling made."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()[:characters]


async def answered(
    url: str, given: list[str], wanted: dict[str, list[str]], *, rate: int, seconds: int
) -> dict[str, list[float]]:
    """Milliseconds from the due time of each request to its answer, by kind."""
    kinds = [*wanted]
    paths = [
        f"/api/crm/v1/{wanted[kind][n // len(kinds) % len(wanted[kind])]}"
        for n, kind in zip(range(rate * seconds), cycle(kinds), strict=False)
    ]
    taken = await latencies(url, given, rate=rate, seconds=seconds, paths=paths)
    return {kind: taken[place :: len(kinds)] for place, kind in enumerate(kinds)}


def main() -> None:
    """Prints the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=100)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--contacts", type=int, default=1_000_000)
    asked = options.parse_args()
    with database() as (running, home):
        given = filled(Warehouse(running.url), asked.contacts)
        with app_of(running, home, CONNECT_WORKERS=str(asked.workers)) as (url, app):
            leader = int((running.data_dir / "postmaster.pid").read_text().split()[0])
            app_process, postgres = psutil.Process(app.pid), psutil.Process(leader)
            wanted = requests(asked.contacts)
            asyncio.run(answered(url, given, wanted, rate=min(asked.rate, 30), seconds=5))
            before = Work.so_far(app_process, postgres)
            taken = asyncio.run(
                answered(url, given, wanted, rate=asked.rate, seconds=asked.seconds)
            )
            after = Work.so_far(app_process, postgres)
    facts: dict[str, object] = {}
    for kind, times in taken.items():
        cuts = statistics.quantiles(times, n=100)
        facts[kind] = {"p50_ms": round(cuts[49], 1), "p95_ms": round(cuts[94], 1)}
    each_ms = 1_000 / sum(len(times) for times in taken.values())
    facts["app_cpu_ms_each"] = round(each_ms * (after.app - before.app), 2)
    facts["postgres_cpu_ms_each"] = round(each_ms * (after.postgres - before.postgres), 2)
    facts["machine_load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
