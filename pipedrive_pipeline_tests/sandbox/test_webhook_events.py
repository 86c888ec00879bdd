"""What webhooks of version 2 tell of each edit, in the forms that the vendor's guide shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import convert_lead
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.sandbox.client import SandboxClient
from pipedrive_pipeline_tests.sandbox.receiving import Receiver, receiving

Record = dict[str, Any]
# The keys of each object in the guide's examples.
KEYS = {
    "activity": "active_flag add_time busy_flag custom_fields deal_id done due_date due_time "
    "duration id lead_id location org_id owner_id person_id public_description subject type "
    "update_time update_user_id",
    "deal": "add_time channel channel_id close_time creator_user_id currency custom_fields "
    "expected_close_date first_won_time id label_ids lost_reason lost_time org_id origin origin_id "
    "owner_id person_id pipeline_id probability stage_change_time stage_id status title "
    "update_time value visible_to won_time",
    "lead": "add_time channel channel_id creator_id custom_fields expected_close_date id "
    "is_archived label_ids next_activity_id organization_id origin origin_id owner_id person_id "
    "source_name title update_time value was_seen",
    "note": "active_flag add_time content deal_id id lead_id org_id person_id pinned_to_deal_flag "
    "pinned_to_organization_flag pinned_to_person_flag project_id update_time user_id",
    "organization": "add_time address country_code custom_fields id label name owner_id "
    "picture_id update_time visible_to",
    "person": "add_time custom_fields emails first_name id label last_name name org_id owner_id "
    "phones update_time visible_to",
    "pipeline": "active_flag add_time deal_probability id name order_nr update_time url_title",
    "product": "add_time category code custom_fields description id name owner_id prices "
    "selectable tax unit update_time visible_to",
    "stage": "active_flag add_time deal_probability id name order_nr pipeline_id rotten_days "
    "rotten_flag update_time",
    "user": "access active_flag created default_currency email icon_url id lang last_login locale "
    "modified name phone timezone_name",
}
META = {
    "action", "attempt", "change_source", "company_id", "correlation_id", "entity", "entity_id",
    "host", "id", "is_bulk_edit", "permitted_user_ids", "timestamp", "type", "user_id", "version",
    "webhook_id", "webhook_owner_id",
}  # fmt: skip
CUSTOM_KEYS = {
    "varchar": {"value"},
    "varchar_auto": {"value"},
    "text": {"value"},
    "double": {"value"},
    "phone": {"value"},
    "date": {"value"},
    "monetary": {"value", "currency"},
    "enum": {"id"},
    "user": {"id"},
    "org": {"id"},
    "people": {"id"},
    "set": {"values"},
    "time": {"value", "timezone_id"},
    "timerange": {"from", "until", "timezone_id"},
    "daterange": {"from", "until"},
    "address": {
        "value", "country", "admin_area_level_1", "admin_area_level_2", "locality", "sublocality",
        "route", "street_number", "subpremise", "postal_code", "formatted_address",
    },
}  # fmt: skip
LEAD = str(printed_id(ENTITIES["leads"], 2))
EDITS: dict[str, Callable[[CrmAccount], object]] = {
    "activity": lambda account: account.edit("activities", 2, subject="Neu"),
    "deal": lambda account: account.edit("deals", 4, title="Neu"),
    "lead": lambda account: account.edit("leads", LEAD, title="Neu"),
    "note": lambda account: account.edit("notes", 2, content="Neu"),
    "organization": lambda account: account.edit("organizations", 2, name="Neu"),
    "person": lambda account: account.edit("persons", 2, name="Neu"),
    "pipeline": lambda account: account.edit("pipelines", 2, name="Neu"),
    "product": lambda account: account.edit("products", 2, name="Neu"),
    "stage": lambda account: account.edit("stages", 2, name="Neu"),
    "user": lambda account: account.edit_user(901, name="Neu"),
}


class HookedSandbox:
    """A sandbox that sends an event of every edit to a receiver."""

    def __init__(self, sandbox: Sandbox, client: SandboxClient, receiver: Receiver) -> None:
        self.sandbox, self.client, self.receiver = sandbox, client, receiver
        self.account = sandbox.account
        spec = {"subscription_url": receiver.url, "name": "all"}
        answer = client.http.post(
            "/v1/webhooks", json={**spec, "event_action": "*", "event_object": "*"}
        )
        assert answer.status_code == 201, answer.text

    def events(self) -> list[Record]:
        """The events since the last call, in the order of the edits."""
        assert self.sandbox.webhooks.settled()
        events = [delivery.event for delivery in self.receiver.taken()]
        return sorted(events, key=lambda event: str(event["meta"]["timestamp"]))

    def event(self) -> Record:
        """The only one."""
        (event,) = self.events()
        return event


@pytest.fixture
def hooked() -> Iterator[HookedSandbox]:
    with (
        receiving() as receiver,
        serve(seeded(60, 150), has_limits=False, webhook_threads=1) as sandbox,  # in order
        SandboxClient(sandbox) as client,
    ):
        yield HookedSandbox(sandbox, client, receiver)


def test_each_object_has_the_keys_of_the_guide(hooked: HookedSandbox) -> None:
    """A parser that was only tried on another form would fail on the first real event."""
    for name, edit in EDITS.items():
        edit(hooked.account)
        event = hooked.event()

        assert event["meta"]["entity"] == name
        assert event["data"].keys() == set(KEYS[name].split())
        assert event["meta"].keys() == META - ({"permitted_user_ids"} if name == "user" else set())


def test_custom_values_have_a_third_form(hooked: HookedSandbox) -> None:
    types = {field.code: field.type for field in hooked.account.fields["organizations"]}
    shown: dict[str, Record] = {}
    for number in range(1, 30):
        hooked.account.edit("organizations", number, name=f"Neu {number}")
    for event in hooked.events():
        for code, value in event["data"]["custom_fields"].items():
            if value is not None:
                shown[types[code]] = value

    assert {kind: set(value) - {"type"} for kind, value in shown.items()} == CUSTOM_KEYS
    assert all(value["type"] == kind for kind, value in shown.items())
    assert shown["address"]["subpremise"] == ""
    assert all(isinstance(each["id"], int) for each in shown["set"]["values"])


def test_a_change_tells_the_former_values_of_the_changed_keys_alone(hooked: HookedSandbox) -> None:
    codes = [field.code for field in hooked.account.fields["deals"] if field.type == "double"]
    hooked.account.edit("deals", 4, stage_id=1)
    hooked.events()
    hooked.sandbox.clock.advance(60)
    hooked.account.edit("deals", 4, stage_id=2, custom_fields={codes[0]: 12})

    event = hooked.event()

    assert event["previous"]["stage_id"] == 1
    assert event["previous"].keys() == {"stage_id", "stage_change_time", "custom_fields"}
    assert event["previous"]["custom_fields"].keys() == {codes[0]}
    assert event["data"]["custom_fields"][codes[0]] == {"type": "double", "value": 12}


def test_a_new_deal_has_no_edit_time_and_nothing_before(hooked: HookedSandbox) -> None:
    hooked.account.create("deals", title="Neu")

    event = hooked.event()

    assert event["meta"]["action"] == "create"
    assert event["previous"] is None
    assert event["data"]["update_time"] is None


def test_a_deletion_has_no_data_but_the_last_state(hooked: HookedSandbox) -> None:
    hooked.account.delete("persons", 3)
    hooked.account.delete("notes", 3)

    person, note = hooked.events()

    assert (person["data"], person["previous"]["id"]) == (None, 3)
    assert person["previous"].keys() == set(KEYS["person"].split())
    assert (note["data"], note["previous"]["active_flag"]) == (None, False)


def test_a_restored_record_is_a_change(hooked: HookedSandbox) -> None:
    for entity in ("deals", "notes"):
        hooked.account.delete(entity, 4)
        hooked.account.restore(entity, 4, is_touched=False)

    deal, note = (event for event in hooked.events() if event["meta"]["action"] == "change")

    assert (deal["previous"], deal["data"]["status"] != "deleted") == ({"status": "deleted"}, True)
    assert (note["previous"], note["data"]["active_flag"]) == ({"active_flag": False}, True)


@pytest.mark.parametrize("entity", ["organizations", "persons", "deals"])
def test_a_merge_is_a_deletion_and_a_change_that_name_each_other(
    hooked: HookedSandbox, entity: str
) -> None:
    hooked.account.merge(entity, 5, 6)

    gone, stayed = (
        event["meta"] for event in hooked.events() if event["meta"]["entity_id"] in "56"
    )

    assert (gone["action"], gone["entity_id"], gone["merged_to_id"]) == ("delete", "5", "6")
    assert (stayed["action"], stayed["entity_id"], stayed["merged_from_id"]) == ("change", "6", "5")


@pytest.mark.parametrize("touches_children", [False, True])
def test_what_a_merge_moves_is_told_if_its_edit_time_moves(
    hooked: HookedSandbox, *, touches_children: bool
) -> None:
    hooked.account.edit("persons", 9, org_id=5)
    hooked.events()
    hooked.sandbox.clock.advance(60)
    hooked.account.merge("organizations", 5, 6, touches_children=touches_children)

    persons = [event for event in hooked.events() if event["meta"]["entity"] == "person"]

    assert any(event["meta"]["entity_id"] == "9" for event in persons) == touches_children


def test_a_converted_lead_is_deleted_and_a_deal_is_new(hooked: HookedSandbox) -> None:
    """The guide shows no key that ties one event to the other."""
    deal = convert_lead(hooked.account, LEAD)

    events = {event["meta"]["entity_id"]: event for event in hooked.events()}

    assert events[LEAD]["meta"]["action"] == "delete"
    assert events[str(deal["id"])]["meta"]["action"] == "create"
    assert LEAD not in str(events[str(deal["id"])])


def test_what_follows_from_an_edit_has_an_event_as_well(hooked: HookedSandbox) -> None:
    """A line moves the value of its deal; a new stage moves its siblings."""
    value = hooked.account.get("deals", 4)["value"]
    hooked.account.create("deal_products", deal_id=4, product_id=1, item_price=5, quantity=2)
    line, deal = hooked.events()
    hooked.account.create("stages", name="Neu", pipeline_id=1, order_nr=0)
    siblings = hooked.events()[1:]

    assert (line["meta"]["entity"], line["data"]["deal_id"]) == ("deal_product", 4)
    assert (deal["meta"]["entity"], deal["data"]["value"]) == ("deal", value + 10)
    assert {event["previous"].keys() <= {"order_nr", "update_time"} for event in siblings} == {True}
    assert len(siblings) == 5


def test_a_user_has_a_text_as_id_seconds_as_time_and_no_event_id(hooked: HookedSandbox) -> None:
    hooked.account.edit_user(901, active_flag=False)

    event = hooked.event()

    assert event["meta"]["id"] == event["meta"]["entity_id"] == event["data"]["id"] == "901"
    assert isinstance(event["meta"]["timestamp"], int)
    assert event["meta"]["action"] == "change"
    assert event["previous"]["active_flag"] is True


def test_times_and_flags_have_the_forms_of_their_object(hooked: HookedSandbox) -> None:
    hooked.account.edit("activities", 2, due_time="09:30:00", duration=None, done=True)
    activity = hooked.event()["data"]
    hooked.account.edit("leads", LEAD, title="Neu")
    lead = hooked.event()["data"]
    hooked.account.edit("organizations", 5, label_ids=[7, 8])
    organization = hooked.event()["data"]

    assert set(activity["due_time"]) == {"timezone_id", "value"}
    assert activity["duration"] is None
    assert lead["update_time"].endswith(".000Z")
    assert (organization["label"], organization["visible_to"]) == (7, "3")


def test_an_event_says_who_did_it_and_how(hooked: HookedSandbox) -> None:
    with hooked.account.lock:
        token = hooked.sandbox.grants.new_api_token(902)
    with SandboxClient(hooked.sandbox, headers={"x-api-token": token}) as client:
        client.http.patch("/api/v2/deals/4", json={"title": "By a colleague"})
    by_api = hooked.event()["meta"]
    hooked.account.edit_many("persons", [1, 2], name="Bulk")
    bulk = hooked.events()

    assert (by_api["user_id"], by_api["change_source"]) == ("902", "api")
    assert [event["meta"]["is_bulk_edit"] for event in bulk] == [True, True]
    assert {event["meta"]["change_source"] for event in bulk} == {"app"}


def test_what_the_webhooks_user_may_not_see_has_no_event(hooked: HookedSandbox) -> None:
    hooked.account.set_rights(hooked.account.admin_id, hidden=[("persons", 3)])
    for person_id in (3, 4):
        hooked.account.edit("persons", person_id, name="Neu")

    event = hooked.event()

    assert event["meta"]["entity_id"] == "4"
    assert "900" in event["meta"]["permitted_user_ids"]


def test_a_webhook_may_want_one_object_or_one_action(hooked: HookedSandbox) -> None:
    with receiving() as other:
        spec = {"subscription_url": other.url, "name": "deletions of deals"}
        hooked.client.http.post(
            "/v1/webhooks", json={**spec, "event_action": "delete", "event_object": "deal"}
        )
        hooked.account.edit("deals", 4, title="Neu")
        hooked.account.delete("persons", 4)
        hooked.account.delete("deals", 4)
        assert hooked.sandbox.webhooks.settled()

        assert other.names == ["deal.delete"]


def test_records_and_fields_that_no_webhook_knows_have_no_event(hooked: HookedSandbox) -> None:
    hooked.account.create("lead_labels", name="Neu", color="red")
    hooked.account.create("activity_types", name="Neu")
    hooked.account.fields["deals"].add("Neu", "varchar")
    hooked.account.plant("deals", 4, title="Planted")

    assert hooked.events() == []
