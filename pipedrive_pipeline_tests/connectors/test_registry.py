"""Systems are registered by a declaration; a contradiction is refused when it is registered."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import (
    AuthScheme,
    Children,
    Column,
    ColumnType,
    System,
)
from pipedrive_pipeline.connectors.hosts import AllowedHosts, checked_base_url
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.errors import BadSlug, HostNotAllowed, SettingsError, UsageError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connectors.ledger import BOOKS, ENTRIES, LEDGER

LINES = replace(
    BOOKS,
    name="lines",
    columns=(Column("entry", ColumnType.TEXT, "Its entry."),),
    read=Children("entries", "entry", batch=2),
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key": "pipedrive"}, "another system has this key"),
        ({"key": "pipedrive_eu"}, "begin alike"),
        ({"key": "Ledger"}, "lower-case"),
        ({"key": "a" * 23}, "at most 22"),
        ({"auth": ()}, "authentication"),
        ({"auth": LEDGER.auth * 2}, "one of each kind"),
        ({"entities": (BOOKS, BOOKS)}, "two entities"),
        ({"entities": (LINES, ENTRIES)}, "must come before"),
        (
            {"entities": (replace(BOOKS, defined_by="fields", custom_values="title"),)},
            "no entity fields",
        ),
        ({"webhooks": PIPEDRIVE.webhooks}, "its webhooks name activities"),
        ({"entities": (replace(BOOKS, personal=("mail",)),)}, "no column mail"),
        ({"entities": (replace(BOOKS, gone_column="is_gone"),)}, "no column is_gone"),
        (
            {"entities": (replace(BOOKS, is_required=True, is_on_by_default=False),)},
            "cannot be off by default",
        ),
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, object], problem: str) -> None:
    """Where it is registered, by name, and not in the middle of a tenant's first sync."""
    with pytest.raises(UsageError, match=problem):
        registry.register(replace(LEDGER, **changes))  # type: ignore[arg-type]
    assert "ledger" not in registry.system_keys()


def test_an_unknown_entity_is_a_wrong_word() -> None:
    """The message names those that there are."""
    with pytest.raises(UsageError, match="books, entries"):
        LEDGER.entity("persons")


def test_a_key_may_have_several_words() -> None:
    """`zoho_crm` is a key; schemas stay unique since no other key may be `zoho`."""
    assert Scope(Tenant("x"), "zoho_crm").raw_schema == "raw_zoho_crm_x"
    for wrong in ("zoho__crm", "_zoho", "zoho_", "zoho-crm", "z" * 23):
        with pytest.raises(BadSlug):
            Scope(Tenant("x"), wrong)


def test_modules_of_the_environment_register_systems_in_child_processes() -> None:
    """The made-up system of the suite is known to the processes that Dagster starts."""
    registering = "pipedrive_pipeline_tests.connectors.registered_ledger"
    script = "from pipedrive_pipeline.connectors import registry; print(registry.system_keys())"

    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, registry.MODULES_VARIABLE: registering},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "ledger" in shown
    assert "pipedrive" in shown


def keys_with_package(folder: Path, value: str) -> subprocess.CompletedProcess[str]:
    """What a process prints that finds an installed package with this entry point."""
    facts = folder / "ledger_crm-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: ledger-crm\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\nledger = {value}\n")
    script = "from pipedrive_pipeline.connectors import registry; print(registry.system_keys())"
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(folder), registry.MODULES_VARIABLE: ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_registers_its_system_by_an_entry_point(tmp_path: Path) -> None:
    """With no other setting, and no file of this package is changed."""
    shown = keys_with_package(tmp_path, "pipedrive_pipeline_tests.connectors.ledger:LEDGER")

    assert shown.stdout == "('pipedrive', 'ledger')\n", shown.stderr


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_package:LEDGER", "cannot be loaded (No module named 'no_such_package')"),
        ("pipedrive_pipeline_tests.connectors.ledger:NOTHING", "cannot be loaded ("),
        ("pipedrive_pipeline_tests.connectors.ledger:BOOKS", "is no System"),
    ],
)
def test_a_package_that_declares_no_system_is_named(
    tmp_path: Path, value: str, problem: str
) -> None:
    """Every command ended as an unexpected error, without saying which package it came from."""
    shown = keys_with_package(tmp_path, value)

    assert f"SettingsError: the entry point ledger = {value} of ledger-crm {problem}" in (
        shown.stderr
    )
    assert "correct or uninstall ledger-crm." in shown.stderr


def vault_of(settings: Settings) -> Vault:
    """A vault of these settings; what they say of a system needs no database."""
    return Vault(Warehouse("postgresql://nowhere.invalid/none"), settings)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> System:
    """A second system, registered for one test."""
    monkeypatch.setitem(registry._registered, LEDGER.key, LEDGER)
    return LEDGER


def test_a_token_goes_to_the_hosts_of_its_own_system_only(ledger: System) -> None:
    """One list for all systems once let each one's token go to every other's hosts."""
    settings = Settings(_env_file=None).with_system(ledger.key, allowed_hosts=("ledger.internal",))
    acme = Tenant("acme")

    of_ledger = vault_of(settings).allowed_hosts(Scope(acme, ledger.key))
    of_pipedrive = vault_of(settings).allowed_hosts(Scope(acme, "pipedrive"))

    assert of_ledger == AllowedHosts(("ledger.internal",), "LEDGER_ALLOWED_HOSTS")
    assert of_pipedrive == AllowedHosts(("*.pipedrive.com",), "PIPEDRIVE_ALLOWED_HOSTS")
    with pytest.raises(HostNotAllowed, match="PIPEDRIVE_ALLOWED_HOSTS"):
        checked_base_url("https://ledger.internal", of_pipedrive)


def test_each_system_has_its_own_app(ledger: System) -> None:
    """The secret of one app is never sent to another system's token endpoint."""
    scheme = AuthScheme(kind="oauth", oauth_url="https://auth.ledger.example")
    system = replace(ledger, auth=(scheme, *ledger.auth))
    registry._registered[ledger.key] = system
    settings = Settings(_env_file=None).with_system(
        ledger.key, client_id="ours", client_secret=SecretStr("s")
    )

    app = vault_of(settings).oauth_app(Scope(Tenant("acme"), ledger.key))

    assert (app.client_id, app.oauth_url) == ("ours", "https://auth.ledger.example")
    assert app.redirect_uri.endswith("/api/integrations/ledger/callback")
    with pytest.raises(SettingsError, match="PIPEDRIVE_CLIENT_ID is not set"):
        vault_of(settings).oauth_app(Scope(Tenant("acme"), "pipedrive"))


def test_a_system_without_oauth_says_so(ledger: System) -> None:
    """Its declaration decides how a tenant can connect."""
    with pytest.raises(UsageError, match="connect with an API token"):
        vault_of(Settings(_env_file=None)).oauth_app(Scope(Tenant("acme"), ledger.key))


def test_a_malformed_setting_of_any_system_is_refused_at_start(
    ledger: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_ALLOWED_HOSTS", "https://ledger.example")

    with pytest.raises(SettingsError, match="LEDGER_ALLOWED_HOSTS"):
        registry.check_settings(Settings(_env_file=None))
    assert ledger.key in registry.system_keys()
