"""Settings: each wrong one is refused by name, and its value is never printed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pipedrive_pipeline.errors import ExitCode, SettingsError
from pipedrive_pipeline.settings import (
    NEW_OPERATOR_KEY,
    PROJECT_ROOT,
    SANDBOX_TENANT,
    SandboxAddress,
    Settings,
    SystemSettings,
    load_settings,
    setting_name,
)

KEY = Fernet.generate_key().decode()
CANARY = "canary-5eb1"
MALFORMED = {
    "DATABASE_URL": f"mysql://{CANARY}",
    "DAGSTER_DATABASE_URL": f"sqlite:///{CANARY}",
    "PIPEDRIVE_REDIRECT_URI": CANARY,
    "PIPEDRIVE_OAUTH_URL": CANARY,
    "PIPEDRIVE_ALLOWED_HOSTS": f"https://{CANARY}",
    "APP_URL": CANARY,
    "CONNECT_PORT": CANARY,
    "DAGSTER_PORT": "0",
    "SANDBOX_PORT": "65536",
    "POSTGRES_PORT": "5432.5",
    "TOKEN_ENCRYPTION_KEYS": f"{KEY},{CANARY}",
    "DEFAULT_TIME_ZONE": f"Europe/{CANARY}",
    "SCHEDULES": CANARY,
    "HISTORY_KEPT_DAYS": "0",
    "CONNECT_WORKERS": "0",
    "TRUSTED_PROXIES": f"10.0.0.0/8,{CANARY}",
    "OPERATOR_KEY": CANARY,
}
OF_SYSTEMS = sorted(
    setting_name(key, name)
    for key in ("pipedrive", "zoho_crm")
    for name in SystemSettings.model_fields
)
NAMES = sorted([*(name.upper() for name in Settings.model_fields), *OF_SYSTEMS])


def load_all() -> None:
    """Reads the settings of the installation and of two systems."""
    settings = load_settings()
    for key in ("pipedrive", "zoho_crm"):
        settings.system(key)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_setting_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty line in a deployment's file is a mistake, not a default."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"^{name}: is empty") as caught:
        load_all()

    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_with_a_line_break_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"{CANARY}\n{CANARY}")

    with pytest.raises(SettingsError, match=f"^{name}: ") as caught:
        load_all()

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_setting_is_refused_by_name_without_its_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, MALFORMED[name])

    with pytest.raises(SettingsError, match=f"^{name}: ") as caught:
        load_all()

    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "key",
    [
        "CHANGE_ME",
        "CHANGE_ME" * 4,
        "please-change-me-before-you-start-this",
        "0123456789abcdef0123456789abcde",
        "a" * 64,
        "12" * 32,
    ],
)
def test_an_operator_key_that_can_be_guessed_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens every tenant: a placeholder of an environment file must not start the app."""
    monkeypatch.setenv("OPERATOR_KEY", key)

    with pytest.raises(SettingsError, match=r"^OPERATOR_KEY: .*secrets\.token_urlsafe") as caught:
        load_settings()

    assert key not in str(caught.value)


def test_a_printed_operator_key_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the message prints a key that passes."""
    command = shlex.split(NEW_OPERATOR_KEY.replace("python3", sys.executable))
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("OPERATOR_KEY", key)

    operator = load_settings().operator()

    assert operator is not None
    assert operator.get_secret_value() == key


def test_the_shipped_environment_file_has_no_key_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ships empty, and the app does not start with it."""
    lines = (PROJECT_ROOT / "deploy/systemd/pipedrive-pipeline.env").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("OPERATOR_KEY=")]
    monkeypatch.setenv("OPERATOR_KEY", line.partition("=")[2])

    with pytest.raises(SettingsError, match=r"^OPERATOR_KEY: is empty"):
        load_settings()

    assert any(NEW_OPERATOR_KEY in line for line in lines)


@pytest.mark.parametrize("name", ["PIPEDRIVE_ALLOWED_HOSTS", "TOKEN_ENCRYPTION_KEYS", "ALERT_URLS"])
def test_an_empty_entry_between_commas_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"{KEY},,{KEY}")

    with pytest.raises(SettingsError, match="has an empty entry"):
        load_all()


@pytest.mark.parametrize(
    "urls", ["zzz", "ops@acme.example", f"json://hooks.acme.example,{CANARY}", "json:// two"]
)
def test_an_alert_address_that_is_no_url_is_refused(
    urls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was left out in silence, and the first that its operator noticed was no alert."""
    monkeypatch.setenv("ALERT_URLS", urls)

    with pytest.raises(SettingsError, match=r"^ALERT_URLS: address \d is no Apprise URL") as caught:
        load_settings()

    assert CANARY not in str(caught.value)


def test_secrets_are_masked_in_every_text_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{CANARY}@h/d")
    monkeypatch.setenv("PIPEDRIVE_CLIENT_SECRET", CANARY)
    monkeypatch.setenv("OPERATOR_KEY", f"{CANARY}-of-at-least-thirty-two-characters")
    monkeypatch.setenv("TOKEN_ENCRYPTION_KEYS", KEY)
    monkeypatch.setenv("ALERT_URLS", f"mailto://{CANARY}")

    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {settings.system('pipedrive')}"

    assert CANARY not in shown
    assert KEY not in shown


def test_a_system_has_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """To allow one system's host must not let another system's token go there."""
    monkeypatch.setenv("ZOHO_CRM_ALLOWED_HOSTS", "*.zohoapis.eu")
    monkeypatch.setenv("ZOHO_CRM_CLIENT_ID", "zoho-app")

    settings = load_settings()

    assert settings.system("zoho_crm").allowed_hosts == ("*.zohoapis.eu",)
    assert settings.system("pipedrive") == SystemSettings(_env_file=None)
    assert settings.redirect_uri("zoho_crm").endswith("/api/integrations/zoho_crm/callback")
    assert settings.with_system("zoho_crm").system("zoho_crm").client_id is None


def test_the_sandbox_of_one_system_is_none_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant `sandbox` never reaches a real host, even of a system that has no sandbox."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    settings = load_settings()
    address = SandboxAddress(
        url="http://127.0.0.1:1", client_id="a", client_secret="b", api_token="c"
    )
    address.write(settings.sandbox_file("pipedrive"))

    assert settings.system("pipedrive", SANDBOX_TENANT).allowed_hosts == ("127.0.0.1",)
    assert settings.system("pipedrive", "acme").allowed_hosts is None
    with pytest.raises(SettingsError, match="no sandbox"):
        settings.system("zoho_crm", SANDBOX_TENANT)


def test_keys_are_required_with_a_database_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")

    with pytest.raises(SettingsError, match="TOKEN_ENCRYPTION_KEYS is required"):
        load_settings().encryption_keys()


def test_the_embedded_default_makes_its_keys_once_and_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))

    first, second = load_settings().encryption_keys(), load_settings().encryption_keys()

    assert [key.get_secret_value() for key in first] == [key.get_secret_value() for key in second]
    key_file = tmp_path / "home" / "token-encryption-keys"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert list(key_file.parent.iterdir()) == [key_file]
