"""The values that a mart's row gives to a row of the app, as SQL that yields text.

Values travel as text within JSON: the input function of the column's type reads them, so that a
value which does not fit is an error and never cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from psycopg import sql

from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_table import AppTable
from pipedrive_pipeline.marts.sinks.form import APP, UNLINK, Sink, Value
from pipedrive_pipeline.marts.sinks.validation import ATTRIBUTE, WHOLE, value_type
from pipedrive_pipeline.scope import Scope

PAIRS_PER_OBJECT: Final = 40  # PostgreSQL's functions take at most 100 arguments


def json_object(pairs: Iterable[tuple[str, sql.Composable]]) -> sql.Composed:
    """Returns an expression of a JSON object with these names and values."""
    known = [sql.SQL("{}::text, {}").format(sql.Literal(name), value) for name, value in pairs]
    return sql.SQL("({})").format(
        sql.SQL(" || ").join(
            sql.SQL("jsonb_build_object({})").format(
                sql.SQL(", ").join(known[start : start + PAIRS_PER_OBJECT])
            )
            for start in range(0, max(len(known), 1), PAIRS_PER_OBJECT)
        )
    )


def wanted(scope: Scope, sink: Sink, table: AppTable) -> sql.Composed:
    """Returns what a row of the app is to have, over `mart` and `link`, by column; null: leave it.

    `mart` is a row of the sink's mart, `link` its row of `integration.sink_links` or nulls.
    """
    mart = mart_of(sink.mart)
    values = [(name, _text_of(scope, mart, value)) for name, value in sorted(sink.columns.items())]
    if sink.link_column:
        values.append((sink.link_column, link_value(table.columns[sink.link_column].base)))
    live: sql.Composable = json_object(values)
    gone: sql.Composable = sql.SQL("null::jsonb")
    if sink.on_delete == UNLINK and sink.link_column:
        gone = json_object([(sink.link_column, sql.SQL("null::text"))])
    elif sink.mark:
        mark = sink.mark
        gone = json_object([(mark.column, sql.Literal(mark.value))])
        # Only a row that was marked by us is restored.
        live = sql.SQL("{} || case when link.asked = {} then {} else '{{}}' end").format(
            live, gone, json_object([(mark.column, sql.Literal(mark.restored))])
        )
    return sql.SQL("case when mart.deleted_at is null then {} else {} end").format(live, gone)


def kept(sink: Sink) -> sql.Composable:
    """Returns the columns whose edits by the app are kept, as an array, over `mart`."""
    names = list(sink.filled) if sink.on_conflict == APP else []
    if not sink.mark:
        return _array(names)
    # What the app wrote over a mark stays when the record comes back.
    return sql.SQL("case when mart.deleted_at is null then {} else {} end").format(
        _array([*names, sink.mark.column]), _array(names)
    )


def used_columns(values: Mapping[str, Value]) -> list[str]:
    """Returns the mart's columns that the values read, each once."""
    sources = (value.source for value in values.values() if value.source)
    return list(dict.fromkeys(source.partition(".")[0] for source in sources))


def _array(names: list[str]) -> sql.Composed:
    return sql.SQL("{}::text[]").format(sql.Literal(names))


def _text_of(scope: Scope, mart: Mart, value: Value) -> sql.Composable:
    if value.source is None:
        return sql.Literal(value.constant)
    if value.source.startswith(ATTRIBUTE):
        column: sql.Composable = sql.SQL("(mart.attributes ->> {})").format(
            sql.Literal(value.source.removeprefix(ATTRIBUTE))
        )
    else:
        column = sql.Identifier("mart", value.source)
    if value.sink:
        return sql.SQL(_KEY_OF_LINK).format(
            tenant=sql.Literal(scope.tenant.slug),
            system=sql.Literal(scope.system),
            sink=sql.Literal(value.sink),
            row_id=column,
        )
    form = {
        None: "{}::text",
        "text": "{}::text",
        "lower": "lower({}::text)",
        "number": "pipeline.as_numeric(to_jsonb({}))::text",
        "join": "nullif(array_to_string({}, ', '), '')",
        "date": "pipeline.as_date(to_jsonb({}::text))::text",
    }[value.conversion]
    if value.conversion == "date" and value_type(mart, value) == "timestamptz":
        form = "({} at time zone 'UTC')::date::text"
    return sql.SQL(form).format(column)


def link_value(base: str) -> sql.Composable:
    """Returns the record's id for a column of this type, over `mart`.

    Ours for uuid, else the system's.
    """
    if base == "uuid":
        return sql.SQL("mart.id::text")
    if base in WHOLE or base == "numeric":
        return sql.SQL("case when mart.remote_id ~ '^[0-9]{1,18}$' then mart.remote_id end")
    return sql.SQL("mart.remote_id")


_KEY_OF_LINK: Final = """
(
    select other.app_key[1]
    from integration.sink_links as other
    where other.tenant_id = {tenant}
        and other.system = {system}
        and other.sink = {sink}
        and other.row_id = {row_id}
        and other.confirmed_at is not null
)
"""
