"""Records which rows a transaction changed, for the webhooks of an app.

A statement that writes rows of a mart notes each of them, with its former values, in a temporary
table. Before the commit the notes become rows of `integration.record_events` and deliveries of each
webhook that wants them: a crash neither loses an event nor invents one, and a row that was written
twice has one change. Where no webhook wants a mart's events, its statements note nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.views.custom_values import custom_values
from pipedrive_pipeline.tenants import Tenant

KEPT_DAYS: Final = 7  # an event, for replays; and a disabled webhook's events are recorded so long
BATCH_ROWS: Final = 1_000  # whose custom fields are in memory at once
EVERY_TYPE: Final = "*"
STAMPS: Final = ("synced_at", "updated_at")  # written with every change, so no change themselves


def types_of(noun: str) -> str:
    """Returns the pattern of all types of one noun."""
    return f"{noun}.{EVERY_TYPE}"


def known_types() -> tuple[str, ...]:
    """Returns every type of event, in the order of the marts."""
    return tuple(name for declared in MARTS for name in declared.event_types)


def known_patterns() -> tuple[str, ...]:
    """Returns every pattern of several types."""
    nouns = (types_of(declared.api.noun) for declared in MARTS if declared.api)
    return (EVERY_TYPE, *nouns)


def wanted_marts(types: Collection[str]) -> frozenset[str]:
    """Returns the marts that have an event of these types or patterns."""
    return frozenset(
        declared.name
        for declared in MARTS
        if declared.api
        and not {EVERY_TYPE, types_of(declared.api.noun), *declared.event_types}.isdisjoint(types)
    )


def wanted_by_webhooks(connection: psycopg.Connection, tenant: Tenant) -> frozenset[str]:
    """Returns the marts that have an event which a webhook of the tenant wants."""
    row = connection.execute(f"select {WANTED_TYPES}", {"tenant": tenant.slug}).fetchone()
    return wanted_marts(row[0] if row else ())


def begin(connection: psycopg.Connection, marts: Collection[str]) -> None:
    """Makes the table of notes for the rest of the transaction, if there are marts to note."""
    if marts:
        connection.execute(_BEGIN)


def noted(declared: Mart, rows: sql.Composable) -> sql.Composed:
    """Returns an insert of notes; the first note of a row stays.

    Args:
        declared: the mart of the rows.
        rows: a select of id and former, which is null for a new row, else the row as jsonb.
    """
    return sql.SQL(_NOTE).format(mart=sql.Literal(declared.name), rows=rows)


def note_live_rows(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, system: str
) -> None:
    """Notes every live row of a system, before a statement that changes all of them."""
    rows = sql.SQL(_LIVE_ROWS).format(
        mart=sql.Identifier(*declared.table),
        tenant=sql.Literal(tenant.slug),
        system=sql.Literal(system),
    )
    connection.execute(noted(declared, rows))


def record(connection: psycopg.Connection, tenant: Tenant, marts: Collection[str]) -> int:
    """Turns the notes of the transaction into events and deliveries; returns how many events.

    Args:
        connection: the transaction that wrote the rows, after its last write of them.
        tenant: whose rows.
        marts: those that were noted.
    """
    count = 0
    for declared in MARTS:
        if declared.name in marts:
            rows = _noted_rows(connection, declared)
            for start in range(0, len(rows), BATCH_ROWS):
                batch = rows[start : start + BATCH_ROWS]
                count += _record(connection, tenant, declared, batch)
    return count


def forget_rows(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, row_ids: Sequence[UUID]
) -> None:
    """Deletes what events say of rows that are erased, and notifies the webhooks of the erasure.

    Args:
        connection: the transaction of the erasure, before it deletes the rows.
        tenant: whose rows.
        declared: the mart of the rows.
        row_ids: of the rows.
    """
    if not row_ids:
        return
    values = {"tenant": tenant.slug, "mart": declared.name, "ids": list(row_ids)}
    connection.execute(_FORGET, values)
    for other in MARTS:
        for link in other.links:
            if link.mart == declared.name:
                shown = [link.name, *(column.name for _, column in link.shows)]
                facts = values | {"mart": other.name, "link": link.name, "shown": shown}
                connection.execute(_FORGET_LINK, facts)
    if declared.api is not None:
        query = sql.SQL(_ERASED).format(mart=sql.Identifier(*declared.table))
        connection.execute(query, values | {"type": f"{declared.api.noun}.deleted"})


def _noted_rows(
    connection: psycopg.Connection, declared: Mart
) -> list[tuple[UUID, str | None, str | None]]:
    """Returns id, system and remote_id of the rows that were noted, the oldest change first."""
    query = sql.SQL(_NOTED).format(mart=sql.Identifier(*declared.table))
    return connection.execute(query, {"mart": declared.name}).fetchall()


def _record(
    connection: psycopg.Connection,
    tenant: Tenant,
    declared: Mart,
    rows: Sequence[tuple[UUID, str | None, str | None]],
) -> int:
    resource = declared.api
    if resource is None:
        return 0
    column, outcomes = resource.outcomes or ("", ())
    outcome = sql.SQL("mart.{}").format(sql.Identifier(column)) if column else sql.SQL("null::text")
    query = sql.SQL(_RECORD).format(mart=sql.Identifier(*declared.table), outcome=outcome)
    values = {
        "tenant": tenant.slug,
        "mart": declared.name,
        "noun": resource.noun,
        "column": column,
        "outcomes": list(outcomes),
        "ids": [row_id for row_id, _, _ in rows],
        "custom": Jsonb(_custom_fields(connection, tenant, declared, rows)),
        "unchanging": [*STAMPS, *(column.name for column in declared.generated)],
    }
    counted = connection.execute(query, values).fetchone()
    return counted[0] if counted else 0


def _custom_fields(
    connection: psycopg.Connection,
    tenant: Tenant,
    declared: Mart,
    rows: Sequence[tuple[UUID, str | None, str | None]],
) -> dict[str, Any]:
    """Returns the custom fields by the row's id."""
    records: dict[str, list[str]] = {}
    for _, system, remote_id in rows:
        if system is not None and remote_id is not None:
            records.setdefault(system, []).append(remote_id)
    custom = custom_values(connection, tenant, declared, records)
    return {
        str(row_id): custom[system, remote_id]
        for row_id, system, remote_id in rows
        if system is not None and remote_id is not None and (system, remote_id) in custom
    }


# A condition on integration.app_webhooks: events are recorded for it.
IS_RECORDED: Final = f"""(
        app_webhooks.state <> 'disabled'
        or app_webhooks.disabled_at > now() - interval '{KEPT_DAYS} days'
    )"""
# The types and patterns that name a type of event; {type} is a column.
NAMES_OF_TYPE: Final = "array['*', split_part({type}, '.', 1) || '.*', {type}]"
# Needs the parameter tenant.
WANTED_TYPES: Final = f"""array(
            select distinct wanted.type
            from integration.app_webhooks
            cross join lateral unnest(app_webhooks.event_types) as wanted (type)
            where app_webhooks.tenant_id = %(tenant)s
                and {IS_RECORDED}
        )"""
_BEGIN: Final = """
create temporary table changed_records (
    mart_name text not null,
    id uuid not null,
    former jsonb,
    primary key (mart_name, id)
) on commit drop
"""
_NOTE: Final = """
    insert into pg_temp.changed_records (mart_name, id, former)
    select {mart}, noted.id, noted.former
    from ({rows}) as noted
    on conflict (mart_name, id) do nothing
"""
# Returned by a statement that marks live rows as deleted: what is noted of each.
MARKED: Final = """,
        target.id,
        to_jsonb(target) || '{"deleted_at": null, "deletion_reason": null}' as former"""
_LIVE_ROWS: Final = """
    select mart.id, to_jsonb(mart) as former
    from {mart} as mart
    where mart.tenant_id = {tenant}
        and mart.system = {system}
        and mart.remote_id is not null
        and mart.deleted_at is null"""
_NOTED: Final = """
select mart.id, mart.system, mart.remote_id
from pg_temp.changed_records
inner join {mart} as mart
    on mart.id = changed_records.id
where changed_records.mart_name = %(mart)s
order by
    mart.changed_at asc nulls first,
    mart.id asc
"""
# Deliveries are made in the same statement, so that no event waits for a webhook without them.
_DELIVER: Final = f"""
delivering as (
    insert into integration.event_deliveries (webhook_id, event_id, tenant_id, row_id)
    select app_webhooks.id, recorded.id, recorded.tenant_id, recorded.row_id
    from recorded
    inner join integration.app_webhooks
        on app_webhooks.tenant_id = recorded.tenant_id
        and app_webhooks.event_types && {NAMES_OF_TYPE.format(type="recorded.type")}
        and {IS_RECORDED}
)"""
_IS_WANTED: Final = f"""exists (
        select
        from integration.app_webhooks
        where app_webhooks.tenant_id = %(tenant)s
            and app_webhooks.event_types && {NAMES_OF_TYPE.format(type="happened.type")}
            and {IS_RECORDED}
    )"""
_RECORD: Final = f"""
with changed as materialized (
    select
        mart.id,
        mart.system,
        mart.changed_at,
        mart.deleted_at is not null as is_deleted,
        {{outcome}} as outcome,
        to_jsonb(mart) as record,
        changed_records.former
    from pg_temp.changed_records
    inner join {{mart}} as mart
        on mart.id = changed_records.id
        and mart.tenant_id = %(tenant)s
    where changed_records.mart_name = %(mart)s
        and changed_records.id = any (%(ids)s)
),
happened as (
    select
        changed.*,
        differences.former as differing,
        %(noun)s::text || '.' || verbs.name as type,
        verbs.place
    from changed
    left join lateral (
        select jsonb_object_agg(before.key, before.value) as former
        from jsonb_each(changed.former) as before
        where changed.record -> before.key is distinct from before.value
            and before.key <> all (%(unchanging)s::text[])
    ) as differences on true
    cross join lateral unnest(
        case
            when changed.is_deleted then array['deleted']
            else array[case when changed.former is null then 'created' else 'updated' end]
                || case
                    when changed.outcome = any (%(outcomes)s::text[])
                        and changed.former ->> %(column)s::text is distinct from changed.outcome
                        then array[changed.outcome]
                    else array[]::text[]
                end
        end
    ) with ordinality as verbs (name, place)
    where changed.former is null
        or differences.former is not null
),
recorded as (
    insert into integration.record_events (
        tenant_id, system, mart, row_id, type, record, former, custom_fields
    )
    select
        %(tenant)s,
        happened.system,
        %(mart)s,
        happened.id,
        happened.type,
        happened.record,
        happened.differing,
        %(custom)s::jsonb -> happened.id::text
    from happened
    where {_IS_WANTED}
    order by
        happened.changed_at asc nulls first,
        happened.id asc,
        happened.place asc
    returning id, tenant_id, row_id, type
),
{_DELIVER}
select count(*)
from recorded
"""
_FORGET: Final = """
delete from integration.record_events
where record_events.tenant_id = %(tenant)s
    and record_events.mart = %(mart)s
    and record_events.row_id = any (%(ids)s)
"""
_FORGET_LINK: Final = """
update integration.record_events
set record = record_events.record || (
        select jsonb_object_agg(shown.name, null::text)
        from unnest(%(shown)s::text[]) as shown (name)
    ),
    former = record_events.former - %(shown)s::text[]
where record_events.tenant_id = %(tenant)s
    and record_events.mart = %(mart)s
    and (
        (record_events.record ->> %(link)s::text)::uuid = any (%(ids)s)
        or (record_events.former ->> %(link)s::text)::uuid = any (%(ids)s)
    )
"""
_ERASED: Final = f"""
with happened as (
    select mart.id, mart.system, %(type)s::text as type
    from {{mart}} as mart
    where mart.tenant_id = %(tenant)s
        and mart.id = any (%(ids)s)
        and mart.system is not null
),
recorded as (
    insert into integration.record_events (tenant_id, system, mart, row_id, type)
    select %(tenant)s, happened.system, %(mart)s, happened.id, happened.type
    from happened
    where {_IS_WANTED}
    order by happened.id asc
    returning id, tenant_id, row_id, type
),
{_DELIVER}
select count(*)
from recorded
"""
