"""A vault with its own database and OAuth server: the setup of the tests of vault and connect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from cryptography.fernet import Fernet
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Account
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connect
from pipedrive_pipeline.vault.connection_rows import ConnectionTokens, database_time
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.vault import oauth_server
from pipedrive_pipeline_tests.vault.oauth_server import (
    CLIENT_ID,
    CLIENT_SECRET,
    OAuthCompany,
    OAuthServer,
)

ACME = Tenant("acme")
PIPEDRIVE = "pipedrive"
OPERATOR_KEY = "canary-operator-key-0123456789-abcdef"


class KeptSession:
    """A session for statements that are the same in each test: Postgres keeps their plans in it.

    In a new one the cascades of a deleted tenant took ten times as long: 29 ms instead of 3.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = psycopg.connect(url, autocommit=True)

    def execute(self, query: str) -> None:
        """Statements in one transaction, in a new session if a test has ended this one."""
        try:
            self._connection.execute(query.encode())
        except psycopg.OperationalError:
            if not self._connection.closed:
                raise
            self._connection = psycopg.connect(self._url, autocommit=True)
            self._connection.execute(query.encode())

    def close(self) -> None:
        """Ends the session."""
        self._connection.close()


@dataclass(frozen=True)
class VaultSetup:
    """A vault, the server that it refreshes at, and its database."""

    vault: Vault
    oauth: OAuthServer
    session: KeptSession

    def with_app(self, **changes: Any) -> Settings:
        """The vault's settings with another OAuth app."""
        settings = self.vault.settings
        return settings.with_system(
            PIPEDRIVE, **{**settings.system(PIPEDRIVE).model_dump(), **changes}
        )

    def forget(self) -> None:
        """As new: two tenants, neither connected, and no history."""
        self.oauth.forget()
        self.session.execute("drop schema if exists raw_pipedrive_acme cascade")
        rows = "".join(f"delete from crm.{mart.name};" for mart in reversed(MARTS))
        self.session.execute(
            rows
            + """
            delete from integration.audit_log;
            delete from integration.refusals;
            delete from integration.tenants;
            insert into integration.tenants (slug) values ('acme'), ('bravo');
            """
        )

    def connect_acme(self, company: OAuthCompany | None = None) -> str:
        """Tenant acme connected by consent; its refresh token."""
        company = company or OAuthCompany()
        access, refresh = self.oauth.granted(company)
        self.store(ACME, access, refresh, company)
        return refresh

    def store(self, tenant: Tenant, access: str, refresh: str, company: OAuthCompany) -> None:
        """A pair, as after a code was exchanged and confirmed."""
        with self.vault.warehouse.transaction() as transaction:
            arrival = connect.NewConnection(
                Scope(tenant, PIPEDRIVE),
                self.tokens(access, refresh),
                self.account(company),
                who="a test",
            )
            connect.store(transaction, self.vault.cipher, arrival)

    def tokens(self, access: str, refresh: str) -> ConnectionTokens:
        """A pair that is valid for a year."""
        with self.vault.warehouse.transaction() as transaction:
            issued_at = database_time(transaction)
        return ConnectionTokens(
            kind="oauth",
            access=SecretStr(access),
            refresh=SecretStr(refresh),
            api_domain=self.oauth.url,
            issued_at=issued_at,
            expires_at=issued_at.replace(year=issued_at.year + 1),
        )

    @staticmethod
    def account(company: OAuthCompany) -> Account:
        """The account of a company."""
        return Account(
            company_id=str(company.id),
            company_name=company.name,
            company_domain=company.domain,
            user_id=str(company.user_id),
            user_name=company.user_name,
            is_admin=company.is_admin,
        )

    def expire(self) -> None:
        """Every access token ends now."""
        self.execute("update integration.connections set token_expires_at = now()")

    def row(self, tenant: Tenant = ACME) -> dict[str, Any]:
        """The connection as stored."""
        return self.rows(
            "select connections.* from integration.connections where tenant_id = %s", tenant.slug
        )[0]

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """What a query answers, past every room."""
        with (
            psycopg.connect(self.vault.warehouse.url) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            return cursor.execute(query, parameters or None).fetchall()

    def execute(self, query: str, *parameters: object) -> None:
        """A statement, past every room."""
        with psycopg.connect(self.vault.warehouse.url) as connection:
            connection.execute(query, parameters or None)


@contextmanager
def running(database_template: str) -> Iterator[VaultSetup]:
    """A world on a database of its own; `forget` gives it its two tenants."""
    with (
        databases.copy_of(database_template) as url,
        oauth_server.running() as oauth,
        closing(KeptSession(url)) as session,
    ):
        environment = VaultSetup(
            Vault(databases.warehouse_at(url), settings_for(url, oauth)), oauth, session
        )
        name = urlsplit(url).path[1:]
        environment.execute(f'alter database "{name}" set synchronous_commit = off')
        yield environment


def settings_for(url: str, oauth: OAuthServer, **more: Any) -> Settings:
    """Settings of a test, nothing from the environment that it names."""
    facts: dict[str, Any] = {
        "database_url": SecretStr(url),
        "token_encryption_keys": (SecretStr(Fernet.generate_key().decode()),),
        "operator_key": SecretStr(OPERATOR_KEY),
    }
    return Settings(_env_file=None, **{**facts, **more}).with_system(
        PIPEDRIVE,
        client_id=CLIENT_ID,
        client_secret=SecretStr(CLIENT_SECRET),
        oauth_url=oauth.url,
        allowed_hosts=("127.0.0.1",),
    )
