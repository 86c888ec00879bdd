"""Builds one tenant's raw tables by hand, as ingest leaves them, without dlt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.ingest.history import Histories, appending, history_columns
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SYSTEM = "pipedrive"
CHANGED_AT = "2026-01-31T10:20:30Z"
LEAD = "0a1b2c3d-0000-11ee-8000-000000000001"


@dataclass
class RawTables:
    """The raw schema of one tenant, open for rows. Each ``load`` is one dlt package."""

    warehouse: Warehouse
    tenant: Tenant
    system: str = SYSTEM
    loads: int = 0
    created: set[str] = field(default_factory=set)

    @property
    def schema(self) -> str:
        """Where the tables lie."""
        return Scope(self.tenant, self.system).raw_schema

    def load(self, **rows: Sequence[Mapping[str, Any]]) -> str:
        """Merge rows by entity, as one announced load; its id."""
        self.loads += 1
        load_id = f"{self.loads:010d}.5"
        self.announce(load_id)
        for entity, records in rows.items():
            self.merge(registry.system(self.system).entity(entity), records, load_id)
        return load_id

    def announce(self, load_id: str) -> None:
        """Tell the marts of a load, as ingest does before it."""
        with self.warehouse.transaction() as connection:
            connection.execute(
                """
                insert into integration.mart_state as state (tenant_id, system, pending_loads)
                values (%s, %s, array[%s])
                on conflict (tenant_id, system) do update
                set pending_loads = state.pending_loads || excluded.pending_loads
                """,
                (self.tenant.slug, self.system, load_id),
            )

    def merge(self, entity: Entity, records: Sequence[Mapping[str, Any]], load_id: str) -> None:
        """Store records of one entity, making its table where it is missing."""
        self.make(entity)
        with self.warehouse.transaction() as connection:
            for record in records:
                row = {**record, "_dlt_load_id": load_id}
                names = [sql.Identifier(name) for name in row]
                connection.execute(
                    sql.SQL(
                        "insert into {table} ({names}) values ({values})"
                        " on conflict ({key}) do update set ({names}) = row ({excluded})"
                    ).format(
                        table=sql.Identifier(self.schema, entity.name),
                        key=sql.Identifier(entity.key.name),
                        names=sql.SQL(", ").join(names),
                        values=sql.SQL(", ").join([sql.Placeholder()] * len(row)),
                        excluded=sql.SQL(", ").join(
                            sql.Identifier("excluded", name) for name in row
                        ),
                    ),
                    [
                        Jsonb(value) if isinstance(value, dict | list) else value
                        for value in row.values()
                    ],
                )

            if entity.history:
                source = (self.schema, entity.name)
                statement = appending(
                    history_columns(entity), raw_schema=self.schema, source=source, load_id=load_id
                )
                connection.execute(statement.encode())

    def make(self, entity: Entity) -> None:
        """The table as ingest makes it: every declared column, ``extra``, two indexes, history."""
        if entity.name in self.created:
            return
        columns = [
            (entity.key.name, entity.key.type.value),
            *((column.name, column.type.value) for column in entity.columns),
            ("extra", "jsonb"),
            ("_dlt_load_id", "text"),
        ]
        table = sql.Identifier(self.schema, entity.name)
        with self.warehouse.transaction() as connection:
            connection.execute(
                sql.SQL("create schema if not exists {}").format(sql.Identifier(self.schema))
            )
            connection.execute(
                sql.SQL("create table {} ({}, unique ({}))").format(
                    table,
                    sql.SQL(", ").join(
                        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                        for name, kind in columns
                    ),
                    sql.Identifier(entity.key.name),
                )
            )
            connection.execute(sql.SQL("create index on {} (_dlt_load_id)").format(table))
        Histories(self.warehouse, Scope(self.tenant, self.system)).prepare(entity)
        self.created.add(entity.name)

    def make_all(self) -> None:
        """The table of every entity, without rows."""
        for entity in registry.system(self.system).entities:
            self.make(entity)

    def mark(
        self, entity: str, key: int | str, reason: str = "deleted", merged_into: int | None = None
    ) -> None:
        """Mark a record as gone at the source, and tell the marts, as ingest does."""
        self.loads += 1
        mark_id = f"mark-{self.loads}"
        self.announce(mark_id)
        with self.warehouse.transaction(search_path=(self.schema,)) as connection:
            connection.execute(
                """
                create table if not exists deletions (
                    entity text not null,
                    id text not null,
                    reason text not null,
                    merged_into text,
                    seen_at timestamptz not null default now(),
                    _dlt_load_id text not null,
                    primary key (entity, id)
                )
                """
            )
            connection.execute(
                """
                insert into deletions (entity, id, reason, merged_into, _dlt_load_id)
                values (%s, %s, %s, %s, %s)
                """,
                (
                    entity,
                    str(key),
                    reason,
                    None if merged_into is None else str(merged_into),
                    mark_id,
                ),
            )

    def unmark(self, entity: str, key: int | str) -> None:
        """Take a mark back: the record is there again, and the marts are built whole."""
        with self.warehouse.transaction(search_path=(self.schema,)) as connection:
            connection.execute(
                "delete from deletions where entity = %s and id = %s", (entity, str(key))
            )
            connection.execute(
                "update integration.mart_state set is_rebuild_due = true"
                " where tenant_id = %s and system = %s",
                (self.tenant.slug, self.system),
            )


def organization(key: int, **facts: Any) -> dict[str, Any]:
    """An organization with a name and nothing else; ``facts`` make the difference."""
    return {
        "id": key,
        "name": f"Firma {key}",
        "label_ids": [],
        "custom_fields": {},
        "is_deleted": False,
        "add_time": "2025-02-03T08:00:00Z",
        "update_time": CHANGED_AT,
        **facts,
    }


def person(key: int, **facts: Any) -> dict[str, Any]:
    """A person with a name and nothing else; ``facts`` make the difference."""
    return organization(key, name=f"Mensch {key}", emails=[], phones=[]) | facts


def deal(key: int, **facts: Any) -> dict[str, Any]:
    """An open deal with a title, a value and nothing else."""
    return {
        "id": key,
        "title": f"Deal {key}",
        "value": Decimal("1200.500000000"),
        "currency": "EUR",
        "status": "open",
        "is_deleted": False,
        "is_archived": False,
        "label_ids": [],
        "custom_fields": None,
        "add_time": "2025-02-03T08:00:00Z",
        "update_time": CHANGED_AT,
        **facts,
    }


def lead(key: str = LEAD, **facts: Any) -> dict[str, Any]:
    """A lead with a title and nothing else, last edited before `deal` was made."""
    return {
        "id": key,
        "title": f"Lead {key[-1]}",
        "is_archived": False,
        "label_ids": [],
        "add_time": "2025-01-02T08:00:00Z",
        "update_time": "2025-01-03T08:00:00Z",
        **facts,
    }


def stamped(**facts: Any) -> dict[str, Any]:
    """A record of any kind with its times."""
    return {"add_time": "2025-02-03T08:00:00Z", "update_time": CHANGED_AT, **facts}


def user(key: int, name: str) -> dict[str, Any]:
    return {"id": key, "name": name}


def label_field(*labels: tuple[int | str, str], code: str = "label_ids") -> dict[str, Any]:
    """A field definition whose options name the ids."""
    return {
        "field_code": code,
        "field_name": code,
        "field_type": "set",
        "options": [{"id": key, "label": name} for key, name in labels],
    }
