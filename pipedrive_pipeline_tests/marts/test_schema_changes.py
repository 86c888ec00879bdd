"""The tables of crm are those that are declared, and a command writes what is missing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import (
    CONTACTS,
    CUSTOMERS,
    MARTS,
    ApiResource,
    Link,
    Mart,
    text,
)
from pipedrive_pipeline.marts.schema_changes import changes, missing, restore, write_next
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import head

HOW_TO_RENEW = "marts/declared.py has more than sql/schema: `UPDATE_DOCS=1 pytest -m generated` "
HOW_TO_RENEW += "writes the next file of sql/schema"
VISITS = Mart(
    "visits",
    grain="visit in the system",
    of="Visits to a customer",
    columns=(text("content", "What was talked about."),),
    links=(Link("customer_id", "customers", "The customer.", "Its id in the system."),),
)
GROWN = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, text("fax", "Number of the fax machine.")))


@pytest.mark.generated
def test_a_database_has_all_that_is_declared(warehouse: Warehouse) -> None:
    """Whichever file of sql/schema it came from."""
    with warehouse.connect() as connection:
        connection.execute("alter table crm.customers add column of_the_app text")
        missing = changes(connection)
        if missing and os.environ.get("UPDATE_DOCS"):
            path = write_next(connection)
            pytest.fail(f"{path} is written: run this again, for a database that has applied it.")

    assert missing == "", HOW_TO_RENEW


def test_nothing_is_written_where_nothing_is_missing(warehouse: Warehouse, tmp_path: Path) -> None:
    with warehouse.connect() as connection:
        assert write_next(connection, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_new_mart_and_a_new_column_are_written_and_applied(warehouse: Warehouse) -> None:
    """What is written leaves nothing to write, and keeps tenants apart."""
    marts = (*(GROWN if each is CUSTOMERS else each for each in MARTS), VISITS)
    with warehouse.transaction() as connection:
        written = changes(connection, marts)
        connection.execute(written.encode())
        rest = changes(connection, marts)
        connection.execute(
            "insert into crm.visits (tenant_id, system, remote_id) values ('acme', 'orbit', 'n1')"
        )
        counted = connection.execute(
            "select integration.live_rows('acme', 'orbit', 'visits')"
        ).fetchone()
        forced = connection.execute(
            "select relforcerowsecurity from pg_class where oid = 'crm.visits'::regclass"
        ).fetchone()
        connection.rollback()

    assert "add column fax text" in written
    assert "create table crm.visits" in written
    assert "create table crm.customers" not in written
    assert rest == ""
    assert (counted, forced) == ((1,), (True,))


def test_the_next_file_has_the_next_number(warehouse: Warehouse, tmp_path: Path) -> None:
    with warehouse.transaction() as connection:
        connection.execute("alter table crm.contacts drop column job_title")
        path = write_next(connection, tmp_path)
        connection.rollback()

    assert path is not None
    assert path.name == f"{int(head()) + 1:04}_contacts.sql"
    assert "alter table crm.contacts\n    add column job_title text;" in path.read_text()


def test_a_file_is_called_after_the_marts_that_it_changes(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """The table of a mart and the indexes and policies of its API are in one file.

    They were in two files that were written anew. A database that had applied these never got the
    mart: `migrate` said that nothing was missing, and the next build was refused.
    """
    visits = replace(
        VISITS,
        visible_with=("customer_id",),
        api=ApiResource("visits", "vis", "visit", searched=("content",)),
    )
    with warehouse.transaction() as connection:
        path = write_next(connection, tmp_path, (*MARTS, visits))
        connection.rollback()

    assert path is not None
    assert path.name == f"{int(head()) + 1:04}_visits.sql"
    text = path.read_text()
    assert text.startswith("-- crm: visits.\n")
    assert [
        "create table crm.visits" in text,
        "create index visits_api_search_idx" in text,
        "bind_to_users('crm.visits'" in text,
        "when 'visits' then" in text,
    ] == [True] * 4


def test_a_column_of_another_type_is_left_to_a_person(warehouse: Warehouse) -> None:
    """How values are converted, and who waits for the lock, no declaration says."""
    with warehouse.transaction() as connection:
        connection.execute("alter table crm.contacts alter column job_title type varchar(10)")
        with pytest.raises(BadInput, match=r"crm\.contacts\.job_title is character varying\(10\)"):
            changes(connection, (CONTACTS,))
        connection.rollback()


def test_what_somebody_dropped_is_named_and_made_again_as_declared(warehouse: Warehouse) -> None:
    """`migrate` called such a database up to date, and every sync of every tenant failed."""
    with warehouse.transaction() as connection:
        connection.execute("alter table crm.customers drop column website")
        connection.execute("alter table crm.deals drop column stage_id")
        connection.execute("drop table crm.notes")

    names = restore(warehouse)

    assert names == ["crm.customers.website", "crm.deals.stage_id", "crm.notes"]
    with warehouse.transaction() as connection:
        assert missing(connection) == []
        assert changes(connection) == ""
    assert restore(warehouse) == []


def test_a_database_of_a_newer_release_is_left_alone(warehouse: Warehouse) -> None:
    """It may have given a column up."""
    with warehouse.transaction() as connection:
        connection.execute("alter table crm.customers drop column website")
        connection.execute("update integration.alembic_version set version_num = '9999'")

    assert restore(warehouse) == []
