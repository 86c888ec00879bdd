"""The DDL of `crm`, written from the declared marts; `schema_changes.py` makes files of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from textwrap import wrap
from types import MappingProxyType
from typing import Final

from pipedrive_pipeline.marts.declared import (
    DELETION_REASONS,
    MARTS,
    DeclaredColumn,
    Generated,
    Link,
    Mart,
    mart,
)

TEXT_WIDTH: Final = 92  # of a comment's line, within four spaces and quotes
# Keys are compared byte by byte: the order of a language costs time and means nothing to an id.
# As Postgres's catalogue spells the types that are declared otherwise.
TYPE_NAMES: Final[Mapping[str, str]] = MappingProxyType({"timestamptz": "timestamp with time zone"})
KEY_COLUMNS: Final = ("remote_id", "former_remote_id", "merged_into_remote_id")


def live_rows(marts: Sequence[Mart] = MARTS) -> str:
    """Returns the function that counts the live rows of a mart."""
    branches = "\n".join(_LIVE_ROWS_OF_MART.format(name=each.name) for each in marts)
    return _LIVE_ROWS.format(branches=branches)


def table_text(each: Mart) -> str:
    """Returns the statements that create a mart's table, without its foreign keys to marts."""
    name = f"crm.{each.name}"
    comment = f"{each.of}: one row per tenant and {each.grain}, and the rows that the app made."
    lines = [*map(column_text, each.all_columns), *_constraints(each)]
    return "\n".join(
        [
            f"create table {name} (\n    " + ",\n    ".join(lines) + "\n);",
            *_indexes(each),
            f"comment on table {name} is\n{_literal(comment)};",
            *(comment_text(each, column).rstrip() for column in each.all_columns),
            f"select integration.isolate('{name}', has_readers => true);\n",
        ]
    )


def column_text(column: DeclaredColumn | Generated) -> str:
    """Returns a column's definition."""
    if isinstance(column, Generated):
        expression = column.expression.replace(" then ", "\n            then ", 1)
        return (
            f"{column.name} {column.type} generated always as (\n        {expression}\n    ) stored"
        )
    is_key = column.name in KEY_COLUMNS or column.name.endswith("_remote_id")
    kind = f'{column.type} collate "C"' if is_key else column.type
    required = " not null" if column.is_required or column.default is not None else ""
    default = f" default {column.default}" if column.default is not None else ""
    return f"{column.name} {kind}{required}{default}"


def _constraints(each: Mart) -> Iterator[str]:
    reasons = ", ".join(f"'{reason}'" for reason in DELETION_REASONS)
    yield f"constraint {each.name}_pkey primary key (id)"
    yield (
        f"constraint {each.name}_tenant_id_system_remote_id_key\n"
        "        unique (tenant_id, system, remote_id)"
    )
    yield f"constraint {each.name}_tenant_id_id_key unique (tenant_id, id)"
    yield (
        f"constraint {each.name}_tenant_id_fkey foreign key (tenant_id)\n"
        "        references integration.tenants (slug) on delete restrict"
    )
    yield (
        f"constraint {each.name}_system_check check (\n"
        "        (system is null) = (remote_id is null and former_remote_id is null)\n    )"
    )
    yield (
        f"constraint {each.name}_deletion_reason_check check (\n"
        f"        deletion_reason in ({reasons})\n    )"
    )
    yield f"constraint {each.name}_attributes_check check (jsonb_typeof(attributes) = 'object')"


def _indexes(each: Mart) -> Iterator[str]:
    name, table = each.name, f"crm.{each.name}"
    yield f"create index {name}_tenant_id_updated_at_idx on {table} (tenant_id, updated_at, id);"
    yield (
        f"create index {name}_deleted_idx\n    on {table} (tenant_id, system, remote_id)\n"
        "    include (merged_into_remote_id)\n    where deleted_at is not null;"
    )
    if each.part_of_column:
        yield (
            f"create index {name}_part_of_idx\n"
            f"    on {table} (tenant_id, system, {each.part_of_column});"
        )
    yield from column_indexes(each, {column.name for column in each.all_columns})


def column_indexes(each: Mart, columns: AbstractSet[str]) -> Iterator[str]:
    """Yields the statements that create the indexes of these columns."""
    name, table = each.name, f"crm.{each.name}"
    for generated in each.generated:
        if generated.is_key and generated.name in columns:
            yield (
                f"create index {name}_tenant_id_{generated.name}_idx\n"
                f"    on {table} (tenant_id, {generated.name})\n"
                f"    where {generated.name} is not null;"
            )
    for link in each.links:
        if link.is_indexed and link.name in columns:
            yield (
                f"create index {name}_tenant_id_{link.name}_idx\n"
                f"    on {table} (tenant_id, {link.name})\n    where {link.name} is not null;"
            )
            yield (
                f"create index {name}_tenant_id_{link.remote_column}_idx\n"
                f"    on {table} (tenant_id, {link.remote_column})\n"
                f"    where {link.name} is null and {link.remote_column} is not null;"
            )
    for index in each.indexes:
        if not columns.isdisjoint(index.columns):
            keys = ", ".join(("tenant_id", *index.columns))
            yield (
                f"create index {name}_{index.name}_idx\n    on {table} ({keys})\n"
                f"    where {index.where};"
            )


def comment_text(each: Mart, column: DeclaredColumn | Generated) -> str:
    """Returns the statement that sets a column's comment."""
    return f"comment on column crm.{each.name}.{column.name} is\n{_literal(column.comment)};\n"


def foreign_key(each: Mart, link: Link) -> str:
    """Returns the statement that makes a link's column refer to the other mart."""
    return (
        f"alter table crm.{each.name}\n"
        f"    add constraint {each.name}_{link.name}_fkey foreign key (tenant_id, {link.name})\n"
        f"    references crm.{mart(link.mart).name} (tenant_id, id)\n"
        f"    on delete set null ({link.name}) deferrable;\n"
    )


def _literal(text: str) -> str:
    lines = wrap(text.replace("'", "''"), TEXT_WIDTH, drop_whitespace=False)
    return "\n".join(f"    '{line}'" for line in lines)


# A branch is planned when a session first takes it: a view over all marts is planned whole, with
# the policies of each, in 10 to 100 ms. Two indexes have what is counted: no table is read.
_LIVE_ROWS: Final = """\
create or replace function integration.live_rows(of_tenant text, of_system text, of_mart text)
returns bigint
language plpgsql stable
as $$
begin
    case of_mart
{branches}
        else return 0;
    end case;
end
$$;
comment on function integration.live_rows(text, text, text) is
    'Number of rows of a mart that are not marked as deleted; without the rows that the app made.';
"""
_LIVE_ROWS_OF_MART: Final = """\
        when '{name}' then
            return (
                select count(*)
                from crm.{name} as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.{name} as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );"""
