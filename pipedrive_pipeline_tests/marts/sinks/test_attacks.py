"""Code of an app that tries to run with our rights, or to leave something in our session.

Each attack works where a sink's function is called by a plain query: the tests prove that first, so
that none of them passes because the attack is broken.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import errors

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline_tests.marts.sinks.app_schema import CUSTOMERS, SCOPE, WORKSPACE, App

pytestmark = pytest.mark.slow

# `act` notes with whose rights it runs; the role of a sink may not write the note.
TRAPS = """
create table app.caught (what text, who text);
create schema traps;
grant usage on schema traps to public;
create table app.bait (id int);
insert into app.bait values (1);

create function traps.act(what text) returns text language plpgsql as $$
begin
    begin
        execute 'reset role';
    exception when others then
        null;
    end;
    begin
        insert into app.caught values (what, current_user);
    exception when insufficient_privilege then
        null;
    end;
    return 'x';
end
$$;
create function traps.set_config(text, text, boolean) returns text language plpgsql as $$
begin
    perform traps.act('search_path');
    return pg_catalog.set_config($1, $2, $3);
end
$$;
create function traps.on_bait() returns trigger language plpgsql as $$
begin
    perform traps.act('deferred');
    if current_setting('traps.again', true) is distinct from 'no' then
        perform pg_catalog.set_config('traps.again', 'no', true);
        execute 'set constraints all deferred';
        update app.bait set id = id;
    end if;
    return null;
end
$$;
create constraint trigger on_bait after update on app.bait
deferrable initially deferred for each row execute function traps.on_bait();

create function traps.attack() returns boolean language plpgsql as $$
begin
    begin
        execute current_setting('traps.attack');
    exception when others then
        null;
    end;
    return true;
end
$$;
create function traps.on_customer() returns trigger language plpgsql as $$
begin
    perform traps.attack();
    return new;
end
$$;
"""
ATTACKS = {
    "search_path": "set search_path = traps, pg_catalog",
    "deferred": "set constraints all deferred; update app.bait set id = id",
    "cursor": "declare leak cursor with hold for select traps.act('cursor')",
    "prepared": "prepare leak as select 1",
    "temporary": "create temporary table leak as select 1",
}
# A table of the app runs its owner's code when it is written, and when it is read.
PLACES = {
    "trigger": (
        "create trigger on_customer before insert on app.customers"
        " for each row execute function traps.on_customer()"
    ),
    "policy": (
        "alter policy of_workspace on app.customers using (traps.attack() and workspace_id ="
        " nullif(current_setting('app.workspace', true), '')::uuid)"
    ),
}


def caught(app: App) -> list[dict[str, Any]]:
    return app.rows("caught")


def prepare(app: App, attack: str, place: str) -> str:
    """A sink whose table attacks, and the role that the attack may use."""
    app.execute(TRAPS)
    setting = {"traps.attack": ATTACKS[attack], **CUSTOMERS["settings"]}
    app.save(settings=setting, match_by=["name"])
    sinks.confirm(app.warehouse, SCOPE, "customers", who="a test")
    role = app.role()
    app.execute(f'grant select, update on app.bait to "{role}"')
    app.execute(PLACES[place])
    return role


def call_plainly(app: App, place: str) -> set[str]:
    """Calls the sink's function by a query of our own; returns what the attack left behind."""
    number = app.role().split("_")[1]
    row = {"workspace_id": str(WORKSPACE), "company": "Plain"}
    items = json.dumps([{"row_id": str(WORKSPACE), "may_insert": True, "wanted": row}])
    call = f"select * from pipeline_sinks.write_{number}(%s::jsonb)"
    if place == "policy":
        call, items = f"select %s::text from pipeline_sinks.read_{number}()", ""
    try:
        with psycopg.connect(app.warehouse.url) as connection:
            connection.execute("select set_config('search_path', 'pg_catalog', true)")
            connection.execute(call.encode(), [items])
            connection.execute("select set_config('role', %s, true)", [app.role()])
            left = leftovers(connection)
    except errors.Error as error:  # an attack on the session may break the session
        left = {str(error.sqlstate)}
    return left | {str(row["what"]) for row in caught(app)}


def leftovers(connection: psycopg.Connection) -> set[str]:
    """What code of the app left in a session."""
    left = connection.execute(
        "select 'prepared' from pg_catalog.pg_prepared_statements where name = 'leak'"
        " union all select 'cursor' from pg_catalog.pg_cursors where name = 'leak'"
        " union all select 'temporary' from pg_catalog.pg_class where relname = 'leak'"
    )
    return {name for (name,) in left}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_of_an_app_leaves_nothing_that_runs_with_our_rights(
    app: App, attack: str, place: str
) -> None:
    """Nor anything in our session; and rows are written all the same."""
    prepare(app, attack, place)
    app.crm(name="A")
    app.crm(name="B")

    sinks.match(app.warehouse, SCOPE, "customers")
    fed = app.feed()["customers"]
    sinks.preview(app.warehouse, SCOPE, {"customers": app.declaration()})
    sinks.match_report(app.warehouse, SCOPE, "customers")
    sinks.undo(app.warehouse, SCOPE, "customers", who="a test")
    noted = caught(app)
    proof = call_plainly(app, place)

    assert noted == []
    assert (fed.fault, fed.counts["created"]) == (None, 2)
    assert {row["company"] for row in app.rows()} >= {"A", "B"}
    assert attack in proof
