"""Runs the audits of `sql/audits` before a build is committed, and refuses it if one fails."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts.targets import Target
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import added_objects
from pipedrive_pipeline.warehouse.sql_files import audit_files

IDS_SHOWN: Final = 10


class Breach(AuditBreach):
    """An audit found offending rows; ``ids`` are the first ten source ids, in order."""

    def __init__(
        self, tenant: Tenant, rule: str, promise: str, ids: list[int], *, added: str
    ) -> None:
        count = len(ids)
        self.tenant, self.rule, self.count, self.ids = tenant, rule, count, ids[:IDS_SHOWN]
        shown = ", ".join(str(number) for number in self.ids)
        more = " and more" if count > IDS_SHOWN else ""
        cause = f" The app added {added}; see whether it changes our rows." if added else ""
        super().__init__(
            f"{tenant}: audit {rule} found {count} offending rows ({promise.rstrip('.')}): "
            f"pipedrive_id {shown}{more}. Nothing was committed; the tables are as they were."
            f"{cause}"
        )


def audit(
    connection: psycopg.Connection, tenant: Tenant, target: Target, condition: sql.Composable
) -> None:
    """Runs every audit of the target over the rows that were built.

    Args:
        connection: the build's own, before its commit.
        tenant: for the message.
        target: whose audits.
        condition: on ``pipedrive_id``; selects the built rows.

    Raises:
        AuditBreach: a person must find out what changes our rows, or correct the rule.
    """
    for rule in audit_files(target.name):
        query = sql.SQL(
            "select pipedrive_id from ({}) as offending where {} order by pipedrive_id asc"
        ).format(rule.query, condition)
        ids = [row[0] for row in connection.execute(query)]
        if ids:
            added = ", ".join(added_objects(connection, [target.table]))
            raise Breach(tenant, rule.name, rule.title, ids, added=added)
