"""Every answer satisfies the schema that the contract gives it, whatever was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.web.service import ENDPOINTS
from pipedrive_pipeline_tests.sandbox import schemas
from pipedrive_pipeline_tests.sandbox.reader import Reader, installed

ENTITIES = {"organizations": "organization", "persons": "person"}


def _check(body: Any, schema: schemas.Schema) -> None:
    jsonschema.Draft202012Validator(schema).validate(body)


def _types(sandbox: Sandbox, entity: str) -> dict[str, str]:
    return {one.code: one.type for one in sandbox.account.fields[entity] if one.is_custom}


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("shows_unset", [True, False])
def test_records_are_as_documented_with_all_types_of_custom_fields(
    entity: str, *, shows_unset: bool
) -> None:
    account = seeded(60, 150, shows_unset=shows_unset)
    with serve(account, has_limits=False) as sandbox, Reader(sandbox) as reader:
        schema = schemas.record(entity, _types(sandbox, entity), shows_unset=shows_unset)

        _check(reader.get(f"/api/v2/{entity}", limit=500).json(), schemas.v2_page(schema))
        for row_id in range(1, 20):  # the awkward ones
            _check(reader.get(f"/api/v2/{entity}/{row_id}").json(), schemas.single(schema))


@pytest.mark.parametrize("entity", ENTITIES)
def test_writes_answer_the_whole_record(reader: Reader, entity: str) -> None:
    schema = schemas.single(schemas.record(entity, _types(reader.sandbox, entity)))
    path = f"/api/v2/{entity}"

    _check(reader.http.post(path, json={"name": "Neu GmbH"}).json(), schema)
    _check(reader.http.patch(f"{path}/2", json={"name": "Anders"}).json(), schema)
    deleted = schemas.single(schemas.thing({"id": schemas.ID}))
    _check(reader.http.delete(f"{path}/2").json(), deleted)
    merge = reader.http.put(f"/v1/{entity}/3/merge", json={"merge_with_id": 4}).json()
    _check(merge, schemas.single(schemas.thing({"id": schemas.ID}, is_open=True)))


@pytest.mark.parametrize("entity", ENTITIES)
def test_fields_are_as_documented_in_both_versions(reader: Reader, entity: str) -> None:
    singular, extras = ENTITIES[entity], "ui_visibility,important_fields,required_fields"
    v2 = reader.get(f"/api/v2/{singular}Fields", limit=500, include_fields=extras).json()
    code = v2["data"][-1]["field_code"]

    _check(v2, schemas.v2_page(schemas.V2_FIELD))
    _check(reader.get(f"/api/v2/{singular}Fields/{code}").json(), schemas.single(schemas.V2_FIELD))
    _check(reader.get(f"/v1/{singular}Fields", limit=500).json(), schemas.v1_page(schemas.V1_FIELD))
    created = reader.http.post(
        f"/api/v2/{singular}Fields", json={"field_name": "N", "field_type": "text"}
    )
    _check(created.json(), schemas.single(schemas.V2_FIELD))
    _check(
        reader.http.delete(f"/api/v2/{singular}Fields/{code}").json(),
        schemas.single(schemas.V2_FIELD),
    )


@pytest.mark.parametrize("entity", ENTITIES)
def test_answers_about_options_hold_what_was_touched(reader: Reader, entity: str) -> None:
    fields = f"/api/v2/{ENTITIES[entity]}Fields"
    body = {"field_name": "N", "field_type": "set", "options": [{"label": "a"}, {"label": "b"}]}
    made = reader.http.post(fields, json=body).json()["data"]
    first, second = (one["id"] for one in made["options"])
    path = f"{fields}/{made['field_code']}/options"
    schema = schemas.thing(
        {
            "success": {"const": True},
            "data": schemas.OPTIONS,
            "additional_data": schemas.NOTHING,
        }
    )

    added = reader.http.post(path, json=[{"label": "c"}]).json()
    renamed = reader.http.patch(path, json=[{"id": first, "label": "A"}]).json()
    deleted = reader.http.request("DELETE", path, json=[{"id": second}]).json()

    for answer, label in ((added, "c"), (renamed, "A"), (deleted, "b")):
        _check(answer, schema)
        assert [one["label"] for one in answer["data"]] == [label]
    _check(
        reader.get(f"/v1/{ENTITIES[entity]}Fields", limit=500).json(),
        schemas.v1_page(schemas.V1_FIELD),
    )


def test_users_are_as_documented(reader: Reader) -> None:
    user = schemas.thing(schemas.USER_KEYS)

    _check(reader.get("/v1/users").json(), schemas.single(schemas.listed(user)))
    _check(reader.get("/v1/users/900").json(), schemas.single(user))
    _check(reader.get("/v1/users/me").json(), schemas.single(schemas.ME))


@pytest.mark.parametrize("entity", ENTITIES)
def test_search_results_are_as_documented(reader: Reader, entity: str) -> None:
    body = reader.get(f"/api/v2/{entity}/search", term="Müller", limit=500).json()
    more = reader.get(f"/api/v2/{entity}/search", term="er", limit=500).json()

    _check(body, schemas.search_page(entity))
    _check(more, schemas.search_page(entity))
    assert more["data"]["items"]


def test_token_answers_and_errors_are_as_documented(reader: Reader) -> None:
    _check(installed(reader.sandbox), schemas.TOKENS)
    _check(reader.token_answer(grant_type="refresh_token").json(), schemas.TOKEN_ERROR)


def test_refusals_are_worded_by_their_origin(sandbox: Sandbox) -> None:
    with Reader(sandbox, headers={}) as nobody, Reader(sandbox) as reader:
        _check(nobody.get("/api/v2/persons").json(), schemas.GATEWAY_ERROR)
        _check(reader.get("/api/v2/persons", nope=1).json(), schemas.SERVICE_ERROR)
        _check(reader.get("/api/v2/persons/0").json(), schemas.SERVICE_ERROR)
        _check(reader.get("/api/v2/persons/9999").json(), schemas.SERVICE_ERROR)
        _check(reader.get("/api/v2/organizations/61").json(), schemas.SERVICE_ERROR)
        _check(reader.get("/v1/persons").json(), schemas.SERVICE_ERROR)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Reader]:
    account = seeded(20, 40, organization_fields=16, person_fields=16)
    with serve(account, has_limits=False) as sandbox, Reader(sandbox) as reader:
        yield reader


names = st.sampled_from(
    ["limit", "cursor", "ids", "sort_by", "updated_since", "custom_fields", "term", "start", "x"]
)
texts = st.one_of(st.text(max_size=12), st.integers().map(str), st.sampled_from(["id", "true", ""]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    ["name", "first_name", "owner_id", "org_id", "emails", "label_ids", "address", "visible_to",
     "custom_fields", "add_time", "field_name", "field_type", "options", "merge_with_id", "label"]
)  # fmt: skip
bodies = st.one_of(values, st.dictionaries(keys, values, max_size=4), st.lists(values, max_size=2))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(ENDPOINTS),
    st.one_of(st.integers(-1, 50).map(str), st.text("ab%.0", min_size=1, max_size=5)),
    st.dictionaries(names, texts, max_size=3),
    bodies,
)
def test_no_request_whatever_ends_in_a_server_error(
    fuzzed: Reader, endpoint: Any, part: str, query: dict[str, str], body: Any
) -> None:
    """Generated requests get documented statuses and JSON of a documented shape, never a 5xx."""
    path = endpoint.path.replace("{id}", part).replace("{field_code}", part)
    has_body = endpoint.method in ("POST", "PATCH", "PUT")
    content = _as_json(body) if has_body else None

    answer = fuzzed.http.request(endpoint.method, path, params=query, content=content)

    assert answer.status_code in (200, 400, 403, 404, 405, 410), answer.text
    assert ("allow" in answer.headers) == (answer.status_code == 405)
    if answer.status_code == 200:
        assert answer.json()["success"] is True
    else:
        _check(answer.json(), schemas.SERVICE_ERROR)


def _as_json(body: Any) -> bytes:
    """JSON text of any value; NaN is written as Python writes it, which is not JSON."""
    return json.dumps(body).encode("utf-8", "replace")
