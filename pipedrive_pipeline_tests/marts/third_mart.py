"""A program: one more mart and one more system, declared here and nowhere else.

It declares both before anything of the package is imported, uses them, and prints what it saw as
JSON. `test_third_mart.py` runs it, since no other test may see the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from pipedrive_pipeline.settings import PROJECT_ROOT

SYSTEM = "toy"
SELECT = """\
-- crm.gadgets from Toy.
-- Entity: widgets
select
    widgets.code as remote_id,
    widgets.title as name,
    widgets.mail as maker_email,
    widgets.firm as customer_remote_id,
    widgets.touched as changed_at
from widgets
"""
FIELDS = """\
select
    'widgets' as entity,
    widget_fields.code as field_key,
    widget_fields.title as field_name,
    widget_fields.kind as field_type,
    true as is_custom,
    null::jsonb as options,
    true as is_writable
from widget_fields
"""


def declare_mart() -> Any:
    """Returns `marts.declared` with one more mart, as every later import sees it."""
    name = "pipedrive_pipeline.marts.declared"
    path = PROJECT_ROOT / "pipedrive_pipeline" / "marts" / "declared.py"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    declared: Any = module_from_spec(spec)
    sys.modules[name] = declared
    spec.loader.exec_module(declared)
    gadgets = declared.Mart(
        "gadgets",
        grain="gadget in the system",
        of="Gadgets that customers have",
        columns=(
            declared.text("name", "Name of the gadget."),
            declared.text("maker_email", "Address of the person who made it."),
            declared.number("price", "Price; filled by a field mapping.", is_mappable=True),
        ),
        links=(
            declared.Link("customer_id", "customers", "The customer.", "Its id in the system."),
        ),
        personal=("maker_email",),
    )
    declared.MARTS = (*declared.MARTS, gadgets)
    return declared


def declare_system(folder: Path) -> None:
    """Registers the system whose widgets are gadgets."""
    from pipedrive_pipeline.connectors.contract import (
        Access,
        AuthScheme,
        Column,
        ColumnType,
        Cost,
        Entity,
        FieldType,
        Snapshot,
        Source,
        System,
    )
    from pipedrive_pipeline.connectors.registry import register

    def column(name: str, kind: ColumnType = ColumnType.TEXT) -> Column:
        return Column(name, kind, f"The {name}.")

    def entity(name: str, *columns: Column, **facts: Any) -> Entity:
        return Entity(
            name=name,
            label=name,
            description=f"All {name}.",
            key=column("code"),
            columns=columns,
            read=Snapshot(),
            cost=Cost(1, 1),
            **facts,
        )

    @asynccontextmanager
    async def nothing(_access: Access) -> AsyncIterator[Source]:
        raise NotImplementedError
        yield

    (folder / "gadgets.sql").write_text(SELECT)
    (folder / "fields.sql").write_text(FIELDS)
    register(
        System(
            key=SYSTEM,
            label="Toy",
            entities=(
                entity("widget_fields", column("title"), column("kind")),
                entity(
                    "widgets",
                    column("title"),
                    column("mail"),
                    column("firm"),
                    column("touched", ColumnType.TIMESTAMP),
                    column("more", ColumnType.JSON),
                    defined_by="widget_fields",
                    custom_values="more",
                    personal=("mail",),
                ),
            ),
            auth=(AuthScheme(kind="api_token"),),
            hosts=("toy.example",),
            open=nothing,
            marts_folder=folder,
            field_types={"number": FieldType("double")},
        )
    )


def facts(url: str, folder: Path) -> dict[str, Any]:
    """What came of the declarations, in the database and in Dagster."""
    declared = declare_mart()
    declare_system(folder)
    from psycopg.rows import dict_row

    from pipedrive_pipeline.defs.location import LOCATION
    from pipedrive_pipeline.marts import build, mapping, publish_views
    from pipedrive_pipeline.marts.health import mart_health
    from pipedrive_pipeline.marts.lineage import origins
    from pipedrive_pipeline.marts.schema_changes import changes
    from pipedrive_pipeline.marts.sources import mart_sources
    from pipedrive_pipeline.scope import Scope
    from pipedrive_pipeline.settings import Settings
    from pipedrive_pipeline.sync.runs.lock import tenant_lock
    from pipedrive_pipeline.sync.tenancy.person_erasure import erase_records, find_by_address
    from pipedrive_pipeline.warehouse.database import Warehouse
    from pipedrive_pipeline_tests.marts.raw_tables import RawTables
    from pipedrive_pipeline_tests.warehouse.databases import ACME
    from pipedrive_pipeline_tests.warehouse.test_tables_page import page_of

    warehouse, scope = Warehouse(url), Scope(ACME, SYSTEM)
    with warehouse.transaction() as connection:
        connection.execute(changes(connection, declared.MARTS).encode())
    widget = {"code": "w-1", "title": "Drill", "mail": "ada@toy.example", "firm": "f-1"}
    RawTables(warehouse, ACME, system=SYSTEM).load(
        widget_fields=[{"code": "cost", "title": "Cost", "kind": "number"}],
        widgets=[{**widget, "more": {"cost": 12.5}}],
    )
    mapping.save(warehouse, scope, {"widgets": {"cost": "price"}}, who="a test")
    built = build(warehouse, scope)
    publish_views(warehouse, ACME)
    graph = LOCATION.resolve_asset_graph()
    with warehouse.transaction(ACME) as connection:
        rows = connection.cursor(row_factory=dict_row).execute(
            "select name, price, cost, customer_name, customer_remote_id"
            " from analytics_acme.gadgets"
        )
        shown = [{name: str(value) for name, value in row.items()} for row in rows]
        health = mart_health(connection, scope)
    (source,) = mart_sources(SYSTEM)
    matches = find_by_address(warehouse, ACME, "ADA@toy.example")
    page = page_of(warehouse)
    with tenant_lock(warehouse, ACME) as lock:
        erased = erase_records(lock, Settings(pipeline_home=folder), matches.records, who="a test")
    return {
        "rows_created": built.counts["gadgets"].created,
        "shown": shown,
        "orphans": health.orphans["gadgets"].remote_ids,
        "origin_of_name": [column.column for column in origins(source, [])["name"].sources],
        "assets": sorted(
            key.to_user_string()
            for key in graph.get_all_asset_keys()
            if "gadgets" in key.path or SYSTEM in key.path
        ),
        "checks": sorted(
            {key.name for key in graph.asset_check_keys if "gadgets" in key.asset_key.path}
        ),
        "documented": [f"### {name}\n" in page for name in DOCUMENTED],
        "erased": erased.mart_rows["gadgets"],
        "rows_after_removal": remaining(warehouse),
    }


def remaining(warehouse: Any) -> int:
    """Rows of the mart after its tenant was removed; the app made one."""
    from pipedrive_pipeline.sync.tenancy.removal import remove
    from pipedrive_pipeline.tenants import Tenant

    with warehouse.transaction() as connection:
        connection.execute("insert into crm.gadgets (tenant_id, name) values ('acme', 'ours')")
    remove(warehouse, Tenant("acme"), is_erasing=True, who="a test")
    with warehouse.transaction() as connection:
        return int(connection.execute("select from crm.gadgets").rowcount)


DOCUMENTED = ("crm.gadgets", "analytics_&lt;tenant&gt;.gadgets_all")

if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1], Path(sys.argv[2]))))  # noqa: T201 - the result
