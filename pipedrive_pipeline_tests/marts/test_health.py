"""Rows that lost their company, and rows that went away, are counted."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.marts import build
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.health import (
    DROP_ROWS,
    MartHealth,
    Orphans,
    Volume,
    checked_links,
    mart_health,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.warehouse.databases import ACME

NO_ORPHANS = {mart.name: Orphans(0, ()) for mart in MARTS if checked_links(mart)}


def counted(warehouse: Warehouse) -> MartHealth:
    with warehouse.transaction(ACME, (Scope(ACME, SYSTEM).raw_schema,)) as connection:
        return mart_health(connection, Scope(ACME, SYSTEM))


def test_a_contact_whose_organization_is_not_shown_is_an_orphan(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Hidden from the user who connected: the person is listed, the organization is not."""
    raw.load(
        organizations=[organization(1)],
        persons=[person(10, org_id=1), person(11, org_id=404), person(12, org_id=None)],
    )
    build(warehouse, Scope(ACME, SYSTEM))

    assert counted(warehouse).orphans == NO_ORPHANS | {"contacts": Orphans(1, ("11",))}


def test_a_tenant_without_any_table_is_healthy(warehouse: Warehouse) -> None:
    result = counted(warehouse)

    assert result.orphans == NO_ORPHANS
    assert result.orphans.keys() >= {"contacts", "deals"}
    assert result.volumes == {mart: Volume(0, 0, 0) for mart in result.volumes}


def test_the_volume_of_a_week_ago_counts_rows_that_were_deleted_since(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(organizations=[organization(id_) for id_ in range(1, 6)])
    build(warehouse, Scope(ACME, SYSTEM))
    with warehouse.transaction() as connection:
        for clause in (
            "created_at = now() - interval '30 days' where pipedrive_id < 5",
            "deleted_at = now() - interval '1 day' where pipedrive_id = 1",
            "deleted_at = now() - interval '20 days' where pipedrive_id = 2",
        ):
            connection.execute(f"update crm.customers set {clause}".encode())

    assert counted(warehouse).volumes["customers"] == Volume(now=3, before=3, of_tenant=3)


@pytest.mark.parametrize(
    ("now", "before", "is_dropped"),
    [
        (100, 100, False),
        (100 - DROP_ROWS, 100, False),  # half of it, but few
        (99 - DROP_ROWS, 100, True),
        (901, 1_000, False),  # many, but less than a tenth
        (899, 1_000, True),
        (5_000, 100, False),
        (0, 0, False),
    ],
)
def test_a_drop_is_many_rows_and_a_great_share(now: int, before: int, *, is_dropped: bool) -> None:
    assert Volume(now, before, now).is_dropped is is_dropped
