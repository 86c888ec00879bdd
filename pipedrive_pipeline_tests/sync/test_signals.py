"""Events of a webhook become rows and signals: each once, durable, whatever it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Raw

from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.store import receive
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables

SCOPE = Scope(ACME, SYSTEM)
AT = datetime(2026, 9, 1, 12, tzinfo=UTC)


def test_an_event_is_stored_once_however_often_it_is_delivered(control: ControlTables) -> None:
    """A source repeats an event whose answer it did not see."""
    edit = Notice("1", "persons", "7", AT)
    later = Notice("2", "persons", "7", AT)

    new = [receive(control.warehouse, SCOPE, "hook", [edit, edit, later]) for _ in range(2)]
    first = control.rows("select signal from integration.signals")
    of_another_webhook = receive(control.warehouse, SCOPE, "other hook", [edit])

    assert new == [2, 0]
    assert of_another_webhook == 1
    assert [row["event_key"] for row in _events(control)] == ["1", "1", "2"]
    (signal,) = control.rows("select entity, remote_id, signal from integration.signals")
    assert (signal["entity"], signal["remote_id"]) == ("persons", "7")
    assert [signal["signal"]] != [row["signal"] for row in first], "the first may be under way"


def test_what_only_the_event_knows_is_kept(control: ControlTables) -> None:
    merge = Notice("1", "persons", "7", AT, Tombstone("7", "merged", "8"), actor_id="3")
    move = Notice("2", "deals", "5", None, version={"id": Raw(b"5"), "value": Raw(b"1.50")})

    assert receive(control.warehouse, SCOPE, "hook", [merge, move]) == 2

    merged, moved = _events(control)
    assert (merged["reason"], merged["merged_into"], merged["actor_id"]) == ("merged", "8", "3")
    assert merged["happened_at"] == AT
    assert (moved["version"]["id"], str(moved["version"]["value"])) == (5, "1.5")
    assert moved["reason"] is None


def test_text_that_no_column_can_hold_refuses_no_event(control: ControlTables) -> None:
    """Refused, it would be repeated, and its webhook banned."""
    awkward = Notice("a\0b", "persons", "\ud800", AT, version={"x": Raw(b'"\\u0000"')})

    assert receive(control.warehouse, SCOPE, "h\0", [awkward]) == 1
    assert receive(control.warehouse, SCOPE, "h\0", [awkward]) == 0
    assert receive(control.warehouse, SCOPE, "h", []) == 0


def _events(control: ControlTables) -> list[dict[str, Any]]:
    return control.rows("select * from integration.webhook_events order by event_key, webhook_id")
