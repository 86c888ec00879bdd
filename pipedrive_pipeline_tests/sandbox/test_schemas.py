"""Every answer satisfies the schema that the contract gives it."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.sandbox import schemas
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, custom_types, installed
from pipedrive_pipeline_tests.sandbox.schemas import check

ENTITIES = {"organizations": "organization", "persons": "person"}


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("shows_unset", [True, False])
def test_records_are_as_documented_with_all_types_of_custom_fields(
    entity: str, *, shows_unset: bool
) -> None:
    account = seeded(60, 150, shows_unset=shows_unset)
    with serve(account, has_limits=False) as sandbox, SandboxClient(sandbox) as client:
        schema = schemas.record(entity, custom_types(sandbox, entity), shows_unset=shows_unset)

        check(client.get(f"/api/v2/{entity}", limit=500).json(), schemas.v2_page(schema))
        for row_id in range(1, 20):  # the awkward ones
            check(client.get(f"/api/v2/{entity}/{row_id}").json(), schemas.single(schema))


@pytest.mark.parametrize("entity", ENTITIES)
def test_writes_answer_the_whole_record(client: SandboxClient, entity: str) -> None:
    schema = schemas.single(schemas.record(entity, custom_types(client.sandbox, entity)))
    path = f"/api/v2/{entity}"

    check(client.http.post(path, json={"name": "Neu GmbH"}).json(), schema)
    check(client.http.patch(f"{path}/2", json={"name": "Anders"}).json(), schema)
    deleted = schemas.single(schemas.thing({"id": schemas.ID}))
    check(client.http.delete(f"{path}/2").json(), deleted)
    merge = client.http.put(f"/v1/{entity}/3/merge", json={"merge_with_id": 4}).json()
    check(merge, schemas.single(schemas.thing({"id": schemas.ID}, is_open=True)))


@pytest.mark.parametrize("entity", ENTITIES)
def test_fields_are_as_documented_in_both_versions(client: SandboxClient, entity: str) -> None:
    singular, extras = ENTITIES[entity], "ui_visibility,important_fields,required_fields"
    v2 = client.get(f"/api/v2/{singular}Fields", limit=500, include_fields=extras).json()
    code = v2["data"][-1]["field_code"]

    check(v2, schemas.v2_page(schemas.V2_FIELD))
    check(client.get(f"/api/v2/{singular}Fields/{code}").json(), schemas.single(schemas.V2_FIELD))
    check(client.get(f"/v1/{singular}Fields", limit=500).json(), schemas.v1_page(schemas.V1_FIELD))
    created = client.http.post(
        f"/api/v2/{singular}Fields", json={"field_name": "N", "field_type": "text"}
    )
    check(created.json(), schemas.single(schemas.V2_FIELD))
    check(
        client.http.delete(f"/api/v2/{singular}Fields/{code}").json(),
        schemas.single(schemas.V2_FIELD),
    )


@pytest.mark.parametrize("entity", ENTITIES)
def test_answers_about_options_hold_what_was_touched(client: SandboxClient, entity: str) -> None:
    fields = f"/api/v2/{ENTITIES[entity]}Fields"
    body = {"field_name": "N", "field_type": "set", "options": [{"label": "a"}, {"label": "b"}]}
    field = client.http.post(fields, json=body).json()["data"]
    first, second = (option["id"] for option in field["options"])
    path = f"{fields}/{field['field_code']}/options"

    added = client.http.post(path, json=[{"label": "c"}]).json()
    renamed = client.http.patch(path, json=[{"id": first, "label": "A"}]).json()
    deleted = client.http.request("DELETE", path, json=[{"id": second}]).json()

    for answer, label in ((added, "c"), (renamed, "A"), (deleted, "b")):
        check(answer, schemas.TOUCHED_OPTIONS)
        assert [option["label"] for option in answer["data"]] == [label]
    check(
        client.get(f"/v1/{ENTITIES[entity]}Fields", limit=500).json(),
        schemas.v1_page(schemas.V1_FIELD),
    )


def test_users_are_as_documented(client: SandboxClient) -> None:
    user = schemas.thing(schemas.USER_KEYS)

    check(client.get("/v1/users").json(), schemas.single(schemas.listed(user)))
    check(client.get("/v1/users/900").json(), schemas.single(user))
    check(client.get("/v1/users/me").json(), schemas.single(schemas.ME))


@pytest.mark.parametrize("entity", ENTITIES)
def test_search_results_are_as_documented(client: SandboxClient, entity: str) -> None:
    body = client.get(f"/api/v2/{entity}/search", term="Müller", limit=500).json()
    more = client.get(f"/api/v2/{entity}/search", term="er", limit=500).json()

    check(body, schemas.search_page(entity))
    check(more, schemas.search_page(entity))
    assert more["data"]["items"]


def test_token_answers_and_errors_are_as_documented(client: SandboxClient) -> None:
    check(installed(client.sandbox), schemas.TOKENS)
    check(client.token_answer(grant_type="refresh_token").json(), schemas.TOKEN_ERROR)


def test_refusals_are_worded_by_their_origin(sandbox: Sandbox) -> None:
    with SandboxClient(sandbox, headers={}) as nobody, SandboxClient(sandbox) as client:
        check(nobody.get("/api/v2/persons").json(), schemas.GATEWAY_ERROR)
        check(client.get("/api/v2/persons", nope=1).json(), schemas.SERVICE_ERROR)
        check(client.get("/api/v2/persons/0").json(), schemas.SERVICE_ERROR)
        check(client.get("/api/v2/persons/9999").json(), schemas.SERVICE_ERROR)
        check(client.get("/api/v2/organizations/61").json(), schemas.SERVICE_ERROR)
        check(client.get("/v1/persons").json(), schemas.SERVICE_ERROR)
