"""Two versions of a mapping compared, and two editors' changes joined."""

from __future__ import annotations

from pipedrive_pipeline.marts.mapping import Entry, Mapping, differences, rebased


def mapping(**targets: str) -> Mapping:
    """Sources of one kind of records and the columns that they fill."""
    entries = [Entry("organizations", key, None, target) for key, target in targets.items()]
    return Mapping(tuple(entries), ("organizations",))


def test_a_difference_is_an_entry_added_changed_or_removed() -> None:
    found = differences(mapping(a="city", b="phone", c="email"), mapping(a="city", b="fax", d="x"))

    changes = [
        (each.entry.source, each.before and each.before.target, each.after and each.after.target)
        for each in found
    ]
    assert changes == [("b", "phone", "fax"), ("d", None, "x"), ("c", "email", None)]


def test_my_changes_are_kept_on_top_of_the_version_that_was_saved_meanwhile() -> None:
    """Neither editor's work is lost; where both changed a field, the second one decides."""
    base = mapping(a="city", b="phone", c="email")
    theirs = mapping(a="region", b="website", c="email", e="country")
    mine = mapping(a="city", b="fax", d="industry")

    joined = rebased(base, mine, theirs)

    targets = {entry.source: entry.target for entry in joined.entries}
    assert targets == {"a": "region", "b": "fax", "d": "industry", "e": "country"}
