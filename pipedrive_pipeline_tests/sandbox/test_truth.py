"""Deletion, purge, merges, restores, rights, odd values, and the history that explains them all."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, truth
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, as_app

ORGANIZATIONS, PERSONS = "/api/v2/organizations", "/api/v2/persons"


def test_a_deleted_record_leaves_the_lists_and_its_persons_stay(client: SandboxClient) -> None:
    account = client.sandbox.account
    before = account.get("organizations", 7)
    persons = client.ids(PERSONS, org_id=7)

    answer = client.http.delete(f"{ORGANIZATIONS}/7")

    assert answer.json() == {"success": True, "data": {"id": 7}}
    assert 7 not in client.ids(ORGANIZATIONS)
    assert 7 not in client.ids(ORGANIZATIONS, updated_since="2026-01-01T00:00:00Z")
    assert client.ids(PERSONS, org_id=7) == persons
    gone = client.data(f"{ORGANIZATIONS}/7")
    assert gone["is_deleted"] is True
    assert gone["update_time"] > before["update_time"]
    assert client.http.delete(f"{ORGANIZATIONS}/7").status_code == 404
    assert client.http.patch(f"{ORGANIZATIONS}/7", json={"name": "x"}).status_code == 404


@pytest.mark.slow
def test_after_thirty_days_a_deleted_record_is_gone_for_good(sandbox: Sandbox) -> None:
    sandbox.account.delete("persons", 9)
    with SandboxClient(sandbox) as client:
        sandbox.clock.advance(30 * 86_400 - 60)
        assert client.get(f"{PERSONS}/9").status_code == 200
        sandbox.clock.advance(60)
        assert client.get(f"{PERSONS}/9").status_code == 404
    with pytest.raises(LookupError, match="30 days"):
        sandbox.account.restore("persons", 9)


@pytest.mark.parametrize("is_touched", [True, False])
def test_a_restored_record_is_back_under_its_id(client: SandboxClient, is_touched: bool) -> None:
    account = client.sandbox.account
    account.delete("persons", 9)
    deleted_at = account.get("persons", 9)["update_time"]
    client.sandbox.clock.advance(60)

    account.restore("persons", 9, is_touched=is_touched)

    row = client.data(f"{PERSONS}/9")
    assert 9 in client.ids(PERSONS)
    assert row["is_deleted"] is False
    assert (row["update_time"] > deleted_at) is is_touched


def test_a_merge_gives_the_survivor_what_it_lacked(account: CrmAccount) -> None:
    code = account.fields["persons"].named("Kürzel").code
    account.edit("persons", 30, phones=[], org_id=None, custom_fields={code: None})
    account.edit("persons", 31, org_id=3, custom_fields={code: "KZ"})

    survivor = account.merge("persons", 31, 30)

    assert survivor["id"] == 30
    assert survivor["name"] != account.get("persons", 31)["name"]
    assert survivor["org_id"] == 3
    assert survivor["custom_fields"][code] == "KZ"


def test_a_merge_may_touch_the_persons_it_moves(account: CrmAccount) -> None:
    moved = account.records["persons"].children_of("org_id", 20)

    account.merge("organizations", 20, 21, touches_children=True)

    now = account.get("organizations", 21)["update_time"]
    assert moved
    assert {account.get("persons", person_id)["update_time"] for person_id in moved} == {now}


def test_rights_decide_what_a_token_sees(sandbox: Sandbox) -> None:
    everybody = list(sandbox.truth("persons"))
    shared = [r["id"] for r in everybody if r["visible_to"] != 1 or r["owner_id"] == 901]
    own = [r["id"] for r in everybody if r["owner_id"] == 901]
    with as_app(sandbox, 901) as app:
        assert app.ids(PERSONS) == shared
        sandbox.account.set_rights(901, "own")
        assert app.ids(PERSONS) == own
        sandbox.account.set_rights(901, "none")
        assert app.ids(PERSONS) == []
        sandbox.account.set_rights(901, "all")
        assert len(app.ids(PERSONS, limit=500)) == 150
    assert 0 < len(own) < len(shared) < 150


def test_an_invisible_record_is_403_by_id_and_absent_from_lists(client: SandboxClient) -> None:
    assert client.get(f"{ORGANIZATIONS}/61").status_code == 403
    assert client.ids(ORGANIZATIONS, ids="60,61,62") == [60]


def test_losing_rights_edits_nothing(sandbox: Sandbox) -> None:
    before = list(sandbox.truth("persons"))

    sandbox.account.set_rights(900, "own")
    narrowed = list(sandbox.truth("persons"))
    sandbox.account.set_rights(900, "all", hidden=[])

    assert 0 < len(narrowed) < len(before)
    assert list(sandbox.truth("persons")) == before
    assert {edit.action for edit in sandbox.account.history} == {"rights"}


def test_stamps_and_the_date_header_come_from_the_servers_clock(client: SandboxClient) -> None:
    at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    client.sandbox.clock.freeze()
    client.sandbox.clock.set(at)

    answer = client.http.post(PERSONS, json={"name": "Aus der Zukunft"})

    assert answer.json()["data"]["add_time"] == "2031-05-06T07:08:09Z"
    assert parsedate_to_datetime(answer.headers["date"]) == at


def test_planted_values_go_out_byte_for_byte_and_move_no_stamp(client: SandboxClient) -> None:
    account = client.sandbox.account
    before = account.get("persons", 40)["update_time"]
    account.plant("persons", 40, owner_id=msgspec.Raw(b"1e400"), brand_new_key={"a": [1]})

    text = client.get(f"{PERSONS}/40").text

    assert '"owner_id":1e400,' in text
    assert '"brand_new_key":{"a":[1]}' in text
    assert f'"update_time":"{before}"' in text


def test_a_planted_record_may_have_any_id_or_none_and_everything_still_works(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["persons"].named("Score").code
    account.plant("persons", 3, id="3", name=5, custom_fields={code: "viel"})
    account.plant("persons", 4, id=None, update_time=17)
    account.plant("persons", 5, without=["id", "emails"])

    rows = client.rows(PERSONS, limit=2, sort_by="update_time")
    items = client.data(f"{PERSONS}/search", term="er", limit=500)["items"]

    assert len(rows) == 150
    assert sorted(rows, key=str) == sorted(client.sandbox.truth("persons"), key=str)
    three = next(row for row in rows if row.get("id") == "3")
    assert (three["name"], three["custom_fields"][code]) == (5, "viel")
    assert sum("id" not in row and "emails" not in row for row in rows) == 1
    assert items
    account.edit("persons", 3, name="Wieder richtig")
    assert client.data(f"{PERSONS}/3")["name"] == "Wieder richtig"


def test_a_record_without_an_edit_time_counts_as_edited_when_added(client: SandboxClient) -> None:
    record = client.sandbox.account.edit("persons", 40, update_time=None)

    changed = client.rows(PERSONS, updated_since=record["add_time"], limit=500)
    ordered = client.ids(PERSONS, sort_by="update_time", limit=500)

    assert [row["update_time"] for row in changed if row["id"] == 40] == [None]
    assert ordered[0] == 40


steps = st.lists(
    st.tuples(
        st.sampled_from(["create", "edit", "delete", "restore", "merge", "plant", "bulk"]),
        st.integers(1, 12),
        st.integers(1, 12),
    ),
    max_size=15,
)


def _do(account: CrmAccount, step: str, number: int, other: int) -> None:
    if step == "create":
        account.create("persons", name=f"Neu {number}")
    elif step == "edit":
        account.edit("persons", number, name=f"Name {other}")
    elif step == "bulk":
        account.edit_many("persons", {number, other}, name="Alle")
    elif step == "plant":
        account.plant("persons", number, notes=f"Notiz {other}")
    elif step == "merge" and number != other:
        account.merge("persons", number, other)
    elif step in ("delete", "restore"):
        getattr(account, step)("persons", number)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_the_history_gives_back_every_earlier_state(walk: list[tuple[str, int, int]]) -> None:
    account = seeded(3, 12, person_fields=3)
    states: dict[int, list[dict[str, Any]]] = {0: list(truth(account, "persons"))}

    for step in walk:
        _do(account, *step)
        states[len(account.history)] = list(truth(account, "persons"))

    for number, state in states.items():
        assert list(truth(account, "persons", as_of=number)) == state


@settings(max_examples=30, deadline=None)
@given(steps)
def test_replaying_the_history_over_the_seed_gives_the_present(
    walk: list[tuple[str, int, int]],
) -> None:
    account = seeded(3, 12, person_fields=3)
    replayed = {row["id"]: row for row in truth(seeded(3, 12, person_fields=3), "persons")}

    for step in walk:
        _do(account, *step)
    for edit in account.history:
        if edit.entity != "persons":  # what followed a merge of theirs
            continue
        after = edit.after or {}
        replayed.pop(int(edit.key), None)
        if not after["is_deleted"]:
            replayed[int(edit.key)] = after

    present = {row["id"]: row for row in truth(account, "persons")}
    assert {key: row["name"] for key, row in replayed.items()} == {
        key: row["name"] for key, row in present.items()
    }
    assert [edit.number for edit in account.history] == list(range(1, len(account.history) + 1))
