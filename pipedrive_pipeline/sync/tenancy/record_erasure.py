"""Erases records of one entity from raw and the marts, with the lists that belong to them.

An entity that is read as lists of another one's records (`Children`) has nothing to say without
them: the lines of an erased deal are erased with the deal, and its changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psycopg

from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.ingest.erasure import RawErasure
from pipedrive_pipeline.ingest.rejections import forget_rejected
from pipedrive_pipeline.marts.erasure import erase_rows, linked_records
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.store import forget_events
from pipedrive_pipeline.sync.writes.review import forget_writes


@dataclass
class ErasedRows:
    """How many rows were erased, by place."""

    raw: int = 0
    marts: Counter[str] = field(default_factory=Counter)  # by mart, also those without any
    rejected_values: int = 0

    def add(self, others: ErasedRows) -> None:
        """Counts the rows of another erasure as well."""
        self.raw += others.raw
        self.marts.update(others.marts)
        self.rejected_values += others.rejected_values


def erase_with_children(
    connection: psycopg.Connection,
    scope: Scope,
    entity: Entity,
    keys: Sequence[str],
    *,
    with_unidentified: bool,
    from_raw: bool = True,
) -> ErasedRows:
    """Erases records and the lists that belong to them, in the caller's transaction.

    Args:
        connection: the caller's.
        scope: the tenant and system of the records.
        entity: their kind.
        keys: the records.
        with_unidentified: also forgets the rejected records without a usable key: each of them may
            be the one that is to be erased.
        from_raw: False changes the marts only; the caller does not hold the lock on raw.

    Raises:
        ErasureRefused: an app's table refers to one of the rows; the owner of that table must act.
    """
    erased = ErasedRows()
    for child in children_of(scope.system, entity):
        erased.add(
            erase_with_children(
                connection,
                scope,
                child,
                child_keys(connection, scope, child, entity, keys),
                with_unidentified=with_unidentified,
                from_raw=from_raw,
            )
        )
    for source in sources_of(scope.system, entity):
        erased.marts[source.name] += erase_rows(connection, scope, source, keys)
        forget_writes(connection, scope, source.name, keys)
    erased.rejected_values += forget_rejected(
        connection, scope, entity, keys, with_unidentified=with_unidentified
    )
    if from_raw:
        erased.raw += RawErasure(connection, scope).erase(entity, keys)
    forget_events(connection, scope, entity.name, keys)
    return erased


def child_keys(
    connection: psycopg.Connection,
    scope: Scope,
    child: Entity,
    parent: Entity,
    keys: Sequence[str],
) -> list[str]:
    """Returns the keys of all records in the lists of these parents, in raw or in a mart."""
    found = set(RawErasure(connection, scope).children(child, keys))
    marts = {source.name for source in sources_of(scope.system, parent)}
    for source in sources_of(scope.system, child):
        found |= linked_records(connection, scope, source, marts, keys)
    return sorted(found)


def children_of(system: str, entity: Entity) -> Iterator[Entity]:
    """Yields the entities that are read as lists of this one's records."""
    for other in system_of(system).entities:
        if isinstance(other.read, Children) and other.read.of == entity.name:
            yield other


def with_children(system: str, entity: Entity) -> Iterator[Entity]:
    """Yields the entity and all entities whose records are erased with its own."""
    yield entity
    for child in children_of(system, entity):
        yield from with_children(system, child)


def sources_of(system: str, entity: Entity) -> Iterator[MartSource]:
    """Yields the sources of the marts whose rows are made from an entity's records."""
    return (source for source in mart_sources(system) if source.entity == entity.name)
