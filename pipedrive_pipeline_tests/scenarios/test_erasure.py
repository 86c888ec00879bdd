"""A person who was erased is in no table any more, and comes back only by an edit at the source."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg import sql

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.marts.erasure import ErasureRefused
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.signals.refresh import open_refresher
from pipedrive_pipeline.sync.tenancy.expiry import erase_expired
from pipedrive_pipeline.sync.tenancy.person_erasure import (
    Erased,
    FormerRow,
    NobodyToErase,
    PersonalRecord,
    erase_records,
    find_by_address,
    personal_marts,
)
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, marked, mart
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, environment_of

CANARY = "Canary7f3a"
EMAIL = f"ada@{CANARY}.example"
PERSON = 30


@pytest.fixture
def account() -> CrmAccount:
    return seeded(12, 60, organization_fields=3, person_fields=3)


def persons(*ids: int) -> tuple[PersonalRecord, ...]:
    return tuple(PersonalRecord(SYSTEM, "persons", str(record_id)) for record_id in ids)


def erase(world: World, *ids: int, former: tuple[FormerRow, ...] = ()) -> Erased:
    with tenant_lock(world.warehouse, ACME) as lock:
        return erase_records(lock, world.settings, persons(*ids), former=former, who="a test")


def run(world: World, text: str) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(text.encode())


def places(world: World, words: str = CANARY) -> set[str]:
    """Tables and views that hold the words, the planner's statistics among them; and files."""
    with world.warehouse.connect() as connection:
        tables = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema not in ('pg_catalog', 'information_schema')"
            " union all select 'pg_catalog', 'pg_stats'"
        ).fetchall()
        places = {
            ".".join(table)
            for table in tables
            if connection.execute(
                sql.SQL("select true from {} as held where held::text ilike %s limit 1").format(
                    sql.Identifier(*table)
                ),
                [f"%{words}%"],
            ).fetchone()
        }
    files = [path for path in world.settings.pipeline_home.rglob("*") if path.is_file()]
    return places | {str(path) for path in files if words.encode() in path.read_bytes()}


def contact_ids(world: World) -> set[int]:
    return {row["pipedrive_id"] for row in mart(world, "contacts")}


def erased_ids(world: World) -> list[str]:
    return [row["record_id"] for row in world.rows("integration", "erased_records", "record_id")]


def actions(world: World) -> list[dict[str, Any]]:
    """The audit log's entries on erasures, oldest first."""
    log = world.rows("integration", "audit_log")
    return [row for row in log if row["action"] in {"person.erase", "records.erase_deleted"}]


@pytest.mark.slow
def test_an_erased_person_is_nowhere(world: World, account: CrmAccount) -> None:
    """Looked for in every table of every schema, Dagster's too, the statistics and the files."""
    field = account.fields["persons"].add("Rank", "double")
    account.plant("persons", PERSON, job_title=[CANARY], custom_fields={field.code: CANARY})
    with environment_of(world) as settings:
        assert Terminal(settings).run("sync", "--tenant", "acme", "--full").code == 0
    account.edit("persons", PERSON, name=f"Ada {CANARY}", emails=[{"value": EMAIL}])
    world.sync()
    assert world.rows("dagster", "event_logs"), "Dagster's events are not looked at"
    with world.warehouse.connect(autocommit=True) as connection:
        connection.execute("analyze")
    assert places(world) == {
        "analytics_acme.contacts",
        "analytics_acme.contacts_all",
        "analytics_acme.last_touch",
        "crm.contact_points",
        "crm.contacts",
        "integration.rejected_values",
        "pg_catalog.pg_stats",
        "raw_pipedrive_acme.persons",
        "staging_pipedrive_acme.persons",
    }

    erased = erase(world, PERSON)

    assert (erased.raw_rows, erased.at_source) == (1, persons(PERSON))
    assert erased.mart_rows == {mart.name: 0 for mart in personal_marts()} | {"contacts": 1}
    assert places(world) == set()
    (entry,) = actions(world)
    assert entry["subject"] == str(erased.receipt)
    assert entry["after"] == erased.rows


@pytest.mark.slow
def test_an_erased_person_comes_back_by_an_edit_at_the_source_alone(
    world: World, account: CrmAccount
) -> None:
    account.edit("persons", PERSON, name=f"Ada {CANARY}")
    account.plant("persons", PERSON, job_title=[CANARY])  # a misfit, which is listed elsewhere
    world.sync(sync_type="full")
    erase(world, PERSON)

    ways: tuple[SyncType, ...] = ("incremental", "full", "sweep")
    for way in ways:
        read = world.sync(sync_type=way).reads["persons"]
        assert (read.withheld, read.missing or 0) == (1, 0), way
        assert places(world) == set(), way
    with open_refresher(
        Scope(ACME, SYSTEM), warehouse=world.warehouse, settings=world.settings
    ) as refresher:
        assert refresher.refresh("persons", [str(PERSON)]).absent == ()
    assert places(world) == set()
    account.edit("persons", PERSON, name=f"Ada {CANARY} again")
    world.sync()
    assert "crm.contacts" in places(world)
    assert erased_ids(world) == []


@pytest.mark.slow
@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(microseconds=1)])
def test_an_edit_under_an_earlier_stamp_brings_an_erased_person_back(
    world: World, account: CrmAccount, back: timedelta
) -> None:
    """The source's clock went back: the edit was made after the erasure all the same."""
    world.first_sync()
    (row,) = (row for row in world.raw(ACME, "persons") if row["id"] == PERSON)
    erase(world, PERSON)
    account.edit("persons", PERSON, name="Ada again")
    account.plant("persons", PERSON, update_time=(row["update_time"] - back).isoformat())

    read = world.sync().reads["persons"]

    assert (read.withheld, erased_ids(world)) == (0, [])
    assert PERSON in contact_ids(world)


@pytest.mark.slow
def test_what_an_app_refers_to_is_not_erased_by_half(world: World) -> None:
    """An app that keeps orders of a contact decides itself what becomes of them."""
    world.first_sync()
    before = [world.raw(ACME, "persons"), world.rows("crm", "contacts")]
    run(
        world,
        "create table public.orders (id int primary key, contact_id uuid constraint orders_of"
        " references crm.contacts (id) deferrable initially deferred);"
        f" insert into public.orders select 1, id from crm.contacts where pipedrive_id = {PERSON}",
    )

    with pytest.raises(ErasureRefused, match=r"nothing was erased: public\.orders .* orders_of"):
        erase(world, PERSON)

    assert [world.raw(ACME, "persons"), world.rows("crm", "contacts")] == before
    assert (erased_ids(world), actions(world)) == ([], [])
    run(
        world,
        "alter table public.orders drop constraint orders_of, add constraint orders_of"
        " foreign key (contact_id) references crm.contacts (id) on delete set null",
    )
    assert erase(world, PERSON).mart_rows["contacts"] == 1
    assert world.rows("public", "orders")[0]["contact_id"] is None


@pytest.mark.slow
def test_a_stale_process_does_not_bring_an_erased_person_back(world: World) -> None:
    """One that lost its lock in the middle of a load writes what it had read before the erasure."""
    world.first_sync()
    persons = "raw_pipedrive_acme.persons"
    run(world, f"create table public.had as select * from {persons} where id = {PERSON}")
    erase(world, PERSON)
    run(
        world,
        f"insert into {persons} select * from public.had;"
        " insert into crm.contacts (tenant_id, system, remote_id)"
        f" values ('acme', 'pipedrive', '{PERSON}')",
    )
    run(world, "update integration.mart_state set is_rebuild_due = true")

    world.sync()

    assert PERSON not in contact_ids(world)
    assert PERSON not in {row["id"] for row in world.raw(ACME, "persons")}


@pytest.mark.slow
def test_an_erasure_amid_a_full_read_lets_it_end(world: World, account: CrmAccount) -> None:
    """The keys that the read has seen are compared with raw when it ends."""
    with serve(account, page_rows=20) as small_pages:
        world.connect(ACME, small_pages)
        small_pages.faults.add("unauthorized_401", after=2, times=99, path="/api/v2/persons")
        with pytest.raises(PipelineError):
            world.sync(sync_type="full", chunk_rows=20)
        small_pages.faults.clear()
        world.connect(ACME, small_pages)
        assert 0 < len(world.raw(ACME, "persons")) < 60
        gone = world.raw(ACME, "persons")[0]["id"]
        erase(world, gone)

        read = world.sync(sync_type="full").reads["persons"]

        assert read.resumed_rows > 0
        assert (read.is_complete, read.missing, read.extra) == (True, 0, 0)
        assert contact_ids(world) == {person["id"] for person in small_pages.truth("persons")} - {
            gone
        }


@pytest.mark.slow
def test_an_address_finds_everybody_who_has_it_and_duplicates_go_with_whom_they_became(
    world: World, account: CrmAccount
) -> None:
    for person in (PERSON, 31):
        account.edit("persons", person, emails=[{"value": "x@y.z"}, {"value": EMAIL.upper()}])
    world.sync(sync_type="full")
    run(
        world,
        "insert into raw_pipedrive_acme.deletions (entity, id, reason, merged_into, _dlt_load_id)"
        " values ('persons', '32', 'merged', '31', 'x'),"
        " ('organizations', '33', 'merged', '31', 'x');"
        f" insert into crm.contacts (tenant_id, email) values ('acme', '{EMAIL}');"
        " insert into crm.contacts (tenant_id, system, former_remote_id, email)"
        f" values ('acme', 'pipedrive', '32', '{EMAIL}')",
    )

    found = find_by_address(world.warehouse, ACME, f" {EMAIL}")
    erased = erase(world, *(int(record.id) for record in found.records), former=found.former)

    assert (found.records, len(found.former), found.of_the_app) == (persons(30, 31), 1, 1)
    assert erased.records == persons(30, 31, 32)
    assert erased.at_source == persons(30, 31)
    assert contact_ids(world).isdisjoint({30, 31, 32})
    left = find_by_address(world.warehouse, ACME, EMAIL)
    assert (left.records, left.former, left.of_the_app) == ((), (), 1)
    with pytest.raises(NobodyToErase, match="no persons with the id 9999"):
        erase(world, 40, 9999)
    assert 40 in contact_ids(world)
    assert erase(world, 30).raw_rows == 0  # a second erasure


@pytest.mark.slow
def test_a_user_is_erased_with_the_name_that_their_records_repeat(world: World) -> None:
    """An employee who left: `--email` finds every kind of record that is declared as personal."""
    world.first_sync()
    owned = next(row for row in mart(world, "customers") if row["owner_id"])
    (user,) = (row for row in mart(world, "users") if row["id"] == owned["owner_id"])

    found = find_by_address(world.warehouse, ACME, user["email"])
    with tenant_lock(world.warehouse, ACME) as lock:
        erased = erase_records(lock, world.settings, found.records, who="a test")

    assert found.records == (PersonalRecord(SYSTEM, "users", user["remote_id"]),)
    assert erased.mart_rows == {mart.name: 0 for mart in personal_marts()} | {"users": 1}
    world.sync(sync_type="full")
    for name in ("customers", "contacts"):
        of_user = [row for row in mart(world, name) if row["owner_remote_id"] == user["remote_id"]]
        assert of_user
        assert {(row["owner_id"], row["owner_name"]) for row in of_user} == {(None, None)}
    assert user["remote_id"] not in {row["remote_id"] for row in mart(world, "users")}
    assert int(user["remote_id"]) not in {row["id"] for row in world.raw(ACME, "users")}


@pytest.mark.slow
def test_what_was_deleted_long_enough_ago_is_erased_too_where_the_tenant_wants_it(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    account.delete("persons", 30)
    account.delete("organizations", 5)
    account.delete("organizations", 6)
    account.set_rights(account.admin_id, hidden=[("persons", 40)])
    world.sync(sync_type="sweep")
    run(
        world,
        "insert into integration.sync_settings (tenant_id, system, erase_deleted_after_days)"
        " values ('acme', 'pipedrive', 30);"
        " create table public.orders (customer_id uuid references crm.customers (id));"
        " insert into public.orders select id from crm.customers where pipedrive_id = 6;"
        " insert into raw_pipedrive_acme.deletions"
        " (entity, id, reason, merged_into, _dlt_load_id)"
        " values ('organizations', '7', 'merged', '8', 'x');"
        " update integration.mart_state set pending_loads = array['x']",
    )
    world.sync()
    assert marked(world, "persons") == {"30": "deleted", "40": "invisible"}

    before = {row["pipedrive_id"]: row for row in mart(world, "contacts")}
    customer_ids = {row["pipedrive_id"]: row["id"] for row in mart(world, "customers")}
    of_erased = [person for person, row in before.items() if row["customer_id"] == customer_ids[5]]
    of_merged = [
        row["id"] for row in world.raw(ACME, "persons") if row["org_id"] == 7 and row["id"] != 30
    ]
    assert of_erased
    assert of_merged
    run(
        world,
        "update raw_pipedrive_acme.deletions set seen_at = seen_at - interval '31 days'",
    )
    world.sync()

    assert 30 not in contact_ids(world)
    assert {row["id"] for row in world.raw(ACME, "persons")} >= {40}
    assert {row["id"] for row in world.raw(ACME, "organizations")} >= {6}
    assert marked(world, "persons") == {"40": "invisible"}
    assert marked(world, "organizations") == {"6": "deleted", "7": "merged"}
    after = {row["pipedrive_id"]: row for row in mart(world, "contacts")}
    assert all(after[person]["customer_id"] is None for person in of_erased)
    # By this an app learns of it.
    assert all(after[person]["updated_at"] > before[person]["updated_at"] for person in of_erased)
    assert all(after[person]["customer_id"] == customer_ids[8] for person in of_merged)
    row = world.history()[-1]
    assert (row["persons_erased"], row["organizations_erased"], row["status"]) == (1, 1, "success")
    assert [entry["after"] for entry in actions(world)] == [
        {"persons": 1, "organizations": 1, "after_days": 30}
    ]
    account.restore("persons", 30, is_touched=False)
    account.set_rights(account.admin_id, hidden=[])
    world.sync(sync_type="sweep")
    assert 30 in contact_ids(world)
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_records_whose_rows_an_app_has_locked_are_erased_by_the_next_run(
    world: World, account: CrmAccount
) -> None:
    """The marts were built, and the run failed as `database_unavailable`."""
    world.first_sync()
    account.delete("persons", 30)
    world.sync(sync_type="sweep")
    run(
        world,
        "insert into integration.sync_settings (tenant_id, system, erase_deleted_after_days)"
        " values ('acme', 'pipedrive', 30);"
        " update raw_pipedrive_acme.deletions set seen_at = seen_at - interval '31 days'",
    )
    scope = Scope(ACME, SYSTEM)

    with world.warehouse.transaction() as app:
        app.execute("select from crm.contacts where pipedrive_id = 30 for update")
        waiting = erase_expired(world.warehouse.waiting(1), scope)
    erased = erase_expired(world.warehouse, scope)

    assert (waiting.total(), erased["persons"]) == (0, 1)
    assert 30 not in contact_ids(world)
