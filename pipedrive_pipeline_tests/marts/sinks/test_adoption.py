"""Rows that an app has already are linked to records, after a report, and it can be undone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.sinks import MatchReport
from pipedrive_pipeline_tests.marts.sinks.app_schema import CUSTOMERS, SCOPE, WORKSPACE, App

pytestmark = pytest.mark.slow

RULES = ["customer_number", "vat_id", "email", "domain", "name_and_town"]
COLUMNS = {
    "company": "name",
    "town": "city",
    "mail": "email",
    "vat_id": "vat_id",
    "customer_number": "customer_number",
}


def adopting(app: App, **changes: Any) -> None:
    app.save(**{"columns": COLUMNS, "match_by": RULES, **changes})


def own_row(app: App, **values: Any) -> UUID:
    """Adds a row of the app."""
    row = {"workspace_id": WORKSPACE, "company": "Own", **values}
    with app.warehouse.transaction() as connection:
        added = connection.execute(
            f"insert into app.customers ({', '.join(row)})"
            f" values ({', '.join(['%s'] * len(row))}) returning id".encode(),
            list(row.values()),
        ).fetchone()
    assert added is not None
    return UUID(str(added[0]))


def match(app: App) -> MatchReport:
    return sinks.match(app.warehouse, SCOPE, "customers")


def confirm(app: App, **choices: str | None) -> sinks.Confirmed:
    return sinks.confirm(app.warehouse, SCOPE, "customers", who="a test", choices=choices)


def links(app: App) -> dict[UUID, str]:
    """The record of each row of the app that is linked."""
    with app.warehouse.transaction() as connection:
        rows = connection.execute(
            "select app_key[1], remote_id from integration.sink_links"
            " where confirmed_at is not null and app_key is not null"
        ).fetchall()
    return {UUID(key): remote_id for key, remote_id in rows}


@pytest.mark.parametrize(
    ("of_app", "of_crm", "rule"),
    [
        ({"pipedrive_id": 7, "mail": "x@other.de"}, {"email": "y@other.de"}, "link"),
        ({"customer_number": "K-10 01"}, {"customer_number": "k1001"}, "customer_number"),
        ({"vat_id": "DE 123 456"}, {"vat_id": "de123456"}, "vat_id"),
        ({"mail": " Info@A.de"}, {"email": "info@a.de"}, "email"),
        ({"mail": "eva@a.de"}, {"website": "https://www.a.de/home"}, "domain"),
        (
            {"company": "Müller  GmbH", "town": "köln"},
            {"name": "müller gmbh", "city": "Köln"},
            "name_and_town",
        ),
    ],
)
def test_a_row_is_recognized_by_link_or_natural_key(
    app: App, of_app: dict[str, Any], of_crm: dict[str, Any], rule: str
) -> None:
    """In the order that one chooses, however the key is written."""
    row_id = own_row(app, **of_app)
    app.crm(**{"name": "Theirs", **of_crm}, remote_id="7")
    adopting(app)

    report = match(app)
    confirm(app)

    assert dict(report.matched) == {rule: 1}
    assert (report.ambiguous, report.new, report.left_over) == (0, 0, 0)
    assert links(app) == {row_id: "7"}


def test_nothing_is_written_before_it_is_confirmed(app: App) -> None:
    """Neither into the app's rows nor new ones."""
    own_row(app, mail="a@a.de")
    app.crm(name="A", email="a@a.de")
    app.crm(name="New")
    adopting(app)
    before = app.rows()

    match(app)
    app.feed()
    unconfirmed = app.rows()
    confirm(app)
    app.feed()

    assert unconfirmed == before
    assert {row["company"] for row in app.rows()} == {"A", "New"}


def test_what_a_person_must_decide_waits_and_holds_up_nothing_else(app: App) -> None:
    """Neither record of an ambiguous row is inserted; `none` lets them be."""
    first = own_row(app, mail="a@a.de", company="First")
    second = own_row(app, vat_id="DE1", company="Second")
    app.crm(name="One", email="a@a.de", remote_id="1")
    app.crm(name="Two", email="a@a.de", remote_id="2")
    app.crm(name="Three", vat_id="DE1", customer_number="K1", remote_id="3")
    app.crm(name="New", remote_id="4")
    adopting(app)

    report = match(app)
    confirmed = confirm(app)
    app.feed()
    undecided = {row["company"] for row in app.rows()}
    confirm(app, **{str(first): "2"})
    app.feed()

    assert (report.ambiguous, dict(report.matched), report.new) == (1, {"vat_id": 1}, 1)
    (row,) = report.listed
    assert row.app_key == str(first)
    assert [each.remote_id for each in row.candidates] == ["1", "2"]
    assert (confirmed.linked, confirmed.open) == (1, 1)
    assert undecided == {"First", "Three", "New"}
    assert links(app)[first] == "2"
    assert links(app)[second] == "3"
    assert {row["company"] for row in app.rows()} == {"Two", "Three", "New", "One"}


def test_a_key_that_contradicts_is_left_to_a_person(app: App) -> None:
    """Two companies of one name in one town have different VAT ids."""
    own_row(app, company="Bäckerei Schmidt", town="Ulm", vat_id="DE1")
    app.crm(name="Bäckerei Schmidt", city="Ulm", vat_id="DE2", remote_id="1")
    adopting(app)

    report = match(app)

    assert (report.ambiguous, dict(report.matched)) == (1, {})
    assert report.listed[0].candidates[0].doubt == "contradicts"


def test_a_choice_that_is_no_candidate_is_refused(app: App) -> None:
    """And nothing is confirmed."""
    row_id = own_row(app, mail="a@a.de")
    app.crm(email="a@a.de", remote_id="1")
    app.crm(email="a@a.de", remote_id="2")
    adopting(app)
    match(app)

    with pytest.raises(BadInput, match="3 is no candidate"):
        confirm(app, **{str(row_id): "3"})

    assert links(app) == {}


def test_what_the_app_has_is_kept_where_it_wins(app: App) -> None:
    """With on_conflict = app an adopted row gets only what it lacks."""
    own_row(app, company="Own name", mail="a@a.de", town=None)
    app.crm(name="CRM name", email="a@a.de", city="Köln")
    adopting(app, on_conflict="app")
    match(app)
    confirm(app)

    app.feed()

    (row,) = app.rows()
    assert (row["company"], row["town"]) == ("Own name", "Köln")


def test_undo_gives_every_value_back_but_what_the_app_edited_since(app: App) -> None:
    """The sink stops; a row that it inserted stays."""
    first = own_row(app, company="Own", mail="a@a.de", town="Ulm", notes="n")
    own_row(app, company="Edited", mail="b@b.de", town="Ulm")
    before = {row["id"]: row for row in app.rows()}
    app.crm(name="CRM", email="a@a.de", city="Köln", remote_id="1")
    app.crm(name="CRM", email="b@b.de", city="Köln", remote_id="2")
    app.crm(name="New", remote_id="3")
    adopting(app)
    match(app)
    confirm(app)
    app.feed()
    app.execute("update app.customers set town = 'Kiel' where pipedrive_id = 2")

    undone = sinks.undo(app.warehouse, SCOPE, "customers", who="a test")
    app.feed()

    after = {row["id"]: row for row in app.rows()}
    own = {"xmin", "updated_at"}
    assert undone.rows == 2
    assert without(after[first], own) == without(before[first], own)
    (edited,) = [row for row in after.values() if row["company"] == "Edited"]
    assert (edited["town"], edited["pipedrive_id"]) == ("Kiel", None)
    assert len(after) == 3
    assert app.states()["customers"].is_waiting


def without(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


@dataclass
class Truth:
    """What a generated world must come to, by the rule that decides each row."""

    matched: dict[str, int] = field(default_factory=dict)
    pairs: dict[UUID, str] = field(default_factory=dict)
    ambiguous: int = 0
    left_over: int = 0
    new: int = 0


# By kind of company: what its row of the app and its record have instead of the common values.
KINDS: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
    "link": (
        {"pipedrive_id": "{id}", "vat_id": "typed wrong", "mail": None},
        {"customer_number": None},
    ),
    "customer_number": ({"customer_number": "k {number}", "vat_id": None}, {}),
    "vat_id": ({"customer_number": None, "mail": "someone@gmail.com"}, {}),
    "email": ({"customer_number": None, "vat_id": None, "company": "Other"}, {}),
    "domain": ({"customer_number": None, "vat_id": None, "mail": "eva@firma{number}.de"}, {}),
    "name_and_town": ({"customer_number": None, "mail": None}, {"vat_id": None}),
    # The name fits, the VAT id does not: a person decides.
    "typo": ({"customer_number": None, "mail": None, "vat_id": "DE9{number}"}, {}),
    "double_record": ({}, {}),
    "double_row": ({}, {}),
    "left_over": ({}, None),
    "new": (None, {}),
    # A stronger key leads to the record, a weaker one of another row, too.
    "rival": ({"customer_number": None, "vat_id": None}, {}),
}


def world(count: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Truth]:
    """App rows and records of as many companies, and what `match` must say of them."""
    chance, truth = random.Random(seed), Truth()  # noqa: S311
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        common = {
            "town": f"Ort {number % 97}",
            "vat_id": f"DE{100000000 + number}",
            "customer_number": f"K-{number}",
        }
        name, mail = f"Firma {number} GmbH", f"info@firma{number}.de"
        of_app, of_crm = KINDS[kind]
        row = {**common, "company": name, "mail": mail, "pipedrive_id": None}
        record = {**common, "name": name, "email": mail, "remote_id": str(number + 1)}
        record["city"] = record.pop("town")
        row |= {
            key: value and value.format(number=number, id=number + 1)
            for key, value in (of_app or {}).items()
        }
        record |= of_crm or {}
        ids = [UUID(int=chance.getrandbits(128), version=4) for _ in range(2)]
        if of_app is not None:
            rows.append({"id": ids[0], **row})
        if of_crm is not None:
            records.append(record)
        if kind == "double_record":
            records.append(record | {"remote_id": str(10 * count + number)})
        if kind == "double_row":
            rows.append({"id": ids[1], **row})
        if kind == "rival":
            rival = {"company": "Rival", "mail": f"x@firma{number}.de"}
            rows.append({"id": ids[1], **row, **rival})
        note(truth, kind, ids[0], str(number + 1))
    chance.shuffle(rows)
    chance.shuffle(records)
    return rows, records, truth


def note(truth: Truth, kind: str, row_id: UUID, remote_id: str) -> None:
    """Adds a company to the truth."""
    if kind in ("typo", "double_record"):
        truth.ambiguous += 1
    elif kind == "double_row":
        truth.ambiguous += 2
    elif kind == "left_over":
        truth.left_over += 1
    elif kind == "new":
        truth.new += 1
    else:
        rule = "email" if kind == "rival" else kind
        truth.left_over += kind == "rival"
        truth.matched[rule] = truth.matched.get(rule, 0) + 1
        truth.pairs[row_id] = remote_id


def fill(app: App, rows: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    with app.warehouse.transaction() as connection, connection.cursor() as cursor:
        names = list(rows[0])
        copy_app = f"copy app.customers (workspace_id, {', '.join(names)}) from stdin"
        with cursor.copy(copy_app.encode()) as copy:
            for row in rows:
                copy.write_row([WORKSPACE, *row.values()])
        names = list(records[0])
        copy_crm = f"copy crm.customers (tenant_id, system, {', '.join(names)}) from stdin"
        with cursor.copy(copy_crm.encode()) as copy:
            for record in records:
                copy.write_row(["acme", "pipedrive", *record.values()])


def test_twenty_thousand_rows_come_to_what_an_oracle_says(app: App) -> None:
    """Typos, doubles, missing keys: no wrong link, and undo restores every value."""
    rows, records, truth = world(20_000, seed=22)
    fill(app, rows, records)
    app.save(
        columns={**COLUMNS, "origin": {"value": "crm"}},
        match_by=RULES,
        settings=CUSTOMERS["settings"],
    )
    before = {row["id"]: row for row in app.rows()}

    report = match(app)
    confirm(app)
    fed = app.feed()["customers"]
    linked = links(app)
    sinks.undo(app.warehouse, SCOPE, "customers", who="a test")

    assert dict(report.matched) == truth.matched
    assert (report.ambiguous, report.left_over, report.new) == (
        truth.ambiguous,
        truth.left_over,
        truth.new,
    )
    assert {key: linked[key] for key in before if key in linked} == truth.pairs
    assert (fed.fault, fed.counts["created"]) == (None, truth.new)
    own = {"xmin", "updated_at"}
    after = {row["id"]: without(row, own) for row in app.rows() if row["id"] in before}
    assert after == {key: without(row, own) for key, row in before.items()}
