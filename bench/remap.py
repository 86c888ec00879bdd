"""How long another mapping takes, as a multiple of the same update written by hand.

`uv run python bench/remap.py` makes raw tables of 20,000 organizations with 40 custom fields and
60,000 persons with 20 in an embedded Postgres of its own, builds marts and views, and then changes
the mapping: three fields of each entity, two into columns and one into an attribute. Every row
changes. By hand it is one `update` a table, over the same fields, with the same stamps. Both are
measured in turn, several times each, because a machine's speed varies; the minimum counts.

Also measured: the build and the comparison of every value with views and marts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.registry import system
from pipedrive_pipeline.marts import build, mapping, publish_views
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate

TENANT, SYSTEM = Tenant("bench"), "pipedrive"
GOAL_RATIO = 1.5
ROUNDS = 3
FIELDS = {"organizations": 40, "persons": 20}
VALUES = {  # SQL over n, the number of the record
    "varchar": "'Wert ' || n % 1000",
    "double": "round((n % 977) * 1.37, 2)",
    "int": "n % 10000",
    "monetary": "jsonb_build_object('value', n % 5000 + 0.5, 'currency', 'EUR')",
    "enum": "1 + n % 5",
    "set": "jsonb_build_array(1 + n % 5, 7)",
    "date": "to_char(date '2020-01-01' + n % 2000, 'YYYY-MM-DD')",
    "address": "jsonb_build_object('value', 'Kai ' || n, 'route', 'Kai', 'locality', 'Kiel')",
    "user": "1 + n % 3",
    "text": "repeat('Satz ', 5 + n % 7)",
}
KINDS = tuple(VALUES)
OWN = {
    "organizations": ("website", "'https://firma' || n || '.example'"),
    "persons": (
        "emails",
        "jsonb_build_array(jsonb_build_object('value', 'p' || n || '@x.example', 'primary', true))",
    ),
}
BY_HAND = """
update crm.{mart}
set
    {first} = record.custom_fields ->> %(first)s,
    {second} = record.custom_fields ->> %(second)s,
    attributes = {mart}.attributes
        || jsonb_build_object('amount', (record.custom_fields ->> %(third)s)::numeric),
    synced_at = now(),
    updated_at = now()
from raw_pipedrive_bench.{entity} as record
where {mart}.tenant_id = 'bench'
    and {mart}.pipedrive_id = record.id
"""
TARGETS = {
    "organizations": ("customers", "customer_number", "vat_id"),
    "persons": ("contacts", "job_title", "first_name"),
}


def main() -> None:
    """Measures and prints."""
    arguments = _arguments()
    home = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
    server = ensure_running(home)
    try:
        facts = _measured(Warehouse(server.url), arguments.organizations, arguments.persons)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(facts, indent=2))


def _measured(warehouse: Warehouse, organizations: int, persons: int) -> dict[str, Any]:
    migrate(warehouse)
    fill(warehouse, {"organizations": organizations, "persons": persons})
    first = _seconds(lambda: build(warehouse, Scope(TENANT, SYSTEM)))
    publish_views(warehouse, TENANT)
    compared = _seconds(lambda: compare_values(warehouse, Scope(TENANT, SYSTEM)))
    by_hand: list[float] = []
    remapped: list[float] = []
    for number in range(ROUNDS):
        # Fields of one type are ten apart; each round uses other ones, so that all rows change.
        offset = 10 * (number % 2)
        _vacuum(warehouse)
        by_hand.append(_seconds(partial(_by_hand, warehouse, offset)))
        _vacuum(warehouse)
        mapping.save(warehouse, Scope(TENANT, SYSTEM), other_mapping(10 - offset), who="bench")
        remapped.append(_seconds(lambda: build(warehouse, Scope(TENANT, SYSTEM))))
    ratio = min(remapped) / min(by_hand)
    return {
        "organizations": organizations,
        "persons": persons,
        "first_build_seconds": round(first, 2),
        "compare_all_seconds": round(compared, 2),
        "by_hand_seconds": round(min(by_hand), 2),
        "remap_seconds": round(min(remapped), 2),
        "ratio": round(ratio, 2),
        "is_within_goal": ratio <= GOAL_RATIO,
    }


def _by_hand(warehouse: Warehouse, offset: int) -> None:
    with warehouse.transaction(TENANT) as connection:
        for entity, (mart, first, second) in TARGETS.items():
            keys = {
                name: _key(entity, index + offset)
                for name, index in (("first", 0), ("second", 9), ("third", 1))
            }
            query = BY_HAND.format(mart=mart, entity=entity, first=first, second=second)
            connection.execute(query.encode(), keys)


def other_mapping(offset: int) -> dict[str, dict[str, str]]:
    """Three fields of each entity, starting at this one: two into columns, one an attribute."""
    return {
        entity: {
            _key(entity, 0 + offset): first,
            _key(entity, 9 + offset): second,
            _key(entity, 1 + offset): "attributes.amount",
        }
        for entity, (_, first, second) in TARGETS.items()
    }


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _vacuum(warehouse: Warehouse) -> None:
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze crm.customers")
        connection.execute("vacuum analyze crm.contacts")
        connection.execute("checkpoint")


def _key(entity: str, number: int) -> str:
    return sha1(f"{entity} {number}".encode(), usedforsecurity=False).hexdigest()


def fill(warehouse: Warehouse, sizes: dict[str, int]) -> None:
    """Adds the tenant, with raw as a first sync leaves it; three of ten values are null."""
    with warehouse.transaction(search_path=(Scope(TENANT, SYSTEM).raw_schema,)) as connection:
        connection.execute("insert into integration.tenants (slug) values ('bench')")
        connection.execute("create schema raw_pipedrive_bench")
        connection.execute(f"create table users ({_columns('users')})".encode())
        connection.execute(
            "insert into users (id, name) select n, 'User ' || n from generate_series(1, 3) n"
        )
        for entity, count in sizes.items():
            _define(connection, entity)
            pairs = [
                f"'{_key(entity, number)}', case when (n * 7919 + {number} * 104729) % 10 > 2"
                f" then to_jsonb({VALUES[KINDS[number % 10]]}) end"
                for number in range(FIELDS[entity])
            ]
            objects = [
                f"jsonb_build_object({', '.join(pairs[start : start + 20])})"
                for start in range(0, len(pairs), 20)
            ]
            column, value = OWN[entity]
            connection.execute(f"create table {entity} ({_columns(entity)})".encode())
            connection.execute(
                f"insert into {entity} (id, name, owner_id, label_ids, custom_fields, is_deleted,"
                f" add_time, update_time, {column}) select n, 'Name ' || n, 1 + n % 3, '[]',"
                f" {' || '.join(objects)}, false, now(), now(), {value}"
                f" from generate_series(1, {count}) n".encode()
            )
        connection.execute(
            f"update persons set org_id = 1 + id % {sizes['organizations']}".encode()
        )
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("vacuum full analyze")


def _columns(name: str) -> str:
    """Every declared column of an entity and those that ingest adds, as SQL."""
    entity = system(SYSTEM).entity(name)
    columns = [f"{column.name} {column.type.value}" for column in entity.columns]
    added = ["extra jsonb", "_dlt_load_id text"]
    return ", ".join([f"{entity.key.name} {entity.key.type.value} unique", *columns, *added])


def _define(connection: Any, entity: str) -> None:
    table = f"{entity.removesuffix('s')}_fields"
    connection.execute(
        f"create table {table} (field_code text unique, field_name text, field_type text,"
        " is_custom_field boolean, options jsonb, _dlt_load_id text)".encode()
    )
    options = Jsonb([{"id": number, "label": f"Option {number}"} for number in range(1, 6)])
    connection.cursor().executemany(
        f"insert into {table} values (%s, %s, %s, true, %s)".encode(),
        [
            (_key(entity, number), f"Feld {number}", KINDS[number % 10], options)
            for number in range(FIELDS[entity])
        ],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=20_000)
    parser.add_argument("--persons", type=int, default=60_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
