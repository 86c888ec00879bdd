"""The mapping editor by HTTP: what its form means, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.mapped import (
    HOSTILE,
    KEYS,
    NAMES,
    SCOPE,
    MappingPage,
    editor,
    form_of,
    load,
    row_of,
)
from pipedrive_pipeline_tests.vault.world import ACME, OPERATOR_KEY


@pytest.fixture
def page(site: ConnectSite) -> MappingPage:
    """A manager's editor of a tenant with more than forty fields and no mapping."""
    load(site)
    return editor(site)


def active(site: ConnectSite) -> tuple[int, dict[str, Any]]:
    """The number of the active version, and its entries of organizations."""
    with site.world.vault.warehouse.as_app(ACME) as connection:
        version = mappings.active(connection, SCOPE)
    return version.number, version.mapping.written()["organizations"]


def to(name: str) -> str:
    """The form's field for the column of one of the tenant's fields."""
    return f"to:{KEYS[name]}"


def test_a_field_is_shown_with_its_kind_how_often_it_is_filled_and_three_values(
    page: MappingPage,
) -> None:
    text = page.open(mart="customers")

    row = row_of(text, NAMES["vat"])
    assert "67%" in row
    assert row.count("DE81190798") == 3
    assert "Proposed" in row
    assert "The name means this column, and it is empty." in row
    assert "Maschinenbau" in row_of(text, NAMES["branch"])
    assert "one option" in row_of(text, NAMES["branch"])


def test_names_from_outside_are_text_and_nothing_else(page: MappingPage) -> None:
    """Whoever may name a field in the CRM must not run a script here."""
    text = page.open(mart="customers")

    assert "<svg onload" not in text
    assert "<b>x</b>" not in text
    assert "&lt;svg onload=alert(1)&gt;" in text
    assert "{{7*7}}" in text
    assert "49" not in row_of(text, "{{7*7}}")
    assert f"<bdi>{HOSTILE['long'][:60]}…</bdi>" in text


def test_enter_previews_because_the_first_button_of_the_form_does(page: MappingPage) -> None:
    text = page.open(mart="customers")

    form = text[text.index('id="mapping"') :]
    first = form[form.index("<button") : form.index(">", form.index("<button"))]
    assert 'name="act" value="preview"' in first


def test_a_preview_shows_rows_before_and_after_and_saves_nothing(
    site: ConnectSite, page: MappingPage
) -> None:
    page.open(mart="customers")

    answer = page.send(**{to("number"): "customer_number", to("revenue"): "Annual Revenue"})

    assert answer.status_code == 200
    assert "2 changes, not saved" in answer.text
    assert "of 12 records 12 get <code>customer_number</code>" in answer.text.replace("Of", "of")
    assert "11 get <code>annual_revenue</code>; one value is refused" in answer.text
    assert "12,5 Mio" in answer.text
    assert "Read as a number" in row_of(answer.text, NAMES["revenue"])
    assert active(site) == (0, {})


def test_changes_are_counted_while_a_person_edits(page: MappingPage) -> None:
    """A count leads nobody away: the form would lose what was typed."""
    text = page.open(mart="customers")
    sent = {**form_of(text), to("vat"): "vat_id", to("number"): "customer_number"}
    address, part = "/integrations/pipedrive/mapping/count", {"hx-request": "true"}

    counts = [page.browser.post(address, data=form, headers=part) for form in (form_of(text), sent)]
    page.browser.cookies.clear()
    signed_out = page.browser.post(address, data=sent, headers=part)

    assert 'hx-post="/integrations/pipedrive/mapping/count"' in text
    assert [count.text.strip() for count in counts] == [
        "Preview shows and counts what changes",
        "2 changes, not saved",
    ]
    assert signed_out.status_code == 401
    assert "hx-redirect" not in signed_out.headers


def test_accepted_proposals_and_own_choices_are_saved_as_one_version(
    site: ConnectSite, page: MappingPage
) -> None:
    """And the tables are asked to be rebuilt, without a call."""
    page.open(mart="customers")
    page.send("accept")

    answer = page.send("save", **{to("founded"): "attributes.founded_on"})

    assert answer.status_code == 303
    number, entries = active(site)
    assert number == 1
    assert entries == {
        KEYS["number"]: "customer_number",
        KEYS["vat"]: "vat_id",
        KEYS["branch"]: "industry",
        KEYS["staff"]: {"target": "employee_count", "as": "number"},
        KEYS["founded"]: "attributes.founded_on",
    }
    asked = site.world.rows("select sync_type from integration.sync_requests")
    assert asked == [{"sync_type": "remap"}]
    assert "Version 1 is saved" in page.browser.get(answer.headers["location"]).text


def test_a_form_that_shows_some_fields_keeps_the_others(
    site: ConnectSite, page: MappingPage
) -> None:
    """A filter hides rows; neither saved nor typed columns of theirs may be lost."""
    page.open(mart="customers")
    page.send("save", **{to("number"): "customer_number"})
    page.open(mart="customers")
    page.send("", **{to("founded"): "attributes.founded"}, show="proposed")
    assert to("number") not in form_of(page.page.text if page.page else "")

    page.send("save", **{f"accept:{KEYS['vat']}": "1"})

    assert active(site)[1] == {
        KEYS["number"]: "customer_number",
        KEYS["vat"]: "vat_id",
        KEYS["founded"]: "attributes.founded",
    }


def test_a_field_is_found_by_a_word_and_what_was_typed_elsewhere_stays(
    site: ConnectSite, page: MappingPage
) -> None:
    """A tenant may have hundreds of fields, on several pages."""
    page.open(mart="customers")

    found = page.send("", **{to("number"): "customer_number", "q": "mitarb"})
    page.send("save", **{to("staff"): "employee_count"})

    assert [name for name in form_of(found.text) if name.startswith("to:")] == [
        to("number"),
        to("staff"),
    ]
    assert found.text.count('<input id="t') == 1
    assert active(site)[1].keys() == {KEYS["number"], KEYS["staff"]}
    reader = editor(site, Role.USER, "reader")
    assert reader.open(mart="customers", q="mitarb").count('<th scope="row"') == 2  # and a version


def test_two_fields_of_one_column_need_an_order_before_they_are_saved(
    site: ConnectSite, page: MappingPage
) -> None:
    """The order is proposed and explained beside the fields; saving again confirms it."""
    page.open(mart="customers")
    both = {to("number"): "customer_number", to("founded"): "customer_number"}
    page.send("save", **both)
    assert active(site)[0] == 0

    refused = page.send("preview", **both)
    text = refused.text
    assert "Conflict" not in row_of(text, NAMES["number"])
    assert "This one comes first" in row_of(text, NAMES["number"])
    assert "fills only what is empty there" in row_of(text, NAMES["founded"])
    page.send("save")

    assert active(site)[1] == {
        KEYS["number"]: {"target": "customer_number", "precedence": 1},
        KEYS["founded"]: {"target": "customer_number", "precedence": 2, "as": "text"},
    }


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("number", "no_such_column", "No column has this name"),
        ("number", "id", "No column has this name"),
        ("number", "attributes.1x", "begins with a letter"),
        ("founded", "employee_count", "do not fit this column"),
    ],
)
def test_a_column_that_cannot_be_used_is_explained_beside_the_field(
    site: ConnectSite, page: MappingPage, name: str, column: str, reason: str
) -> None:
    """What was typed stays, and so do the other edits."""
    page.open(mart="customers")

    answer = page.send("save", **{to(name): column, to("vat"): "vat_id"})

    assert answer.status_code == 422
    assert reason in row_of(answer.text, NAMES[name])
    assert 'aria-invalid="true"' in row_of(answer.text, NAMES[name])
    form = form_of(answer.text)
    assert (form[to(name)], form[to("vat")]) == (column, "vat_id")
    assert active(site) == (0, {})


@pytest.mark.slow
def test_the_second_of_two_editors_is_told_and_may_keep_both(
    site: ConnectSite, page: MappingPage
) -> None:
    """Neither's work is lost, and nobody overwrites what they have not seen."""
    other = editor(site, name="the other one")
    page.open(mart="customers")
    other.open(mart="customers")
    other.send("save", **{to("number"): "customer_number"})

    told = page.send("save", **{to("vat"): "vat_id"})
    unchanged = active(site)
    page.send("take")
    page.send("save")

    assert told.status_code == 409
    assert "Somebody else saved while you were editing" in told.text
    assert "key the other one" in told.text
    assert "both can be kept" in told.text
    assert unchanged == (1, {KEYS["number"]: "customer_number"})
    assert active(site) == (2, {KEYS["number"]: "customer_number", KEYS["vat"]: "vat_id"})


@pytest.mark.slow
def test_a_former_version_is_compared_and_restored(site: ConnectSite, page: MappingPage) -> None:
    """Restoring makes a new version; the ones in between stay."""
    page.open(mart="customers")
    page.send("save", **{to("number"): "customer_number"})
    page.open(mart="customers")
    page.send("save", **{to("number"): "", to("vat"): "vat_id"})
    shown = page.browser.get("/integrations/pipedrive/mapping/versions/1").text
    form = {"form_token": form_of(page.open())["form_token"], "number": "1", "version": "2"}

    restored = page.browser.post("/integrations/pipedrive/mapping/restore", data=form)

    assert "Restore version 1" in shown
    assert "Its mapping becomes version 3" in shown
    assert restored.status_code == 303
    assert active(site) == (3, {KEYS["number"]: "customer_number"})


def test_a_reader_sees_the_mapping_without_values_and_changes_nothing(
    site: ConnectSite, page: MappingPage
) -> None:
    """Values of records are for those who need them to tell fields apart."""
    page.open(mart="customers")
    page.send("save", **{to("number"): "customer_number"})
    reader = editor(site, Role.USER, "reader")
    text = reader.open(mart="customers")
    token = text.partition('name="form_token" value="')[2].partition('"')[0]
    form = {"form_token": token, "act": "save", "version": "1", to("vat"): "vat_id"}

    refused = reader.browser.post("/integrations/pipedrive/mapping", data=form)

    assert "K-1001" not in text
    assert "customer_number" in row_of(text, NAMES["number"])
    assert "100%" in row_of(text, NAMES["number"])
    assert 'name="to:' not in text
    assert refused.status_code == 403
    assert active(site)[0] == 1


def test_the_operator_maps_for_a_tenant(site: ConnectSite) -> None:
    """Every form and address of theirs names the tenant."""
    load(site)
    operator = site.client({"accept": "text/html", "accept-language": "en", "origin": site.url})
    operator.post("/login", data={"key": OPERATOR_KEY})
    theirs = MappingPage(operator)
    theirs.open(mart="customers", tenant="acme")

    saved = theirs.send("save", **{to("vat"): "vat_id"})

    assert saved.status_code == 303
    assert "tenant=acme" in saved.headers["location"]
    assert "Version 1 is saved" in operator.get(saved.headers["location"]).text
    assert active(site) == (1, {KEYS["vat"]: "vat_id"})


def test_every_page_of_it_is_small(page: MappingPage) -> None:
    """At most 100 kB with the stylesheet, over a slow line."""
    page.open(mart="customers")
    answer = page.send("accept")

    stylesheet = page.browser.get("/static/connect.css")
    assert len(answer.content) + len(stylesheet.content) < 100_000


def test_the_page_is_german_for_a_german_browser(page: MappingPage) -> None:
    text = page.browser.get("/integrations/pipedrive/mapping?lang=de").text

    assert "Felder aus Pipedrive → Spalten von Kunden" in text
    assert "Vorgeschlagen" in text
