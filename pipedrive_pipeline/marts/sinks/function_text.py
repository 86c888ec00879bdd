"""The text of a sink's functions: the templates of `sql/sinks`, filled from the declaration."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from pipedrive_pipeline.marts.sinks.app_table import AppColumn, AppTable
from pipedrive_pipeline.marts.sinks.form import MARK, Sink
from pipedrive_pipeline.marts.sinks.match_rules import rule_columns
from pipedrive_pipeline.marts.sinks.values import json_object
from pipedrive_pipeline.warehouse.sql_files import sink_file


def schema_of(table: AppTable) -> sql.Identifier:
    """Returns the schema of the app's table."""
    return sql.Identifier(table.schema)


def inserted_columns(sink: Sink) -> tuple[str, ...]:
    """Returns the columns that an insert fills; a mark keeps the app's default."""
    is_only_mark = sink.on_delete == MARK and sink.mark and sink.mark.column not in sink.filled
    return tuple(
        name
        for name in sink.written_columns
        if not (is_only_mark and sink.mark and name == sink.mark.column)
    )


def function_definition(
    template: str, function: sql.Identifier, sink: Sink, table: AppTable
) -> sql.Composable:
    """Returns the definition of a function of this sink, `write` or `read`."""
    key = [table.columns[name] for name in sink.key or table.keys[0]]
    written = [table.columns[name] for name in sink.written_columns]
    tenant = table.columns[sink.tenant_column] if sink.tenant_column else None
    is_of_tenant: sql.Composable = sql.SQL("true")
    if tenant:
        is_of_tenant = sql.SQL("{} = {}::{}").format(
            sql.Identifier("target", tenant.name),
            sql.Literal(sink.tenant_value),
            _type(tenant),
        )

    def is_row(array: str) -> sql.Composed:
        conditions = [
            sql.SQL("{} = ({}[{}])::{}").format(
                sql.Identifier("target", column.name),
                sql.SQL(array),
                sql.Literal(place),
                _type(column),
            )
            for place, column in enumerate(key, 1)
        ]
        return sql.SQL(" and ").join([*conditions, is_of_tenant])

    shown = written
    if template == "read":
        rules = [name for rule in sink.match_by or () for name in rule_columns(sink, rule)]
        shown = [table.columns[name] for name in dict.fromkeys((*sink.written_columns, *rules))]
    inserted = [table.columns[name] for name in inserted_columns(sink)]
    values = [_inserted_value(column, sink) for column in inserted]
    if tenant:
        inserted.append(tenant)
        values.append(sql.SQL("{}::{}").format(sql.Literal(sink.tenant_value), _type(tenant)))
    return sink_file(template).filled(
        {
            "function": function,
            "search_path": sql.SQL("pg_catalog, {}, pg_temp").format(schema_of(table)),
            "settings": _settings(sink),
            "table": sql.Identifier(table.schema, table.name),
            "table_name": sql.Literal(table.full_name),
            "key": sql.SQL("array[{}]").format(
                sql.SQL(", ").join(
                    sql.SQL("{}::text").format(sql.Identifier("target", column.name))
                    for column in key
                )
            ),
            "key_names": sql.SQL("{}::text[]").format(sql.Literal([column.name for column in key])),
            "shown": json_object(
                (column.name, sql.SQL("{}::text").format(sql.Identifier("target", column.name)))
                for column in shown
            ),
            "is_of_tenant": is_of_tenant,
            "is_row": is_row("entry.app_key"),
            "is_item": is_row("item.app_key"),
            "is_now": is_row("key_now"),
            "inserted_columns": identifiers(column.name for column in inserted),
            "inserted_values": sql.SQL(", ").join(values),
            "given_columns": sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column.name), _given_type(column))
                for column in written
            ),
            "given_shown": json_object(
                (column.name, sql.SQL("({})::text").format(_given(column))) for column in written
            ),
            "assignments": sql.SQL(", ").join(
                _assignment(column, sink) for column in written if column not in key
            ),
            "column_names": sql.SQL("{}::text[]").format(
                sql.Literal([column.name for column in written])
            ),
            "column_types": sql.SQL("{}::text[]").format(
                sql.Literal([column.type for column in written])
            ),
        }
    )


def _settings(sink: Sink) -> sql.Composable:
    if not sink.settings:
        return sql.SQL("null;")
    return sql.SQL(" ").join(
        sql.SQL("perform set_config({}, {}, true);").format(sql.Literal(name), sql.Literal(value))
        for name, value in sink.settings.items()
    )


def _given_type(column: AppColumn) -> sql.Composable:
    return sql.SQL("text") if column.is_json else _type(column)


def _given(column: AppColumn) -> sql.Composable:
    """Returns a value of the row that is asked for, in the column's type."""
    value = sql.Identifier("given_row", column.name)
    return sql.SQL("{}::{}").format(value, _type(column)) if column.is_json else value


def _inserted_value(column: AppColumn, sink: Sink) -> sql.Composable:
    if column.name == sink.synced_at_column:
        return sql.SQL("now()::{}").format(_type(column))
    return _given(column)


def _assignment(column: AppColumn, sink: Sink) -> sql.Composed:
    value = sql.SQL("case when {} = any (changed) then {} else {} end").format(
        sql.Literal(column.name), _given(column), sql.Identifier("target", column.name)
    )
    if column.name == sink.synced_at_column:
        value = sql.SQL("case when item.wanted ? {} then {} else now()::{} end").format(
            sql.Literal(column.name), value, _type(column)
        )
    return sql.SQL("{} = {}").format(sql.Identifier(column.name), value)


def _type(column: AppColumn) -> sql.SQL:
    return sql.SQL(column.type)


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Returns a list of quoted names."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
