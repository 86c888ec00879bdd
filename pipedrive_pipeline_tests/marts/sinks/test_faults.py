"""A failing sink names the culprit, harms nobody, and catches up by itself."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline_tests.marts.sinks.app_schema import DOCUMENT, PEOPLE, App

pytestmark = pytest.mark.slow

# An app's trigger that tries what it can to act with other rights than those of the sink.
ATTACK = """
create table app.caught (what text, outcome text);
create function app.attack() returns trigger language plpgsql as $$
declare
    attempt text;
begin
    foreach attempt in array array[
        'reset role',
        'set role ' || quote_ident(session_user),
        'set session authorization default',
        'delete from crm.customers',
        'select from integration.connections',
        'insert into app.caught values (''wrote as the engine'', current_user)'
    ] loop
        begin
            execute attempt;
            raise exception 'allowed: %', attempt;
        exception
            when insufficient_privilege or invalid_parameter_value
                or insufficient_resources then
                null;
        end;
    end loop;
    return null;
end
$$;
"""


@pytest.mark.parametrize(
    ("damage", "values", "named"),
    [
        (
            "alter table app.customers add constraint own_town check (town <> 'Köln')",
            {"city": "Köln"},
            {"table": "app.customers", "constraint": "own_town", "sqlstate": "23514"},
        ),
        (
            (
                "create unique index one_mail on app.customers (mail);"
                " insert into app.customers (workspace_id, company, mail)"
                " values ('0b6c2f6e-3f0a-4a3e-9d52-000000000002', 'Theirs', 'a@b.de')"
            ),
            {"email": "a@b.de"},
            {"table": "app.customers", "constraint": "one_mail", "sqlstate": "23505"},
        ),
        (
            "alter table app.customers alter town set not null",
            {"city": None},
            {"table": "app.customers", "column": "town", "sqlstate": "23502"},
        ),
        (
            "select",
            {"name": "x" * 81},
            {"table": "app.customers", "column": "company", "sqlstate": "22001"},
        ),
        (
            (
                "create function app.refuse() returns trigger language plpgsql as $$"
                " begin raise exception 'no % today', new.company; end $$;"
                " create trigger refuse before insert on app.customers"
                " for each row when (new.company = 'Bad') execute function app.refuse()"
            ),
            {"name": "Bad"},
            {"table": "app.customers", "sqlstate": "P0001"},
        ),
    ],
)
def test_one_row_that_is_refused_stops_no_other(
    app: App, damage: str, values: dict[str, Any], named: dict[str, str]
) -> None:
    """Its fault names table, column or constraint, and never a value."""
    app.save()
    app.execute(damage)
    before = app.rows()
    good = {"name": "Good", "city": "Ulm", "email": "good@good.de"}
    app.crm(**good)
    app.crm(**{**good, "email": "bad@bad.de", **values}, remote_id="666")
    app.crm(**{**good, "name": "Also good", "email": "also@good.de"})

    fed = app.feed()["customers"]

    assert {row["company"] for row in app.rows() if row not in before} == {"Good", "Also good"}
    assert (fed.counts["created"], fed.counts["refused"]) == (2, 1)
    assert fed.fault is not None
    assert fed.fault.items() >= named.items()
    assert "666" in fed.fault["message"]
    assert not any(str(value) in fed.fault["message"] for value in values.values() if value)
    assert app.states()["customers"].state == "failing"
    assert app.states()["customers"].refused_count == 1


def test_a_refused_row_is_written_by_the_refresh_after_the_repair(app: App) -> None:
    """Although the cursor has passed it."""
    app.save()
    app.execute("alter table app.customers add constraint own_town check (town <> 'Köln')")
    app.crm(name="A", city="Köln")
    app.feed()
    app.execute("alter table app.customers drop constraint own_town")

    fed = app.feed(is_whole=False)["customers"]

    assert fed.fault is None
    assert [row["town"] for row in app.rows()] == ["Köln"]
    assert (app.states()["customers"].state, app.states()["customers"].refused_count) == ("fed", 0)


@pytest.mark.parametrize(
    ("damage", "repair", "told"),
    [
        (
            "alter table app.customers rename to gone",
            "alter table app.gone rename to customers",
            "app.customers is gone",
        ),
        (
            "alter table app.customers drop column town",
            "alter table app.customers add column town text",
            "no column town",
        ),
        (
            "alter table app.customers alter company type integer using 1",
            "alter table app.customers alter company type text using 'A'",
            "column company",
        ),
    ],
)
def test_a_changed_table_stops_its_sink_only(app: App, damage: str, repair: str, told: str) -> None:
    """The sink of another table goes on; after the repair everything is there."""
    people = {**PEOPLE, "columns": {"full_name": "name"}}
    app.save({**DOCUMENT, "people": people})
    app.feed()
    app.crm(name="A")
    app.crm("contacts", name="Eva")
    app.execute(damage)

    fed = app.feed()
    message = fed["customers"].message
    app.execute(repair)
    after = app.feed()

    assert told in str(message)
    assert fed["people"].counts["created"] == 1
    assert not any(each.fault for each in after.values())
    assert [row["company"] for row in app.rows()] == ["A"]


def test_a_trigger_of_the_app_runs_with_rights_on_its_table_only(app: App) -> None:
    """Immediately: none of what it tries with other rights is allowed."""
    app.save()
    app.execute(ATTACK)
    app.execute(
        "create trigger attack after insert on app.customers"
        " for each row execute function app.attack()"
    )
    app.crm(name="A")

    fed = app.feed()["customers"]

    assert fed.fault is None
    assert len(app.rows()) == 1
    assert app.rows("caught") == []


def test_a_deferred_trigger_of_the_app_does_not_wait_for_our_rights(app: App) -> None:
    """At the end of the transaction it would run as the caller."""
    app.save()
    app.execute(ATTACK)
    app.execute(
        "create constraint trigger attack after insert on app.customers"
        " deferrable initially deferred for each row execute function app.attack()"
    )
    app.crm(name="A")

    fed = app.feed()["customers"]

    assert fed.fault is None
    assert len(app.rows()) == 1
    assert app.rows("caught") == []


def test_the_role_of_a_sink_has_rights_on_one_table(app: App) -> None:
    """And there only on the columns that it needs."""
    app.save()

    with app.warehouse.transaction() as connection:
        rights = connection.execute(
            """
            select distinct attribute.attrelid::regclass::text, attribute.attname::text, right_name
            from pg_attribute as attribute
            cross join unnest(array['select', 'insert', 'update']) as right_name
            inner join pg_class on pg_class.oid = attribute.attrelid and pg_class.relkind = 'r'
            where attribute.attnum > 0
                and not attribute.attisdropped
                and pg_class.relnamespace::regnamespace::text not in (
                    'pg_catalog', 'information_schema'
                )
                and has_column_privilege(%s, attribute.attrelid, attribute.attnum, right_name)
            """,
            [app.role()],
        ).fetchall()

    assert {table for table, _column, _right in rights} == {"app.customers"}
    assert "notes" not in {column for _table, column, _right in rights}
    assert {column for _table, column, right in rights if right == "update"} == {
        "company",
        "town",
        "mail",
        "origin",
        "pipedrive_id",
        "pipedrive_synced_at",
        "status",
    }


def test_a_row_that_the_app_has_locked_is_waited_for_and_then_left_to_the_next_run(
    app: App,
) -> None:
    """Marts were committed before, and nothing else waits."""
    row_id = app.crm(name="A")
    app.save()
    app.feed()
    app.change(row_id, name="B")
    with psycopg.connect(app.warehouse.url) as other:
        other.execute("select from app.customers for update")

        fed = app.feed()["customers"]

    assert fed.fault is not None
    assert (fed.fault["table"], fed.fault["sqlstate"]) == ("app.customers", "55P03")
    assert app.feed()["customers"].counts["updated"] == 1


def test_rights_that_only_the_owner_may_give_are_named(app: App) -> None:
    """With the statements that the owner runs; nothing is saved."""
    app.execute("drop policy of_workspace on app.customers")

    with pytest.raises(sinks.SinkRightsMissing, match="no policy applies") as refusal:
        app.save()

    assert "create policy" in refusal.value.statements[0]
    assert app.states() == {}
