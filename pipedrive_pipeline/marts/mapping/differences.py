"""What changed between two versions of a mapping, and one editor's changes on top of another's."""

from __future__ import annotations

from dataclasses import dataclass

from pipedrive_pipeline.marts.mapping.form import Entry, Mapping


@dataclass(frozen=True)
class Difference:
    """One source whose target or conversion changed; ``before`` is None if it is new."""

    before: Entry | None
    after: Entry | None

    @property
    def entry(self) -> Entry:
        """The entry after the change, or the one that was removed."""
        entry = self.after or self.before
        if entry is None:
            raise LookupError("a difference has an entry")
        return entry

    @property
    def field(self) -> tuple[str, str]:
        """Entity and key of the field."""
        return self.entry.entity, self.entry.field_key


def differences(before: Mapping, after: Mapping) -> list[Difference]:
    """Returns every source whose entry differs, in the order of ``after``, removed ones last."""
    former, current = _by_name(before), _by_name(after)
    changed = [
        Difference(former.get(name), entry)
        for name, entry in current.items()
        if former.get(name) != entry
    ]
    removed = [Difference(entry, None) for name, entry in former.items() if name not in current]
    return [*changed, *removed]


def rebased(base: Mapping, mine: Mapping, theirs: Mapping) -> Mapping:
    """Returns their version with my changes since the common one; mine win where both changed."""
    merged = _by_name(theirs)
    for difference in differences(base, mine):
        if difference.after is None:
            merged.pop(difference.entry.name, None)
        else:
            merged[difference.entry.name] = difference.after
    return Mapping(tuple(merged.values()), mine.entities)


def _by_name(mapping: Mapping) -> dict[str, Entry]:
    return {entry.name: entry for entry in mapping.entries}
