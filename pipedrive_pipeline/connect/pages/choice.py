"""What may be read of a system: rights before a consent, the choice of kinds of records after it.

A definition of fields is read whenever a kind of records needs it, so nobody chooses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipedrive_pipeline.connectors.contract import Children, Entity, System


@dataclass(frozen=True)
class RightGroup:
    """One right of a consent, and the kinds of records that need it."""

    scope: str
    entities: list[str]
    is_granted: bool | None  # None: nothing was granted yet


@dataclass(frozen=True)
class ChoiceRow:
    """One kind of records that a person chooses, with what its first read costs at most."""

    entity: Entity
    is_chosen: bool
    is_allowed: bool  # False: the consent does not include it
    parent: str | None  # it is read only with this kind
    rows: int | None
    tokens: int | None

    @property
    def name(self) -> str:
        """The entity's name."""
        return self.entity.name

    @property
    def is_fixed(self) -> bool:
        """True if nobody chooses it: it is always read, or may not be read."""
        return self.entity.is_required or not self.is_allowed


@dataclass(frozen=True)
class ChoiceSum:
    """What is chosen, together."""

    chosen: int
    of: int
    rows: int | None  # None: not asked yet
    tokens: int | None


def rights(system: System, granted: Collection[str]) -> list[RightGroup]:
    """The rights that reading needs, in the order of reading."""
    groups: dict[str, list[Entity]] = {}
    for entity in choosable(system):
        if entity.scopes and entity.is_on_by_default:
            groups.setdefault(entity.scopes[0], []).append(entity)
    return [
        RightGroup(
            scope,
            [entity.name for entity in entities],
            any(_is_allowed(entity, granted) for entity in entities) if granted else None,
        )
        for scope, entities in groups.items()
    ]


def choosable(system: System) -> list[Entity]:
    """The kinds of records that are no definitions of fields."""
    definitions = {entity.defined_by for entity in system.entities}
    return [entity for entity in system.entities if entity.name not in definitions]


def choice_rows(
    system: System,
    read: Collection[str],
    granted: Collection[str],
    *,
    rows: Mapping[str, int] | None = None,
    tokens: Mapping[str, int] | None = None,
) -> list[ChoiceRow]:
    """A row for each kind, those that may not be read last.

    ``read`` are those that would be read as the settings are.
    """
    shown = [
        ChoiceRow(
            entity=entity,
            is_chosen=entity.name in read and _is_allowed(entity, granted),
            is_allowed=_is_allowed(entity, granted),
            parent=entity.read.of if isinstance(entity.read, Children) else None,
            rows=None if rows is None else rows.get(entity.name),
            tokens=None if tokens is None else tokens.get(entity.name),
        )
        for entity in choosable(system)
    ]
    return sorted(shown, key=lambda row: not row.is_allowed)


def total(system: System, rows: Sequence[ChoiceRow], tokens: Mapping[str, int] | None) -> ChoiceSum:
    """The chosen rows together, with the definitions that they need."""
    chosen = [row for row in rows if row.is_chosen]
    is_asked = tokens is not None
    definitions = {row.entity.defined_by for row in chosen} - {None}
    needed = sum((tokens or {}).get(str(name), 0) for name in definitions)
    return ChoiceSum(
        chosen=len(chosen),
        of=len(choosable(system)),
        rows=sum(row.rows or 0 for row in chosen) if is_asked else None,
        tokens=sum(row.tokens or 0 for row in chosen) + needed if is_asked else None,
    )


def left_out(
    rows: Sequence[ChoiceRow], chosen: Collection[str], read: Collection[str]
) -> list[str]:
    """The kinds that are not read; one that may not be read stays as the settings have it."""
    return [
        row.name
        for row in rows
        if (row.name not in read if row.is_fixed else row.name not in chosen)
    ]


def _is_allowed(entity: Entity, granted: Collection[str]) -> bool:
    """True if the consent includes it; a source that lists no rights limits none."""
    return not granted or not entity.scopes or not frozenset(granted).isdisjoint(entity.scopes)
