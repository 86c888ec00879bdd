"""Events of Pipedrive's webhooks as they are documented, and bodies that are none."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.connectors.pipedrive.entities import ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.notices import notices
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.errors import BadInput

LEAD_ID = "adf21080-0e10-11eb-879b-05d71fb426ec"
AT = datetime(2026, 1, 31, 10, 20, 30, 412_000, UTC)
META = {
    "action": "change",
    "company_id": "123",
    "correlation_id": "5f1c6cd3-6b6e-4a2b-a5b5-e9b0f3a3d0c5",
    "entity": "organization",
    "entity_id": "17",
    "host": "acme-sandbox.pipedrive.com",
    "id": "0b6ea6b3-2b6f-4e3f-8d2c-1e0f5bd38e3a",
    "is_bulk_edit": False,
    "permitted_user_ids": ["900", "901"],
    "timestamp": "2026-01-31T10:20:30.412Z",
    "type": "application",
    "user_id": "900",
    "version": "2.0",
    "webhook_id": "77",
    "webhook_owner_id": "900",
    "change_source": "app",
    "attempt": 1,
}
DEAL = {
    "id": 5,
    "title": "Heat pump",
    "stage_id": 3,
    "pipeline_id": 1,
    "status": "open",
    "stage_change_time": "2026-01-31T10:20:30Z",
    "won_time": None,
    "lost_time": None,
    "value": 12.5,
    "currency": "EUR",
    "add_time": "2026-01-01T08:00:00Z",
    "update_time": "2026-01-31T10:20:30Z",
    "custom_fields": {"ab" * 20: {"type": "enum", "id": 191}},
}


def event(
    data: Any = None, previous: Any = None, *, without: tuple[str, ...] = (), **meta: Any
) -> bytes:
    """A body with other facts than those of a change of organization 17."""
    facts = {key: value for key, value in (META | meta).items() if key not in without}
    return msgspec.json.encode({"meta": facts, "data": data, "previous": previous})


def notice_of(*arguments: Any, **meta: Any) -> Notice:
    """The only notice of an event."""
    (notice,) = notices(event(*arguments, **meta))
    return notice


def test_a_change_names_the_record_the_time_the_company_and_who_did_it() -> None:
    notice = notice_of({"id": 17, "name": "Nordlicht AG"}, {"name": "Nordlicht GmbH"})

    key = str(META["id"])
    assert notice == Notice(key, "organizations", "17", AT, actor_id="900", company_id="123")


@pytest.mark.parametrize(
    ("told", "entity"),
    [
        ("activity", "activities"),
        ("deal", "deals"),
        ("note", "notes"),
        ("organization", "organizations"),
        ("person", "persons"),
        ("pipeline", "pipelines"),
        ("product", "products"),
        ("stage", "stages"),
        ("user", "users"),
    ],
)
def test_each_kind_of_record_has_its_entity(told: str, entity: str) -> None:
    assert notice_of({"id": 17}, {}, entity=told).entity == entity
    assert PIPEDRIVE.webhooks is not None
    assert entity in PIPEDRIVE.webhooks.entities


def test_a_lead_has_a_uuid() -> None:
    assert notice_of({"id": LEAD_ID}, {}, entity="lead", entity_id=LEAD_ID).id == LEAD_ID


def test_a_line_of_a_deal_is_told_by_its_deal() -> None:
    """Lists of lines are read by their deals; what a deletion tells is the line's last state."""
    changed = notice_of({"id": 31, "deal_id": 5}, {"quantity": 1}, entity="deal_product")
    deleted = notice_of(None, {"id": 31, "deal_id": 5}, entity="deal_product", action="delete")
    unknown = notices(event({"id": 31}, {}, entity="deal_product"))

    assert (changed.entity, changed.id, changed.tombstone) == ("deal_products", "5", None)
    assert (deleted.entity, deleted.id, deleted.tombstone) == ("deal_products", "5", None)
    assert unknown == []


def test_the_user_of_an_event_has_a_text_as_its_id_and_seconds_as_its_time() -> None:
    """All events of a user have the user's id, so that it does not tell two of them apart."""
    user = {"id": "901", "name": "Tobias", "active_flag": True}
    facts = {"entity": "user", "entity_id": "901", "id": "901", "timestamp": 1_769_854_830}
    first = notice_of(user, {"name": "Tobi"}, **facts)
    again = notice_of(user, {"name": "Tobi"}, **facts, attempt=2)
    other = notice_of(user | {"name": "Tom"}, {"name": "Tobias"}, **facts)

    assert first.id == "901"
    assert first.happened_at == datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC)
    assert first.key == again.key
    assert first.key != other.key


def test_a_user_who_left_is_no_deleted_record() -> None:
    """The list of users keeps them, with their name for what they own."""
    left = notice_of({"id": "901", "active_flag": False}, {"active_flag": True}, entity="user")

    assert left.tombstone is None


def test_a_deletion_is_told_without_a_call() -> None:
    notice = notice_of(None, {"id": 17, "name": "Nordlicht AG"}, action="delete")

    assert notice.tombstone == Tombstone("17", "deleted")
    assert notice.version is None


def test_a_merge_is_told_by_either_of_its_two_events() -> None:
    """One of them may be lost."""
    gone = notice_of(None, {"id": 17}, action="delete", merged_to_id="18")
    survivor, merged = notices(event({"id": 18}, {}, entity_id="18", merged_from_id="17"))

    assert gone.tombstone == merged.tombstone == Tombstone("17", "merged", "18")
    assert (survivor.id, survivor.tombstone) == ("18", None)
    assert survivor.key != merged.key


def test_a_move_of_a_deal_gives_the_version_that_the_history_keeps() -> None:
    """Pipedrive sends `previous` with the changed keys alone, so the key is what tells."""
    moved = notice_of(DEAL, {"stage_id": None}, entity="deal", entity_id="5").version
    renamed = notice_of(DEAL, {"title": "Heat"}, entity="deal", entity_id="5").version

    assert renamed is None
    assert moved is not None
    assert {key: msgspec.json.decode(value) for key, value in moved.items()} == {
        "id": 5,
        "stage_id": 3,
        "pipeline_id": 1,
        "status": "open",
        "stage_change_time": "2026-01-31T10:20:30Z",
        "won_time": None,
        "lost_time": None,
        "value": 12.5,
        "currency": "EUR",
        "update_time": "2026-01-31T10:20:30Z",
    }


def test_the_first_version_of_a_deal_has_the_time_of_its_creation() -> None:
    new = DEAL | {"update_time": None}
    version = notice_of(new, None, entity="deal", entity_id="5", action="create").version

    assert version is not None
    assert bytes(version["update_time"]) == b'"2026-01-01T08:00:00Z"'


@pytest.mark.parametrize(
    "facts",
    [
        {"entity": "deal_installment"},
        {"entity": "board"},
        {"entity": 17},
        {"action": "archive"},
        {"version": "1.0"},
        {"version": "3.0"},
        {"entity_id": "../users"},
        {"entity_id": "0"},
        {"entity_id": "9" * 40},
        {"entity_id": {"id": 17}},
    ],
)
def test_an_event_of_an_unknown_kind_says_nothing(facts: dict[str, Any]) -> None:
    """Pipedrive adds kinds and versions; an error would ban the webhook."""
    assert notices(event({}, {}, **facts)) == []


@pytest.mark.parametrize("timestamp", ["soon", "", None, 10**30, -5, True, "9999-99-99", [1]])
def test_a_time_that_is_none_leaves_the_notice(timestamp: Any) -> None:
    assert notice_of({"id": 17}, {}, timestamp=timestamp).happened_at is None


def test_an_event_without_an_id_is_known_by_its_content() -> None:
    first = notice_of({"id": 17}, {}, without=("id",))
    again = notice_of({"id": 17}, {}, without=("id",), attempt=3)
    hostile = notice_of({"id": 17}, {}, id="x" * 5_000)

    assert first.key == again.key
    assert len(hostile.key) <= 100


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"meta": null}', b'{"meta": [1]}', b"\xff\xfe", b'{"meta": {'],
)
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        notices(body)


VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.one_of(
    VALUE, st.lists(VALUE, max_size=2), st.dictionaries(st.text(max_size=8), VALUE, max_size=2)
)
FACTS: dict[str, Any] = META | {"merged_to_id": "18", "merged_from_id": "18", "entity": "deal"}
ODD_META = st.dictionaries(
    st.sampled_from(sorted(FACTS)),
    JSON | st.sampled_from([*FACTS.values(), "create", "delete", "lead", "user", "deal_product"]),
    max_size=4,
)


@given(ODD_META, JSON | st.just(DEAL), JSON | st.just({"stage_id": 2}))
def test_no_event_is_a_crash(meta: dict[str, Any], data: Any, previous: Any) -> None:
    """Anybody who learns the address may send anything."""
    body = msgspec.json.encode({"meta": FACTS | meta, "data": data, "previous": previous})

    for notice in notices(body):
        assert notice.entity in PIPEDRIVE.by_name
        assert notice.id
        assert len(notice.key) <= 100
        assert notice.happened_at is None or notice.happened_at.tzinfo is UTC


@given(st.binary(max_size=200))
def test_no_body_is_a_crash(body: bytes) -> None:
    with suppress(BadInput):
        assert notices(body) == []


def test_an_entity_has_events_where_its_endpoint_names_them() -> None:
    """A list of names of its own left a new entity without events, although all else was there."""
    named = tuple(name for name, endpoint in ENDPOINTS.items() if endpoint.event is not None)

    assert PIPEDRIVE.webhooks is not None
    assert PIPEDRIVE.webhooks.entities == named
