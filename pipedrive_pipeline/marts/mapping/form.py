"""The form of a mapping: the JSON that people write, and its parsed entries.

By entity of the system, and for each field of it the column of the entity's mart that it fills:

{"<entity>": {"<field key>": "customer_number",
"<field key>.currency": "attributes.currency",
"<field key>": {"target": "phone", "precedence": 1, "as": "text"}},
"<another entity>": {"<field key>": "attributes.birthday"}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.tenants import Tenant

ATTRIBUTE: Final = "attributes."
ATTRIBUTE_PATTERN: Final = re.compile(r"[^\W\d]\w{0,62}")
CONVERSIONS: Final = ("text", "number")


@dataclass(frozen=True)
class Issue:
    """A problem of one entry; ``field`` names it, as `<entity>.<key>` or `<sink>.<setting>`."""

    field: str
    issue: str


class BadMapping(PersonMustAct):
    """A mapping cannot be used; the version before it stays active."""

    code = "bad_mapping"

    def __init__(self, tenant: Tenant, issues: Iterable[Issue]) -> None:
        self.tenant, self.issues = tenant, tuple(issues)
        summary = "; ".join(f"{issue.field}: {issue.issue}" for issue in self.issues)
        super().__init__(f"{tenant}: the mapping was not saved ({summary}).")


@dataclass(frozen=True)
class Entry:
    """One source and its target; the smallest ``precedence`` that has a value wins."""

    entity: str
    field_key: str
    part: str | None
    target: str
    conversion: str | None = None
    precedence: int | None = None

    @property
    def name(self) -> str:
        """The name of the entry in errors."""
        return f"{self.entity}.{self.source}"

    @property
    def source(self) -> str:
        """The source as written in the JSON."""
        return self.field_key if self.part is None else f"{self.field_key}.{self.part}"

    @property
    def attribute(self) -> str | None:
        """The attribute that the entry fills; None if it fills a column."""
        is_attribute = self.target.startswith(ATTRIBUTE)
        return self.target.removeprefix(ATTRIBUTE) if is_attribute else None

    def written(self) -> Any:
        """Returns the target as JSON: a string if it has no settings."""
        facts = {"target": self.target, "precedence": self.precedence, "as": self.conversion}
        given = {name: value for name, value in facts.items() if value is not None}
        return self.target if given == {"target": self.target} else given


@dataclass(frozen=True)
class Mapping:
    """All entries of one version of the mapping, and the entities that it may name."""

    entries: tuple[Entry, ...] = ()
    entities: tuple[str, ...] = ()

    def of(self, entity: str) -> tuple[Entry, ...]:
        """Returns the entries of one entity, by target and precedence."""
        own = [entry for entry in self.entries if entry.entity == entity]
        return tuple(
            sorted(own, key=lambda entry: (entry.target, entry.precedence or 0, entry.source))
        )

    def written(self) -> dict[str, dict[str, Any]]:
        """Returns the mapping as JSON, with every entity, also those without an entry."""
        return {
            entity: {
                entry.source: entry.written() for entry in self.entries if entry.entity == entity
            }
            for entity in self.entities
        }


def parsed(text: Any, entities: Iterable[str]) -> tuple[Mapping, list[Issue]]:
    """Returns the mapping parsed from decoded JSON, and an issue for each invalid part.

    Args:
        text: decoded JSON.
        entities: those of the system whose fields may be mapped.
    """
    known = tuple(entities)
    if not isinstance(text, dict):
        return Mapping(entities=known), [Issue("mapping", "must be an object of entities")]
    entries: list[Entry] = []
    issues: list[Issue] = []
    for entity, sources in text.items():
        if entity not in known:
            reason = f"has no fields to map; use {' or '.join(known) or 'none'}"
            issues.append(Issue(str(entity), reason))
        elif not isinstance(sources, dict):
            issues.append(Issue(entity, "must be an object of field keys"))
        else:
            for source, written in sources.items():
                read = _entry(entity, str(source), written)
                entries += [read] if isinstance(read, Entry) else []
                issues += [read] if isinstance(read, Issue) else []
    return Mapping(tuple(entries), known), issues


def _entry(entity: str, source: str, written: Any) -> Entry | Issue:
    name = f"{entity}.{source}"
    facts = {"target": written} if isinstance(written, str) else written
    if not isinstance(facts, dict) or not isinstance(facts.get("target"), str):
        return Issue(name, "needs a target: a column or attributes.<name>")
    if unknown := sorted(str(key) for key in facts.keys() - {"target", "precedence", "as"}):
        return Issue(name, f"has no setting {', '.join(unknown)}; use target, precedence, as")
    precedence, conversion = facts.get("precedence"), facts.get("as")
    if precedence is not None and (isinstance(precedence, bool) or not isinstance(precedence, int)):
        return Issue(name, "precedence must be a whole number")
    if conversion is not None and conversion not in CONVERSIONS:
        return Issue(name, f"as must be {' or '.join(CONVERSIONS)}")
    key, dot, part = source.partition(".")
    return Entry(entity, key, part if dot else None, facts["target"], conversion, precedence)
