"""A tenant's fields for Dagster's checks and lineage: counts, keys and columns of each mart.

No values: they may be personal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.marts.declared import MARTS, SCHEMA
from pipedrive_pipeline.marts.fields.catalogue import are_custom_fields_wanted, fields_of
from pipedrive_pipeline.marts.fields.columns import stored_layouts
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison, compare_values, due
from pipedrive_pipeline.marts.lineage import Origin, origins, view_origins
from pipedrive_pipeline.marts.mapping.mapped_sources import mapped_sources
from pipedrive_pipeline.marts.select_text import SourceColumn
from pipedrive_pipeline.marts.sources import BuiltFrom, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import TableColumn, relations
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class FieldFacts:
    """One mart: values compared, values that are missing, and fields that a person should check."""

    seen: int
    lost: tuple[tuple[str, str], ...]  # id, field key
    rejected: tuple[tuple[str, int], ...]  # field, values that do not fit it or its target
    proposed: tuple[str, ...]  # keys of fields that look like an empty target
    retyped: tuple[str, ...]  # keys
    columns: tuple[TableColumn, ...]  # of the view, read from the database
    origins: Mapping[str, tuple[SourceColumn, ...]]  # of the view's columns, by name
    is_current: bool = True  # False: the view waits for a session that reads it


def field_facts(
    warehouse: Warehouse,
    scope: Scope,
    *,
    is_whole: bool,
    built_from: BuiltFrom | None = None,
) -> tuple[ValueComparison, dict[str, FieldFacts]]:
    """Returns the comparison of values, and the facts of each mart by its name.

    Args:
        warehouse: the tenant's database.
        scope: whose marts, of which CRM; they are built.
        is_whole: True compares all values, not only those of the last loads. If views are due,
            no values are compared: they would seem lost in a column that does not exist yet.
        built_from: of the run's build; None: the mapping as it is now.
    """
    with warehouse.transaction(scope.tenant) as connection:
        waits_for = due(connection, scope)
        fields = fields_of(connection, scope)
        version = mapping.active(connection, scope)
        rejected = connection.execute(_REJECTED, (scope.tenant.slug, scope.system)).fetchall()
        retyped = connection.execute(_RETYPED, (scope.tenant.slug, scope.system)).fetchall()
        is_wanted = are_custom_fields_wanted(connection, scope)
        offered = mapping.proposals(connection, scope, version.mapping, fields) if is_wanted else []
        views = {view.name: view for view in relations(connection, scope.tenant.analytics_schema)}
        layouts = stored_layouts(connection, scope.tenant)
        origins_of = {mart.name: view_origins(mart, layouts.get(mart.name, ())) for mart in MARTS}
    compared = ValueComparison(0, (), is_whole=False)
    if not waits_for.are_views and (is_whole or waits_for.are_loads):
        compared = compare_values(warehouse, scope, is_whole=is_whole, built_from=built_from)
    entities = {
        source.name: source.entity
        for source in mart_sources(scope.system)
        if not source.is_of_parts  # the values are those of the record
    }
    return compared, {
        mart.name: FieldFacts(
            seen=compared.seen,
            lost=tuple(row[1:] for row in compared.lost if row[0] == entities.get(mart.name)),
            rejected=tuple(row[1:] for row in rejected if row[0] == entities.get(mart.name)),
            proposed=tuple(
                offer.entry.field_key
                for offer in offered
                if offer.entry.entity == entities.get(mart.name)
            ),
            retyped=tuple(row[1] for row in retyped if row[0] == entities.get(mart.name)),
            columns=views[mart.name].columns if mart.name in views else (),
            origins=origins_of[mart.name],
            is_current=not waits_for.are_views,
        )
        for mart in MARTS
    }


@dataclass(frozen=True)
class MartColumn:
    """A column of a mart, as the database defines it, and the source of its values."""

    column: TableColumn
    origin: Origin


def mart_columns(connection: psycopg.Connection, scope: Scope) -> dict[str, tuple[MartColumn, ...]]:
    """Returns the columns of each mart, by its name, with the tenant's mapping.

    Args:
        connection: has the tenant's raw schema first on its search_path.
        scope: whose mapping, of which CRM.
    """
    fields = fields_of(connection, scope)
    sources = mapped_sources(connection, scope, fields, mart_sources(scope.system))
    origins_of = {source.name: origins(source, fields) for source in sources}
    return {
        relation.name: tuple(
            MartColumn(column, origins_of.get(relation.name, {}).get(column.name, Origin()))
            for column in relation.columns
        )
        for relation in relations(connection, SCHEMA)
    }


_REJECTED = """
select
    rejected_values.entity,
    rejected_values.field,
    count(*)
from integration.rejected_values
left join integration.fields
    on fields.tenant_id = rejected_values.tenant_id
    and fields.system = rejected_values.system
    and fields.entity = rejected_values.entity
    and fields.field_key = rejected_values.field
where rejected_values.tenant_id = %s
    and rejected_values.system = %s
    and (fields.is_custom or rejected_values.target is not null)
group by
    rejected_values.entity,
    rejected_values.field
order by
    rejected_values.entity asc,
    rejected_values.field asc
"""
_RETYPED = """
select distinct
    field_changes.entity,
    field_changes.field_key
from integration.field_changes
where field_changes.tenant_id = %s
    and field_changes.system = %s
    and field_changes.change = 'retyped'
    and field_changes.seen_at > now() - interval '7 days'
order by
    field_changes.entity asc,
    field_changes.field_key asc
"""
