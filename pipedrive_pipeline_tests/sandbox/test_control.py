"""The control routes: everything that a test in Python can do, over HTTP; and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, serve
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, installed


@pytest.fixture
def client(account: CrmAccount) -> Iterator[SandboxClient]:
    with (
        serve(account, has_control=True, has_limits=False) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        yield client


def _posted(client: SandboxClient, route: str, /, **body: Any) -> Any:
    answer = client.http.post(f"/_sandbox/{route}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def _lines(client: SandboxClient, path: str, **query: int) -> list[dict[str, Any]]:
    answer = client.get(f"/_sandbox/{path}", **query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_without_control_the_routes_are_not_there(sandbox: Sandbox) -> None:
    with SandboxClient(sandbox) as client:
        assert client.http.post("/_sandbox/edit", json={}).status_code == 404
        assert client.get("/_sandbox/history").status_code == 404
        assert "data-post=" not in client.get("/").text


def test_every_edit_has_its_message(client: SandboxClient) -> None:
    account = client.sandbox.account
    region = account.fields["organizations"].named("Region")
    option = (region.options or ())[0].id
    on = {"entity": "organizations"}

    created = _posted(client, "edit", action="create", **on, values={"name": "Neu"})
    _posted(client, "edit", action="edit", **on, ids=[1, 2], values={"name": "Zwei"})
    _posted(client, "edit", action="plant", **on, ids=[3], values={"name": 5})
    _posted(client, "edit", action="delete", **on, ids=[4, 5])
    _posted(client, "edit", action="restore", **on, ids=[5], is_touched=False)
    _posted(client, "edit", action="merge", **on, id=6, into=7)
    _posted(client, "edit", action="delay", **on, id=8, seconds=60)
    field = _posted(client, "edit", action="add_field", **on, name="F", type="hologram")
    _posted(client, "edit", action="change_field", **on, code=field["code"], name="G")
    _posted(client, "edit", action="drop_field", **on, code=field["code"])
    _posted(client, "edit", action="add_options", **on, code=region.code, labels=["Mitte"])
    labels = {str(option): "Oben"}
    _posted(client, "edit", action="rename_options", **on, code=region.code, labels=labels)
    _posted(client, "edit", action="drop_options", **on, code=region.code, ids=[option])

    rows = {row["id"]: row for row in _lines(client, "records/organizations")}
    assert rows == {row["id"]: row for row in client.sandbox.truth("organizations")}
    assert set(range(1, 61)) - set(rows) == {4, 6, 8}
    assert rows[created["id"]]["name"] == "Neu"
    assert (rows[1]["name"], rows[3]["name"]) == ("Zwei", 5)
    edits = _lines(client, "history", after=2)
    actions = [edit["action"] for edit in edits if edit["entity"].startswith("organization")]
    assert actions == [
        *["change", "plant", "delete", "delete", "restore", "merge", "change"],
        *["create", "change", "delete", "change", "change", "change"],
    ]


def test_the_truth_can_be_read_as_it_was_and_as_another_user_sees_it(client: SandboxClient) -> None:
    before = _lines(client, "records/persons")
    _posted(client, "edit", action="delete", entity="persons", ids=[2])

    assert _lines(client, "records/persons", as_of=0) == before
    assert len(_lines(client, "records/persons")) == 149
    assert 0 < len(_lines(client, "records/persons", user_id=901)) < 149
    assert client.get("/_sandbox/records/files").status_code == 404
    assert client.get("/_sandbox/records/persons", user_id=5).status_code == 404


def test_faults_are_queued_listed_and_cleared(client: SandboxClient) -> None:
    waiting = _posted(client, "faults", kind="http_500", after=1, times=2, path="/users")
    edit = {"action": "delete", "entity": "persons", "ids": [3]}
    _posted(client, "faults", kind="edit", path="/persons", edit=edit)

    assert waiting == [{"kind": "http_500", "after": 1, "times": 2, "path": "/users"}]
    assert 3 not in client.ids("/api/v2/persons")
    assert [client.get("/v1/users/me").status_code for _ in range(2)] == [200, 500]
    assert _posted(client, "faults", clear=True) == []
    assert client.get("/v1/users/me").status_code == 200


def test_the_clock_is_set_moved_and_stopped(client: SandboxClient) -> None:
    _posted(client, "clock", frozen=True)
    at = _posted(client, "clock", at="2027-01-01T00:00:00Z")
    later = _posted(client, "clock", advance_seconds=3_600)

    assert (at, later) == ("2027-01-01T00:00:00Z", "2027-01-01T01:00:00Z")
    assert client.get("/v1/users/me").headers["date"] == "Fri, 01 Jan 2027 01:00:00 GMT"


def test_edit_times_can_go_back_while_the_clock_goes_on(client: SandboxClient) -> None:
    """A server that writes edit times may have another clock than the one that answers."""
    _posted(client, "clock", frozen=True)
    _posted(client, "clock", at="2027-01-01T00:00:00Z", stamps_shift_seconds=-3_600)

    back = _posted(client, "edit", action="edit", entity="persons", ids=[5], values={"name": "X"})
    _posted(client, "clock", stamps_shift_seconds=0)
    ahead = _posted(client, "edit", action="edit", entity="persons", ids=[5], values={"name": "Y"})

    assert (back, ahead) == ("2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z")


def test_grants_rights_and_budget_are_changed(client: SandboxClient) -> None:
    sandbox = client.sandbox
    tokens = installed(sandbox)
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}

    _posted(client, "grants", action="take_scopes", scopes=["users:read"])
    assert client.http.get("/v1/users", headers=bearer).status_code == 403
    _posted(client, "grants", action="expire_access_tokens")
    assert client.http.get("/v1/users/me", headers=bearer).status_code == 401
    _posted(client, "grants", action="give_scopes", scopes=["users:read"])
    _posted(client, "grants", action="rights", user_id=900, sees="own")
    assert 0 < len(client.ids("/api/v2/persons", limit=500)) < 150
    assert _posted(client, "grants", action="spend", tokens=10**9) == 0
    assert _posted(client, "grants", action="uninstall") == 1
    assert _posted(client, "grants", action="new_api_token", user_id=901) != sandbox.api_token
    assert _posted(client, "grants", action="revoke") == sandbox.api_token
    assert client.get("/v1/users/me").status_code == 401


def test_requests_are_listed_with_their_cost_and_control_is_not_among_them(
    client: SandboxClient,
) -> None:
    client.get("/v1/users/me")
    client.get("/api/v2/persons", limit=3)
    _posted(client, "clock")

    rows = _lines(client, "requests")

    assert [(row["path"], row["query"], row["cost"]) for row in rows] == [
        ("/v1/users/me", "", 2),
        ("/api/v2/persons", "limit=3", 10),
    ]
    assert _lines(client, "requests", since=1) == rows[1:]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("edit", {"action": "zap", "entity": "persons"}),
        ("edit", {"action": "delete", "entity": "files", "ids": [1]}),
        ("edit", {"action": "delete", "entity": "persons", "ids": [10**9]}),
        ("edit", {"action": "delete", "entity": "persons", "ids": [1], "more": 1}),
        ("edit", {"action": "drop_field", "entity": "persons", "code": "x"}),
        ("faults", {"kind": "earthquake"}),
        ("clock", {"at": "yesterday"}),
        ("grants", {"action": "rights", "user_id": 900, "sees": "everything"}),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_with_its_reason(
    client: SandboxClient, name: str, body: dict[str, Any]
) -> None:
    answer = client.http.post(f"/_sandbox/{name}", json=body)

    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert len(client.sandbox.account.history) == 0


def test_a_form_of_another_site_changes_nothing(client: SandboxClient) -> None:
    body = '{"action": "delete", "entity": "persons", "ids": [1]}'

    answer = client.http.post(
        "/_sandbox/edit", content=body, headers={"content-type": "text/plain"}
    )

    assert answer.status_code == 415
    assert len(client.sandbox.account.history) == 0


def test_the_page_shows_the_account_and_escapes_its_names(client: SandboxClient) -> None:
    client.get("/api/v2/persons", limit=1)

    text = client.get("/").text

    assert "<b>60</b><span>organizations" in text
    assert "<b>150</b><span>persons" in text
    assert "GET /api/v2/persons?limit=1" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("query", ["entity=persons", "entity=files", "from=59", "from=x&entity="])
def test_the_page_answers_any_query(client: SandboxClient, query: str) -> None:
    assert client.http.get(f"/?{query}").status_code == 200


@pytest.mark.parametrize("entity", ENTITIES)
def test_the_page_lists_every_kind_of_record(client: SandboxClient, entity: str) -> None:
    text = client.get("/", entity=entity).text

    rows = [row for row in client.sandbox.truth(entity) if not row.get("is_deleted")]
    assert f'class="here">{entity.replace("_", " ")}</a>' in text
    assert text.count('<td class="time">') >= min(len(rows), 8)
