"""v2 lists and gets keep the documented parameters, envelopes and refusals."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, seeded, serve
from pipedrive_pipeline_tests.sandbox.client import SandboxClient

ORGANIZATIONS, PERSONS = "/api/v2/organizations", "/api/v2/persons"


@pytest.mark.parametrize("entity", ["organizations", "persons"])
@pytest.mark.parametrize("limit", [1, 7, 60, 500])
def test_a_complete_walk_equals_the_truth(client: SandboxClient, entity: str, limit: int) -> None:
    assert client.rows(f"/api/v2/{entity}", limit=limit) == list(client.sandbox.truth(entity))


def test_a_page_has_100_rows_unless_the_request_says_otherwise(client: SandboxClient) -> None:
    assert [len(page) for page in client.pages(PERSONS)] == [100, 50]


@pytest.mark.parametrize(
    "query",
    [
        {"limt": 5},
        {"limit": 501},
        {"limit": 0},
        {"limit": -1},
        {"limit": "ten"},
        {"limit": "1.0"},
        {"cursor": "nonsense"},
        {"cursor": "eyJmaWVsZCI6ImlkIn0"},
        {"cursor": "ä"},
        {"sort_by": "name"},
        {"sort_direction": "ASC"},
        {"owner_id": "900x"},
        {"ids": "1,,2"},
        {"ids": ",".join(map(str, range(1, 102)))},
        {"updated_since": "2026-01-31T10:20:30.123Z"},
        {"updated_since": "2026-01-31 10:20:30"},
        {"updated_since": "2026-01-31"},
        {"updated_since": "2026-02-30T10:20:30Z"},
        {"updated_until": "0001-01-01T00:00:00+14:00"},
        {"include_fields": "name"},
        {"custom_fields": ",".join(f"{n:040d}" for n in range(16))},
        {"include_labels": "1"},
        {"org_id": 5},
        {"start": 0},
    ],
)
def test_an_unknown_or_ill_typed_parameter_is_refused(
    client: SandboxClient, query: dict[str, str | int]
) -> None:
    """Strict validation is documented; fractional seconds were met on live accounts."""
    answer = client.get(ORGANIZATIONS, **query)

    assert answer.status_code == 400
    assert answer.json()["code"] == "ERR_SCHEMA_VALIDATION_FAILED"
    assert answer.json()["data"] is None


def test_a_repeated_parameter_is_refused(client: SandboxClient) -> None:
    assert client.http.get(f"{ORGANIZATIONS}?limit=1&limit=2").status_code == 400


def test_an_offset_in_the_window_is_understood_as_the_same_instant(client: SandboxClient) -> None:
    in_utc = client.ids(ORGANIZATIONS, updated_since="2025-06-01T00:00:00Z")
    in_kiel = client.ids(ORGANIZATIONS, updated_since="2025-06-01T02:00:00+02:00")

    assert in_utc == in_kiel
    assert 0 < len(in_utc) < 60


def test_a_cursor_of_another_order_is_refused(client: SandboxClient) -> None:
    cursor = client.get(ORGANIZATIONS, limit=1).json()["additional_data"]["next_cursor"]

    status, error = client.refusal(ORGANIZATIONS, limit=1, cursor=cursor, sort_by="add_time")

    assert (status, error) == (400, "Parameter 'cursor' does not belong to this request")


def test_ids_that_are_unknown_deleted_or_invisible_are_left_out(client: SandboxClient) -> None:
    client.sandbox.account.delete("organizations", 5)

    assert client.ids(ORGANIZATIONS, ids="61,5,3,999999,2") == [2, 3]


@pytest.mark.parametrize(
    "query", [{"ids": "3,3"}, {"custom_fields": "a,a"}, {"include_fields": "people_count," * 2}]
)
def test_a_list_that_names_something_twice_is_refused(
    client: SandboxClient, query: dict[str, str]
) -> None:
    assert client.refusal(ORGANIZATIONS, **query)[0] == 400


def test_ids_page_like_any_list(client: SandboxClient) -> None:
    assert client.ids(ORGANIZATIONS, ids="9,8,7,6", limit=1, sort_direction="desc") == [9, 8, 7, 6]


def test_filters_by_owner_and_organization_narrow_the_list(client: SandboxClient) -> None:
    persons = list(client.sandbox.truth("persons"))

    of_owner = client.ids(PERSONS, owner_id=901, limit=9)
    of_organization = client.ids(PERSONS, org_id=7)

    assert of_owner == [row["id"] for row in persons if row["owner_id"] == 901]
    assert of_organization == [row["id"] for row in persons if row["org_id"] == 7]
    assert of_owner
    assert of_organization


def test_a_filter_id_overrides_the_other_filters(client: SandboxClient) -> None:
    assert len(client.ids(PERSONS, filter_id=1, org_id=7, limit=500)) == 150


def test_custom_fields_are_limited_to_those_requested(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["organizations"].named("Region").code

    rows = client.rows(ORGANIZATIONS, custom_fields=code)

    assert all(list(row["custom_fields"]) == [code] for row in rows)
    assert any(row["custom_fields"][code] for row in rows)


def test_counters_are_absent_unless_requested(client: SandboxClient) -> None:
    plain = client.data(f"{ORGANIZATIONS}/1")
    asked = client.data(f"{ORGANIZATIONS}/1", include_fields="people_count,smart_bcc_email")

    assert "people_count" not in plain
    assert set(asked) - set(plain) == {"people_count", "smart_bcc_email"}


def test_the_count_of_people_is_the_number_of_persons(client: SandboxClient) -> None:
    persons = [row for row in client.sandbox.truth("persons") if row["org_id"] == 7]

    people_count = client.data(f"{ORGANIZATIONS}/7", include_fields="people_count")["people_count"]

    assert people_count == len(persons) > 0


def test_option_labels_turn_ids_into_objects(client: SandboxClient, account: CrmAccount) -> None:
    region = account.fields["organizations"].named("Region")
    products = account.fields["organizations"].named("Produkte")
    option = (region.options or ())[0]
    account.edit("organizations", 4, custom_fields={region.code: option.id, products.code: [99]})

    row = client.data(f"{ORGANIZATIONS}/4", include_option_labels=True)

    assert row["custom_fields"][region.code] == {"id": option.id, "label": option.label}
    assert row["custom_fields"][products.code] == [{"id": 99, "label": None}]


def test_labels_come_with_their_ids(client: SandboxClient) -> None:
    rows = client.rows(ORGANIZATIONS, include_labels=True)

    assert any(row["labels"] for row in rows)
    assert all([label["id"] for label in row["labels"]] == row["label_ids"] for row in rows)


def test_an_unknown_id_is_not_found(client: SandboxClient) -> None:
    assert client.refusal(f"{PERSONS}/99999") == (404, "Person not found")
    assert client.refusal(f"{PERSONS}/abc")[0] == 400


def test_wrong_paths_and_wrong_methods_have_different_errors(client: SandboxClient) -> None:
    assert client.get("/api/v2/unknown").status_code == 404
    for path, allowed in (("", "GET, POST"), ("/search", "GET"), ("/1", "DELETE, GET, PATCH")):
        answer = client.http.put(f"{ORGANIZATIONS}{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert client.refusal("/api/v2/organizations/%0a1")[0] == 400


def test_keys_of_features_are_missing_without_the_feature() -> None:
    account = seeded(3, 3, has_features=False)
    with serve(account) as sandbox, SandboxClient(sandbox) as client:
        assert "website" not in client.data(f"{ORGANIZATIONS}/1")
        assert "job_title" not in client.data(f"{PERSONS}/1")
        answer = client.http.patch(f"{PERSONS}/1", json={"job_title": "Chefin"})
        assert answer.status_code == 403


def test_switches_answer_otherwise_where_nothing_is_confirmed(account: CrmAccount) -> None:
    account.delete("organizations", 5)
    with (
        serve(
            account,
            clamps_limit=True,
            ignores_unknown_parameters=True,
            shows_deleted_by_id=False,
            forbids_invisible_by_id=False,
            takes_token_in_query=True,
            has_v1_lists=True,
        ) as sandbox,
        SandboxClient(sandbox, headers={}) as client,
    ):
        token = sandbox.api_token
        assert len(client.data(PERSONS, limit=501, api_token=token, unknown="x")) == 150
        assert client.get(f"{ORGANIZATIONS}/5", api_token=token).status_code == 404
        assert client.get(f"{ORGANIZATIONS}/61", api_token=token).status_code == 404
        assert len(client.data("/v1/persons", limit=500, api_token=token)) == 150
        for path in ("/api/v2/personFields/name", "/v1/users/me", "/v1/personFields"):
            assert client.data(path, api_token=token, unknown="x")


def test_retired_lists_are_gone_by_default(client: SandboxClient) -> None:
    assert client.refusal("/v1/organizations") == (410, "Gone")
    assert client.refusal("/v1/persons/1") == (410, "Gone")


def test_a_cursor_dies_when_its_life_is_limited(account: CrmAccount) -> None:
    with serve(account, cursor_seconds=60) as sandbox, SandboxClient(sandbox) as client:
        cursor = client.get(PERSONS, limit=1).json()["additional_data"]["next_cursor"]
        assert client.get(PERSONS, limit=1, cursor=cursor).status_code == 200
        sandbox.clock.advance(61)

        assert client.refusal(PERSONS, limit=1, cursor=cursor)[1] == (
            "Parameter 'cursor' has expired"
        )
