"""The marts around deals: what Pipedrive's records become, and how they change together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import MartsBuilt, RowCounts, build
from pipedrive_pipeline.marts.audit import Breach
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy.person_erasure import erase_records, find_by_address
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import (
    LEAD,
    SYSTEM,
    RawTables,
    deal,
    label_field,
    lead,
    organization,
    person,
    stamped,
    user,
)
from pipedrive_pipeline_tests.marts.test_audits import meddle
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

OTHER_LEAD = LEAD.removesuffix("1") + "2"
HOT, COLD = "f08b42a0-4e75-11ea-9643-03698ef1cfd6", "f08b42a1-4e75-11ea-9643-03698ef1cfd6"
MADE_AT = datetime(2025, 2, 3, 8, tzinfo=UTC)


def built(warehouse: Warehouse, *, is_whole: bool = False) -> MartsBuilt:
    return build(warehouse, Scope(ACME, SYSTEM), is_whole=is_whole)


def rows(warehouse: Warehouse, mart: str) -> dict[str, dict[str, Any]]:
    """Every row of a mart, by remote id."""
    query = sql.SQL("select * from {}").format(sql.Identifier("crm", mart))
    with warehouse.transaction() as connection:
        found = connection.cursor(row_factory=dict_row).execute(query).fetchall()
    return {row["remote_id"]: row for row in found}


def facts(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


@pytest.fixture(scope="module")
def account(postgres: str, template: str) -> Iterator[Warehouse]:
    """A record of each kind, linked with each other; built once for the tests that only read."""
    with databases.database(postgres, template=template) as url:
        warehouse = Warehouse(url)
        raw = RawTables(warehouse, ACME)
        raw.load(
            users=[
                user(1, "Ada") | {"role_id": 4, "access": [{"app": "sales", "admin": True}]},
                user(2, "Bob") | {"access": [{"app": "sales", "admin": False}, {"admin": True}]},
                user(3, "Cem"),
            ],
            organizations=[organization(10, visible_to=3)],
            persons=[person(20, org_id=10)],
            pipelines=[
                stamped(id=1, name="Sales", order_nr=1, is_deal_probability_enabled=True),
            ],
            stages=[
                stamped(
                    id=5,
                    name="Offer",
                    pipeline_id=1,
                    order_nr=0,
                    deal_probability=Decimal("40.000000000"),
                    is_deal_rot_enabled=True,
                    days_to_rotten=14,
                ),
                stamped(
                    id=6, name="Old", pipeline_id=1, is_deal_rot_enabled=False, days_to_rotten=3
                ),
            ],
            deal_fields=[
                label_field((7, "VIP"), code="label"),
                label_field((3, "Fair"), code="channel"),
            ],
            product_fields=[label_field(("12", "Tools"), code="category")],
            activity_fields=[label_field((2, "Reached"), code="outcome")],
            activity_types=[
                {"id": 1, "key_string": "call", "icon_key": "call"},
                {"id": 2, "key_string": "site_visit", "icon_key": "meeting"},
                {"id": 3, "key_string": "payment", "icon_key": "wallet"},
            ],
            lead_labels=[{"id": HOT, "name": "Hot"}],
            products=[
                stamped(
                    id=30,
                    name="Drill",
                    code="D-1",
                    category="12",
                    tax=Decimal("19.000000000"),
                    is_linkable=True,
                    owner_id=1,
                    visible_to=3,
                    is_deleted=False,
                )
            ],
            deals=[
                deal(
                    40,
                    org_id=10,
                    person_id=20,
                    owner_id=1,
                    creator_user_id=2,
                    pipeline_id=1,
                    stage_id=5,
                    label_ids=[7, 8],
                    channel=3,
                    expected_close_date="2025-05-31",
                    visible_to=3,
                    origin="API",
                ),
                deal(41, status="deleted", is_deleted=True, won_time="2025-03-01T10:00:00Z"),
                deal(42, status="won", is_archived=True, archive_time="2025-06-01T00:00:00Z"),
            ],
            deal_products=[
                stamped(
                    id=50,
                    deal_id=40,
                    product_id=30,
                    name="Drill, blue",
                    quantity=Decimal("2.500000000"),
                    item_price=Decimal("100.000000000"),
                    discount=Decimal("10.000000000"),
                    discount_type="percentage",
                    sum=Decimal("225.000000000"),
                    currency="EUR",
                    is_enabled=True,
                    comments="",
                    billing_start_date="2025-07-01",
                )
            ],
            leads=[
                lead(
                    organization_id=10,
                    person_id=20,
                    owner_id=1,
                    creator_id=2,
                    label_ids=[HOT, COLD],
                    value={"amount": 99.5, "currency": "USD"},
                    source_name="Web forms",
                    visible_to=1,
                    expected_close_date="2025-08-01",
                ),
                lead(OTHER_LEAD, is_archived=True, archive_time="2025-06-01T00:00:00Z", value=None),
            ],
            activities=[
                stamped(
                    id=60,
                    subject="Talk",
                    type="call",
                    owner_id=1,
                    deal_id=40,
                    person_id=20,
                    org_id=10,
                    due_date="2025-02-28",
                    due_time="23:30:00",
                    duration="01:15:00",
                    done=True,
                    outcome=2,
                    marked_as_done_time="2025-03-01T00:50:00Z",
                    location={"value": "Bremen", "country": "DE"},
                ),
                stamped(id=61, type="site_visit", lead_id=LEAD, due_date="2025-02-28"),
                stamped(id=62, type="payment", due_time=""),
                stamped(id=63, type="lunch", due_date="2025-02-28", due_time="12:00"),
            ],
            notes=[
                stamped(
                    id=70,
                    content="<p>Call &amp; <b>ask</b></p><ul><li>one</li><li>two</li></ul>",
                    user_id=1,
                    deal_id=40,
                    person_id=20,
                    org_id=10,
                    active_flag=True,
                    pinned_to_deal_flag=True,
                    pinned_to_person_flag=False,
                ),
                stamped(id=71, content="gone", person_id=20, org_id=10, active_flag=False),
                stamped(id=72, content="on a lead", lead_id=LEAD, active_flag=True),
            ],
        )
        built(warehouse)
        yield warehouse


def test_a_users_role_and_rights_are_kept(account: Warehouse) -> None:
    """So that an API can honour who may see what: rights for the app in which records are."""
    users = rows(account, "users")

    assert facts(users["1"], "is_admin", "role") == (True, "4")
    assert [users[key]["is_admin"] for key in ("2", "3")] == [False, None]
    assert rows(account, "customers")["10"]["visible_to"] == "3"


def test_a_stage_belongs_to_its_pipeline(account: Warehouse) -> None:
    pipelines, stages = rows(account, "pipelines"), rows(account, "stages")

    assert facts(pipelines["1"], "name", "sort", "probability_used") == ("Sales", 1, True)
    assert facts(
        stages["5"], "name", "sort", "probability", "rotten_after_days", "is_closed", "is_won"
    ) == ("Offer", 0, 40, 14, False, False)
    assert stages["5"]["pipeline_id"] == pipelines["1"]["id"]
    assert stages["6"]["rotten_after_days"] is None


def test_a_deal_has_its_links_amount_and_labels(account: Warehouse) -> None:
    row = rows(account, "deals")["40"]

    assert facts(row, "name", "status", "amount", "currency") == (
        "Deal 40",
        "open",
        Decimal("1200.5"),
        "EUR",
    )
    assert facts(row, "labels", "channel", "source", "visible_to") == (
        ["VIP", "8"],
        "Fair",
        "API",
        "3",
    )
    assert row["expected_close_date"] == date(2025, 5, 31)
    assert (row["stage_changed_at"], row["pipedrive_id"]) == (None, 40)
    for link, mart, key in (
        ("customer_id", "customers", "10"),
        ("contact_id", "contacts", "20"),
        ("owner_id", "users", "1"),
        ("creator_id", "users", "2"),
        ("pipeline_id", "pipelines", "1"),
        ("stage_id", "stages", "5"),
    ):
        assert row[link] == rows(account, mart)[key]["id"], link


def test_a_deleted_deal_keeps_its_status_and_an_archived_one_is_live(account: Warehouse) -> None:
    """Counts of won deals need the status of deleted ones, and the archived ones."""
    deals = rows(account, "deals")

    assert facts(deals["41"], "status", "deletion_reason") == ("won", "deleted")
    assert deals["41"]["deleted_at"] is not None
    assert facts(deals["42"], "status", "is_archived", "deleted_at") == ("won", True, None)


def test_a_line_belongs_to_its_deal_and_product(account: Warehouse) -> None:
    row = rows(account, "deal_products")["50"]

    assert facts(
        row, "quantity", "unit_price", "currency", "discount", "discount_type", "total"
    ) == (
        Decimal("2.5"),
        100,
        "EUR",
        10,
        "percent",
        225,
    )
    assert facts(row, "name", "comments", "starts_on") == ("Drill, blue", None, date(2025, 7, 1))
    assert row["deal_id"] == rows(account, "deals")["40"]["id"]
    product = rows(account, "products")["30"]
    assert row["product_id"] == product["id"]
    assert facts(product, "category", "tax", "is_active", "visible_to") == ("Tools", 19, True, "3")


def test_a_lead_has_an_amount_with_its_currency_and_names_of_labels(account: Warehouse) -> None:
    """Labels of leads are records of their own, known by a UUID."""
    leads = rows(account, "leads")

    assert facts(leads[LEAD], "amount", "currency") == (Decimal("99.5"), "USD")
    assert facts(leads[LEAD], "labels", "source", "visible_to") == (["Hot", COLD], "Web forms", "1")
    assert leads[LEAD]["customer_id"] == rows(account, "customers")["10"]["id"]
    assert facts(leads[OTHER_LEAD], "amount", "currency", "is_archived", "deleted_at") == (
        None,
        None,
        True,
        None,
    )


def test_an_activity_starts_only_where_a_time_was_given(account: Warehouse) -> None:
    """Times are UTC; a day alone is no midnight."""
    activities = rows(account, "activities")

    assert facts(activities["60"], "due_date", "starts_at", "ends_at", "duration", "all_day") == (
        date(2025, 2, 28),
        datetime(2025, 2, 28, 23, 30, tzinfo=UTC),
        datetime(2025, 3, 1, 0, 45, tzinfo=UTC),
        timedelta(hours=1, minutes=15),
        False,
    )
    assert facts(activities["61"], "due_date", "starts_at", "ends_at", "all_day") == (
        date(2025, 2, 28),
        None,
        None,
        True,
    )
    assert facts(activities["62"], "due_date", "starts_at", "all_day") == (None, None, False)
    assert facts(activities["63"], "starts_at", "ends_at", "all_day") == (
        datetime(2025, 2, 28, 12, tzinfo=UTC),
        None,
        False,
    )


def test_an_activitys_kind_comes_from_its_type_or_the_types_icon(account: Warehouse) -> None:
    activities = rows(account, "activities")

    assert {key: facts(row, "kind", "remote_kind") for key, row in activities.items()} == {
        "60": ("call", "call"),
        "61": ("meeting", "site_visit"),
        "62": ("other", "payment"),
        "63": ("meeting", "lunch"),
    }
    assert facts(activities["60"], "outcome", "location", "done") == ("Reached", "Bremen", True)
    assert activities["61"]["lead_id"] == rows(account, "leads")[LEAD]["id"]


def test_a_note_is_counted_once_and_read_without_html(account: Warehouse) -> None:
    """A note on a deal has the deal's person and company too."""
    notes = rows(account, "notes")

    assert facts(notes["70"], "noted_on", "pinned_to", "body_text") == (
        "deal",
        ["deal"],
        "Call & ask\none\ntwo",
    )
    links = ("deal_id", "contact_id", "customer_id", "author_id")
    assert None not in facts(notes["70"], *links)
    assert facts(notes["71"], "noted_on", "deletion_reason") == ("contact", "deleted")
    assert facts(notes["72"], "noted_on", "lead_id") == ("lead", rows(account, "leads")[LEAD]["id"])


@pytest.mark.parametrize("is_deal_first", [True, False])
def test_a_converted_lead_says_so_whichever_side_arrives_first(
    warehouse: Warehouse, raw: RawTables, *, is_deal_first: bool
) -> None:
    """Each side comes in a build that reads nothing else."""
    raw.load(users=[user(1, "Ada")])
    built(warehouse)
    sides = [{"deals": [deal(40, source_lead_id=LEAD)]}, {"leads": [lead(), lead(OTHER_LEAD)]}]
    for side in sides if is_deal_first else reversed(sides):
        raw.load(**side)
        assert not built(warehouse).is_whole

    row, won = rows(warehouse, "leads")[LEAD], rows(warehouse, "deals")["40"]
    assert facts(row, "deletion_reason", "converted_at") == ("converted", MADE_AT)
    assert row["deleted_at"] is not None
    assert (row["converted_deal_id"], won["lead_id"]) == (won["id"], row["id"])
    assert facts(rows(warehouse, "leads")[OTHER_LEAD], "deleted_at", "converted_deal_id") == (
        None,
        None,
    )
    assert built(warehouse).counts["leads"].updated == 0


def test_a_mark_of_a_converted_lead_keeps_the_reason(warehouse: Warehouse, raw: RawTables) -> None:
    """A sweep sees only that the lead is in no list."""
    raw.load(leads=[lead(), lead(OTHER_LEAD)], deals=[deal(40, source_lead_id=LEAD)])
    built(warehouse)
    raw.mark("leads", LEAD)
    raw.mark("leads", OTHER_LEAD)

    built(warehouse)

    leads = rows(warehouse, "leads")
    assert {key: row["deletion_reason"] for key, row in leads.items()} == {
        LEAD: "converted",
        OTHER_LEAD: "deleted",
    }
    settled = built(warehouse, is_whole=True)
    assert (settled.counts["leads"].unchanged, settled.compared["leads"].is_equal) == (2, True)


def test_a_lead_that_is_edited_after_its_deal_was_made_is_live(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(
        leads=[lead(update_time="2025-02-03T09:00:00Z")], deals=[deal(40, source_lead_id=LEAD)]
    )

    built(warehouse)

    row = rows(warehouse, "leads")[LEAD]
    assert facts(row, "deleted_at", "deletion_reason") == (None, None)
    assert row["converted_deal_id"] is not None


@pytest.mark.parametrize("is_deal_first", [True, False])
def test_a_deal_that_became_a_lead_says_so(
    warehouse: Warehouse, raw: RawTables, *, is_deal_first: bool
) -> None:
    sides = [
        {"deals": [deal(40, status="deleted", is_deleted=True), deal(41)]},
        {"leads": [lead(source_deal_id=40)]},
    ]
    for side in sides if is_deal_first else reversed(sides):
        raw.load(**side)
        built(warehouse)

    deals, row = rows(warehouse, "deals"), rows(warehouse, "leads")[LEAD]
    assert facts(deals["40"], "deletion_reason", "converted_lead_id") == ("converted", row["id"])
    assert row["source_deal_id"] == deals["40"]["id"]
    assert facts(deals["41"], "deletion_reason", "converted_lead_id") == (None, None)


def test_the_lead_of_a_merged_deal_leads_to_the_survivor(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(leads=[lead()], deals=[deal(40, source_lead_id=LEAD), deal(41)])
    built(warehouse)
    raw.mark("deals", 40, "merged", merged_into=41)

    built(warehouse)

    deals, row = rows(warehouse, "deals"), rows(warehouse, "leads")[LEAD]
    assert facts(row, "converted_deal_remote_id", "converted_deal_id") == ("40", deals["41"]["id"])
    assert deals["40"]["deletion_reason"] == "merged"


def test_a_renamed_label_and_a_new_icon_reach_records_that_did_not_change(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(
        lead_labels=[{"id": HOT, "name": "Hot"}],
        leads=[lead(label_ids=[HOT])],
        activity_types=[{"id": 2, "key_string": "visit", "icon_key": "car"}],
        activities=[stamped(id=61, type="visit")],
    )
    built(warehouse)
    raw.load(
        lead_labels=[{"id": HOT, "name": "Boiling"}],
        activity_types=[{"id": 2, "key_string": "visit", "icon_key": "meeting"}],
    )

    built(warehouse)

    assert rows(warehouse, "leads")[LEAD]["labels"] == ["Boiling"]
    assert rows(warehouse, "activities")["61"]["kind"] == "meeting"


def test_a_stage_that_is_gone_keeps_its_name_and_its_deals(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(
        stages=[stamped(id=5, name="Offer", pipeline_id=1)],
        deals=[deal(40, stage_id=5), deal(41, stage_id=404)],
    )
    built(warehouse)
    raw.mark("stages", 5)

    built(warehouse)

    stage, deals = rows(warehouse, "stages")["5"], rows(warehouse, "deals")
    assert facts(stage, "name", "deletion_reason") == ("Offer", "deleted")
    assert deals["40"]["stage_id"] == stage["id"]
    assert facts(deals["41"], "stage_id", "stage_remote_id") == (None, "404")


def test_an_unchanged_build_asks_for_all_marts_at_once(
    warehouse: Warehouse, raw: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fourteen marts cost no more than three; a changed deal asks nothing of unrelated marts."""
    raw.make_all()
    raw.load(
        users=[user(1, "Ada")],
        organizations=[organization(10, owner_id=1)],
        persons=[person(20, org_id=10)],
        products=[stamped(id=30)],
        deals=[deal(40, org_id=10, person_id=20)],
    )
    built(warehouse)
    statements: list[str] = []
    execute = psycopg.Connection.execute

    def counted(connection: Any, query: Any, *arguments: Any, **settings: Any) -> Any:
        is_text = isinstance(query, str | bytes)
        statements.append(str(query) if is_text else query.as_string(connection))
        return execute(connection, query, *arguments, **settings)

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    nothing = built(warehouse)
    of_nothing = len(statements)
    raw.load(deals=[deal(40, org_id=10, person_id=20, value=7)])
    statements.clear()
    of_a_deal = built(warehouse)

    assert all(counts == RowCounts() for counts in nothing.counts.values())
    assert of_nothing <= 15, of_nothing
    assert of_a_deal.counts["deals"] == RowCounts(updated=1)
    assert len(statements) <= 75, len(statements)
    unrelated = ('update "crm"."products"', 'update "crm"."contacts"', 'update "crm"."users"')
    assert not [text for text in statements if any(part in text for part in unrelated)]


@pytest.mark.parametrize("name", ["customers", "users", "stages"])
def test_a_link_is_set_when_the_other_record_comes_later(
    warehouse: Warehouse, raw: RawTables, name: str
) -> None:
    """With an index on the link and without one; rows that are linked already stay as they are."""
    raw.load(
        organizations=[organization(10), organization(11)],
        deals=[deal(40, org_id=12, owner_id=2, stage_id=5), deal(41, org_id=10)],
        persons=[person(20, org_id=11)],
    )
    built(warehouse)
    before = rows(warehouse, "deals")
    raw.load(
        **{
            "customers": {"organizations": [organization(12)]},
            "users": {"users": [user(2, "Bob")]},
            "stages": {"stages": [stamped(id=5, name="Offer")]},
        }[name]
    )

    built(warehouse)

    link = {"customers": "customer_id", "users": "owner_id", "stages": "stage_id"}[name]
    after = rows(warehouse, "deals")
    (row,) = [row for row in rows(warehouse, name).values() if row["id"] == after["40"][link]]
    assert row["remote_id"] == after["40"][link.replace("_id", "_remote_id")]
    assert after["41"] == before["41"]


@pytest.mark.slow
def test_links_follow_a_merge_of_a_merge_and_come_back(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Only the deals of these companies are compared."""
    raw.load(
        organizations=[organization(10), organization(11), organization(12)],
        deals=[deal(40, org_id=10), deal(41, org_id=11), deal(42, org_id=12)],
    )
    built(warehouse)
    homes = {key: row["id"] for key, row in rows(warehouse, "customers").items()}
    raw.mark("organizations", 10, "merged", merged_into=11)
    built(warehouse)
    once = {key: row["customer_id"] for key, row in rows(warehouse, "deals").items()}
    raw.mark("organizations", 11, "merged", merged_into=12)
    built(warehouse)
    twice = {key: row["customer_id"] for key, row in rows(warehouse, "deals").items()}
    raw.unmark("organizations", 10)
    raw.load(organizations=[organization(10, name="back")])
    built(warehouse)
    back = {key: row["customer_id"] for key, row in rows(warehouse, "deals").items()}

    assert once == {"40": homes["11"], "41": homes["11"], "42": homes["12"]}
    assert twice == dict.fromkeys(("40", "41", "42"), homes["12"])
    assert back == {"40": homes["10"], "41": homes["12"], "42": homes["12"]}


def test_no_value_of_an_odd_shape_is_lost_silently(warehouse: Warehouse, raw: RawTables) -> None:
    """What a column cannot show is listed as rejected, and the rest of the record is built."""
    raw.load(
        deals=[
            deal(40, expected_close_date="31.05.2025", status="paused"),
            deal(41, expected_close_date=None, extra={"expected_close_date": ["2025-05-31"]}),
            deal(42, expected_close_date=""),
        ],
        leads=[lead(value={"amount": "much", "currency": "EUR"}), lead(OTHER_LEAD, value="12.5")],
        activities=[
            stamped(id=60, due_date="2025-02-30", due_time="25:00", duration="a day"),
            stamped(id=61, due_date="2025-02-28", due_time="noon"),
            stamped(id=62, location=["Bremen"]),
        ],
    )

    built(warehouse)

    with warehouse.transaction() as connection:
        listed = connection.execute(
            "select entity, record_id, field, reason from integration.rejected_values"
        ).fetchall()
    assert {row[:3]: row[3] for row in listed} == {
        ("deals", "40", "expected_close_date"): "is no day of the calendar",
        ("deals", "41", "expected_close_date"): "is no day of the calendar",
        ("leads", LEAD, "value"): "amount is no number",
        ("activities", "60", "due_date"): "is no day of the calendar",
        ("activities", "60", "due_time"): "is no time of day",
        ("activities", "60", "duration"): "is no length of time",
        ("activities", "61", "due_time"): "is no time of day",
        ("activities", "62", "location"): "is no address",
    }
    assert rows(warehouse, "deals")["40"]["status"] == "paused"
    assert rows(warehouse, "leads")[OTHER_LEAD]["amount"] == Decimal("12.5")
    assert facts(rows(warehouse, "activities")["61"], "due_date", "all_day") == (
        date(2025, 2, 28),
        False,
    )


def test_a_value_that_fits_now_is_rejected_no_more(warehouse: Warehouse, raw: RawTables) -> None:
    raw.load(deals=[deal(40, expected_close_date="soon")])
    built(warehouse)
    raw.load(deals=[deal(40, expected_close_date="2025-05-31")])

    built(warehouse)

    with warehouse.transaction() as connection:
        assert connection.execute("select from integration.rejected_values").fetchall() == []


def test_a_deals_people_are_its_person_and_its_participants(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """One row per deal and person, also of the person that Pipedrive lists twice."""
    raw.load(
        persons=[person(20), person(21), person(22)],
        deals=[deal(40, person_id=20), deal(41, person_id=21), deal(42)],
    )
    built(warehouse)
    alone = rows(warehouse, "deal_contacts")
    raw.load(
        deal_participants=[
            {"id": 1, "deal_id": 40, "person_id": 20, "add_time": "2025-03-01T00:00:00Z"},
            {"id": 2, "deal_id": 40, "person_id": 22, "add_time": "2025-03-02T00:00:00Z"},
            {"id": 3, "deal_id": 42, "person_id": 22, "active_flag": False},
        ]
    )

    built(warehouse)

    people = rows(warehouse, "deal_contacts")
    assert {key: row["is_primary"] for key, row in alone.items()} == {"40/20": True, "41/21": True}
    assert {key: facts(row, "is_primary", "deleted_at") for key, row in people.items()} == {
        "40/20": (True, None),
        "40/22": (False, None),
        "41/21": (True, None),
    }
    assert people["40/22"]["added_at"] == datetime(2025, 3, 2, tzinfo=UTC)
    assert people["40/22"]["deal_id"] == rows(warehouse, "deals")["40"]["id"]
    assert people["40/22"]["contact_id"] == rows(warehouse, "contacts")["22"]["id"]
    assert people["40/20"]["id"] == alone["40/20"]["id"]


def test_a_person_who_leaves_a_deal_is_marked(warehouse: Warehouse, raw: RawTables) -> None:
    """As a new main person, as a participant who is in no list, or because the deal is gone."""
    raw.load(
        deals=[deal(40, person_id=20), deal(41, person_id=20), deal(42, person_id=20)],
        deal_participants=[{"id": 2, "deal_id": 41, "person_id": 22}],
    )
    built(warehouse)
    raw.load(
        deals=[
            deal(40, person_id=21),
            deal(41, person_id=20, probability=5),
            deal(42, person_id=20, is_deleted=True),
        ]
    )
    raw.mark("deal_participants", 2)

    built(warehouse)

    people = rows(warehouse, "deal_contacts")
    assert {key: row["deletion_reason"] for key, row in people.items()} == {
        "40/20": "deleted",
        "40/21": None,
        "41/20": None,
        "41/22": "deleted",
        "42/20": "deleted",
    }


ADDRESS = "ada@canary.example"


@pytest.mark.slow
def test_an_erasure_finds_a_person_in_every_kind_of_record(
    warehouse: Warehouse, raw: RawTables, tmp_path: Path
) -> None:
    """By the declarations of marts and raw; rows that were linked with them stay, unlinked."""
    raw.load(
        organizations=[organization(10)],
        deals=[deal(40, title=f"Offer for {ADDRESS}", org_id=10), deal(41, title="Other")],
        leads=[lead(title=f"Lead of {ADDRESS}"), lead(OTHER_LEAD, source_deal_id=40)],
        activities=[stamped(id=60, subject="Call", note=f"<b>{ADDRESS}</b>", deal_id=40)],
        notes=[
            stamped(id=70, content=f"wrote to {ADDRESS}", deal_id=41),
            stamped(id=71, content="see ada@canary.example.org", deal_id=40),
        ],
        deal_products=[stamped(id=50, deal_id=40, name="Drill")],
    )
    built(warehouse)

    matches = find_by_address(warehouse, ACME, ADDRESS)
    with tenant_lock(warehouse, ACME) as lock:
        erase_records(lock, Settings(pipeline_home=tmp_path), matches.records, who="a test")

    assert {(record.entity, record.id) for record in matches.records} == {
        ("deals", "40"),
        ("leads", LEAD),
        ("activities", "60"),
        ("notes", "70"),
    }
    assert find_by_address(warehouse, ACME, ADDRESS).records == ()
    left = rows(warehouse, "notes")["71"], rows(warehouse, "leads")[OTHER_LEAD]
    assert facts(left[0], "deal_id", "deal_remote_id") == (None, "40")
    assert facts(left[1], "source_deal_id", "deleted_at") == (None, None)
    again = built(warehouse, is_whole=True)
    assert all(compared.is_equal for compared in again.compared.values())


@pytest.mark.parametrize(
    ("mart", "action", "rule"),
    [
        ("deals", "new.stage_id := null;", "deals_linked"),
        ("deals", "new.currency := null;", "deals_current"),
        ("leads", "new.deleted_at := now();", "leads_deletions"),
        ("activities", "return null;", "activities_complete"),
        ("notes", "new.body := null;", "notes_current"),
        ("deal_contacts", "new.contact_id := null;", "deal_contacts_linked"),
    ],
)
def test_an_audit_of_a_new_mart_stops_a_build(
    warehouse: Warehouse, raw: RawTables, mart: str, action: str, rule: str
) -> None:
    raw.load(
        persons=[person(20)],
        stages=[stamped(id=5, name="Offer")],
        deals=[deal(40, stage_id=5, person_id=20)],
        leads=[lead()],
        activities=[stamped(id=60)],
        notes=[stamped(id=70, content="text")],
    )
    meddle(warehouse, mart, action)

    with pytest.raises(Breach) as breach:
        built(warehouse)

    assert breach.value.rule == rule
    assert rows(warehouse, "deals") == {}


@pytest.mark.slow
def test_a_price_with_a_currency_of_any_length_stops_no_build(raw: RawTables) -> None:
    """The id of a price names its currency, and an index holds 2,700 bytes of it."""
    odd = [sha256(str(number).encode()).hexdigest() * 100 for number in range(2)]
    texts = [*odd, "".join(sha256(str(number).encode()).hexdigest() for number in range(100))]
    prices = [{"price": 1, "currency": text} for text in ("EUR", *texts)]
    raw.load(products=[stamped(id=1, name="Drill", prices=prices)])

    built(raw.warehouse)

    found = rows(raw.warehouse, "product_prices")
    assert [row["currency"] for row in found.values()].count("EUR") == 1
    assert {row["currency"] for row in found.values()} == {"EUR", *texts}
    assert "1/EUR" in found
