"""Reads signalled records again: what their events know, the records, their lists of children."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pipedrive_pipeline.connectors.contract import Children, Entity, Tombstone
from pipedrive_pipeline.ingest.due_parents import affordable
from pipedrive_pipeline.ingest.outcome import EntityRead, Event
from pipedrive_pipeline.ingest.reconciliation import Reconciler
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.ingest.webhook_events import Events


@dataclass(frozen=True)
class SignalledRecords:
    """Reads signalled records of one tenant and system."""

    refresher: Refresher
    reconciler: Reconciler
    events: Events
    tokens_left: Callable[[], int]

    def read_again(self, entity: Entity, ids: Sequence[str], events: Sequence[Event]) -> None:
        """Brings records into raw as they are now, and what their events know.

        A record that the source does not give is gone if its newest event says so; otherwise the
        source is asked what became of it. Of children, ``ids`` are their parents'.
        """
        if isinstance(entity.read, Children):
            self.read_lists(entity, ids)
            return
        gone = self.events.gone(entity, events)
        self.events.mark(entity, gone.certain.values())
        is_given = entity.gone_column is not None  # also records that are deleted
        unsure = [record_id for record_id in ids if is_given or record_id not in gone.certain]
        absent = self.refresher.refresh(entity.name, unsure).absent if unsure else ()
        self.events.mark(entity, [gone.doubtful[key] for key in absent if key in gone.doubtful])
        asked = self.events.in_raw(entity, [key for key in absent if key not in gone.doubtful])
        lost = self.reconciler.mark_absent(entity, sorted(asked))
        self.refresher.due_parents.mark_orphans(self.refresher.deletions, entity, lost)
        self.events.add_versions(entity, events)

    def read_rest(
        self, entity: Entity, ids: Sequence[str], walked: Collection[str], events: Sequence[Event]
    ) -> None:
        """Brings into raw what a walk over the changes has not given, and what events know.

        A walk does not give records that are gone, and those of a list without edit times, such as
        archived leads.

        Args:
            entity: of the records.
            ids: of the records that were signalled.
            walked: the records that the walk gave.
            events: of the signalled records.
        """
        gone = self.events.gone(entity, events)
        known = {*walked, *gone.certain, *gone.doubtful}
        unread = [record_id for record_id in ids if record_id not in known]
        current = self.events.current_in_raw(entity, unread, events)
        unread = [record_id for record_id in unread if record_id not in current]
        self.read_again(entity, [*gone.certain, *gone.doubtful, *unread], events)

    def read_children(
        self, parent: Entity, ids: Sequence[str], entities_on: Collection[str]
    ) -> None:
        """Reads those of the parents' lists that are due now, as an incremental run does."""
        due_parents = self.refresher.due_parents
        for child in due_parents.children_of(parent):
            if child.name in entities_on:
                due = due_parents.due_among(child, ids)
                self.read_lists(child, affordable(child, due, self.tokens_left))

    def read_lists(self, child: Entity, parents: Sequence[str]) -> None:
        """Reads these parents' lists whole; children that are on none of them are gone.

        Raises:
            GuardTripped: implausibly many are; nothing was marked.
        """
        if not parents:
            return
        due_parents, deletions = self.refresher.due_parents, self.refresher.deletions
        batch = self.refresher.fetch(child, parents)
        listed = set(batch.keys)  # before erased ones are taken out
        self.refresher.merge(batch)
        if not batch.rejected_records and child.is_swept:
            absent = sorted(set(due_parents.listed_in_raw(child, parents)) - listed)
            self.reconciler.check_mass_deletion(EntityRead(child, None), absent)
            deletions.mark(child, [Tombstone(key, "deleted") for key in absent])
        due_parents.remove(child, parents)
