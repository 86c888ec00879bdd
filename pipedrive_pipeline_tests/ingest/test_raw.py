"""Loads into real Postgres: what is stored, what is left alone, what a failure leaves behind."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from msgspec import Raw
from psycopg import sql

from pipedrive_pipeline.connectors.contract import next_number
from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.ingest.dlt_internals.packages import Packages
from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing
from pipedrive_pipeline_tests.databases import at
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, answer, record
from pipedrive_pipeline_tests.ingest.entities import COLUMNS, LABELS, SYSTEM, THINGS

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def refuse_one_word(loader: RawLoader) -> None:
    """A constraint of an operator's, so that Postgres refuses a load."""
    with loader.warehouse.transaction() as connection:
        connection.execute(
            "alter table raw_pipedrive_acme.things"
            " add check (words is distinct from 'a word of its own')"
        )


def test_every_type_is_stored_as_its_column_says(loader: RawLoader) -> None:
    loader.put(
        record(
            id=2**63 - 1,
            changed_at="2026-01-31T12:00:00Z",
            whole=-1,
            exact=Raw(b"0.100000001"),
            words="",
            yes=False,
            tree={"ü": [None, "", 1.5]},
            unknown=0,
        )
    )

    (row,) = loader.rows()
    assert row["id"] == 2**63 - 1
    assert row["changed_at"] == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert (row["whole"], row["exact"]) == (-1, Decimal("0.100000001"))
    assert (row["words"], row["yes"]) == ("", False)
    assert (row["tree"], row["extra"]) == ({"ü": [None, "", 1.5]}, {"unknown": 0})


def test_columns_have_the_types_of_their_declaration(loader: RawLoader) -> None:
    loader.put(record(id=1))

    with loader.warehouse.connect() as connection:
        types = dict(
            connection.execute(
                "select column_name, data_type from information_schema.columns"
                " where table_schema = 'raw_pipedrive_acme' and table_name = 'things'"
            ).fetchall()
        )
    assert {column.name: types[column.name] for column in COLUMNS} == {
        "changed_at": "timestamp with time zone",
        "whole": "bigint",
        "exact": "numeric",
        "words": "character varying",  # without a limit
        "yes": "boolean",
        "tree": "jsonb",
    }
    assert (types["id"], types["extra"]) == ("bigint", "jsonb")


@pytest.mark.slow
def test_a_wide_record_is_stored_without_an_attempt_to_compress_it(loader: RawLoader) -> None:
    """In staging, too: each later row comes by way of it."""
    loader.put(record(id=1))
    loader.put(record(id=1, words="x"))

    with loader.warehouse.connect() as connection:
        columns = connection.execute(
            "select relnamespace::regnamespace::text, reloptions from pg_class"
            " where relname = 'things' order by 1"
        ).fetchall()
    assert columns == [
        ("raw_pipedrive_acme", ["toast_tuple_target=8160"]),
        ("staging_pipedrive_acme", ["toast_tuple_target=8160"]),
    ]


def test_a_key_is_unique_and_never_null_in_raw(loader: RawLoader) -> None:
    """The loader's upsert stores a new key twice, green; the index makes that loud."""
    loader.put(record(id=1))

    with loader.warehouse.connect() as connection:
        unique = connection.execute(
            "select count(*) from pg_index join pg_attribute on attrelid = indrelid"
            " and attnum = any(indkey) where indrelid = 'raw_pipedrive_acme.things'::regclass"
            " and indisunique and attname = 'id' and attnotnull"
        ).fetchone()
    assert unique == (1,)


@pytest.mark.slow
def test_the_marts_find_the_rows_of_a_load_by_an_index(loader: RawLoader) -> None:
    loader.put(record(id=1))

    assert loader.scalar("select to_regclass('raw_pipedrive_acme.things_load_id') is not null")


@pytest.mark.slow
def test_a_row_equal_to_the_stored_one_is_not_rewritten(loader: RawLoader) -> None:
    """A rewritten row bloats the table and wakes every reader that follows changes."""
    stored = record(id=1, changed_at=NEW, words="a", tree={"b": 1.5, "a": []}, other=[1])
    loader.put(stored, record(id=2, words="b"))
    before = loader.rows()

    loaded, _ = loader.put(stored, record(id=2, words="c"))

    after = loader.rows()
    assert (loaded.created, loaded.updated, loaded.unchanged) == (0, 1, 1)
    assert after[0] == before[0]
    assert after[1]["xmin"] != before[1]["xmin"]


@pytest.mark.slow
@pytest.mark.parametrize("stamp", ["2025-12-31T23:00:01Z", "2026-01-01T00:00:00.999999Z", NEW])
def test_a_later_read_replaces_the_stored_version_with_any_stamp(
    loader: RawLoader, stamp: str
) -> None:
    """A server's clock that went back hid every edit, for ever."""
    loader.put(record(id=1, changed_at=NEW, words="former"))

    loaded, _ = loader.put(record(id=1, changed_at=stamp, words="edited"))

    assert loaded.updated == 1
    assert loader.rows()[0]["words"] == "edited"


@pytest.mark.slow
def test_a_stamp_that_was_edited_in_raw_does_not_hide_the_source(loader: RawLoader) -> None:
    loader.put(record(id=1, changed_at=NEW, words="of the source"))
    with loader.warehouse.transaction() as connection:
        connection.execute("update raw_pipedrive_acme.things set changed_at = '2099-01-01'")

    loader.put(record(id=1, changed_at=NEW, words="of the source"))

    assert loader.rows()[0]["changed_at"] == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.slow
def test_an_answer_that_is_loaded_late_does_not_replace_a_later_request(loader: RawLoader) -> None:
    """Pages of a walk wait to be loaded while single records of them are read again."""
    store = loader.store()
    ahead = answer(record(id=1, changed_at=NEW, words="read ahead"))
    loader.put(record(id=1, changed_at=OLD, words="refreshed"), store=store)

    loaded, _ = loader.put_answer(ahead, store=store)

    assert loaded.unchanged == 1
    assert loader.rows()[0]["words"] == "refreshed"


@pytest.mark.slow
def test_of_overlapping_requests_the_greater_stamp_is_stored(loader: RawLoader) -> None:
    store = loader.store()
    overlapping = answer(
        record(id=1, changed_at=OLD, words="old"), sent=next_number(), arrived=2**62
    )
    loader.put(record(id=1, changed_at=NEW, words="new"), store=store)

    loaded, _ = loader.put_answer(overlapping, store=store)

    assert loaded.unchanged == 1
    assert loader.rows()[0]["words"] == "new"


@pytest.mark.slow
def test_an_equal_version_with_other_values_replaces(loader: RawLoader) -> None:
    """A row may change twice within a second; the one read last is the newer one."""
    loader.put(record(id=1, changed_at=NEW, words="first"))

    loader.put(record(id=1, changed_at=NEW, words="second"))

    assert loader.rows()[0]["words"] == "second"


@pytest.mark.slow
def test_a_row_that_lost_its_version_is_stored_as_the_source_has_it(loader: RawLoader) -> None:
    loader.put(record(id=1, changed_at=NEW, words="known"))

    loader.put(record(id=1, changed_at=None, words="unknown"))

    assert loader.rows()[0]["words"] == "unknown"


@pytest.mark.slow
def test_a_version_at_the_end_of_time_holds_nobody_up(loader: RawLoader) -> None:
    """In UTC it lies in year 10000, which neither Python nor the driver can read back."""
    far = record(id=1, changed_at="9999-12-31T23:59:59-14:00", words="far")
    loader.put(far)

    loader.put(far, record(id=1, changed_at=NEW, words="back"))

    (row,) = loader.rows()
    assert (row["words"], row["changed_at"]) == ("back", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))


def test_cursors_are_there_for_the_next_run(loader: RawLoader) -> None:
    loader.put(record(id=1), cursor={"watermark": NEW})

    assert loader.store().cursors == {"things": {"watermark": NEW}}


@pytest.mark.slow
def test_a_cursor_without_rows_is_committed_too(loader: RawLoader) -> None:
    """A walk that found nothing has come as far as any other."""
    loader.put(record(id=1), cursor={"watermark": OLD})

    loader.put(cursor={"watermark": NEW})

    assert loader.store().cursors == {"things": {"watermark": NEW}}


@pytest.mark.slow
def test_a_load_of_nothing_new_at_all_is_no_failure(loader: RawLoader) -> None:
    loader.put(record(id=1), cursor={"watermark": NEW})

    loaded, _ = loader.put(cursor={"watermark": NEW})

    assert (loaded.created, loaded.updated, loaded.unchanged) == (0, 0, 0)


@pytest.mark.slow
def test_a_refused_load_leaves_rows_and_cursors_as_they_were(loader: RawLoader) -> None:
    loader.put(record(id=1, words="good"), cursor={"watermark": OLD})
    refuse_one_word(loader)
    before = loader.rows()
    store = loader.store()

    with pytest.raises(LoadRefused, match=r"acme.*SQLSTATE 23514") as caught:
        loader.put(
            record(id=1, words="better"),
            record(id=2, words="a word of its own"),
            cursor={"watermark": NEW},
            store=store,
        )

    assert loader.rows() == before
    assert store.cursors == loader.store().cursors == {"things": {"watermark": OLD}}
    assert "a word of its own" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.slow
def test_a_store_is_usable_after_a_refused_load(loader: RawLoader) -> None:
    """Left alone, the pipeline's next run fails on the same package for ever."""
    loader.put(record(id=1))
    refuse_one_word(loader)
    store = loader.store()
    with pytest.raises(LoadRefused):
        loader.put(record(id=2, words="a word of its own"), cursor={"watermark": OLD}, store=store)

    loader.put(record(id=2, words="fine"), cursor={"watermark": NEW}, store=store)

    assert [row["words"] for row in loader.rows()] == [None, "fine"]
    assert loader.store().cursors == {"things": {"watermark": NEW}}


@pytest.mark.slow
def test_a_session_of_a_load_that_is_refused_gives_the_servers_reason(
    loader: RawLoader, tmp_path: Path
) -> None:
    """It was "SQLSTATE none", whatever the server had said: that it has no session left, say."""
    loader.put(record(id=1))
    server_url = at(loader.warehouse.url, "postgres")
    with (
        reusing(loader.warehouse) as warehouse,
        psycopg.connect(server_url, autocommit=True) as server,
    ):
        with warehouse.connect() as connection:  # ours is open, dlt connects for itself
            name = sql.Identifier(connection.info.dbname)
        server.execute(sql.SQL("alter database {} allow_connections false").format(name))

        with pytest.raises(DatabaseUnavailable) as caught:
            Packages(warehouse, Scope(ACME, SYSTEM), tmp_path, ())

        server.execute(sql.SQL("alter database {} allow_connections true").format(name))
    assert "reading the state of raw_" in str(caught.value)
    assert "is not currently accepting connections" in str(caught.value)


@pytest.mark.slow
def test_a_database_that_is_read_only_for_a_while_is_named_as_unavailable(
    loader: RawLoader,
) -> None:
    """A failover looks like this; nobody need act."""
    loader = replace(loader, warehouse=Warehouse(loader.warehouse.url))  # each session is a new one
    loader.put(record(id=1))
    store = loader.store()
    with loader.warehouse.transaction() as connection:
        connection.execute(
            sql.SQL("alter database {} set default_transaction_read_only = on").format(
                sql.Identifier(connection.info.dbname)
            )
        )

    with pytest.raises(DatabaseUnavailable):
        loader.put(record(id=2), cursor={"watermark": NEW}, store=store)


@pytest.mark.slow
def test_a_load_is_announced_to_the_marts_before_its_first_row(loader: RawLoader) -> None:
    """A crash between rows and notice would hide the rows from the marts for ever."""
    loader.put(record(id=1))
    refuse_one_word(loader)

    with pytest.raises(LoadRefused):
        loader.put(record(id=2, words="a word of its own"))

    pending = loader.scalar("select pending_loads from integration.mart_state")
    assert len(pending) == 2
    assert loader.rows()[0]["_dlt_load_id"] == pending[0]


@pytest.mark.slow
def test_a_working_directory_left_by_a_dead_run_is_ignored(loader: RawLoader) -> None:
    """A kept one wedged a tenant at 20 of 106 crash points."""
    loader.put(record(id=1), cursor={"watermark": OLD})
    left = loader.home / "left"
    shutil.copytree(loader.home / "scratch", left)
    loader.put(record(id=2), cursor={"watermark": NEW})
    shutil.rmtree(loader.home / "scratch")
    shutil.move(left, loader.home / "scratch")
    (loader.home / "scratch" / "garbage").write_text("{")

    loader.put(record(id=3))

    assert [row["id"] for row in loader.rows()] == [1, 2, 3]
    assert loader.store().cursors == {"things": {"watermark": NEW}}


@pytest.mark.slow
def test_staged_rows_left_by_a_dead_run_are_not_loaded(loader: RawLoader) -> None:
    loader.put(record(id=0))  # appended to an empty table, without staging
    loader.put(record(id=1))
    with loader.warehouse.transaction() as connection:
        left = connection.execute("update staging_pipedrive_acme.things set id = 99")
        assert left.rowcount == 1

    loader.put(record(id=2))

    assert [row["id"] for row in loader.rows()] == [0, 1, 2]


@pytest.mark.slow
def test_a_column_that_somebody_added_to_raw_disturbs_no_load(loader: RawLoader) -> None:
    loader.put(record(id=1, words="kept"))
    with loader.warehouse.transaction() as connection:
        connection.execute("alter table raw_pipedrive_acme.things add column note text")

    loader.put(record(id=2, words="new"))

    assert [row["words"] for row in loader.rows()] == ["kept", "new"]


@pytest.mark.slow
def test_two_entities_do_not_mix(loader: RawLoader) -> None:
    loader.put(record(id=1, words="thing"))
    loader.put(record(code="1", words="label"), entity=LABELS)

    assert [row["words"] for row in loader.rows()] == ["thing"]
    assert [row["words"] for row in loader.rows(LABELS)] == ["label"]


@pytest.mark.slow
def test_tables_and_columns_of_raw_say_what_they_are(loader: RawLoader) -> None:
    """Also a column that came later; raw showed the names of the CRM alone."""
    first = replace(THINGS, columns=THINGS.columns[:-1])
    loader.put(record(id=1), entity=first)
    loader.put(record(id=1, tree={}))

    with loader.warehouse.connect() as connection:
        described = dict(connection.execute(DESCRIPTIONS, ["things"]).fetchall())

    assert described.pop("") == THINGS.description
    assert described == {
        **{column.name: column.description for column in (THINGS.key, *THINGS.columns)},
        "extra": "Keys that are not declared, and misfit values.",
        "_dlt_load_id": "The load that wrote the row last, named by the time at which it began.",
    }


DESCRIPTIONS = f"""
select coalesce(pg_attribute.attname, ''), pg_description.description
from pg_catalog.pg_description
left join pg_catalog.pg_attribute
    on pg_attribute.attrelid = pg_description.objoid
    and pg_attribute.attnum = pg_description.objsubid
    and pg_attribute.attnum > 0
where pg_description.objoid = to_regclass(format('{Scope(ACME, SYSTEM).raw_schema}.%%I', %s::text))
"""
