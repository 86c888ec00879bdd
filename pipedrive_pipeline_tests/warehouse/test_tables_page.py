"""`docs/tables.md` says what the database says; a column without a word on it fails here.

`UPDATE_DOCS=1` writes the page instead of comparing it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain

import pytest

from pipedrive_pipeline.connectors.contract import HISTORY_COLUMNS, Entity, System
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.ingest import deletions, read_positions
from pipedrive_pipeline.ingest.own_tables import prepare
from pipedrive_pipeline.marts import declared, publish_views
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.catalog import Relation, relations
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.warehouse.databases import ACME

PAGE = PROJECT_ROOT / "docs" / "tables.md"
HEADER = """\
# Every table and column

For analysts and operators. `<tenant>` is the tenant's name, such as `acme`. Times are instants; the
engine's own sessions show them in UTC. The views that an analyst reads come first.

This page is written from the comments in the database: `\\d+ crm.customers` in `./run psql` shows
the same. A test compares both; `UPDATE_DOCS=1 pytest -m generated` writes the page.
"""
ANALYTICS = """\
## analytics_&lt;tenant&gt;: what an analyst reads

Views of one tenant's rows, from every CRM that it has connected: `system` says which. A view has
the rows that are there; the one with `_all` also those that were deleted, merged or hidden at the
source. `sync_status` says how fresh they are. Rows that the app made itself have no `system`.
"""
CRM = """\
## crm: the marts of all tenants

What an app reads and joins to. Each row has one tenant; row level security shows a session of
the app's role the tenant in the setting `pipeline.tenant_id` only. Rows without `system`, and
columns that neither a select of `sql/marts` nor a field mapping fills, are the app's own.
`updated_at` is the time at which the writing transaction began: follow changes with an overlap of a
few minutes.
"""
PICTURE = """\
Every link of a row to another, by the column that has the other row's `id`:

```mermaid
erDiagram
{relations}
```
"""
RAW = """\
## raw_{key}_&lt;tenant&gt;: records as {label} sent them

One row per record, one column per declared key; `extra` (jsonb) holds every other key,
`_dlt_load_id` (text) names the load. dlt's own tables (`_dlt_…`) are in the same schema.
"""
INTEGRATION = """\
## integration: who is connected, what is synced when, what happened

For operators. Under row level security as `crm`; links, states and grants of a consent are the
engine's alone, and the app's role has no right to the token columns.
"""


def page_of(warehouse: Warehouse) -> str:
    """Returns the page, as the declarations and the comments in the database say it."""
    views, crm, integration = described(warehouse)
    # A system from outside the package, such as the made-up one of the tests, has its own docs.
    documented = [system for system in systems() if system.marts_folder is None]
    parts = [
        HEADER,
        ANALYTICS,
        *map(_relation, views),
        *(_function(*function) for function in functions(warehouse)),
        CRM,
        picture(),
        *map(_relation, crm),
        *(part for system in documented for part in _raw(system, own_tables(warehouse, system))),
        INTEGRATION,
        *map(_relation, integration),
    ]
    return "\n".join(parts)


def picture() -> str:
    """Returns the entity-relationship diagram of the marts, as the declarations say it."""
    lines = [mart.name for mart in declared.MARTS]
    lines += [
        f"{mart.name} }}o--o| {link.mart} : {link.name}"
        for mart in declared.MARTS
        for link in mart.links
    ]
    return PICTURE.format(relations="\n".join(f"    {line}" for line in lines))


def described(warehouse: Warehouse) -> tuple[list[Relation], list[Relation], list[Relation]]:
    """Returns the views of a tenant, the marts, and the tables for operators."""
    publish_views(warehouse, ACME)
    with warehouse.transaction() as connection:
        views, crm, integration = (
            relations(connection, name) for name in (ACME.analytics_schema, "crm", "integration")
        )
    return views, crm, integration


def own_tables(warehouse: Warehouse, system: System) -> list[Relation]:
    """Returns the tables of a tenant's raw schema that are made without an entity."""
    scope = Scope(ACME, system.key)
    prepare(warehouse, scope, (deletions.TABLE, read_positions.TABLE))
    with warehouse.transaction() as connection:
        return relations(connection, scope.raw_schema)


@pytest.mark.generated
@pytest.mark.slow
def test_the_page_of_tables_is_the_database(warehouse: Warehouse) -> None:
    """A column that nobody explained, or that the page lacks, is found here."""
    page = page_of(warehouse)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page, encoding="utf-8")

    assert page == PAGE.read_text(encoding="utf-8")
    assert _without_comment(chain(*described(warehouse))) == []
    assert [name for name, _, comment in functions(warehouse) if not comment] == []


def functions(warehouse: Warehouse) -> list[tuple[str, str, str]]:
    """Returns name and arguments, result, and comment of each function of a tenant's schema."""
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select
                format('%%s(%%s)', proname, pg_get_function_identity_arguments(oid)),
                pg_get_function_result(oid),
                coalesce(obj_description(oid, 'pg_proc'), '')
            from pg_catalog.pg_proc
            where pronamespace = %s::regnamespace
            order by proname asc
            """,
            (ACME.analytics_schema,),
        ).fetchall()


def _function(name: str, result: str, comment: str) -> str:
    return f"### analytics_&lt;tenant&gt;.{name}\n\n{comment}\n\nReturns `{_short(result)}`.\n"


def _without_comment(relations: Iterable[Relation]) -> list[str]:
    return [
        f"{relation.schema}.{relation.name}.{column.name}"
        for relation in relations
        for column in relation.columns
        if not (relation.comment and column.comment)
    ]


def _relation(relation: Relation) -> str:
    schema = relation.schema.replace(f"_{ACME}", "_&lt;tenant&gt;")
    rows = [(column.name, column.type, column.comment) for column in relation.columns]
    return _section(f"{schema}.{relation.name}", relation.comment, rows)


def _raw(system: System, own: list[Relation]) -> Iterator[str]:
    """The sections of a system's raw tables; ``own`` are those that are no entity's."""
    yield RAW.format(key=system.key, label=system.label)
    for entity in system.entities:
        yield _entity(system.key, entity)
        if entity.history:
            yield _history(system.key, entity)
    yield from map(_relation, own)


def _entity(system: str, entity: Entity) -> str:
    columns = (entity.key, *entity.columns)
    rows = [(column.name, column.type.value, column.description) for column in columns]
    return _section(f"raw_{system}_&lt;tenant&gt;.{entity.name}", entity.description, rows)


def _history(system: str, entity: Entity) -> str:
    columns = (*HISTORY_COLUMNS, *entity.history_columns)
    rows = [(column.name, column.type.value, column.description) for column in columns]
    return _section(
        f"raw_{system}_&lt;tenant&gt;.{entity.history_table}",
        f"{entity.label}: a row per version that differed from the one before it in "
        f"{', '.join(entity.history)}. A read of everything leaves it as it is.",
        rows,
    )


def _section(name: str, comment: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [
        f"| {column} | {_short(kind)} | {_escaped(meaning)} |" for column, kind, meaning in rows
    ]
    table = "\n".join(["| column | type | meaning |", "|---|---|---|", *lines])
    return f"### {name}\n\n{comment}\n\n{table}\n"


def _short(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz").replace(
        "time without time zone", "time"
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
