"""The pages of sinks, by HTTP alone: what the command line does, a person does there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.pages.sink_form import SinkSheet, declaration_of, values_of
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.app_tables import (
    CUSTOMERS,
    DEALS,
    PAGE,
    PEOPLE,
    SCOPE,
    WORKSPACE,
    declare,
    declare_all,
    drop_tables,
    make_tables,
)
from pipedrive_pipeline_tests.connect.pages.forms import fields_of, operator_of, signed_in
from pipedrive_pipeline_tests.connect.tenants import filled_tenant

NEW = f"{PAGE}/new-table"


@pytest.fixture
def app(site: ConnectSite) -> Iterator[ConnectSite]:
    """Acme with the app's tables, and no sink."""
    filled_tenant(site, "acme", 1)
    make_tables(site)
    yield site
    drop_tables(site)


def send(
    browser: httpx.Client, page: httpx.Response, action: str, **changes: str | None
) -> httpx.Response:
    """The form of a page with these changes; None leaves a field out."""
    sent = {**fields_of(page.text, action), **changes}
    return browser.post(
        action, data={key: value for key, value in sent.items() if value is not None}
    )


def states(site: ConnectSite) -> dict[str, str]:
    with site.world.vault.warehouse.transaction() as connection:
        known = sinks.states(connection, SCOPE)
    return {name: state.state for name, state in known.items()}


def version(site: ConnectSite) -> sinks.SinksVersion:
    with site.world.vault.warehouse.transaction() as connection:
        return sinks.active(connection, SCOPE)


def companies(site: ConnectSite) -> dict[str, str]:
    rows = site.world.rows("select id, company from app.customers order by id")
    return {str(row["id"]): row["company"] for row in rows}


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_table_is_declared_previewed_matched_confirmed_and_undone(app: ConnectSite) -> None:
    """By forms alone; the rows come to what the functions of the command line give."""
    browser, before = operator_of(app), companies(app)
    chosen = {"tenant": "acme", "name": "customers", "table": "app.customers", "mart": "customers"}
    form = browser.get(NEW, params=chosen)
    filled = {
        "from:company": "name",
        "from:town": "city",
        "from:mail": "email",
        "as:mail": "lower",
        "tenant_column": "workspace_id",
        "tenant_value": WORKSPACE,
        "rule:email": "1",
    }

    preview = send(browser, form, f"{PAGE}/customers", act="preview", **filled)
    unsaved = version(app).number
    saved = send(browser, preview, f"{PAGE}/customers", act="save")
    browser.post(f"{PAGE}/customers/match", data=fields_of(preview.text, f"{PAGE}/customers"))
    report = browser.get(saved.headers["location"])
    (row,) = re.findall(r'name="row:(\d+)" value="id:7002"', report.text)
    undecided = companies(app)
    confirmed = send(browser, report, f"{PAGE}/customers/confirm", **{f"row:{row}": "id:7002"})
    sinks.feed_sinks(app.world.vault.warehouse, SCOPE, is_whole=True)
    fed = companies(app)
    asked = browser.get(f"{PAGE}/customers/undo", params={"tenant": "acme"})
    send(browser, asked, f"{PAGE}/customers/undo")

    assert preview.status_code == 200
    assert "Kirsch Maschinenbau GmbH" in words(preview.text)
    assert "alter table" in preview.text
    assert (unsaved, undecided) == (0, before)
    assert version(app).sinks["customers"].columns == {
        "company": sinks.Value("name"),
        "town": sinks.Value("city"),
        "mail": sinks.Value("email", "lower"),
        "vat_id": sinks.Value("vat_id"),  # offered, since the names are the same
    }
    assert "By e-mail address 1" in words(report.text)
    assert "Link 1 row" in words(report.text)
    assert "linked=2" in confirmed.headers["location"]
    assert set(before) < set(fed)
    assert fed["1"] == "Kirsch Maschinenbau GmbH"
    assert {key: companies(app)[key] for key in before} == before
    assert states(app) == {"customers": "waiting"}


def test_a_sink_is_paused_resumed_and_removed(app: ConnectSite) -> None:
    """Each is a version; while it is paused nothing is written."""
    customers = {**CUSTOMERS, "columns": {"company": "name"}, "match_by": []}
    declare(app, customers=customers, deals={**DEALS, "inserts": False})
    browser, before = operator_of(app), companies(app)

    page = browser.get(PAGE, params={"tenant": "acme"})
    send(browser, page, f"{PAGE}/customers/pause")
    sinks.feed_sinks(app.world.vault.warehouse, SCOPE, is_whole=True)
    paused, kept = states(app), companies(app)
    page = browser.get(PAGE, params={"tenant": "acme"})
    send(browser, page, f"{PAGE}/customers/pause")
    sinks.feed_sinks(app.world.vault.warehouse, SCOPE, is_whole=True)
    resumed = states(app)
    asked = browser.get(f"{PAGE}/deals/remove", params={"tenant": "acme"})
    removed = send(browser, asked, f"{PAGE}/deals/remove")

    assert (paused, kept) == ({"customers": "paused", "deals": "fed"}, before)
    assert resumed == {"customers": "fed", "deals": "fed"}
    assert removed.status_code == 303
    assert states(app) == {"customers": "fed"}
    assert version(app).number == 4


def test_a_sink_whose_table_is_gone_can_be_paused(app: ConnectSite) -> None:
    """Else no version could be saved until the table is back."""
    declare_all(app)

    page = operator_of(app).get(f"{PAGE}/people", params={"tenant": "acme"})

    assert states(app)["people"] == "paused"
    assert "The table is gone" in words(page.text)


def test_a_sink_can_be_previewed_next_to_one_that_is_paused_and_gone(app: ConnectSite) -> None:
    declare_all(app)
    browser = operator_of(app)
    form = browser.get(f"{PAGE}/customers", params={"tenant": "acme"})

    preview = send(browser, form, f"{PAGE}/customers", act="preview")

    assert preview.status_code == 200, words(
        "".join(re.findall(r"<span class=.hint bad.*", preview.text))
    )
    assert "Before and after" in words(preview.text)


def test_what_cannot_be_used_is_named_at_its_place_and_stays_typed(app: ConnectSite) -> None:
    """422, and nothing is saved."""
    declare(app, customers=CUSTOMERS)
    browser = operator_of(app)
    form = browser.get(f"{PAGE}/customers", params={"tenant": "acme"})

    refused = send(
        browser,
        form,
        f"{PAGE}/customers",
        act="save",
        **{
            "from:town": "no_such_column",
            "tenant_column": "",
            "link_column": "",
            "on_delete": "unlink",
        },
    )

    assert refused.status_code == 422
    assert "3 settings cannot be used" in words(refused.text)
    assert "customers has no column no_such_column" in words(refused.text)
    assert "unlink needs a link_column" in words(refused.text)
    assert fields_of(refused.text, f"{PAGE}/customers")["from:town"] == "no_such_column"
    assert version(app).number == 1


def test_an_editor_whose_version_was_replaced_is_told_and_loses_nothing(app: ConnectSite) -> None:
    """The other table's change stays; saving again keeps both."""
    declare(app, customers=CUSTOMERS)
    browser = operator_of(app)
    form = browser.get(f"{PAGE}/customers", params={"tenant": "acme"})
    declare(app, customers=CUSTOMERS, deals=DEALS)

    told = send(browser, form, f"{PAGE}/customers", act="save", **{"from:town": ""})
    saved = send(browser, told, f"{PAGE}/customers", act="save")

    assert told.status_code == 409
    assert "version 2 was saved meanwhile by Ada" in words(told.text)
    assert "It does not change this table" in words(told.text)
    assert saved.status_code == 303
    assert set(version(app).sinks) == {"customers", "deals"}
    assert "town" not in version(app).sinks["customers"].columns


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "Customers"}, "A name begins with a letter"),
        ({"name": "customers"}, "Another table has this name"),
        ({"table": "app.nothing"}, "There is no such table"),
        ({"table": "crm.customers"}, "This table is ours"),
        ({"mart": "nothing"}, "Choose what fills the table"),
    ],
)
def test_a_new_table_begins_with_what_can_be_used(
    app: ConnectSite, changes: Mapping[str, str], text: str
) -> None:
    declare(app, customers=CUSTOMERS)
    asked = {"tenant": "acme", "name": "more", "table": "app.deals", "mart": "deals", **changes}

    page = operator_of(app).get(NEW, params=asked)

    assert page.status_code == 422
    assert text in words(page.text)


def test_only_the_operator_changes_sinks(app: ConnectSite) -> None:
    """An admin of the tenant sees their state, and no form."""
    declare(app, customers=CUSTOMERS)
    admin = signed_in(app, Role.ADMIN)
    token = fields_of(admin.get(PAGE).text, "/logout")["form_token"]

    shown = admin.get(PAGE)
    answers = [
        *(admin.get(f"{PAGE}/{path}") for path in ("new-table", "customers", "customers/match")),
        *(admin.get(f"{PAGE}/customers/{path}") for path in ("undo", "remove")),
        *(
            admin.post(f"{PAGE}/customers{path}", data={"form_token": token, "version": "1"})
            for path in ("", "/match", "/confirm", "/undo", "/pause", "/remove")
        ),
    ]

    assert shown.status_code == 200
    assert "app." in shown.text
    assert "/customers/pause" not in shown.text
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert version(app).number == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"match_by": []},
        {"match_by": ["name", {"rule": "domain", "columns": ["mail", "town"]}, "email"]},
        {"on_delete": "unlink"},
        {"on_delete": {"mark": "status", "value": "gone"}},
        {"on_conflict": "app", "inserts": False, "reinserts": False, "paused": True},
        {"columns": {"company": {"value": "crm"}, "town": {"value": None}, "mail": "email"}},
        {"columns": {"company": {"from": "attributes.x", "as": "text"}}, "key": ["mail"]},
        {"settings": {"app.workspace": "4 = 2", "app.empty": ""}},
        {"synced_at_column": None, "link_column": None},
    ],
)
def test_a_declaration_is_the_same_after_its_form(
    app: ConnectSite, changes: Mapping[str, Any]
) -> None:
    """Opening and saving the page changes nothing that the page does not show."""
    written = {**CUSTOMERS, **changes}
    parsed, issues = sinks.parsed({"customers": written, "people": PEOPLE})
    with app.world.vault.warehouse.transaction() as connection:
        table = sinks.app_table_named(connection, "app.customers")
    assert table
    base = sinks.SinksVersion(1, parsed)
    sheet = SinkSheet(SCOPE, "customers", mart("customers"), table, base)

    again, more_issues = sinks.parsed({"customers": declaration_of(sheet, values_of(sheet))})

    assert (issues, more_issues) == ([], [])
    assert again["customers"] == parsed["customers"]
