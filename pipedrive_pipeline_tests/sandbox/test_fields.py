"""Field definitions in both versions, and what happens to values when they change."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.world.fields import CREATABLE_TYPES
from pipedrive_pipeline_tests.sandbox.client import SandboxClient

FIELDS = "/api/v2/organizationFields"
ORGANIZATION = "/api/v2/organizations/3"


def test_all_fields_are_listed_over_pages(client: SandboxClient, account: CrmAccount) -> None:
    rows = client.rows(FIELDS, limit=7)

    assert [row["field_code"] for row in rows] == [
        field.code for field in account.fields["organizations"]
    ]
    assert sum(row["is_custom_field"] for row in rows) == 40


def test_subfields_and_options_come_with_the_types_that_have_them(client: SandboxClient) -> None:
    for row in client.rows(FIELDS, limit=500):
        has_parts = row["field_type"] in ("address", "monetary", "daterange", "time", "timerange")
        assert bool(row["subfields"]) == has_parts, row
        if row["field_type"] in ("enum", "set"):
            assert row["options"]


def test_option_ids_are_texts_for_built_in_and_numbers_for_custom_fields(
    client: SandboxClient,
) -> None:
    rows = {row["field_code"]: row for row in client.rows(FIELDS, limit=500)}
    custom = next(row for row in rows.values() if row["field_name"] == "Region")

    assert all(isinstance(option["id"], str) for option in rows["label_ids"]["options"])
    assert all(isinstance(option["id"], int) for option in custom["options"])


def test_a_switch_makes_built_in_option_ids_numbers(account: CrmAccount) -> None:
    with serve(account, built_in_option_ids="number") as sandbox, SandboxClient(sandbox) as client:
        options = client.data(f"{FIELDS}/label_ids")["options"]

    assert all(isinstance(option["id"], int) for option in options)


def test_labels_of_records_are_explained_by_the_options(client: SandboxClient) -> None:
    known = {int(option["id"]) for option in client.data(f"{FIELDS}/label_ids")["options"]}
    used = {
        label_id for row in client.rows("/api/v2/organizations") for label_id in row["label_ids"]
    }

    assert used
    assert used <= known


@pytest.mark.parametrize("kind", CREATABLE_TYPES)
def test_a_field_of_each_type_is_created_with_null_everywhere(
    client: SandboxClient, kind: str
) -> None:
    body: dict[str, Any] = {"field_name": f"Neu {kind}", "field_type": kind}
    if kind in ("enum", "set"):
        body["options"] = [{"label": "A"}, {"label": "B"}]

    answer = client.http.post(FIELDS, json=body)

    assert answer.status_code == 200, answer.text
    code = answer.json()["data"]["field_code"]
    assert len(code) == 40
    assert client.data(ORGANIZATION)["custom_fields"][code] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"field_name": "A"},
        {"field_name": "A", "field_type": "int"},
        {"field_name": "", "field_type": "text"},
        {"field_name": "x" * 256, "field_type": "text"},
        {"field_name": 5, "field_type": "text"},
        {"field_name": "A", "field_type": "enum"},
        {"field_name": "A", "field_type": "enum", "options": []},
        {"field_name": "A", "field_type": "enum", "options": [{"label": ""}]},
        {"field_name": "A", "field_type": "text", "options": [{"label": "x"}]},
        {"field_name": "A", "field_type": "text", "options": {}},
        {"field_name": "A", "field_type": "text", "colour": "red"},
        {"field_name": "A", "field_type": "text", "ui_visibility": True},
        {"field_name": "A", "field_type": "text", "ui_visibility": {"add_visible_flag": "yes"}},
        {"field_name": "A", "field_type": "text", "important_fields": {"stage_ids": ["1"]}},
        {"field_name": "A", "field_type": "text", "required_fields": {"enabled": None}},
        {"field_name": "A", "field_type": "enum", "options": [{"label": "x" * 256}]},
        {"field_name": "A", "field_type": {}},
        [],
    ],
)
def test_an_ill_formed_field_is_refused(
    client: SandboxClient, account: CrmAccount, body: Any
) -> None:
    assert client.http.post(FIELDS, json=body).status_code == 400
    assert len(account.history) == 0


def test_a_renamed_field_keeps_its_code_and_its_values(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["organizations"].named("Kundennummer").code
    before = client.data(ORGANIZATION)

    renamed = client.http.patch(f"{FIELDS}/{code}", json={"field_name": "Debitor"}).json()["data"]

    assert (renamed["field_name"], renamed["field_code"]) == ("Debitor", code)
    assert client.data(ORGANIZATION) == before


def test_settings_of_a_field_are_kept_and_shown_only_on_request(
    client: SandboxClient, account: CrmAccount
) -> None:
    path = f"{FIELDS}/{account.fields['organizations'].named('Kundennummer').code}"
    important = {"enabled": True, "stage_ids": [4]}

    plain = client.http.patch(path, json={"important_fields": important}).json()["data"]
    client.http.patch(path, json={"ui_visibility": {"add_visible_flag": True}})
    asked = client.data(path, include_fields="important_fields,ui_visibility")

    assert "important_fields" not in plain
    assert asked["important_fields"] == important
    assert asked["ui_visibility"]["add_visible_flag"] is True
    assert asked["ui_visibility"]["details_visible_flag"] is True


def test_a_change_of_nothing_is_refused(client: SandboxClient, account: CrmAccount) -> None:
    code = account.fields["organizations"].named("Kundennummer").code

    assert client.http.patch(f"{FIELDS}/{code}", json={}).status_code == 400


def test_type_and_code_of_a_field_cannot_be_changed(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["organizations"].named("Kundennummer").code

    answer = client.http.patch(f"{FIELDS}/{code}", json={"field_type": "text"})

    assert answer.status_code == 400


def test_a_deleted_field_leaves_definitions_and_records_at_once(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["organizations"].named("Kundennummer").code
    before = client.data(ORGANIZATION)

    answer = client.http.delete(f"{FIELDS}/{code}")

    after = client.data(ORGANIZATION)
    assert answer.json()["data"]["field_code"] == code
    assert code not in after["custom_fields"]
    assert after["update_time"] == before["update_time"]
    assert client.refusal(f"{FIELDS}/{code}")[0] == 404


def test_a_field_made_again_under_its_name_has_another_code(account: CrmAccount) -> None:
    book = account.fields["organizations"]
    old = book.drop(book.named("Kundennummer").code)

    new = book.add("Kundennummer", "varchar")

    assert new.code != old.code
    assert book.named("Kundennummer") == new


def test_built_in_fields_cannot_be_changed(client: SandboxClient) -> None:
    assert client.http.delete(f"{FIELDS}/name").status_code == 403


def test_options_are_added_renamed_and_deleted_and_records_keep_their_ids(
    client: SandboxClient, account: CrmAccount
) -> None:
    field = account.fields["organizations"].named("Region")
    path, first = f"{FIELDS}/{field.code}/options", (field.options or ())[0]
    account.edit("organizations", 3, custom_fields={field.code: first.id})

    added = client.http.post(path, json=[{"label": "Mitte"}]).json()["data"]
    renamed = client.http.patch(path, json=[{"id": first.id, "label": "Hoch oben"}]).json()["data"]
    deleted = client.http.request("DELETE", path, json=[{"id": first.id}]).json()["data"]

    left = [
        (option["id"], option["label"])
        for option in client.data(f"{FIELDS}/{field.code}")["options"]
    ]
    assert [option["label"] for option in added] == ["Mitte"]
    assert renamed == deleted == [{"id": first.id, "label": "Hoch oben"}]
    assert left[-1] == (added[0]["id"], "Mitte")
    assert first.id not in dict(left)
    assert client.data(ORGANIZATION)["custom_fields"][field.code] == first.id
    v1 = {row["key"]: row for row in client.data("/v1/organizationFields", limit=500)}
    assert v1[field.code]["options_deleted"] == [{"id": first.id, "label": "Hoch oben"}]


def test_changes_of_options_are_all_or_nothing(client: SandboxClient, account: CrmAccount) -> None:
    field = account.fields["organizations"].named("Region")
    path, first = f"{FIELDS}/{field.code}/options", (field.options or ())[0]

    rows = [{"id": first.id, "label": "X"}, {"id": 99_999, "label": "Y"}]
    answer = client.http.patch(path, json=rows)

    assert answer.status_code == 400
    assert account.fields["organizations"].named("Region") == field


def test_v1_lists_subfields_as_rows_of_their_own_and_pages_by_offset(client: SandboxClient) -> None:
    first = client.get("/v1/organizationFields", limit=50).json()
    rest = client.data("/v1/organizationFields", start=50, limit=500)

    rows = {row["key"]: row for row in [*first["data"], *rest]}
    credit = next(row for row in rows.values() if row["name"] == "Kreditlimit")
    assert first["additional_data"]["pagination"] == {
        "start": 0,
        "limit": 50,
        "more_items_in_collection": True,
        "next_start": 50,
    }
    assert rows[f"{credit['key']}_currency"]["is_subfield"] is True
    assert [subfield["key"] for subfield in credit["subfields"]] == [f"{credit['key']}_currency"]
    assert "is_subfield" not in credit
    assert rows["annual_revenue"]["field_type"] == "double"
    assert credit["edit_flag"] is True


def test_an_account_may_have_two_thousand_fields() -> None:
    account = seeded(3, 0, organization_fields=2_000)
    with serve(account) as sandbox, SandboxClient(sandbox) as client:
        assert sum(row["is_custom_field"] for row in client.rows(FIELDS, limit=500)) == 2_000
        assert len(client.data(ORGANIZATION)["custom_fields"]) == 2_000
