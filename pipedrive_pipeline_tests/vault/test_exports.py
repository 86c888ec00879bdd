"""Exported tokens: a reader gets a usable token or none, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.defs.exported_tokens import token_exports
from pipedrive_pipeline.errors import BadInput, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.registry import change as change_tenant
from pipedrive_pipeline.sync.tenancy.removal import end as end_tenant
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connect, exports, lend
from pipedrive_pipeline.vault.connect import NewConnection
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.errors import NotLendable
from pipedrive_pipeline.vault.exports import ExportRefused
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup

SCOPE = Scope(ACME, PIPEDRIVE)
TABLE = "public.lead_pipedrive_integrations"
ACME_ID = "11111111-2222-4333-8444-555555555555"
READER, STRANGER = "enrichment_of_test", "stranger_of_test"


@pytest.fixture
def exporting(acme: VaultSetup) -> Iterator[VaultSetup]:
    """Acme connected, with a uuid as its external id, and two roles of the server."""
    acme.connect_acme()
    acme.execute("update integration.tenants set external_id = %s where slug = 'acme'", ACME_ID)
    for role in (READER, STRANGER):
        acme.execute(f"create role {role}")
    yield acme
    acme.execute(f"drop table if exists {TABLE}")
    acme.execute("delete from integration.token_exports")
    for role in (READER, STRANGER):
        acme.execute(f"drop owned by {role}")
        acme.execute(f"drop role {role}")


def start(world: VaultSetup, **changes: Any) -> None:
    options = {"table": None, "reader": READER, **changes}
    exports.start(world.vault, SCOPE, **options, who="a test")


def stored(world: VaultSetup) -> list[dict[str, Any]]:
    """The rows, past every policy."""
    return world.rows(f"select * from {TABLE}")


def seen_by(world: VaultSetup, role: str) -> list[dict[str, Any]]:
    """What a login of this role reads."""
    with (
        psycopg.connect(world.vault.warehouse.url) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(f"set role {role}".encode())
        return cursor.execute(f"select * from {TABLE}".encode()).fetchall()


def lives_on(world: VaultSetup, minutes: float) -> None:
    """The token, and its row, end in so many minutes of an hour."""
    instants = "now() + make_interval(secs => %s), token_issued_at = now() - interval '30 minutes'"
    world.execute(f"update integration.connections set token_expires_at = {instants}", minutes * 60)
    world.execute(
        f"update {TABLE} set expires_at = connections.token_expires_at from integration.connections"
    )


def works(world: VaultSetup, token: str) -> bool:
    return world.oauth.company_of(token, "") is not None


def test_the_reader_gets_a_working_token_and_never_a_refresh_token(exporting: VaultSetup) -> None:
    start(exporting)

    (row,) = seen_by(exporting, READER)
    connection = exporting.row()
    assert str(row["tenant_id"]) == ACME_ID
    assert works(exporting, row["access_token"])
    assert row["refresh_token"] is None
    assert row["expires_at"] == connection["token_expires_at"]
    assert row["api_domain"] == connection["api_domain"]


def test_no_other_role_reads_it(exporting: VaultSetup) -> None:
    """Nor do roles to which the database's default privileges give every new table."""
    exporting.execute(f"alter default privileges grant select on tables to {STRANGER}, public")
    try:
        start(exporting)
    finally:
        exporting.execute(
            f"alter default privileges revoke select on tables from {STRANGER}, public"
        )
    app = exporting.rows("select integration.role_name('app') as name")[0]["name"]

    for role in (STRANGER, app):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            seen_by(exporting, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        exporting.execute(f"set role {READER}; update {TABLE} set access_token = 'x'")


def test_another_reader_takes_the_place_of_the_former(exporting: VaultSetup) -> None:
    start(exporting)

    start(exporting, reader=STRANGER)

    assert seen_by(exporting, STRANGER)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen_by(exporting, READER)


def test_a_row_is_refreshed_a_quarter_of_an_hour_before_its_end(exporting: VaultSetup) -> None:
    start(exporting)
    lives_on(exporting, 16)
    assert exports.keep_fresh(exporting.vault) == {}
    assert exporting.oauth.count("refresh") == 0
    lives_on(exporting, 14)

    for _ in range(2):
        assert exports.keep_fresh(exporting.vault) == {}

    (row,) = seen_by(exporting, READER)
    assert exporting.oauth.count("refresh") == 1
    assert works(exporting, row["access_token"])
    assert row["expires_at"] == exporting.row()["token_expires_at"]


def test_after_a_standstill_the_reader_sees_no_old_token(exporting: VaultSetup) -> None:
    """Five minutes before its end a row is hidden, also if nothing of ours runs."""
    start(exporting)
    lives_on(exporting, 4.9)
    during = seen_by(exporting, READER)

    exports.keep_fresh(exporting.vault)

    assert during == []
    assert works(exporting, seen_by(exporting, READER)[0]["access_token"])


def test_a_tick_of_the_sensor_refreshes_the_row(
    exporting: VaultSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads its settings from the environment, as each process of Dagster does."""
    start(exporting)
    lives_on(exporting, 14)
    settings = exporting.vault.settings
    app = settings.system(PIPEDRIVE)
    assert settings.database_url
    assert app.client_secret
    for name, value in {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TOKEN_ENCRYPTION_KEYS": settings.encryption_keys()[0].get_secret_value(),
        "PIPEDRIVE_CLIENT_ID": str(app.client_id),
        "PIPEDRIVE_CLIENT_SECRET": app.client_secret.get_secret_value(),
        "PIPEDRIVE_OAUTH_URL": str(app.oauth_url),
        "PIPEDRIVE_ALLOWED_HOSTS": ",".join(app.allowed_hosts or ()),
    }.items():
        monkeypatch.setenv(name, value)

    tick = token_exports(dg.build_sensor_context())

    assert isinstance(tick, dg.SkipReason)
    assert tick.skip_message == "every exported token is fresh."
    assert exporting.oauth.count("refresh") == 1
    assert seen_by(exporting, READER)[0]["expires_at"] == exporting.row()["token_expires_at"]


def test_the_refresh_of_a_sync_changes_the_row_with_the_connection(exporting: VaultSetup) -> None:
    start(exporting)
    exporting.expire()

    lent = lend(
        ACME,
        PIPEDRIVE,
        warehouse=exporting.vault.warehouse,
        settings=exporting.vault.settings,
    )

    assert stored(exporting)[0]["access_token"] == lent.secret.get_secret_value()
    assert stored(exporting)[0]["expires_at"] == lent.expires_at


def test_a_disconnect_removes_the_row_and_a_new_consent_brings_none(
    exporting: VaultSetup,
) -> None:
    start(exporting)

    disconnect(exporting.vault, SCOPE, who="a test")
    after = stored(exporting)
    exporting.connect_acme()
    exports.keep_fresh(exporting.vault)

    assert after == []
    assert stored(exporting) == []


def test_another_company_ends_the_export(exporting: VaultSetup) -> None:
    """The service was given the former company's records, not those of the next one."""
    start(exporting)
    access, refresh = exporting.oauth.granted(OAuthCompany(id=77))
    tokens = exporting.tokens(access, refresh)
    arrival = NewConnection(SCOPE, tokens, exporting.account(OAuthCompany(id=77)), who="a test")
    with exporting.vault.warehouse.transaction() as transaction:
        connect.store(
            transaction,
            exporting.vault.cipher,
            arrival,
            start_afresh=lambda _transaction, _scope: None,
        )

    assert stored(exporting) == []
    assert exports.listed(exporting.vault) == []


def test_a_withdrawn_consent_hides_the_token_until_the_next(exporting: VaultSetup) -> None:
    """The export itself goes on: the service finds its row again after the new consent."""
    start(exporting)
    exporting.oauth.grants[0].is_revoked = True
    exporting.expire()
    with pytest.raises(PipelineError):
        lend(
            ACME,
            PIPEDRIVE,
            warehouse=exporting.vault.warehouse,
            settings=exporting.vault.settings,
        )
    during = stored(exporting)

    exporting.connect_acme()

    assert during == []
    assert works(exporting, seen_by(exporting, READER)[0]["access_token"])


def test_a_removed_tenant_leaves_no_token(exporting: VaultSetup) -> None:
    start(exporting)

    end_tenant(exporting.vault, ACME, is_erasing=True, who="a test")

    assert stored(exporting) == []


def test_switching_it_off_removes_the_row(exporting: VaultSetup) -> None:
    start(exporting)

    assert exports.stop(exporting.vault, SCOPE, who="a test")
    assert not exports.stop(exporting.vault, SCOPE, who="a test")

    exports.keep_fresh(exporting.vault)
    assert stored(exporting) == []


def test_an_external_id_is_kept_while_a_token_is_stored_under_it(exporting: VaultSetup) -> None:
    """The tenant that got the id next would have read the token of this one."""
    start(exporting)
    warehouse = exporting.vault.warehouse
    other = {"external_id": ACME_ID.replace("1", "2")}

    with pytest.raises(BadInput, match=r"tokens export .* --off"):
        change_tenant(warehouse, ACME, other, who="a test")
    change_tenant(warehouse, ACME, {"external_id": ACME_ID, "country": "DE"}, who="a test")
    exports.stop(exporting.vault, SCOPE, who="a test")
    change_tenant(warehouse, ACME, other, who="a test")

    row = exporting.rows("select external_id, country from integration.tenants where slug = 'acme'")
    assert row == [{**other, "country": "DE"}]


def test_a_dropped_table_keeps_nobody_from_refreshing(exporting: VaultSetup) -> None:
    start(exporting)
    exporting.execute(f"drop table {TABLE}")
    exporting.expire()

    assert lend(
        ACME,
        PIPEDRIVE,
        warehouse=exporting.vault.warehouse,
        settings=exporting.vault.settings,
    )

    (export,) = exports.listed(exporting.vault)
    assert "run `tokens export` again" in str(export.reason)
    start(exporting)
    assert exports.listed(exporting.vault)[0].reason is None


@pytest.mark.slow
def test_a_locked_table_ends_the_export_later(exporting: VaultSetup) -> None:
    """A disconnect must not wait for a reader's transaction; the sensor removes the row."""
    start(exporting)
    with psycopg.connect(exporting.vault.warehouse.url) as reader:
        reader.execute(f"lock table {TABLE} in share mode".encode())
        disconnect(exporting.vault, SCOPE, who="a test")
        assert len(stored(exporting)) == 1

    exports.keep_fresh(exporting.vault)

    assert stored(exporting) == []
    assert exports.listed(exporting.vault) == []


def test_what_cannot_be_exported_is_refused_by_name(exporting: VaultSetup) -> None:
    app = exporting.rows("select integration.role_name('app') as name")[0]["name"]
    refused = {
        "there is no role 'nobody_of_test'": {"reader": "nobody_of_test"},
        f"{app} is a role of this installation": {"reader": app},
        "crm.contacts exists and was not made by": {"table": "crm.contacts"},
    }
    for words, options in refused.items():
        with pytest.raises(ExportRefused, match=words):
            start(exporting, **options)
    exporting.execute("update integration.tenants set external_id = '42' where slug = 'acme'")
    with pytest.raises(BadInput, match="'42' is no uuid"):
        start(exporting)
    exporting.execute(
        "update integration.connections set kind = 'api_token', token_expires_at = null"
    )
    with pytest.raises(NotLendable):
        start(exporting)

    assert exports.listed(exporting.vault, Tenant("acme")) == []
