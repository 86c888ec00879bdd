"""A seed says everything: names, values, awkward rows; and a million of them cost nothing."""

from __future__ import annotations

import json
import time
import tracemalloc
from hashlib import sha1
from itertools import islice

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, awkward_id, seeded, truth
from pipedrive_pipeline.sandbox.pipedrive.world.awkward import AWKWARD
from pipedrive_pipeline.sandbox.pipedrive.world.fields import CREATABLE_TYPES
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk


def test_the_same_seed_makes_the_same_company() -> None:
    first, second = seeded(40, 90, seed=3), seeded(40, 90, seed=3)

    for entity in ENTITIES:
        assert list(truth(first, entity)) == list(truth(second, entity)), entity


def test_the_organizations_and_persons_of_a_seed_never_change() -> None:
    """Tests everywhere count on them, so a new kind of record must not move their values."""
    account = seeded(40, 90, seed=3)
    rows = [list(truth(account, entity)) for entity in ("organizations", "persons")]

    text = json.dumps(rows, sort_keys=True).encode()
    assert (
        sha1(text, usedforsecurity=False).hexdigest() == "53e66cad6e3d1878447d53d4a4d17d1394f3d5ad"
    )


def test_sales_are_in_proportion_to_the_number_of_deals() -> None:
    account = seeded(200, 400, deals=120)
    counts = {entity: len([*truth(account, entity)]) for entity in ENTITIES}

    assert counts["deals"] == 120 + 1  # one of them deleted
    assert counts["activities"] == 3 * 120
    assert counts["deal_products"] == 120
    assert counts["notes"] == 120
    assert counts["leads"] == 30
    assert counts["products"] == 16
    assert (counts["pipelines"], counts["stages"]) == (2, 9)
    assert {entity for entity, count in counts.items() if count == 0} == set()


def test_seeded_deals_have_every_course() -> None:
    deals = [*truth(seeded(400, 400), "deals", include_fields=("first_won_time",))]

    def share(name: str, value: object) -> float:
        return sum(bool(deal[name] == value) for deal in deals) / len(deals)

    assert 0.4 < share("status", "open") < 0.65
    assert 0.2 < share("status", "won") < 0.4
    assert 0.1 < share("status", "lost") < 0.3
    assert 0.03 < share("is_archived", True) < 0.2
    assert 0.1 < share("stage_change_time", None) < 0.4
    reopened = [d for d in deals if d["status"] == "open" and d["first_won_time"]]
    assert len(reopened) > 5
    assert {deal["pipeline_id"] for deal in deals} == {1, 2, 3}
    assert len({deal["currency"] for deal in deals}) > 4
    for deal in deals:
        times = [deal["stage_change_time"], deal["close_time"], deal["archive_time"]]
        assert all(deal["add_time"] <= at <= deal["update_time"] for at in times if at), deal["id"]


def test_a_company_of_one_or_no_deal_can_be_read() -> None:
    for size in (0, 1, 2, 3):
        account = seeded(size, size)
        for entity in ENTITIES:
            ids = [row.get("id", row.get("name")) for row in truth(account, entity)]
            assert len(ids) == len(set(ids)), (size, entity)


def test_another_seed_makes_another_company_with_the_same_awkward_rows() -> None:
    first, second = seeded(40, 90, seed=3), seeded(40, 90, seed=4)

    names = [[row["name"] for row in truth(account, "persons")] for account in (first, second)]
    assert names[0] != names[1]
    two_emails = awkward_id("persons", "two_emails_second_primary")
    assert first.get("persons", two_emails)["emails"] == second.get("persons", two_emails)["emails"]


@pytest.mark.parametrize("size", [0, 1, 2, 17, 60])
def test_the_admin_sees_exactly_as_many_rows_as_were_requested(size: int) -> None:
    account = seeded(size, size)

    assert [row["id"] for row in truth(account, "organizations")] == list(range(1, size + 1))
    assert [row["id"] for row in truth(account, "persons")] == list(range(1, size + 1))


def test_every_awkward_row_says_what_its_name_promises(account: CrmAccount) -> None:
    for entity, rows in AWKWARD.items():
        for name, promised in rows.items():
            record = account.get(entity, awkward_id(entity, name))
            assert {key: record[key] for key in promised} == promised, name


def test_persons_point_at_organizations_that_lists_do_not_show(account: CrmAccount) -> None:
    listed_ids = {row["id"] for row in truth(account, "organizations")}

    invisible = account.get("persons", awkward_id("persons", "invisible_organization"))["org_id"]
    deleted = account.get("persons", awkward_id("persons", "deleted_organization"))["org_id"]
    assert invisible not in listed_ids
    assert deleted not in listed_ids
    assert account.get("organizations", invisible)["is_deleted"] is False
    assert account.get("organizations", deleted)["is_deleted"] is True


def test_custom_fields_have_every_type_and_hold_values_of_each(account: CrmAccount) -> None:
    fields = [field for field in account.fields["organizations"] if field.is_custom]

    assert len(fields) == 40
    assert {field.type for field in fields} == set(CREATABLE_TYPES)
    for field in fields:
        values = [row["custom_fields"][field.code] for row in truth(account, "organizations")]
        assert any(value is not None for value in values), field.name
        assert len(field.code) == 40


def test_children_of_an_organization_are_found_without_a_search(account: CrmAccount) -> None:
    """The arithmetic must agree with reading every person."""
    account.edit("persons", 100, org_id=7)
    account.edit("persons", 33, org_id=None)
    everybody = list(truth(account, "persons"))

    for org_id in range(1, 63):
        by_hand = [row["id"] for row in everybody if row["org_id"] == org_id]
        assert account.records["persons"].children_of("org_id", org_id) == by_hand


def test_a_million_persons_start_at_once_and_a_page_from_anywhere_costs_only_itself() -> None:
    tracemalloc.start()
    started = time.process_time()

    account = seeded(100_000, 1_000_000)
    last = account.records["persons"].seeded.order.key_at("update_time", 999_000)
    walk = Walk("update_time", start=last)
    page = list(islice(listed(account, "persons", account.admin_id, walk), 500))
    deals = list(islice(listed(account, "deals", account.admin_id, Walk(start=(90_000, 0))), 500))

    seconds = time.process_time() - started
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(page) == len(deals) == 500
    assert seconds < 2
    assert peak_bytes < 30_000_000
