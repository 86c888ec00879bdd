"""Kinds of custom fields: the columns of each kind, and the SQL of each column over a raw row.

`System.field_types` says of which kind each of a system's types is. No expression ever fails: it
returns null for a value that does not fit, and `value_checks.py` lists that value in
`integration.rejected_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pipedrive_pipeline.connectors.contract import FieldKind, FieldType
from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.scope import Scope

ADDRESS_PARTS: Final = (
    "route", "street_number", "subpremise", "sublocality", "locality", "postal_code",
    "admin_area_level_1", "admin_area_level_2", "country", "formatted_address",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One column of a field: ``name`` is the part, ``suffix`` ends the column's name."""

    name: str
    suffix: str
    pg_type: str
    template: str  # of SQL over {value}, {labels}, {referred} and {part_<name>}
    meaning: str = ""


@dataclass(frozen=True)
class FieldSource:
    """SQL expressions from which a field's columns are computed.

    ``value`` is the field's whole value; ``extra`` has the other top-level values of the record,
    including the parts of a value in the shape of API v1. Both are jsonb and cheap to repeat
    (`raw_fields.py`). ``referred`` is the raw table with the names that a reference shows; None if
    it was never loaded or the field is no reference.
    """

    scope: Scope
    entity: str
    field_key: str
    value: sql.Composable
    extra: sql.Composable
    referred: sql.Composable | None = None


def _simple(pg_type: str, function: str) -> tuple[Part, ...]:
    return (Part("", "", pg_type, f"pipeline.{function}({{value}})"),)


# pipeline.as_text written inline: most values are text, and PL/pgSQL takes twice as long.
_TEXT = (
    Part(
        "",
        "",
        "text",
        "case when jsonb_typeof({value}) in ('string', 'number', 'boolean')"
        " then {value} #>> '{{}}' end",
    ),
)
_ZONE = Part(
    "timezone",
    "_timezone",
    "text",
    "pipeline.as_text(coalesce({part_timezone_name}, {part_timezone_id}))",
    "time zone",
)
_REFERENCE = (
    Part(
        "",
        "",
        "text",
        "coalesce((select named.name from {referred} as named"
        " where named.id = pipeline.as_reference({value})), pipeline.as_text({value} -> 'name'))",
        "name",
    ),
    Part("id", "_id", "bigint", "pipeline.as_reference({value})", "id"),
)
PARTS: Final[Mapping[FieldKind, tuple[Part, ...]]] = {
    "text": _TEXT,
    "int": _simple("bigint", "as_bigint"),
    "double": _simple("numeric", "as_numeric"),
    "boolean": _simple("boolean", "as_boolean"),
    "date": _simple("date", "as_date"),
    "monetary": (
        Part("amount", "_amount", "numeric", "pipeline.as_numeric({part_value})", "amount"),
        Part("currency", "_currency", "text", "pipeline.as_text({part_currency})", "currency"),
    ),
    "enum": (
        Part(
            "",
            "",
            "text",
            "coalesce({labels} ->> pipeline.as_bigint({value})::text,"
            " pipeline.as_bigint({value})::text)",
            "label of the option; its id where no label was ever known",
        ),
        Part("id", "_id", "bigint", "pipeline.as_bigint({value})", "id of the option"),
    ),
    "choice": (
        Part(
            "",
            "",
            "text",
            "coalesce({labels} ->> pipeline.as_text({value}), pipeline.as_text({value}))",
            "label of the option; its id where no label was ever known",
        ),
        Part("id", "_id", "text", "pipeline.as_text({value})", "id of the option"),
    ),
    "set": (
        Part(
            "",
            "",
            "text[]",
            "pipeline.labels_of(pipeline.as_ids({value}), {labels})",
            "labels of the options, in the order of their ids",
        ),
        Part("ids", "_ids", "bigint[]", "pipeline.as_ids({value})", "ids of the options"),
    ),
    "daterange": (
        Part("from", "_from", "date", "pipeline.as_date({part_value})", "first day"),
        Part("until", "_until", "date", "pipeline.as_date({part_until})", "last day"),
    ),
    "time": (Part("", "", "time", "pipeline.as_time({part_value})"), _ZONE),
    "timerange": (
        Part("from", "_from", "time", "pipeline.as_time({part_value})", "begin"),
        Part("until", "_until", "time", "pipeline.as_time({part_until})", "end"),
        _ZONE,
    ),
    "address": (
        Part("", "", "text", "pipeline.as_text({part_value})", "as typed"),
        *(
            Part(name, f"_{name}", "text", f"pipeline.as_text({{part_{name}}})", name)
            for name in ADDRESS_PARTS
        ),
    ),
    "reference": _REFERENCE,
}
OF_SEVERAL_PARTS: Final[tuple[FieldKind, ...]] = (
    "monetary",
    "daterange",
    "time",
    "timerange",
    "address",
)
_PLAIN_STRING, _PLAIN_NUMBER = (
    f"jsonb_typeof({{value}}) = '{kind}'" for kind in ("string", "number")
)
# Days that every month has; the function decides on the others.
_PLAIN_DAY: Final = "^[1-9][0-9]{{3}}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"
_PLAIN_TIME: Final = "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"
_PLAIN_ZONE: Final = (
    "coalesce(jsonb_typeof({value} -> 'timezone_id') in ('number', 'null'), true)"
    " and coalesce(jsonb_typeof({value} -> 'timezone_name') in ('string', 'null'), true)"
)
_PLAIN_ID: Final = "{value}::text ~ '^-?[0-9]{{1,18}}$'"
_PLAIN_FORMS: Final[Mapping[FieldKind, str]] = {
    "text": _PLAIN_STRING,
    "choice": _PLAIN_STRING,
    "int": _PLAIN_ID,
    "enum": _PLAIN_ID,
    "reference": _PLAIN_ID,
    "double": _PLAIN_NUMBER,
    "boolean": "jsonb_typeof({value}) = 'boolean'",
    "set": "{value}::text ~ '^\\[[0-9]{{1,18}}(, [0-9]{{1,18}})*\\]$'",
    "date": f"{{value}} #>> '{{{{}}}}' ~ '{_PLAIN_DAY}'",
    # Part by part, because one regular expression over all parts is slower than the function.
    "monetary": (
        "jsonb_typeof({value} -> 'value') = 'number'"
        " and jsonb_typeof({value} -> 'currency') = 'string'"
    ),
    "daterange": " and ".join(
        f"{{value}} ->> '{part}' ~ '{_PLAIN_DAY}'" for part in ("value", "until")
    ),
    "time": f"{{value}} ->> 'value' ~ '{_PLAIN_TIME}' and {_PLAIN_ZONE}",
    "timerange": " and ".join(
        (*(f"{{value}} ->> '{part}' ~ '{_PLAIN_TIME}'" for part in ("value", "until")), _PLAIN_ZONE)
    ),
    "address": (
        "jsonb_typeof({value} -> 'value') = 'string'"
        " and substr({value}::text, 2) !~ '[[{{]'"  # no part is nested
    ),
}
UNKNOWN: Final = (Part("", "", "jsonb", "{value}", "as sent, because its type has no rule"),)


def type_of(system: str, field_type: str) -> FieldType | None:
    """Returns what a system's type is; None if it has no rule, so that values stay as sent."""
    return system_of(system).field_types.get(field_type)


def kind_of(system: str, field_type: str) -> FieldKind | None:
    """Returns the kind of a system's type; None if it has no rule."""
    known = type_of(system, field_type)
    return known.kind if known else None


def parts_of(system: str, field_type: str) -> tuple[Part, ...]:
    """Returns the columns of a system's type; one jsonb column if the type has no rule."""
    kind = kind_of(system, field_type)
    return PARTS[kind] if kind else UNKNOWN


def is_simple(kind: FieldKind | None) -> bool:
    """True if a value of this kind has no parts, in API v1 and in v2."""
    return kind not in OF_SEVERAL_PARTS


def expression(part: Part, source: FieldSource) -> sql.Composed:
    """Returns the SQL of one part of a field over one raw row; it never fails."""
    nothing = sql.SQL("(select null::bigint as id, null::text as name where false)")
    # A name in raw is varchar or text, but a view column cannot change its type.
    return sql.SQL(f"({part.template})::{part.pg_type}").format(
        value=source.value,
        labels=_labels(source),
        referred=source.referred or nothing,
        **{
            f"part_{name}": part_of(source, name)
            for name in ("value", "currency", "until", "timezone_id", "timezone_name")
        },
        **{f"part_{name}": part_of(source, name) for name in ADDRESS_PARTS},
    )


def part_of(source: FieldSource, name: str) -> sql.Composed:
    """Returns one part of a field's value as jsonb, null if there is none.

    v2 sends {key: {"value": …, "currency": …}}, v1 {key: …, key_currency: …}.
    """
    top_level = sql.SQL("nullif({} -> {}, 'null')").format(
        source.extra, sql.Literal(f"{source.field_key}_{name}")
    )
    return sql.SQL(
        "case when jsonb_typeof({value}) = 'object' then nullif({value} -> {name}, 'null')"
        " else {top_level} end"
    ).format(
        value=source.value,
        name=sql.Literal(name),
        top_level=source.value if name == "value" else top_level,
    )


def has_usual_form(kind: FieldKind | None, value: sql.Composable) -> sql.Composed:
    """Returns a condition that is true for the usual form of this kind's values.

    It accepts no value that `pipeline.misfit` rejects, and saves that call for most values.
    """
    return sql.SQL(_PLAIN_FORMS[kind] if kind else "true").format(value=value)


def _labels(source: FieldSource) -> sql.Composed:
    """Returns labels by id, evaluated once per query; `|| {}` makes Postgres detoast them once."""
    return sql.SQL(
        "(select fields.labels || '{{}}' from integration.fields where fields.tenant_id = {}"
        " and fields.system = {} and fields.entity = {} and fields.field_key = {})"
    ).format(
        sql.Literal(source.scope.tenant.slug),
        sql.Literal(source.scope.system),
        sql.Literal(source.entity),
        sql.Literal(source.field_key),
    )
