"""Health figures of a tenant's committed marts: broken links, and lost volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.declared import MARTS, Link, Mart
from pipedrive_pipeline.marts.row_comparison import LastComparison, last_comparison
from pipedrive_pipeline.scope import Scope

VOLUME_DAYS: Final = 7  # a working week and a weekend
DROP_SHARE: Final = 0.10  # as the guard of a sweep, which many small drops can pass
DROP_ROWS: Final = 50
IDS_SHOWN: Final = 10


@dataclass(frozen=True)
class Orphans:
    """Live rows of one mart that name a record for which there is no row."""

    count: int
    remote_ids: tuple[str, ...]  # the first ones in the order of text


@dataclass(frozen=True)
class Volume:
    """Number of live rows of one mart that came from the system, now and a week ago.

    ``of_tenant`` are the live rows of all its systems and of the app, as the view shows them.
    """

    now: int
    before: int
    of_tenant: int

    @property
    def is_dropped(self) -> bool:
        """True if more rows are gone than a week's work explains."""
        gone = self.before - self.now
        return gone > DROP_ROWS and gone > self.before * DROP_SHARE


@dataclass(frozen=True)
class MartHealth:
    """Health figures of one tenant's marts in one system, by mart."""

    orphans: dict[str, Orphans]  # of the marts with `checked_links`
    volumes: dict[str, Volume]
    comparison: LastComparison


def deleted_rows(connection: psycopg.Connection, scope: Scope, *, days: int = 0) -> int:
    """Returns how many rows are of records that were deleted or merged ``days`` ago or earlier."""
    marts = [mart.table for mart in MARTS]
    counts = sql.SQL(" union all ").join(
        sql.SQL(
            "select count(*) as rows from {} where tenant_id = %(tenant)s and system = %(system)s"
            " and deletion_reason in ('deleted', 'merged')"
            " and deleted_at <= now() - make_interval(days => %(days)s)"
        ).format(sql.Identifier(*table))
        for table in marts
    )
    row = connection.execute(
        sql.SQL("select sum(counted.rows)::bigint from ({}) as counted").format(counts),
        {"tenant": scope.tenant.slug, "system": scope.system, "days": days},
    ).fetchone()
    return row[0] if row else 0


def checked_links(mart: Mart) -> tuple[Link, ...]:
    """Returns the links whose record must have a row, unless the connected user may not see it."""
    return tuple(link for link in mart.links if not link.is_often_unknown)


def mart_health(connection: psycopg.Connection, scope: Scope) -> MartHealth:
    """Returns orphans, the volume of each mart, and the result of the last comparison with raw."""
    return MartHealth(
        _orphans(connection, scope),
        _volumes(connection, scope),
        last_comparison(connection, scope),
    )


def _orphans(connection: psycopg.Connection, scope: Scope) -> dict[str, Orphans]:
    queries = [
        sql.SQL(_ORPHANS).format(
            name=sql.Literal(mart.name),
            table=sql.Identifier(*mart.table),
            is_broken=sql.SQL(" or ").join(
                sql.SQL("(mart.{} is null and mart.{} is not null)").format(
                    sql.Identifier(link.name), sql.Identifier(link.remote_column)
                )
                for link in checked_links(mart)
            ),
        )
        for mart in MARTS
        if checked_links(mart)
    ]
    whose = {"shown": IDS_SHOWN, "tenant": scope.tenant.slug, "system": scope.system}
    rows = connection.execute(sql.SQL(" union all ").join(queries), whose)
    return {name: Orphans(count, tuple(ids or ())) for name, count, ids in rows}


def _volumes(connection: psycopg.Connection, scope: Scope) -> dict[str, Volume]:
    queries = [
        sql.SQL(_VOLUME).format(name=sql.Literal(mart.name), table=sql.Identifier(*mart.table))
        for mart in MARTS
    ]
    whose = {"tenant": scope.tenant.slug, "system": scope.system, "days": VOLUME_DAYS}
    rows = connection.execute(sql.SQL(" union all ").join(queries), whose)
    return {name: Volume(*counts) for name, *counts in rows}


_ORPHANS = """
select
    {name},
    count(*),
    (array_agg(mart.remote_id order by mart.remote_id asc))[:%(shown)s]
from {table} as mart
where mart.tenant_id = %(tenant)s
    and mart.system = %(system)s
    and mart.deleted_at is null
    and ({is_broken})
"""

_VOLUME = """
select
    {name},
    count(*) filter (
        where mart.system = %(system)s
            and mart.remote_id is not null
            and mart.deleted_at is null
    ),
    count(*) filter (
        where mart.system = %(system)s
            and mart.remote_id is not null
            and mart.created_at <= now() - make_interval(days => %(days)s)
            and (
                mart.deleted_at is null
                or mart.deleted_at > now() - make_interval(days => %(days)s)
            )
    ),
    count(*) filter (where mart.deleted_at is null)
from {table} as mart
where mart.tenant_id = %(tenant)s
"""
