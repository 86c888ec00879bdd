"""The statements of a build: the rows as they should be, the upsert, and the links.

Rows are compared before they are written. The upsert links them to what is there; links to rows
that come later in the build, since marts refer to each other in circles, are set after all upserts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts import events
from pipedrive_pipeline.marts.declared import Link, mart
from pipedrive_pipeline.marts.sources import (
    IS_DELETED,
    KEY,
    REASON,
    TENANT,
    WRITTEN_AT,
    MartSource,
    RawColumns,
)
from pipedrive_pipeline.warehouse.sql_files import mart_file


@dataclass(frozen=True)
class Known:
    """What a build knows of other records when it writes some.

    Attributes:
        explained: by mart, remote ids of records that changed at the source; None: any may have.
        survivors: by mart, remote id of a merged record and of the one that is left of it.
    """

    explained: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    survivors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NOTHING_KNOWN: Final = Known()


def id_condition(ids: Sequence[int | str], column: str = KEY) -> sql.Composable:
    """Returns a condition on a column, in the type of raw's key, that selects these ids.

    An array instead of a temporary table, because the condition can use raw's index and the planner
    knows the array's length. Joined to a table of ids, 100 of 60,000 records took 0.3 s instead of
    0.04 s, because a merge join read all of raw.
    """
    kind = {str: "text[]", int: "bigint[]"}[type(ids[0])] if ids else "text[]"
    return sql.SQL("{} = any ({}::{})").format(
        sql.Identifier(column), sql.Literal(list(ids)), sql.SQL(kind)
    )


def parts(source: MartSource, condition: sql.Composable) -> sql.Composed:
    """Returns the statement that creates the temporary table of a source's parts.

    The select of parts computes each from several rows of raw; statements and audits of a build
    read it six times.

    Args:
        source: which mart and system.
        condition: on `MartSource.record_id`, in the type of raw's key; selects the records.
    """
    return sql.SQL(
        "create temporary table {} on commit drop as select mart.* from ({}) as mart where {}"
    ).format(
        sql.Identifier("pg_temp", parts_table(source)),
        source.select.query,
        sql.SQL("mart.{}").format(condition),
    )


def parts_table(source: MartSource) -> str:
    """Returns the name of the temporary table of a source's parts."""
    return f"{source.name}_parts"


def read_count(source: MartSource, condition: sql.Composable) -> sql.Composed:
    """Returns the query that counts the records a build reads."""
    return sql.SQL(
        "select count(*) from (select record.{} as remote_id from {} as record) as read where {}"
    ).format(sql.Identifier(source.key), source.records, condition)


def changed(source: MartSource) -> sql.Composed:
    """Returns the query of records whose row may differ, apart from links; see its file."""
    return mart_file("changed").filled(
        {
            "system": sql.Literal(source.system),
            "entity": sql.Literal(source.entity),
            "records": source.records,
            "key": sql.Identifier(source.key),
            "mart": source.identifier,
            "select": source.select.query,
            "record_id": sql.Identifier(source.record_id),
            "record_column": sql.Identifier(source.record_column),
            "mark_key": source.as_key(sql.SQL("mark.id")),
            "target_key": sql.SQL("target.remote_id")
            if source.is_of_parts
            else source.as_key(sql.SQL("target.remote_id")),
            "is_marked_otherwise": sql.SQL(
                _IS_PART_MARKED_OTHERWISE if source.is_of_parts else _IS_MARKED_OTHERWISE
            ).format(reason=sql.SQL(_REASON_OF_ROW if REASON in source.outputs else "mark.reason")),
            # A part that its record has no longer is marked, and rightly.
            "is_looked_for": sql.Literal(not source.is_of_parts),
            "is_deleted": source.is_deleted,
            "changed_by_others": sql.SQL("").join(
                sql.SQL(_CHANGED_BY).format(
                    key=source.as_key(
                        sql.SQL("{}::text").format(sql.Identifier("other", other.columns[0]))
                    ),
                    other=other.identifier,
                    entity=sql.Literal(other.entity),
                    other_key=sql.Identifier(
                        "other", registry.system(source.system).key_of(other.entity).name
                    ),
                    column=sql.Identifier("other", other.columns[0]),
                )
                for other in source.changed_by
            ),
        }
    )


def changed_entities(sources: Sequence[MartSource]) -> sql.Composed:
    """Returns the query of the raw tables that have rows or deletion marks of a pending load."""
    entities = {
        name
        for source in sources
        for name in (source.entity, *(other.entity for other in source.changed_by))
    }
    return sql.SQL(_CHANGED_ENTITIES).format(
        tenant=TENANT,
        system=sql.Literal(sources[0].system),
        entities=sql.SQL("").join(
            sql.SQL(_CHANGED_ENTITY).format(entity=sql.Literal(name), records=sql.Identifier(name))
            for name in sorted(entities)
        ),
    )


def filled_marts(sources: Sequence[MartSource]) -> sql.Composed:
    """Returns the query of the marts that have rows, or whose raw table has."""
    return sql.SQL(" union all ").join(
        sql.SQL(_FILLED_MART).format(
            name=sql.Literal(source.name),
            records=source.records,
            mart=source.identifier,
            is_own=source.of_tenant("target"),
        )
        for source in sources
    )


def merged_marts(sources: Sequence[MartSource]) -> sql.Composed:
    """Returns the query of the marts that have merged rows."""
    return sql.SQL(" union all ").join(
        sql.SQL(_MERGED_MART).format(
            name=sql.Literal(source.name),
            mart=source.identifier,
            is_own=source.of_tenant("lost"),
        )
        for source in sources
    )


def survivors(source: MartSource) -> sql.Composed:
    """Returns the query of merged records and what is left of each; see its file."""
    return mart_file("survivors").filled(
        {"mart": source.identifier, "system": sql.Literal(source.system)}
    )


def rows(
    source: MartSource, condition: sql.Composable, known: Known = NOTHING_KNOWN
) -> sql.Composed:
    """Returns the select of the rows as they should be: keys, `MartSource.written`.

    Args:
        source: which mart and system.
        condition: on ``remote_id``, in the type of raw's key; selects the records.
        known: the merged records, whose links lead to the survivors.
    """
    columns = {name: source.value(name) for name in source.columns} | dict(source.mapped)
    raw_row: sql.Composable = sql.SQL("")
    if source.mapped:
        raw_row = sql.SQL(" inner join {0} on {0}.{1} = mart.{2}{3}").format(
            source.records,
            sql.Identifier(source.key),
            sql.Identifier(source.record_id),
            source.joins,
        )
    return sql.SQL(_ROWS).format(
        record_id=sql.Identifier("mart", source.record_id),
        merged_into=sql.SQL("null::text" if source.is_of_parts else "mark.merged_into"),
        columns=_columns(columns),
        links=sql.SQL("").join(
            sql.SQL(", {}").format(_columns(_linked_columns(link, "mart"))) for link in source.links
        ),
        marked=sql.SQL(_MARKED).format(
            mart=source.identifier,
            is_own=source.of_tenant("marked"),
            records=source.records,
            key=sql.Identifier(source.key),
            record_id=sql.Identifier("mart", source.record_id),
            changed_at=sql.SQL("mart.changed_at" if "changed_at" in source.outputs else "null"),
        )
        if IS_DELETED in source.outputs
        else sql.SQL("null::timestamptz"),
        is_deleted=source.is_deleted,
        select=source.select.query,
        raw_row=raw_row,
        options=sql.SQL("").join(
            [
                *(_labels(source, column, keys) for column, keys in source.options.items()),
                *(_names(column, names) for column, names in source.names.items()),
            ]
        ),
        reason=sql.SQL(_REASON if REASON in source.outputs else _REASON_OF_MARK).format(
            is_deleted=source.is_deleted
        ),
        linked=sql.SQL("").join(_join(source, link, "mart", known) for link in source.links),
        entity=sql.Literal(source.entity),
        condition=condition,
    )


def differing(
    source: MartSource,
    condition: sql.Composable,
    known: Known = NOTHING_KNOWN,
    ids: Sequence[str] | None = None,
    *,
    is_noted: bool = False,
) -> sql.Composed:
    """Returns the select of rows that are missing or differ; arguments as for `upsert`."""
    linked_keys = _linked_keys(source, "source")
    return sql.SQL(_DIFFERING).format(
        former=sql.SQL(_FORMER if is_noted else ""),
        rows=rows(source, condition, known),
        mart=source.identifier,
        is_own=_is_own(source, ids),
        is_expected=_is_expected(source, known, _keys(source, "source", linked_keys)),
        source_columns=_listed(source.written, "source"),
        target_columns=_listed(source.written, "target"),
        source_links=_listed(_link_names(source), "source"),
        target_links=_listed(_link_names(source), "target"),
    )


def upsert(
    source: MartSource,
    condition: sql.Composable,
    known: Known,
    ids: Sequence[str] | None = None,
    *,
    is_noted: bool = False,
) -> sql.Composed:
    """Returns the statement that writes the differing rows, in key order to avoid deadlocks.

    Existing rows are updated by `update`: `on conflict` took half as long again for each row.

    Args:
        source: which mart and system.
        condition: on ``remote_id``, in the type of raw's key; selects the records.
        known: of other records.
        ids: the remote ids of these records; None: all. Without them in the condition on the mart,
            a planner that has no statistics of a new tenant reads all of its rows for each record.
        is_noted: notes the rows that it writes (`marts/events.py`).

    Returns:
        A statement that yields by outcome the number of rows, of unexpected differences, and of
        unexpected differences in a link. Of a source of parts it also yields the outcomes
        ``retired``, parts that their record has no longer, and ``read``, all parts that there are.
    """
    return sql.SQL(_UPSERT).format(
        retired=_retire(source, condition, known, ids, is_noted=is_noted)
        if source.is_of_parts
        else sql.SQL(""),
        retired_counts=sql.SQL(_RETIRED_COUNTS if source.is_of_parts else ""),
        differing=differing(source, condition, known, ids, is_noted=is_noted),
        created_id=sql.SQL(_CREATED_ID if is_noted else ""),
        notes=_notes(source, _NOTED_ROWS, "noted") if is_noted else sql.SQL(""),
        mart=source.identifier,
        is_own=source.of_tenant("target"),
        tenant=TENANT,
        system=sql.Literal(source.system),
        columns=_listed(source.written),
        excluded_columns=_listed(source.written, "excluded"),
        differing_columns=_listed(source.written, "differing"),
        written_at=_listed(WRITTEN_AT),
        now=sql.SQL(", ").join([sql.SQL("now()")] * len(WRITTEN_AT)),
    )


def _notes(source: MartSource, rows: str, name: str) -> sql.Composed:
    """Returns the part of a statement that notes rows which another part of it writes."""
    return sql.SQL(",\n{} as ({})").format(
        sql.Identifier(name), events.noted(source.mart, sql.SQL(rows))
    )


def _retire(
    source: MartSource,
    condition: sql.Composable,
    known: Known,
    ids: Sequence[str] | None,
    *,
    is_noted: bool,
) -> sql.Composed:
    """Returns the part of `upsert` that marks parts which their record has no longer."""
    return sql.SQL(_RETIRED).format(
        marked=sql.SQL(events.MARKED if is_noted else ""),
        notes=_notes(source, _RETIRED_ROWS, "noted_as_retired") if is_noted else sql.SQL(""),
        mart=source.identifier,
        is_own=_is_own(source, ids),
        select=source.select.query,
        condition=condition,
        records=source.records,
        key=sql.Identifier("record", source.key),
        record_key=source.as_key(sql.Identifier("target", source.record_column)),
        is_expected=_is_expected(
            source, known, _keys(source, "target", _linked_keys(source, "target"))
        ),
        entity=sql.Literal(source.entity),
        written=sql.SQL(", ").join(
            sql.SQL("{} = now()").format(sql.Identifier(column)) for column in WRITTEN_AT
        ),
    )


def without_record(source: MartSource) -> sql.Composed:
    """Returns a condition: the record of the row ``target`` is not in raw."""
    return sql.SQL(_WITHOUT_RECORD).format(
        records=source.records,
        key=sql.Identifier("record", source.key),
        record_column=sql.Identifier("target", source.record_column),
    )


def linked_to(source: MartSource, touched: Mapping[str, Sequence[str]]) -> sql.Composed:
    """Returns a condition: the row ``target`` is linked to one of these rows, or should be.

    Args:
        source: which mart and system.
        touched: by mart, the remote ids of rows that are new, changed, or left of a merge.
    """
    pointing = [
        sql.SQL(_POINTING).format(
            mart=source.identifier,
            is_own=source.of_tenant("pointing"),
            link=sql.Identifier("pointing", link.name),
            remote_column=sql.Identifier("pointing", link.remote_column),
            linked=sql.Identifier(*mart(link.mart).table),
            is_linked_own=source.of_tenant("linked"),
            ids=sql.Literal(list(ids)),
        )
        for link in source.links
        if (ids := touched.get(link.mart))
    ]
    # An array, which is made once: without statistics of a new tenant, a planner that joins reads
    # all of the mart for each row (44 s instead of 0.1 s for one of 4,000 deals).
    return sql.SQL("target.id = any (array({}))").format(sql.SQL(" union all ").join(pointing))


def relink(
    source: MartSource, known: Known, condition: sql.Composable, *, is_noted: bool = False
) -> sql.Composed:
    """Returns the statement that sets each wrong link of the system's rows in a mart.

    Time stamps prove nothing here, because a trigger of the app may write them: each link is
    compared with the correct one.

    Args:
        source: which mart and system.
        known: the records that changed, and what is left of merged ones.
        condition: on the row ``target``; selects the rows.
        is_noted: notes the rows that it writes (`marts/events.py`).

    Returns:
        A statement that yields for each row that it wrote: the remote id of its record, whether the
        build had written the row before, whether the change was expected, and whether a link
        differed, not only a shown column.
    """
    values = {
        name: value
        for link in source.links
        for name, value in _linked_columns(link, "target").items()
        if name != link.remote_column
    }
    linked_keys = {link.name: sql.Identifier(link.name, "remote_id") for link in source.links}
    return sql.SQL(_RELINK).format(
        former=sql.SQL(_FORMER_OF_LINKED if is_noted else ""),
        notes=_notes(source, _RELINKED_ROWS, "noted") if is_noted else sql.SQL(""),
        record_column=sql.Identifier("target", source.record_column),
        mart=source.identifier,
        condition=condition,
        is_own=source.of_tenant("target"),
        linked=sql.SQL("").join(_join(source, link, "target", known) for link in source.links),
        is_expected=_is_expected(source, known, _keys(source, "target", linked_keys)),
        values=_columns(values),
        correct=sql.SQL(", ").join(values.values()),
        target_columns=_listed(list(values), "target"),
        columns=_listed(list(values)),
        wrong_columns=_listed(list(values), "wrong"),
        correct_links=sql.SQL(", ").join(sql.Identifier(link.name, "id") for link in source.links),
        target_links=_listed([link.name for link in source.links], "target"),
        written_at=_listed(WRITTEN_AT),
        now=sql.SQL(", ").join([sql.SQL("now()")] * len(WRITTEN_AT)),
    )


def _linked_columns(link: Link, alias: str) -> dict[str, sql.Composable]:
    """Returns the correct values of a link's columns; the linked row has the link's name."""
    return {
        link.name: sql.Identifier(link.name, "id"),
        link.remote_column: sql.Identifier(alias, link.remote_column),
        **{shown.name: sql.Identifier(link.name, theirs) for theirs, shown in link.shows},
    }


def _join(source: MartSource, link: Link, alias: str, known: Known) -> sql.Composed:
    """Returns the joins to the row that a link refers to, or to what that row was merged into."""
    survivor, remote_id = f"{link.name}_survivor", sql.Identifier(alias, link.remote_column)
    kept: sql.Composable = remote_id
    joins: sql.Composable = sql.SQL("")
    if merged := known.survivors.get(link.mart):
        kept = sql.SQL("coalesce({}, {})").format(sql.Identifier(survivor, "kept_id"), remote_id)
        joins = sql.SQL(_SURVIVOR).format(
            lost_ids=sql.Literal(list(merged)),
            kept_ids=sql.Literal(list(merged.values())),
            survivor=sql.Identifier(survivor),
            remote_id=remote_id,
        )
    return joins + sql.SQL(_LINKED).format(
        linked=sql.Identifier(*mart(link.mart).table),
        name=sql.Identifier(link.name),
        is_own=source.of_tenant(link.name),
        kept_id=kept,
    )


def _is_own(source: MartSource, ids: Sequence[str] | None) -> sql.Composable:
    is_own = source.of_tenant("target")
    if ids is None:
        return is_own
    return is_own + sql.SQL(" and target.{} = any ({}::text[])").format(
        sql.Identifier(source.record_column), sql.Literal(list(ids))
    )


def _is_expected(
    source: MartSource, known: Known, keys: Mapping[str, Sequence[sql.Composable]]
) -> sql.Composable:
    """Returns a condition: the record or one that it links to is known to have changed.

    Args:
        source: which mart and system.
        known: the records that changed.
        keys: by mart, remote ids of the record itself and of those that it links to.
    """
    if known.explained.get(source.name) is None:
        return sql.SQL("true")
    conditions = [
        sql.SQL("{} = any ({}::text[])").format(key, sql.Literal(list(ids)))
        for name, of_mart in keys.items()
        if (ids := known.explained.get(name))
        for key in of_mart
    ]
    return sql.SQL("coalesce({}, false)").format(
        sql.SQL(" or ").join(conditions) if conditions else sql.SQL("false")
    )


def _keys(
    source: MartSource, alias: str, linked_keys: Mapping[str, sql.Composable]
) -> dict[str, list[sql.Composable]]:
    """Returns by mart the remote ids of a row and of the records that it links to."""
    keys: dict[str, list[sql.Composable]] = {
        source.name: [sql.Identifier(alias, source.record_column)]
    }
    for link in source.links:
        keys.setdefault(link.mart, []).extend(
            [sql.Identifier(alias, link.remote_column), linked_keys[link.name]]
        )
    return keys


def _labels(source: MartSource, column: str, keys: Sequence[str]) -> sql.Composed:
    """Returns the join to the labels that name a column's option ids."""
    labels = sql.SQL(" || ").join(
        sql.SQL(_LABELS_OF_FIELD).format(
            tenant=TENANT,
            system=sql.Literal(source.system),
            entity=sql.Literal(source.entity),
            key=sql.Literal(key),
        )
        for key in keys
    )
    return sql.SQL(" cross join (select {} || '{{}}' as labels offset 0) as {}").format(
        labels, sql.Identifier(f"{column}_by_id")
    )


def _names(column: str, names: RawColumns) -> sql.Composed:
    """Returns the join to the names that the records of another raw table give to ids."""
    key, name = (sql.Identifier("named", column) for column in names.columns)
    return sql.SQL(_NAMES).format(
        key=key,
        name=name,
        named=names.identifier,
        names=sql.Identifier(f"{column}_by_id"),
    )


def _linked_keys(source: MartSource, alias: str) -> dict[str, sql.Composable]:
    """Returns by link the remote id of the row that it leads to."""
    return {
        link.name: sql.SQL(
            "(select linked.remote_id from {} as linked where linked.id = {})"
        ).format(sql.Identifier(*mart(link.mart).table), sql.Identifier(alias, link.name))
        for link in source.links
    }


def _link_names(source: MartSource) -> list[str]:
    return ["remote_id", *(link.name for link in source.links)]


def _columns(values: Mapping[str, sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} as {}").format(value, sql.Identifier(name)) for name, value in values.items()
    )


def _listed(columns: Sequence[str], table: str | None = None) -> sql.Composed:
    prefix = (table,) if table else ()
    return sql.SQL(", ").join(sql.Identifier(*prefix, column) for column in columns)


_IS_MARKED_OTHERWISE = """(
        (target.deleted_at, target.deletion_reason, target.merged_into_remote_id)
        is distinct from (mark.seen_at, {reason}, mark.merged_into)
    )"""
# Parts that the record had no longer keep their own marks.
_IS_PART_MARKED_OTHERWISE = """(
        target.deleted_at is null
        or mark._dlt_load_id = any ((select pending.loads from pending)::text[])
    )"""
_ROWS = """
select
    {record_id} as record_id,
    mart.remote_id::text as remote_id,
    {columns}{links},
    coalesce(mark.seen_at, {marked}) as deleted_at,
    {reason} as deletion_reason,
    {merged_into} as merged_into_remote_id
from ({select}) as mart{raw_row}
left join deletions as mark
    on mark.entity = {entity}
    and mark.id = {record_id}::text{options}{linked}
where mart.{condition}
"""
# The source sent no time: the time at which the row was first read as deleted.
_MARKED = """case when mart.is_deleted then coalesce(
        {changed_at},
        (
            select marked.deleted_at
            from {mart} as marked
            where {is_own}
                and marked.remote_id = mart.remote_id::text
        ),
        (
            select pipeline.loaded_at(record._dlt_load_id)
            from {records} as record
            where record.{key} = {record_id}
        )
    ) end"""
# Labels removed at the source keep their last text. `|| '{}'` detoasts them once per query.
_LABELS_OF_FIELD = """coalesce(
        (
            select fields.labels
            from integration.fields
            where fields.tenant_id = {tenant}
                and fields.system = {system}
                and fields.entity = {entity}
                and fields.field_key = {key}
        ),
        '{{}}'
    )"""
_NAMES = """
cross join (
    select coalesce(jsonb_object_agg({key}::text, {name}), '{{}}') as labels
    from {named} as named
    where {name} is not null
) as {names}"""
_REASON_OF_MARK = "coalesce(mark.reason, case when {is_deleted} then 'deleted' end)"
# A mark says `deleted` of a record that is in no list any more; the select may know why.
_REASON = """case
        when coalesce(mark.reason, case when {is_deleted} then 'deleted' end) = 'deleted'
            then coalesce(mart.deletion_reason, 'deleted')
        else mark.reason
    end"""
_REASON_OF_ROW = """case
        when mark.reason = 'deleted' and target.deletion_reason = 'converted' then 'converted'
        else mark.reason
    end"""
_CHANGED_BY = """
union
-- Records that a changed record of another kind names, or one that is gone.
select
    {key} as remote_id,
    true as is_explained
from {other} as other
where other._dlt_load_id = any ((select pending.loads from pending)::text[])
    and {column} is not null
union
select
    {key} as remote_id,
    true as is_explained
from deletions as mark
inner join {other} as other
    on {other_key}::text = mark.id
where mark.entity = {entity}
    and mark._dlt_load_id = any ((select pending.loads from pending)::text[])
    and {column} is not null"""
# Records of a merged one belong to the survivor, which may itself have been merged; the source need
# not send them again.
_SURVIVOR = """
left join unnest({lost_ids}::text[], {kept_ids}::text[]) as {survivor} (lost_id, kept_id)
    on {survivor}.lost_id = {remote_id}"""
_LINKED = """
left join {linked} as {name}
    on {is_own}
    and {name}.remote_id = {kept_id}"""
_DIFFERING = """
select
    source.*,
    case
        when target.remote_id is null then 'created'
        when target.deleted_at is null and source.deleted_at is not null then 'deleted'
        else 'updated'
    end as change_kind,
    target.remote_id is not null
    and ({source_links}) is distinct from ({target_links}) as is_linked_otherwise,
    {is_expected} as is_expected{former}
from ({rows}) as source
left join {mart} as target
    on {is_own}
    and target.remote_id = source.remote_id
where target.remote_id is null
    or ({source_columns}) is distinct from ({target_columns})
"""
_UPSERT = """
with differing as materialized ({differing}),
created as (
    insert into {mart} as target (tenant_id, system, remote_id, {columns}, {written_at})
    select {tenant}, {system}, remote_id, {columns}, {now}
    from differing
    where differing.change_kind = 'created'
    order by differing.record_id asc
    -- Another session may have inserted the row since the comparison.
    on conflict (tenant_id, system, remote_id) do update
    set ({columns}, {written_at}) = row ({excluded_columns}, {now}){created_id}
),
updated as (
    update {mart} as target
    set ({columns}, {written_at}) = row ({differing_columns}, {now})
    from (
        select *
        from differing
        where differing.change_kind <> 'created'
        order by differing.record_id asc
    ) as differing
    where {is_own}
        and target.remote_id = differing.remote_id
){notes}{retired}
select
    differing.change_kind,
    count(*),
    count(*) filter (where not differing.is_expected),
    count(*) filter (where not differing.is_expected and differing.is_linked_otherwise)
from differing
group by differing.change_kind{retired_counts}
"""
# Rows are noted with what they were before: see marts/events.py.
_FORMER = """,
    target.id as former_id,
    case when target.remote_id is not null then to_jsonb(target) end as former"""
_CREATED_ID = """
    returning target.id"""
_NOTED_ROWS = """
        select created.id, null::jsonb as former
        from created
        union all
        select differing.former_id, differing.former
        from differing
        where differing.change_kind <> 'created'"""
_FORMER_OF_LINKED = """
        to_jsonb(target) as former,"""
_RELINKED_ROWS = "select wrong.id, wrong.former from wrong"
# The record itself is in raw: rows of one that is not are `extra` (`row_comparison.py`).
_RETIRED = """,
given as materialized (
    select mart.remote_id
    from ({select}) as mart
    where mart.{condition}
),
retired as (
    update {mart} as target
    set deleted_at = coalesce(mark.seen_at, now()),
        deletion_reason = coalesce(mark.reason, 'deleted'),
        {written}
    from {records} as record
    left join deletions as mark
        on mark.entity = {entity}
        and mark.id = {key}::text
    where {is_own}
        and target.remote_id is not null
        and target.deleted_at is null
        and {key} = {record_key}
        and not exists (
            select
            from given
            where given.remote_id = target.remote_id
        )
    returning {is_expected} as is_expected{marked}
){notes}"""
_RETIRED_ROWS = "select retired.id, retired.former from retired"
_RETIRED_COUNTS = """
union all
select
    'retired',
    count(*),
    count(*) filter (where not retired.is_expected),
    0
from retired
having count(*) > 0
union all
select
    'read',
    count(*),
    0,
    0
from given
"""
_CHANGED_ENTITIES = """
with pending as materialized (
    select mart_state.pending_loads as loads
    from integration.mart_state
    where mart_state.tenant_id = {tenant}
        and mart_state.system = {system}
)
select distinct mark.entity
from deletions as mark
where mark._dlt_load_id = any ((select pending.loads from pending)::text[]){entities}"""
_CHANGED_ENTITY = """
union all
select {entity}
where exists (
    select
    from {records} as record
    where record._dlt_load_id = any ((select pending.loads from pending)::text[])
)"""
_FILLED_MART = """
select {name}
where exists (select from {records})
    or exists (select from {mart} as target where {is_own})"""
_MERGED_MART = """
select {name}
where exists (
    select
    from {mart} as lost
    where {is_own}
        and lost.deleted_at is not null
        and lost.merged_into_remote_id is not null
)"""
_WITHOUT_RECORD = """not exists (
        select
        from {records} as record
        where {key}::text = {record_column}
    )"""
# Rows that have the link, and rows that lack it.
_POINTING = """
        select pointing.id
        from {mart} as pointing
        where {is_own}
            and {link} = any (
                array(
                    select linked.id
                    from {linked} as linked
                    where {is_linked_own}
                        and linked.remote_id = any ({ids}::text[])
                )
            )
        union all
        select pointing.id
        from {mart} as pointing
        where {is_own}
            and {link} is null
            and {remote_column} = any ({ids}::text[])
"""
# A row that this build has written has its transaction as xmin.
_RELINK = """
with wrong as materialized (
    select
        target.id,{former}
        {record_column} as remote_id,
        target.xmin = pg_current_xact_id()::xid as is_written,
        {is_expected} as is_expected,
        row ({correct_links}) is distinct from row ({target_links}) as is_linked_otherwise,
        {values}
    from {mart} as target{linked}
    where {is_own}
        and target.remote_id is not null
        and {condition}
        and row ({correct}) is distinct from row ({target_columns})
),
updated as (
    update {mart} as target
    set ({columns}, {written_at}) = row ({wrong_columns}, {now})
    from (
        select *
        from wrong
        order by wrong.id asc
    ) as wrong
    where target.id = wrong.id
){notes}
select
    wrong.remote_id,
    wrong.is_written,
    wrong.is_expected,
    wrong.is_linked_otherwise
from wrong
"""
