"""Checks declarations against the marts and the catalogue: types, keys, columns that must be there.

Rights are checked when the sink's function is made (`writer.py`): only then its role is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import psycopg

from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.app_table import AppColumn, AppTable, app_table
from pipedrive_pipeline.marts.sinks.form import UNLINK, BadSink, Sink, Value
from pipedrive_pipeline.marts.sinks.match_rules import rule_columns, rules_of
from pipedrive_pipeline.marts.sinks.parsing import parsed
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope

ATTRIBUTE: Final = "attributes."
TEXTS: Final = frozenset({"text", "varchar", "bpchar", "citext"})
WHOLE: Final = frozenset({"int2", "int4", "int8"})
NUMBERS: Final = WHOLE | {"numeric", "float4", "float8"}
INSTANTS: Final = frozenset({"timestamptz", "timestamp", "date"})
# Types of the app that a value of a mart fits without a conversion.
FITTING: Final[Mapping[str, frozenset[str]]] = {
    "text": TEXTS,
    "bigint": NUMBERS,
    "numeric": NUMBERS - WHOLE,
    "boolean": frozenset({"bool"}),
    "date": INSTANTS,
    "timestamptz": INSTANTS,
    "time": frozenset({"time"}),
    "uuid": frozenset({"uuid"}),
    "text[]": frozenset({"_text", "_varchar"}),
    "bigint[]": frozenset({"_int8", "_int4"}),
    "jsonb": frozenset({"json", "jsonb"}),
}
CONVERTED: Final[Mapping[str, frozenset[str]]] = {
    "text": TEXTS,
    "lower": TEXTS,
    "join": TEXTS,
    "number": NUMBERS,
    "date": INSTANTS,
}


def validated(
    connection: psycopg.Connection, scope: Scope, text: Any, former: Mapping[str, Sink]
) -> dict[str, Sink]:
    """Returns the sinks of decoded JSON by name, those that others refer to first.

    A sink that is paused as it was declared is not checked: its table may be gone or changed.

    Args:
        connection: reads the catalogue.
        scope: whose sinks.
        text: decoded JSON.
        former: the sinks that are in use.

    Raises:
        BadSink: names every setting that cannot be used, with the reason.
    """
    sinks, issues = parsed(text)
    for sink in sinks.values():
        if is_only_paused(sink, former):
            continue
        issues += _issues(connection, scope, sink, sinks)
    if not issues:
        issues += [Issue(name, "refers to itself through sinks") for name in _circular(sinks)]
    if issues:
        raise BadSink(scope.tenant, issues)
    return in_order(sinks)


def is_only_paused(sink: Sink, former: Mapping[str, Sink]) -> bool:
    """Returns whether a sink is paused, and otherwise as it was."""
    known = former.get(sink.name)
    return sink.is_paused and known is not None and sink == replace(known, is_paused=True)


def in_order(sinks: Mapping[str, Sink]) -> dict[str, Sink]:
    """Returns the sinks in an order in which each follows those that it refers to."""
    ordered: dict[str, Sink] = {}
    while len(ordered) < len(sinks):
        ready = {
            name: sink
            for name, sink in sinks.items()
            if name not in ordered and sink.needs <= ordered.keys()
        }
        if not ready:
            break
        ordered |= ready
    return ordered


def _circular(sinks: Mapping[str, Sink]) -> list[str]:
    return sorted(sinks.keys() - in_order(sinks).keys())


def missing_columns(sink: Sink, table: AppTable) -> dict[str, str]:
    """Returns the columns for link and time that the table lacks, with the types to give them."""
    wanted = {sink.link_column: "bigint", sink.synced_at_column: "timestamptz"}
    return {name: kind for name, kind in wanted.items() if name and name not in table.columns}


def value_type(mart: Mart, value: Value) -> str | None:
    """Returns the type of a value before its conversion; `any` for attributes, None if unknown."""
    if value.source and value.source.startswith(ATTRIBUTE):
        return "any"
    types = {column.name: column.type for column in mart.all_columns}
    return types.get(value.source or "")


def _issues(
    connection: psycopg.Connection, scope: Scope, sink: Sink, sinks: Mapping[str, Sink]
) -> Iterator[Issue]:
    mart = next((mart for mart in MARTS if mart.name == sink.mart), None)
    names = [source.name for source in mart_sources(scope.system)]
    table = app_table(connection, sink.table)
    if mart is None or mart.name not in names:
        yield Issue(f"{sink.name}.mart", f"{scope.system} has no such mart; {', '.join(names)}")
    elif table is None:
        yield Issue(f"{sink.name}.table", "there is no such table")
    elif table.is_ours:
        yield Issue(f"{sink.name}.table", "is ours; a sink writes a table of an app")
    else:
        for issue in (
            *_issues_of_keys(sink, table),
            *_issues_of_columns(sink, table),
            *_issues_of_mark(sink, table),
            *_issues_of_rules(sink, table, mart),
        ):
            yield Issue(f"{sink.name}.{issue.field}", issue.issue)
        for name, value in sink.columns.items():
            if misfit := _misfit(mart, table.columns.get(name), value, sinks):
                yield Issue(f"{sink.name}.{name}", misfit)


def _issues_of_keys(sink: Sink, table: AppTable) -> Iterator[Issue]:
    key = sink.key or next(iter(table.keys), ())
    if not any(set(columns) == set(key) for columns in table.keys):
        yield Issue("key", "needs the columns of a primary key or unique index")
    if sink.tenant_column and sink.tenant_column not in table.columns:
        yield Issue("tenant", f"there is no column {sink.tenant_column}")
    elif sink.tenant_column and sink.tenant_column in sink.columns:
        yield Issue("tenant", f"{sink.tenant_column} is filled by columns, too")
    for name in sorted(set(sink.filled) & set(key)):
        if not sink.inserts:
            yield Issue(name, "is a column of the key, which only new rows fill")


def _issues_of_columns(sink: Sink, table: AppTable) -> Iterator[Issue]:
    for name in missing_columns(sink, table):
        yield Issue(
            "link_column" if name == sink.link_column else "synced_at_column",
            f"there is no column {name}; add the columns (--add-columns does), or leave it out",
        )
    for name in sink.written_columns:
        known = table.columns.get(name)
        if known and known.is_computed:
            yield Issue(name, "is computed by Postgres")
    given = {*sink.written_columns, sink.tenant_column}
    for column in table.columns.values():
        if sink.inserts and column.is_required and column.name not in given:
            yield Issue(
                column.name,
                "is never null and has no default: give it a value, or set inserts to false",
            )


def _issues_of_mark(sink: Sink, table: AppTable) -> Iterator[Issue]:
    if sink.on_delete == UNLINK and not sink.link_column:
        yield Issue("on_delete", f"{UNLINK} needs a link_column")
    if sink.mark:
        column = table.columns.get(sink.mark.column)
        if column is None:
            yield Issue("on_delete", f"there is no column {sink.mark.column}")
        elif column.is_not_null and sink.mark.restored is None:
            yield Issue("on_delete", f"{column.name} is never null; give restored, too")


def _issues_of_rules(sink: Sink, table: AppTable, mart: Mart) -> Iterator[Issue]:
    for rule in sink.match_by or ():
        columns = rule_columns(sink, rule) if rule.rule in rules_of(mart) else ()
        unknown = [name for name in columns if name not in table.columns]
        if rule.rule not in rules_of(mart):
            yield Issue("match_by", f"{rule.rule} is no rule; {', '.join(rules_of(mart))}")
        elif not columns:
            yield Issue("match_by", f"{rule.rule}: no column of the app is filled by what it reads")
        elif unknown:
            yield Issue("match_by", f"{rule.rule}: there is no column {', '.join(unknown)}")


def _misfit(
    mart: Mart, column: AppColumn | None, value: Value, sinks: Mapping[str, Sink]
) -> str | None:
    """Returns why a value does not fit its column; None if it does."""
    if column is None:
        return "the table has no such column"
    if value.source is None:
        return None  # a constant is tried when the function writes it
    kind = value_type(mart, value)
    if kind is None:
        return f"{mart.name} has no column {value.source}"
    if value.sink:
        return _misfit_of_link(mart, value, sinks)
    if value.conversion == "join" and not kind.endswith("[]"):
        return f"{value.source} is {kind}; join is for lists"
    fits = CONVERTED[value.conversion] if value.conversion else FITTING.get(kind, frozenset())
    is_free = kind == "any" and value.conversion is None
    is_enum = kind in {"any", "text"} and column.category == "E"
    ways = [name for name, bases in CONVERTED.items() if column.base in bases]
    hint = f'; say {{"from": "{value.source}", "as": "{ways[0]}"}}' if ways else ""
    misfit = f"{value.source} is {kind}, the column is {column.type}{hint}"
    return None if is_free or is_enum or column.base in fits else misfit


def _misfit_of_link(mart: Mart, value: Value, sinks: Mapping[str, Sink]) -> str | None:
    link = next((link for link in mart.links if link.name == value.source), None)
    other = sinks.get(value.sink or "")
    if link is None:
        links = ", ".join(link.name for link in mart.links)
        return f"{value.source} is no link of {mart.name}; {links}"
    if other is None or other.mart != link.mart:
        return f"{value.sink} is no sink of {link.mart}"
    if value.conversion:
        return "a key of another sink is not converted"
    return None
