"""Deals, products, activities, notes and leads: lists, schemas, prices and scopes of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve, truth
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.sandbox import entity_schemas, schemas
from pipedrive_pipeline_tests.sandbox.client import Query, SandboxClient, as_app, custom_types
from pipedrive_pipeline_tests.sandbox.schemas import check

V2_LISTS = {
    "pipelines": "/api/v2/pipelines",
    "stages": "/api/v2/stages",
    "products": "/api/v2/products",
    "activities": "/api/v2/activities",
}
V1_LISTS = {"notes": "/v1/notes", "leads": "/v1/leads"}
WHOLE_LISTS = {
    "activity_types": "/v1/activityTypes",
    "lead_labels": "/v1/leadLabels",
    "lead_sources": "/v1/leadSources",
}
# What the contract says that a call costs, and one of the scopes that it needs.
PRICES: dict[str, tuple[int, str]] = {
    "/api/v2/deals": (10, "deals:read"),
    "/api/v2/deals/archived": (20, "deals:read"),
    "/api/v2/deals/1": (1, "deals:read"),
    "/api/v2/deals/products?deal_ids=1,2": (10, "products:read"),
    "/api/v2/deals/2/products": (10, "deals:read"),
    "/v1/deals/1/participants": (10, "deals:read"),
    "/v1/deals/1/changelog": (20, "recents:read"),
    "/api/v2/persons?deal_id=1": (10, "contacts:read"),
    "/api/v2/pipelines": (5, "deals:read"),
    "/api/v2/pipelines/1": (1, "deals:read"),
    "/api/v2/stages": (5, "deals:read"),
    "/api/v2/stages/1": (1, "deals:read"),
    "/api/v2/products": (10, "products:read"),
    "/api/v2/products/1": (1, "products:read"),
    "/api/v2/products/4/variations": (10, "products:read"),
    "/api/v2/activities": (10, "activities:read"),
    "/api/v2/activities/1": (1, "activities:read"),
    "/v1/activityTypes": (20, "activities:read"),
    "/v1/notes": (20, "contacts:read"),
    "/v1/notes/1": (2, "deals:read"),
    "/v1/leads": (20, "leads:read"),
    "/v1/leads/archived": (40, "leads:read"),
    "/v1/leadLabels": (10, "leads:read"),
    "/v1/leadSources": (2, "leads:read"),
    "/v1/leadFields": (20, "leads:read"),
    "/api/v2/dealFields": (10, "deals:read"),
    "/api/v2/productFields": (10, "products:read"),
    "/api/v2/activityFields": (10, "activities:read"),
    "/v1/dealFields": (20, "deals:read"),
}


@pytest.fixture(scope="module")
def controlled() -> Iterator[SandboxClient]:
    """A client of a company that is edited by control routes."""
    with (
        serve(seeded(24, 24), has_limits=False, has_control=True) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def unscoped() -> Iterator[Sandbox]:
    """A company whose app has no scope but the one that every app has."""
    with serve(seeded(8, 8), has_limits=False, scopes=("base",)) as sandbox:
        yield sandbox


def schema_of(sandbox: Sandbox, entity: str) -> schemas.Schema:
    """The schema of a kind, with the custom fields of the company."""
    fields_of = ENTITIES[entity].fields_of
    types = custom_types(sandbox, fields_of) if fields_of else {}
    return entity_schemas.record(entity, types)


def offset_rows(client: SandboxClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list of v1."""
    rows: list[dict[str, Any]] = []
    more, query = True, {"start": 0, **query}
    while more:
        body = client.get(path, **query).json()
        rows += body["data"]
        pagination = body["additional_data"]["pagination"]
        more, query["start"] = pagination["more_items_in_collection"], pagination.get("next_start")
    return rows


@pytest.mark.parametrize("entity", V2_LISTS)
def test_a_v2_list_shows_every_record_once_in_every_order(
    company: SandboxClient, entity: str
) -> None:
    path, rows = V2_LISTS[entity], list(company.sandbox.truth(entity))

    check(company.get(path, limit=500).json(), schemas.v2_page(schema_of(company.sandbox, entity)))
    assert company.rows(path, limit=7) == rows
    for field in ENTITIES[entity].sort_fields:
        for direction in ("asc", "desc"):
            walked = company.rows(path, limit=7, sort_by=field, sort_direction=direction)
            assert sorted(row["id"] for row in walked) == [row["id"] for row in rows]
            stamps = [row[field] or row["add_time"] for row in walked if field == "update_time"]
            assert stamps == sorted(stamps, reverse=direction == "desc")


@pytest.mark.parametrize("entity", V1_LISTS)
def test_a_v1_list_shows_every_record_once_with_nested_paging(
    company: SandboxClient, entity: str
) -> None:
    path, rows = V1_LISTS[entity], list(company.sandbox.truth(entity))
    live = [row for row in rows if not row.get("is_archived")]

    check(company.get(path, limit=500).json(), schemas.v1_page(schema_of(company.sandbox, entity)))
    assert offset_rows(company, path, limit=7) == live
    newest = offset_rows(company, path, limit=7, sort="update_time DESC, id ASC")
    stamps = [row["update_time"] for row in newest]
    assert sorted(stamps, reverse=True) == stamps
    assert sorted(row["id"] for row in newest) == sorted(row["id"] for row in live)
    check(
        company.get(f"{path}/{live[0]['id']}").json(),
        schemas.single(schema_of(company.sandbox, entity)),
    )


@pytest.mark.parametrize("entity", WHOLE_LISTS)
def test_a_short_v1_list_comes_whole(company: SandboxClient, entity: str) -> None:
    body = company.get(WHOLE_LISTS[entity]).json()

    check(body, schemas.single(schemas.listed(schema_of(company.sandbox, entity))))
    assert body["data"] == list(company.sandbox.truth(entity))


def test_both_lists_of_deals_together_hold_every_deal(company: SandboxClient) -> None:
    schema = schemas.v2_page(schema_of(company.sandbox, "deals"))
    every: Query = {"status": "open,won,lost,deleted", "limit": 9}
    active = company.rows("/api/v2/deals", **every)
    archived = company.rows("/api/v2/deals/archived", **every)

    check(company.get("/api/v2/deals", limit=500).json(), schema)
    check(company.get("/api/v2/deals/archived", limit=500).json(), schema)
    assert archived
    assert {row["is_archived"] for row in archived} == {True}
    assert {row["is_archived"] for row in active} == {False}
    assert sorted(active + archived, key=lambda row: row["id"]) == [
        *truth(company.sandbox.account, "deals")
    ]
    assert {row["status"] for row in active} == {"open", "won", "lost", "deleted"}
    assert len(company.rows("/api/v2/deals", limit=500)) == len(active) - 1


def test_archived_leads_have_a_list_of_their_own_without_a_window(company: SandboxClient) -> None:
    live = offset_rows(company, "/v1/leads", limit=4)
    archived = offset_rows(company, "/v1/leads/archived", limit=2)

    rows = sorted([*live, *archived], key=lambda row: str(row["id"]))
    assert rows == list(company.sandbox.truth("leads"))
    assert archived
    assert all(row["archive_time"] for row in archived)
    status, _ = company.refusal("/v1/leads/archived", updated_since="2026-01-01T00:00:00Z")
    assert status == 400


def test_lines_are_listed_for_one_deal_and_for_a_hundred(company: SandboxClient) -> None:
    schema = schemas.v2_page(schema_of(company.sandbox, "deal_products"))
    ids = ",".join(map(str, range(1, 61)))

    body = company.get("/api/v2/deals/products", deal_ids=ids, limit=500).json()

    check(body, schema)
    check(company.get("/api/v2/deals/2/products").json(), schema)
    assert body["data"] == list(company.sandbox.truth("deal_products"))
    assert company.rows("/api/v2/deals/products", deal_ids=ids, limit=7) == body["data"]
    assert {row["deal_id"] for row in company.data("/api/v2/deals/2/products")} == {2}
    assert company.refusal("/api/v2/deals/products")[0] == 400
    assert company.refusal("/api/v2/deals/999/products")[0] == 404


def test_a_seeded_deal_is_worth_its_lines(company: SandboxClient) -> None:
    lines = list(company.sandbox.truth("deal_products"))
    deals = {row["id"]: row for row in company.sandbox.truth("deals")}

    assert len(lines) == 60
    for deal_id in {line["deal_id"] for line in lines}:
        its = [line for line in lines if line["deal_id"] == deal_id]
        assert deals[deal_id]["value"] == pytest.approx(sum(line["sum"] for line in its))
        assert {line["currency"] for line in its} == {deals[deal_id]["currency"]}


def test_participants_and_the_persons_of_a_deal_agree(company: SandboxClient) -> None:
    page = schemas.v1_page(schema_of(company.sandbox, "deal_participants"))
    sizes = set()
    for deal_id in range(1, 25):
        body = company.get(f"/v1/deals/{deal_id}/participants").json()
        check(body, page)
        people = {row["person_id"]["value"] for row in body["data"]}
        assert set(company.ids("/api/v2/persons", deal_id=deal_id)) == people
        deal = company.data(f"/api/v2/deals/{deal_id}")
        assert deal["person_id"] is None or deal["person_id"] in people
        sizes.add(len(people))

    assert sizes >= {0, 1}
    assert company.ids("/api/v2/persons", deal_id=3, ids="1,2,3") == []


def test_variations_belong_to_every_fourth_product(company: SandboxClient) -> None:
    body = company.get("/api/v2/products/4/variations").json()

    check(body, schemas.v2_page(schema_of(company.sandbox, "product_variations")))
    assert [row["product_id"] for row in body["data"]] == [4, 4]
    assert company.data("/api/v2/products/5/variations") == []


def test_the_changelog_of_a_seeded_deal_leads_to_where_it_stands(company: SandboxClient) -> None:
    moved = 0
    for deal in company.sandbox.truth("deals"):
        body = company.get(f"/v1/deals/{deal['id']}/changelog", limit=500).json()
        check(body, schemas.v2_page(entity_schemas.CHANGE))
        stages = [row for row in body["data"] if row["field_key"] == "stage_id"]
        stamps = [row["time"] for row in body["data"]]
        assert stamps == sorted(stamps, reverse=True)
        if deal["stage_change_time"] is None:
            assert stages == []
            continue
        moved += 1
        assert stages[0]["new_value"] == str(deal["stage_id"])
        assert stages[0]["time"] == deal["stage_change_time"].replace("T", " ")[:-1]
        for later, earlier in pairwise(stages):
            assert later["old_value"] == earlier["new_value"]

    assert moved > 10


@pytest.mark.parametrize("path", PRICES)
def test_a_call_costs_what_the_contract_says(company: SandboxClient, path: str) -> None:
    before = company.sandbox.requests.tokens_spent

    answer = company.http.get(path)

    assert answer.status_code == 200, answer.text
    assert company.sandbox.requests.tokens_spent - before == PRICES[path][0]


@pytest.mark.parametrize("path", PRICES)
def test_a_call_needs_its_scope(unscoped: Sandbox, path: str) -> None:
    scope = PRICES[path][1]
    with as_app(unscoped) as app:
        refused = app.http.get(path)
    unscoped.grants.give_scopes(scope)
    with as_app(unscoped) as app:
        granted = app.http.get(path)
    unscoped.grants.take_scopes(scope)

    assert granted.status_code in (200, 404), granted.text
    assert (refused.status_code, refused.json()["error"]) == (403, "Scope and URL mismatch")


@pytest.mark.parametrize("entity", ["deals", "products", "activities"])
def test_field_definitions_come_in_both_versions(company: SandboxClient, entity: str) -> None:
    singular = ENTITIES[entity].singular
    v2 = company.rows(f"/api/v2/{singular}Fields", limit=5)

    for field in v2:
        check(field, schemas.V2_FIELD)
    for field in company.data(f"/v1/{singular}Fields", limit=500):
        check(field, schemas.V1_FIELD)
    codes = {field["field_code"] for field in v2}
    (row,) = company.rows(f"/api/v2/{entity}", limit=1)[:1]
    assert set(row.get("custom_fields", {})) <= codes
    assert {"add_time", "update_time"} <= codes


def test_the_options_of_a_status_are_words_and_lost_reasons_are_labels(
    company: SandboxClient,
) -> None:
    status = company.data("/api/v2/dealFields/status")
    reasons = company.data("/api/v2/dealFields/lost_reason")

    assert [option["id"] for option in status["options"]] == ["open", "won", "lost", "deleted"]
    labels = {option["label"] for option in reasons["options"]}
    assert {row["lost_reason"] for row in company.sandbox.truth("deals")} & labels


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v2/stages", {"updated_since": "2026-01-01T00:00:00Z"}),
        ("/api/v2/products", {"updated_until": "2026-01-01T00:00:00Z"}),
        ("/api/v2/activities", {"type": "call"}),
        ("/api/v2/activities", {"custom_fields": "x"}),
        ("/api/v2/deals", {"status": "gone"}),
        ("/api/v2/deals/archived", {"include_labels": "true"}),
        ("/v1/notes", {"sort": "color DESC"}),
        ("/v1/notes", {"pinned_to_deal_flag": "true"}),
        ("/v1/leads", {"updated_since": "gestern"}),
    ],
)
def test_a_parameter_that_a_list_does_not_know_is_refused(
    company: SandboxClient, path: str, query: dict[str, str]
) -> None:
    assert company.refusal(path, **query)[0] == 400


def test_filters_select_by_what_a_record_points_at(company: SandboxClient) -> None:
    account = company.sandbox.account
    for path, entity in (
        ("/api/v2/deals", "deals"),
        ("/api/v2/activities", "activities"),
        ("/v1/notes", "notes"),
    ):
        rows = [row for row in truth(account, entity) if not row.get("is_archived")]
        for key in ("person_id", "org_id"):
            wanted = next(row[key] for row in rows if row[key])
            expected = [
                row["id"] for row in rows if row[key] == wanted and row.get("status") != "deleted"
            ]
            assert [row["id"] for row in company.data(path, limit=500, **{key: wanted})] == expected
    done = company.rows("/api/v2/activities", done=True, limit=500)
    assert {row["done"] for row in done} == {True}
    of_deal = company.ids("/api/v2/activities", deal_id=4)
    assert of_deal == [r["id"] for r in truth(account, "activities") if r["deal_id"] == 4]


def test_include_fields_bring_what_a_deal_does_not_show_by_itself(company: SandboxClient) -> None:
    keys = "source_lead_id,first_won_time,products_count,activities_count"
    plain, detailed = (
        company.data("/api/v2/deals/18"),
        company.data("/api/v2/deals/18", include_fields=keys),
    )

    assert not set(keys.split(",")) & set(plain)
    assert detailed["source_lead_id"]
    assert detailed["products_count"] == 2
    assert detailed["activities_count"] == len(company.ids("/api/v2/activities", deal_id=18))


def test_an_organization_counts_its_deals(company: SandboxClient) -> None:
    keys = [f"{status}_deals_count" for status in ("open", "won", "lost", "closed")]
    account = company.sandbox.account
    every = [account.get("deals", number) for number in range(1, 63)]
    deals = [deal for deal in every if not deal["is_deleted"]]  # also those that nobody sees
    counts_read = set()
    for org_id in range(1, 20):
        row = company.data(f"/api/v2/organizations/{org_id}", include_fields=",".join(keys))
        its = [deal["status"] for deal in deals if deal["org_id"] == org_id]
        counted = [its.count("open"), its.count("won"), its.count("lost")]
        assert [row[key] for key in keys] == [*counted, sum(counted[1:])]
        counts_read |= set(counted)

    assert counts_read > {0}


def test_what_a_user_may_not_see_is_in_no_list(sandbox: Sandbox) -> None:
    """Stages, types and labels belong to nobody; everybody sees them."""
    sandbox.account.set_rights(901, "own")
    with as_app(sandbox, 901) as app:
        for path, key in (
            ("/api/v2/deals", "owner_id"),
            ("/api/v2/activities", "owner_id"),
            ("/api/v2/products", "owner_id"),
            ("/v1/notes", "user_id"),
            ("/v1/leads", "owner_id"),
        ):
            rows = app.data(path, limit=500)
            assert {row[key] for row in rows} == {901}, path
        assert len(app.data("/api/v2/stages")) == 9
        assert len(app.data("/v1/activityTypes")) == 7
        foreign = next(row for row in sandbox.truth("deals") if row["owner_id"] != 901)
        assert app.get(f"/api/v2/deals/{foreign['id']}").status_code == 403
        assert app.data("/api/v2/deals/products", deal_ids=foreign["id"]) == []


def test_a_walk_of_notes_reads_the_order_once_and_sees_an_edit(client: SandboxClient) -> None:
    first = client.data("/v1/notes", limit=5)
    client.sandbox.account.delete("notes", 2)

    second = client.data("/v1/notes", limit=5, start=5)

    assert [row["id"] for row in first] == [1, 2, 3, 4, 5]
    assert [row["id"] for row in second] == [7, 8, 9, 10, 11]  # 6 moved up and was missed


@pytest.mark.parametrize("entity", sorted(ENTITIES.keys() - {"lead_sources"}))
def test_every_kind_is_edited_deleted_and_restored_by_the_control_routes(
    controlled: SandboxClient, entity: str
) -> None:
    kind, sandbox = ENTITIES[entity], controlled.sandbox
    rows = list(sandbox.truth(entity))
    target = rows[1]["id"]

    def post(**body: Any) -> None:
        answer = controlled.http.post("/_sandbox/edit", json={"entity": entity, **body})
        assert answer.status_code == 200, answer.text

    def shown() -> list[dict[str, Any]]:
        return [row for row in sandbox.truth(entity) if row["id"] == target]

    if kind.title_key in kind.defaults:
        post(action="edit", ids=[target], values={kind.title_key: "Anders"})
        assert shown()[0][kind.title_key] == "Anders"
    post(action="plant", ids=[target], values={"brand_new_key": 5})
    assert shown()[0]["brand_new_key"] == 5
    post(action="delete", ids=[target])
    gone = [row["status"] for row in shown()] if entity == "deals" else shown()
    assert gone == (["deleted"] if entity == "deals" else [])
    post(action="restore", ids=[target])
    assert [row["id"] for row in sandbox.truth(entity)] == [row["id"] for row in rows]
