"""Validates a mapping: its fields exist, their types fit, sources of one target have an order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.values import Part, parts_of
from pipedrive_pipeline.marts.mapping.form import (
    ATTRIBUTE,
    ATTRIBUTE_PATTERN,
    CONVERSIONS,
    BadMapping,
    Entry,
    Issue,
    Mapping,
    parsed,
)
from pipedrive_pipeline.scope import Scope

TO_TEXT = frozenset({"numeric", "bigint", "boolean", "date", "time", "text[]", "bigint[]", "jsonb"})
FREE = frozenset({("bigint", "numeric")})  # fits without a conversion


def validated(scope: Scope, text: Any, fields: list[Field]) -> Mapping:
    """Returns the mapping of decoded JSON, if it can be used.

    Args:
        scope: whose mapping, of which CRM.
        text: the mapping as it was written.
        fields: the tenant's catalogue.

    Raises:
        BadMapping: names every entry that cannot be used, with the reason.
    """
    marts = field_entities(scope.system)
    mapping, issues = parsed(text, marts)
    known = {field.identity: field for field in fields}
    for entry in mapping.entries:
        issue = _issue(entry, known.get((entry.entity, entry.field_key)), marts[entry.entity])
        issues += [Issue(entry.name, issue)] if issue else []
    issues += _rivals(mapping)
    if issues:
        raise BadMapping(scope.tenant, issues)
    return mapping


def fitting(scope: Scope, entry: Entry, fields: list[Field]) -> Entry | None:
    """Returns the entry with the first conversion that its target allows; None if none does."""
    for conversion in (None, *reversed(CONVERSIONS)):
        candidate = replace(entry, conversion=conversion)
        try:
            validated(scope, {entry.entity: {entry.source: candidate.written()}}, fields)
        except BadMapping:
            continue
        return candidate
    return None


def part_of_entry(entry: Entry, field: Field) -> Part | None:
    """Returns the part of its field that an entry reads; by default the first one."""
    parts = parts_of(field.system, field.field_type)
    if entry.part is None:
        return parts[0]
    return next((part for part in parts if part.name == entry.part), None)


def target_type(entry: Entry, mart: Mart) -> str | None:
    """Returns the type of an entry's target: `any` for an attribute, None if protected."""
    if entry.target.startswith(ATTRIBUTE):
        return "any"
    return mart.mappable.get(entry.target)


def _issue(entry: Entry, field: Field | None, mart: Mart) -> str | None:
    if field is None:
        return "no field has this key"
    part = part_of_entry(entry, field)
    if part is None:
        names = ", ".join(
            part.name for part in parts_of(field.system, field.field_type) if part.name
        )
        return f"{field.field_name!r} has no part {entry.part!r}; it has {names or 'none'}"
    wanted = target_type(entry, mart)
    if wanted is None:
        columns = ", ".join(mart.mappable)
        return f"{entry.target} may not be mapped; use attributes.<name> or one of {columns}"
    if entry.attribute is not None and not ATTRIBUTE_PATTERN.fullmatch(entry.attribute):
        return "an attribute's name has letters, digits and _, at most 63, a letter first"
    return _misfit(entry, field, part, wanted)


def _misfit(entry: Entry, field: Field, part: Part, wanted: str) -> str | None:
    has = part.pg_type
    if entry.conversion == "text" and (has == "text" or has in TO_TEXT):
        has = "text"
    elif entry.conversion == "number":
        if has not in ("text", "numeric", "bigint"):
            return f"{has} cannot be read as a number"
        has = wanted if wanted in ("numeric", "bigint") else "numeric"
    if wanted in ("any", has) or (has, wanted) in FREE:
        return None
    conversion = "text" if wanted == "text" else "number"
    return (
        f"{field.field_name!r} is {part.pg_type}, {entry.target} is {wanted}; "
        f'say {{"target": "{entry.target}", "as": "{conversion}"}} to convert it'
    )


def _rivals(mapping: Mapping) -> Iterator[Issue]:
    """Yields an issue for each target with several sources that lack distinct precedences."""
    by_target: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in mapping.entries:
        by_target[entry.entity, entry.target].append(entry)
    for (_, target), rivals in by_target.items():
        ranks = [rival.precedence for rival in rivals]
        if len(rivals) > 1 and (None in ranks or len(set(ranks)) < len(ranks)):
            yield Issue(
                rivals[-1].name,
                f"{target} has {len(rivals)} sources; give each a precedence of its own",
            )
