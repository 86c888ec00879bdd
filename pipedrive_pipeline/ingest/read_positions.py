"""Where the next read of each entity begins: its cursor, and the plan of an unfinished read.

A position is saved after the rows that it counts as read are committed: a crash between the two
reads them again, and the merge takes them as unchanged. The table is in the raw schema, so that
a person who drops the rows, or restores former ones, does the same to the positions.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import CursorState
from pipedrive_pipeline.ingest.outcome import ReadPlan
from pipedrive_pipeline.ingest.own_tables import OwnTable
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

TABLE = OwnTable(
    "raw",
    "read_positions",
    """
create table {table} (
    entity text primary key,
    cursor jsonb,
    plan jsonb
);
comment on table {table} is
    'Where the next read of each kind of record begins; without a row, everything is read again.';
comment on column {table}.entity is 'Kind of the record: the name of its table.';
comment on column {table}.cursor is
    'How far the last complete read came, in the words of the connector.';
comment on column {table}.plan is 'Where an unfinished read of everything goes on.';
""",
)


class ReadPositions:
    """The positions of one tenant and system, as last committed.

    Attributes:
        cursors: of the entities of which a walk was read whole, by entity.
        plans: of the unfinished reads of everything, by entity.
    """

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._table = warehouse, TABLE.of(scope)
        query = sql.SQL("select entity, cursor, plan from {}").format(self._table)
        with warehouse.transaction() as connection:
            rows = connection.execute(query).fetchall()
        self.cursors: dict[str, CursorState] = {name: cursor for name, cursor, _ in rows if cursor}
        self.plans = {name: ReadPlan.of_state(plan) for name, _, plan in rows if plan}

    def save(
        self, cursors: Mapping[str, CursorState], plans: Mapping[str, ReadPlan | None]
    ) -> None:
        """Commits new cursors and plans by entity; a plan of None is finished.

        Raises:
            Superseded: another run of this tenant has begun; nothing moved.
        """
        moved = {**self.cursors, **cursors}
        left = {name: plan for name, plan in {**self.plans, **plans}.items() if plan}
        rows = [
            {
                "entity": name,
                "cursor": moved.get(name),
                "plan": left[name].as_state() if name in left else None,
            }
            for name in sorted({*cursors, *plans})
        ]
        if not rows:
            return
        with self._warehouse.transaction() as connection:
            connection.execute(sql.SQL(_SAVE).format(table=self._table), [Jsonb(rows)])
        self.cursors, self.plans = moved, left


_SAVE = """
insert into {table} (entity, cursor, plan)
select given.entity, given.cursor, given.plan
from jsonb_to_recordset(%s) as given (entity text, cursor jsonb, plan jsonb)
on conflict (entity) do update
set cursor = excluded.cursor,
    plan = excluded.plan
"""
