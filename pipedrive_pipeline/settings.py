"""Every setting: name, default, meaning, and an error that names a wrong one.

Read from the environment and `.env`; secrets that the embedded default needs are made once under
`PIPELINE_HOME`. Source: https://docs.pydantic.dev/latest/concepts/pydantic_settings/.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cryptography.fernet import Fernet
from pydantic import (
    AnyHttpUrl,
    BaseModel,
    Field,
    IPvAnyAddress,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipedrive_pipeline.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]", re.IGNORECASE)
OWNER = re.compile(r"team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+")  # as Dagster takes them
APPRISE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")  # `doctor` asks Apprise itself: a second
OPERATOR_KEY_CHARACTERS_MIN = 32
DIFFERENT_CHARACTERS_MIN = 8  # fewer are typed, not random
PLACEHOLDER = re.compile(
    r"change.?me|replace.?me|your.?key|example|placeholder|secret.?key", re.IGNORECASE
)
NEW_OPERATOR_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"

Loaded = TypeVar("Loaded")
Port = Annotated[int, Field(ge=1, le=65535)]

SANDBOX_TENANT = "sandbox"
SANDBOX_HOST = "127.0.0.1"


class _SettingsOfEnvironment(BaseSettings):
    """What all settings have in common. Field names in capitals are the settings' names."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty; give it a value or unset it")
        if isinstance(value, str) and ("\n" in value or "\r" in value):
            raise ValueError("holds a line break")
        return value.strip() if isinstance(value, str) else value


class SystemSettings(_SettingsOfEnvironment):
    """The settings of one system, with its key before each name: `PIPEDRIVE_CLIENT_ID`.

    None where the operator set nothing: the system's declaration has the default.
    """

    client_id: str | None = None
    client_secret: SecretStr | None = None
    redirect_uri: AnyHttpUrl | None = None
    oauth_url: AnyHttpUrl | None = None
    allowed_hosts: Annotated[tuple[str, ...] | None, NoDecode] = None

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return _split_commas(value)

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_only(cls, hosts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return hosts and _checked_hosts(hosts)


class Settings(_SettingsOfEnvironment):
    """The settings that concern no system."""

    database_url: SecretStr | None = None
    dagster_database_url: SecretStr | None = None
    pipeline_home: Path = PROJECT_ROOT / ".local"
    connect_port: Port = 8000
    app_url: AnyHttpUrl = Field(
        default_factory=lambda valid: AnyHttpUrl(
            f"http://127.0.0.1:{valid.get('connect_port', 8000)}"
        )
    )
    listen_address: IPvAnyAddress = ipaddress.IPv4Address("127.0.0.1")
    connect_workers: Annotated[int, Field(ge=1, le=64)] = 1
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    dagster_port: Port = 3000
    dagster_url: AnyHttpUrl | None = None
    sandbox_port: Port = 8100
    postgres_port: Port | None = None
    token_encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] | None = None
    operator_key: SecretStr | None = None
    default_time_zone: str = "UTC"
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    event_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    schedules: Literal["on", "off"] = "on"
    partitioned_checks: Literal["on", "off"] = "off"
    asset_owners: Annotated[tuple[str, ...], NoDecode] = ("team:data-engineering",)
    history_kept_days: Annotated[int, Field(ge=1, le=36_500)] = 400  # a year, and last year's month

    _systems: dict[str, SystemSettings] = PrivateAttr(default_factory=dict)

    @field_validator(
        "token_encryption_keys",
        "alert_urls",
        "event_allowed_hosts",
        "trusted_proxies",
        "asset_owners",
        mode="before",
    )
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return _split_commas(value)

    @field_validator("token_encryption_keys")
    @classmethod
    def _fernet_keys(cls, keys: tuple[SecretStr, ...] | None) -> tuple[SecretStr, ...] | None:
        for position, key in enumerate(keys or (), start=1):
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError(
                    f"key {position} is no Fernet key (32 bytes, url-safe base64)"
                ) from None
        return keys

    @field_validator("event_allowed_hosts")
    @classmethod
    def _hosts_only(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return _checked_hosts(hosts)

    @field_validator("alert_urls")
    @classmethod
    def _apprise_urls(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for position, url in enumerate(urls, start=1):
            if not APPRISE_URL.fullmatch(url.get_secret_value()):
                raise ValueError(
                    f"address {position} is no Apprise URL such as mailto://user:password@host; "
                    "see https://github.com/caronc/apprise/wiki"
                )
        return urls

    @field_validator("asset_owners")
    @classmethod
    def _teams_or_people(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        if not all(OWNER.fullmatch(owner) for owner in owners):
            raise ValueError("takes e-mail addresses, or teams such as team:data-engineering")
        return owners

    @field_validator("operator_key")
    @classmethod
    def _long_key(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key else None
        if text is not None and (
            len(text) < OPERATOR_KEY_CHARACTERS_MIN or len(set(text)) < DIFFERENT_CHARACTERS_MIN
        ):
            raise ValueError(
                f"needs at least {OPERATOR_KEY_CHARACTERS_MIN} random characters; "
                f"`{NEW_OPERATOR_KEY}` prints a key"
            )
        if text is not None and PLACEHOLDER.search(text):
            raise ValueError(f"is a placeholder; `{NEW_OPERATOR_KEY}` prints a key")
        return key

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses_only(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(proxy)) for proxy in proxies)
        except ValueError:
            raise ValueError("takes IP addresses or networks such as 10.0.0.0/8") from None

    @field_validator("default_time_zone")
    @classmethod
    def _known_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is no IANA time zone such as Europe/Berlin") from None
        return name

    @field_validator("database_url", "dagster_database_url")
    @classmethod
    def _postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return url

    @field_validator("pipeline_home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home if home.is_absolute() else PROJECT_ROOT / home

    @property
    def is_embedded(self) -> bool:
        """True if the warehouse is the embedded Postgres under `PIPELINE_HOME`."""
        return self.database_url is None

    def sandbox_file(self, system: str) -> Path:
        """The file with the address, OAuth app and token of this installation's sandbox."""
        return self.pipeline_home / "sandbox" / f"{system}.json"

    def system(self, key: str, tenant: str | None = None) -> SystemSettings:
        """The settings of one system that apply to a tenant, or to all but the sandbox's.

        The tenant `sandbox` talks to this installation's sandbox and to no other host. Nothing of
        the sandbox is allowed for a real tenant.

        Raises:
            SettingsError: one of them is malformed, or there is no sandbox of this system.
        """
        if tenant == SANDBOX_TENANT:
            sandbox = SandboxAddress.read(self.sandbox_file(key))
            return self.system(key).model_copy(
                update={
                    "client_id": sandbox.client_id,
                    "client_secret": SecretStr(sandbox.client_secret),
                    "oauth_url": AnyHttpUrl(sandbox.url),
                    "allowed_hosts": (SANDBOX_HOST,),
                }
            )
        if key not in self._systems:
            prefix = setting_name(key, "")
            self._systems[key] = _loaded(lambda: SystemSettings(_env_prefix=prefix), prefix)
        return self._systems[key]

    def with_system(self, key: str, **values: Any) -> Settings:
        """A copy with these settings of one system instead of those of the environment."""
        changed = self.model_copy()
        changed._systems = {**self._systems, key: SystemSettings(_env_file=None, **values)}  # noqa: SLF001
        return changed

    def redirect_uri(self, system: str) -> str:
        """The URL that the source sends a browser back to after consent."""
        if uri := self.system(system).redirect_uri:
            return str(uri)
        return f"{str(self.app_url).rstrip('/')}/api/integrations/{system}/callback"

    def run_url(self, dagster_run_id: str) -> str:
        """The URL of this run in the Dagster UI."""
        base = str(self.dagster_url or f"http://127.0.0.1:{self.dagster_port}")
        return f"{base.rstrip('/')}/runs/{dagster_run_id}"

    def encryption_keys(self) -> tuple[SecretStr, ...]:
        """The Fernet keys, newest first; on the embedded default made once, mode 0600.

        Raises:
            SettingsError: `DATABASE_URL` is set and `TOKEN_ENCRYPTION_KEYS` is not.
        """
        if self.token_encryption_keys:
            return self.token_encryption_keys
        if not self.is_embedded:
            raise SettingsError(
                "TOKEN_ENCRYPTION_KEYS is required with DATABASE_URL; make one with "
                '`python -c "from cryptography.fernet import Fernet; '
                'print(Fernet.generate_key().decode())"`.'
            )
        keys_text = _made_once(
            self.pipeline_home / "token-encryption-keys", lambda: Fernet.generate_key().decode()
        )
        return tuple(SecretStr(key) for key in keys_text.split(","))

    def operator(self) -> SecretStr | None:
        """The operator's key; on the embedded default made once, mode 0600."""
        if self.operator_key or not self.is_embedded:
            return self.operator_key
        return SecretStr(
            _made_once(self.pipeline_home / "operator-key", lambda: secrets.token_urlsafe(32))
        )


class SandboxAddress(BaseModel, frozen=True):
    """A sandbox's URL and credentials. These open nothing but the sandbox."""

    url: str
    client_id: str
    client_secret: str
    api_token: str

    @classmethod
    def read(cls, file: Path) -> SandboxAddress:
        """The address in a file.

        Raises:
            SettingsError: this installation has no sandbox.
        """
        try:
            return cls.model_validate_json(file.read_text())
        except (FileNotFoundError, ValidationError):
            raise SettingsError(
                "this installation has no sandbox yet; `up --sandbox` or `demo` makes one."
            ) from None

    def write(self, file: Path) -> None:
        """Writes the address for every other command of this installation."""
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_text(self.model_dump_json(indent=2) + "\n")
        draft.replace(file)


def load_settings() -> Settings:
    """Settings from the environment and `.env`; those of systems are read when they are used.

    Raises:
        SettingsError: one is empty or malformed; the message names it, never its value.
    """
    return _loaded(Settings)


def setting_name(system: str, name: str) -> str:
    """The name of a setting of one system: `PIPEDRIVE_CLIENT_ID`."""
    return f"{system}_{name}".upper()


def _loaded(load: Callable[[], Loaded], prefix: str = "") -> Loaded:
    try:
        return load()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = f"{prefix}{first['loc'][0]}".upper() if first["loc"] else "the environment"
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{name}: {reason}. README.md lists every setting.") from None


def _checked_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if not all(HOST_PATTERN.fullmatch(host) for host in hosts):
        raise ValueError("takes host names or `*.` patterns, without scheme, port or path")
    return tuple(host.lower() for host in hosts)


def _split_commas(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip() or len(value.splitlines()) > 1:
        return value  # `_refuse_empty` says what is wrong
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise ValueError("has an empty entry between commas")
    return parts


def _made_once(path: Path, make: Callable[[], str]) -> str:
    """The content of ``path``, made by the first of any number of concurrent callers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
        try:
            os.link(draft, path)  # fails for all but the first; the others read what it made
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
