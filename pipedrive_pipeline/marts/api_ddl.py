"""The indexes and policies that the CRM API needs, derived from the declared marts.

A list reads rows in the order of a key and an id, from the place where the page before ended. So
each sort and filter has an index on the tenant, the key and the id. `search` has an inverted index
of words, each preceded by its tenant, so that one tenant's search costs nothing for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipedrive_pipeline.marts.declared import ApiResource, Mart
from pipedrive_pipeline.marts.visibility import is_restricted, policy_condition

# The key of a column that may be empty: the least value of its type. A text's first characters,
# because an entry of an index has at most 2,700 bytes.
KEYS: Final = {
    "text": "left(coalesce({column}, ''), 100)",
    "numeric": "coalesce({column}, '-infinity'::numeric)",
    "bigint": "coalesce({column}, (-9223372036854775808)::bigint)",
    "date": "coalesce({column}, '-infinity'::date)",
    "timestamptz": "coalesce({column}, '-infinity'::timestamptz)",
    "boolean": "coalesce({column}, false)",
}


def statements(declared: Mart) -> dict[str, str]:
    """Returns the statements that a mart needs, by the name of the index, or of the table."""
    needed = dict(_indexes(declared, declared.api)) if declared.api else {}
    if is_restricted(declared):
        condition = policy_condition(declared).replace("'", "''")
        needed[declared.name] = (
            f"select integration.bind_to_users('crm.{declared.name}', '\n    {condition}\n');\n"
        )
    return needed


def key_of(declared: Mart, column: str) -> str:
    """Returns the SQL of a column's key, with ``{column}`` where the column's own SQL belongs."""
    types = {each.name: each.type for each in declared.all_columns}
    if column in {link.name for link in declared.links} or column in ("id", "updated_at"):
        return "{column}"
    return KEYS[types[column]]


def words_of(declared: Mart, resource: ApiResource, alias: str) -> str:
    """Returns the SQL of the words of a row that `search` finds."""
    types = {column.name: column.type for column in declared.columns}

    def text_of(columns: tuple[str, ...]) -> str:
        parts = [_TEXTS[types[name]].format(column=f"{alias}{name}") for name in columns]
        return " || ' '\n                || ".join(parts) or "''"

    texts, numbers = text_of(resource.searched), text_of(resource.numbers)
    return (
        f"pipeline.search_words(\n            {alias}tenant_id,\n            {texts},"
        f"\n            {numbers}\n        )"
    )


def _indexes(declared: Mart, resource: ApiResource) -> Iterator[tuple[str, str]]:
    table = f"crm.{declared.name}"
    for column in dict.fromkeys((*resource.sorts, *resource.filters)):
        name, key = f"{declared.name}_api_{column}_idx", key_of(declared, column)
        keyed = f"({key.format(column=column)})" if "(" in key else column
        yield name, f"create index {name}\n    on {table} (tenant_id, {keyed}, id);"
    if resource.searched:
        name, words = f"{declared.name}_api_search_idx", words_of(declared, resource, "")
        yield name, f"create index {name}\n    on {table} using gin ((\n        {words}\n    ));"


_TEXTS: Final = {
    "text": "coalesce({column}, '')",
    "jsonb": "jsonb_path_query_array({column}, '$[*].value')::text",
}
