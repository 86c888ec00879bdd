"""The tables of crm are those that are declared, and a command writes what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import ddl
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS, MARTS, Link, Mart, text
from pipedrive_pipeline.marts.schema_changes import changes, write_next
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import head

VISITS = Mart(
    "visits",
    grain="visit in the system",
    of="Visits to a customer",
    columns=(text("content", "What was talked about."),),
    links=(Link("customer_id", "customers", "The customer.", "Its id in the system."),),
)
GROWN = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, text("fax", "Number of the fax machine.")))


def test_the_file_of_crm_is_written_from_the_declarations() -> None:
    """Run `python -m pipedrive_pipeline.marts.ddl` after an edit of a declaration."""
    assert ddl.SCHEMA_FILE.read_text(encoding="utf-8") == ddl.schema_text()


def test_a_database_has_all_that_is_declared(warehouse: Warehouse, tmp_path: Path) -> None:
    """Whichever file of sql/schema it came from."""
    with warehouse.connect() as connection:
        connection.execute("alter table crm.customers add column of_the_app text")

        assert changes(connection) == ""
        assert write_next(connection, "nothing", tmp_path) is None
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
        path = write_next(connection, "job_titles", tmp_path)
        connection.rollback()

    assert path is not None
    assert path.name == f"{int(head()) + 1:04}_job_titles.sql"
    assert "alter table crm.contacts\n    add column job_title text;" in path.read_text()


def test_a_column_of_another_type_is_left_to_a_person(warehouse: Warehouse) -> None:
    """How values are converted, and who waits for the lock, no declaration says."""
    with warehouse.transaction() as connection:
        connection.execute("alter table crm.contacts alter column job_title type varchar(10)")
        with pytest.raises(BadInput, match=r"crm\.contacts\.job_title is character varying\(10\)"):
            changes(connection, (CONTACTS,))
        connection.rollback()
