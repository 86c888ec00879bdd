"""The control routes: everything that a test in Python can do, over HTTP; and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import Account, Sandbox, serve
from pipedrive_pipeline_tests.sandbox.reader import Reader, installed


@pytest.fixture
def reader(account: Account) -> Iterator[Reader]:
    with serve(account, has_control=True, has_limits=False) as sandbox, Reader(sandbox) as reader:
        yield reader


def _told(reader: Reader, route: str, /, **body: Any) -> Any:
    answer = reader.http.post(f"/_sandbox/{route}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def _lines(reader: Reader, path: str, **query: int) -> list[dict[str, Any]]:
    answer = reader.get(f"/_sandbox/{path}", **query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_without_control_the_routes_are_not_there(sandbox: Sandbox) -> None:
    with Reader(sandbox) as reader:
        assert reader.http.post("/_sandbox/edit", json={}).status_code == 404
        assert reader.get("/_sandbox/history").status_code == 404
        assert "data-post=" not in reader.get("/").text


def test_every_edit_has_its_message(reader: Reader) -> None:
    account = reader.sandbox.account
    region = account.fields["organizations"].named("Region")
    option = (region.options or ())[0].id
    on = {"entity": "organizations"}

    created = _told(reader, "edit", action="create", **on, values={"name": "Neu"})
    _told(reader, "edit", action="edit", **on, ids=[1, 2], values={"name": "Zwei"})
    _told(reader, "edit", action="plant", **on, ids=[3], values={"name": 5})
    _told(reader, "edit", action="delete", **on, ids=[4, 5])
    _told(reader, "edit", action="restore", **on, ids=[5], is_touched=False)
    _told(reader, "edit", action="merge", **on, id=6, into=7)
    _told(reader, "edit", action="delay", **on, id=8, seconds=60)
    field = _told(reader, "edit", action="add_field", **on, name="F", type="hologram")
    _told(reader, "edit", action="change_field", **on, code=field["code"], name="G")
    _told(reader, "edit", action="drop_field", **on, code=field["code"])
    _told(reader, "edit", action="add_options", **on, code=region.code, labels=["Mitte"])
    labels = {str(option): "Oben"}
    _told(reader, "edit", action="rename_options", **on, code=region.code, labels=labels)
    _told(reader, "edit", action="drop_options", **on, code=region.code, ids=[option])

    rows = {row["id"]: row for row in _lines(reader, "records/organizations")}
    assert rows == {row["id"]: row for row in reader.sandbox.truth("organizations")}
    assert set(range(1, 61)) - set(rows) == {4, 6, 8}
    assert rows[created["id"]]["name"] == "Neu"
    assert (rows[1]["name"], rows[3]["name"]) == ("Zwei", 5)
    edits = _lines(reader, "history", after=2)
    actions = [edit["action"] for edit in edits if edit["entity"] != "persons"]
    assert actions == [
        *["change", "plant", "delete", "delete", "restore", "merge", "change"],
        *["create", "change", "delete", "change", "change", "change"],
    ]


def test_the_truth_can_be_read_as_it_was_and_as_another_user_sees_it(reader: Reader) -> None:
    before = _lines(reader, "records/persons")
    _told(reader, "edit", action="delete", entity="persons", ids=[2])

    assert _lines(reader, "records/persons", as_of=0) == before
    assert len(_lines(reader, "records/persons")) == 149
    assert 0 < len(_lines(reader, "records/persons", user_id=901)) < 149
    assert reader.get("/_sandbox/records/deals").status_code == 404
    assert reader.get("/_sandbox/records/persons", user_id=5).status_code == 404


def test_faults_are_queued_listed_and_cleared(reader: Reader) -> None:
    waiting = _told(reader, "faults", kind="http_500", after=1, times=2, path="/users")
    edit = {"action": "delete", "entity": "persons", "ids": [3]}
    _told(reader, "faults", kind="edit", path="/persons", edit=edit)

    assert waiting == [{"kind": "http_500", "after": 1, "times": 2, "path": "/users"}]
    assert 3 not in reader.ids("/api/v2/persons")
    assert [reader.get("/v1/users/me").status_code for _ in range(2)] == [200, 500]
    assert _told(reader, "faults", clear=True) == []
    assert reader.get("/v1/users/me").status_code == 200


def test_the_clock_is_set_moved_and_stopped(reader: Reader) -> None:
    _told(reader, "clock", frozen=True)
    at = _told(reader, "clock", at="2027-01-01T00:00:00Z")
    later = _told(reader, "clock", advance_seconds=3_600)

    assert (at, later) == ("2027-01-01T00:00:00Z", "2027-01-01T01:00:00Z")
    assert reader.get("/v1/users/me").headers["date"] == "Fri, 01 Jan 2027 01:00:00 GMT"


def test_edit_times_can_go_back_while_the_clock_goes_on(reader: Reader) -> None:
    """A server that writes edit times may have another clock than the one that answers."""
    _told(reader, "clock", frozen=True)
    _told(reader, "clock", at="2027-01-01T00:00:00Z", stamps_shift_seconds=-3_600)

    back = _told(reader, "edit", action="edit", entity="persons", ids=[5], values={"name": "X"})
    _told(reader, "clock", stamps_shift_seconds=0)
    ahead = _told(reader, "edit", action="edit", entity="persons", ids=[5], values={"name": "Y"})

    assert (back, ahead) == ("2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z")


def test_grants_rights_and_budget_are_changed(reader: Reader) -> None:
    sandbox = reader.sandbox
    tokens = installed(sandbox)
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}

    _told(reader, "grants", action="take_scopes", scopes=["users:read"])
    assert reader.http.get("/v1/users", headers=bearer).status_code == 403
    _told(reader, "grants", action="expire_access_tokens")
    assert reader.http.get("/v1/users/me", headers=bearer).status_code == 401
    _told(reader, "grants", action="give_scopes", scopes=["users:read"])
    _told(reader, "grants", action="rights", user_id=900, sees="own")
    assert 0 < len(reader.ids("/api/v2/persons", limit=500)) < 150
    assert _told(reader, "grants", action="spend", tokens=10**9) == 0
    assert _told(reader, "grants", action="uninstall") == 1
    assert _told(reader, "grants", action="new_api_token", user_id=901) != sandbox.api_token
    assert _told(reader, "grants", action="revoke") == sandbox.api_token
    assert reader.get("/v1/users/me").status_code == 401


def test_requests_are_listed_with_their_cost_and_control_is_not_among_them(reader: Reader) -> None:
    reader.get("/v1/users/me")
    reader.get("/api/v2/persons", limit=3)
    _told(reader, "clock")

    rows = _lines(reader, "requests")

    assert [(row["path"], row["query"], row["cost"]) for row in rows] == [
        ("/v1/users/me", "", 2),
        ("/api/v2/persons", "limit=3", 10),
    ]
    assert _lines(reader, "requests", since=1) == rows[1:]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("edit", {"action": "zap", "entity": "persons"}),
        ("edit", {"action": "delete", "entity": "deals", "ids": [1]}),
        ("edit", {"action": "delete", "entity": "persons", "ids": [10**9]}),
        ("edit", {"action": "delete", "entity": "persons", "ids": [1], "more": 1}),
        ("edit", {"action": "drop_field", "entity": "persons", "code": "x"}),
        ("faults", {"kind": "earthquake"}),
        ("clock", {"at": "yesterday"}),
        ("grants", {"action": "rights", "user_id": 900, "sees": "everything"}),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_with_its_reason(
    reader: Reader, name: str, body: dict[str, Any]
) -> None:
    answer = reader.http.post(f"/_sandbox/{name}", json=body)

    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert len(reader.sandbox.account.history) == 0


def test_a_form_of_another_site_changes_nothing(reader: Reader) -> None:
    body = '{"action": "delete", "entity": "persons", "ids": [1]}'

    answer = reader.http.post(
        "/_sandbox/edit", content=body, headers={"content-type": "text/plain"}
    )

    assert answer.status_code == 415
    assert len(reader.sandbox.account.history) == 0


def test_the_page_shows_the_account_and_escapes_its_names(reader: Reader) -> None:
    reader.get("/api/v2/persons", limit=1)

    text = reader.get("/").text

    assert "<b>60</b><span>organizations" in text
    assert "<b>150</b><span>persons" in text
    assert "GET /api/v2/persons?limit=1" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("query", ["entity=persons", "entity=deals", "from=59", "from=x&entity="])
def test_the_page_stands_any_query(reader: Reader, query: str) -> None:
    assert reader.http.get(f"/?{query}").status_code == 200
