"""Runs the audits of `sql/audits` before a build is committed, and refuses it if one fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts.declared import Link, mart
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import added_objects
from pipedrive_pipeline.warehouse.sql_files import SqlFile, audit_files

IDS_SHOWN: Final = 10
LINKED: Final = "linked"  # the audit that runs once for each link


class Breach(AuditBreach):
    """An audit found offending rows; ``ids`` are the first ten remote ids, in order."""

    def __init__(
        self, tenant: Tenant, rule: str, promise: str, ids: Sequence[object], *, added: str
    ) -> None:
        count = len(ids)
        shown = [str(key) for key in ids[:IDS_SHOWN]]
        self.tenant, self.rule, self.count, self.ids = tenant, rule, count, shown
        more = " and more" if count > IDS_SHOWN else ""
        cause = f" The app added {added}; see whether it changes our rows." if added else ""
        super().__init__(
            f"{tenant}: audit {rule} found {count} offending rows ({promise.rstrip('.')}): "
            f"remote_id {', '.join(shown)}{more}. Nothing was committed; the tables are as they "
            f"were.{cause}"
        )


def audit(
    connection: psycopg.Connection,
    tenant: Tenant,
    source: MartSource,
    condition: sql.Composable | None,
    linked: sql.Composable | None,
    *,
    ids: Sequence[str] | None,
) -> None:
    """Runs every audit over the rows that were built.

    Args:
        connection: the build's own, before its commit.
        tenant: for the message.
        source: whose rows.
        condition: on `MartSource.record_id`, in the type of raw's key; selects the built rows;
            None: none.
        linked: on `MartSource.record_id`, as text; selects the rows whose links were set;
            None: none.
        ids: remote ids of the built records; None: all.

    Raises:
        AuditBreach: a person must find out what changes our rows, or correct the rule.
    """
    for rule in audit_files():
        if rule.name == LINKED:
            queries = [
                _offending(rule, source, linked, link=link)
                for link in source.links
                if linked is not None
            ]
        else:
            queries = [] if condition is None else [_offending(rule, source, condition, ids=ids)]
        for query in queries:
            offenders = [row[0] for row in connection.execute(query)]
            if offenders:
                added = ", ".join(added_objects(connection, [source.mart.table]))
                name = f"{source.name}_{rule.name}"
                raise Breach(tenant, name, rule.title, offenders, added=added)


def _offending(
    rule: SqlFile,
    source: MartSource,
    condition: sql.Composable,
    *,
    ids: Sequence[str] | None = None,
    link: Link | None = None,
) -> sql.Composed:
    return sql.SQL("select remote_id from ({}) as offending where {} order by remote_id").format(
        rule.filled(variables(source, ids, link)), condition
    )


def variables(
    source: MartSource, ids: Sequence[str] | None = None, link: Link | None = None
) -> dict[str, sql.Composable]:
    """Returns the values of the variables in `sql/audits`; ``ids`` as for `audit`."""
    of_link: dict[str, sql.Composable] = {}
    if link:
        of_link = {
            "link": sql.Identifier(link.name),
            "remote_column": sql.Identifier(link.remote_column),
            "linked": sql.Identifier(*mart(link.mart).table),
        }
    return {
        "system": sql.Literal(source.system),
        "entity": sql.Literal(source.entity),
        "records": _records(source),
        "record_id": sql.Identifier(source.record_id),
        "record_column": sql.Identifier(source.record_column),
        "mart": source.identifier,
        "select": source.select.query,
        "is_deleted": source.is_deleted,
        "is_lost": _is_lost(source),
        "is_built": sql.SQL("true")
        if ids is None
        else sql.SQL("target.{} = any ({}::text[])").format(
            sql.Identifier(source.record_column), sql.Literal(list(ids))
        ),
        **of_link,
    }


def _records(source: MartSource) -> sql.Composable:
    """Returns the select of what must have a row: the records, or their parts."""
    if source.is_of_parts:
        return source.select.query
    return sql.SQL("select record.{} as remote_id from {} as record").format(
        sql.Identifier(source.key), source.records
    )


def _is_lost(source: MartSource) -> sql.Composed:
    """Returns a condition: the row is older than its record, or empty where the select is not."""
    is_older = sql.SQL("target.changed_at is distinct from mart.changed_at")
    filled = {column.name for column in source.mart.columns if column.default is None}
    filled |= {link.remote_column for link in source.links}
    empty: list[sql.Composable] = [
        sql.SQL("(target.{0} is null and mart.{0} is not null)").format(sql.Identifier(name))
        for name in source.outputs
        if name in filled
    ]
    conditions = [*empty, *([is_older] if "changed_at" in source.outputs else [])]
    return sql.SQL("({})").format(sql.SQL(" or ").join([sql.SQL("false"), *conditions]))
