"""Short lists that every seeded account has: pipelines, stages, activity types, lead labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.custom import SEEDED_AT
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import SOURCES

Record = dict[str, Any]
RESTAMPED_AT = "2024-06-05T07:30:00Z"  # a stage was inserted then: its siblings share the second
REMOVED_AT = "2022-11-30T16:00:00Z"
# name, whether its own probability counts, the first order_nr, whether it was deleted, stages
PIPELINES: tuple[tuple[str, bool, int, bool, tuple[tuple[str, int, int | None], ...]], ...] = (
    (
        "Vertrieb",
        True,
        0,
        False,
        (
            ("Anfrage", 10, None),
            ("Bedarf geklärt", 25, 30),
            ("Angebot", 50, 14),
            ("Verhandlung", 75, None),
            ("Zusage", 90, None),
        ),
    ),
    (
        "Wartung & Service",
        False,
        1,
        False,
        (
            ("Anfrage", 100, None),
            ("Termin", 100, 60),
            ("Angebot", 100, None),
            ("Vertrag", 100, None),
        ),
    ),
    ("Messe 2019", False, 1, True, (("Standgespräch", 100, None), ("Nachfassen", 100, None))),
)


def pipelines() -> Iterator[Record]:
    """Three pipelines, the last of which was deleted while deals were in it."""
    for place, (name, has_probability, _, is_deleted, _) in enumerate(PIPELINES):
        yield {
            "name": name,
            "order_nr": place,
            "is_deal_probability_enabled": has_probability,
            "add_time": SEEDED_AT,
            "update_time": REMOVED_AT if is_deleted else None if place else RESTAMPED_AT,
            "is_deleted": is_deleted,
        }


def stages() -> Iterator[Record]:
    """The stages of all pipelines, in their order; ``order_nr`` begins at 0 or at 1."""
    for pipeline_id, (_, _, first, is_deleted, names) in enumerate(PIPELINES, 1):
        for order_nr, (name, probability, days_to_rotten) in enumerate(names, first):
            yield {
                "order_nr": order_nr,
                "name": name,
                "deal_probability": probability,
                "pipeline_id": pipeline_id,
                "is_deal_rot_enabled": days_to_rotten is not None,
                "days_to_rotten": days_to_rotten,
                "add_time": SEEDED_AT,
                "update_time": REMOVED_AT
                if is_deleted
                else RESTAMPED_AT
                if pipeline_id == 1
                else None,
                "is_deleted": is_deleted,
            }


# name, key, icon, whether it is in use, whether the company made it
ACTIVITY_TYPES = (
    ("Anruf", "call", "call", True, False),
    ("Besprechung", "meeting", "meeting", True, False),
    ("Aufgabe", "task", "task", True, False),
    ("Frist", "deadline", "deadline", True, False),
    ("E-Mail", "email", "email", True, False),
    ("Mittagessen", "lunch", "lunch", False, False),
    ("Vor-Ort-Termin 🚐", "vor_ort_termin", "car", True, True),
)


def activity_types() -> Iterator[Record]:
    """The types of activities; one is no longer in use, one was made by the company."""
    for place, (name, key, icon, is_active, is_custom) in enumerate(ACTIVITY_TYPES, 1):
        yield {
            "name": name,
            "key_string": key,
            "icon_key": icon,
            "color": "317AE2" if is_custom else None,
            "order_nr": place,
            "active_flag": is_active,
            "is_custom_flag": is_custom,
            "add_time": SEEDED_AT,
            "update_time": SEEDED_AT if is_custom else None,
            "is_deleted": False,
        }


def lead_labels() -> Iterator[Record]:
    """The labels that leads can have."""
    for name, color in (("Heiß", "red"), ("Warm", "yellow"), ("Kalt", "blue"), ("Messe", "green")):
        yield {
            "name": name,
            "color": color,
            "add_time": SEEDED_AT,
            "update_time": SEEDED_AT,
            "is_deleted": False,
        }


def lead_sources() -> Iterator[Record]:
    """Where a lead can come from, the same in every account."""
    for name in SOURCES:
        yield {"name": name, "add_time": SEEDED_AT, "update_time": SEEDED_AT, "is_deleted": False}
