"""A vault on a database of its own: what the tests of vault and connect start from.

Belongs here: building it, and looking into it past the vault. Does not belong here: any fact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.connectors.base import Account
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import clock, storing
from pipedrive_pipeline.vault.tokens import Tokens
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate
from pipedrive_pipeline_tests.vault.oauth_server import (
    CLIENT_ID,
    CLIENT_SECRET,
    Company,
    OAuthServer,
)

ACME = Tenant("acme")
PIPEDRIVE = "pipedrive"
OPERATOR_KEY = "canary-operator-key-0123456789"


@dataclass(frozen=True)
class World:
    """A vault, the server that it refreshes at, and its database."""

    vault: Vault
    oauth: OAuthServer

    def connect_acme(self, company: Company | None = None) -> str:
        """Tenant acme connected by consent; its refresh token."""
        company = company or Company()
        access, refresh = self.oauth.granted(company)
        self.store(ACME, access, refresh, company)
        return refresh

    def store(self, tenant: Tenant, access: str, refresh: str, company: Company) -> None:
        """A pair, as after a code was exchanged and confirmed."""
        account = Account(
            company_id=str(company.id),
            company_name=company.name,
            company_domain=company.domain,
            user_id=str(company.user_id),
            user_name=company.user_name,
            is_admin=company.is_admin,
        )
        with self.vault.warehouse.transaction() as transaction:
            issued_at = clock.now(transaction)
            tokens = Tokens(
                kind="oauth",
                access=SecretStr(access),
                refresh=SecretStr(refresh),
                api_domain=self.oauth.url,
                issued_at=issued_at,
                expires_at=issued_at.replace(year=issued_at.year + 1),
            )
            arrival = storing.Arrival(tenant, PIPEDRIVE, tokens, account, who="a test")
            storing.store(transaction, self.vault.cipher, arrival)

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
            return cursor.execute(query, parameters).fetchall()

    def execute(self, query: str, *parameters: object) -> None:
        """A statement, past every room."""
        with psycopg.connect(self.vault.warehouse.url) as connection:
            connection.execute(query, parameters)


@contextmanager
def template(home: Path) -> Iterator[str]:
    """The URL of a migrated database with tenant acme, on a server of its own."""
    server = ensure_running(home)
    try:
        url = _database(server.url, "template_vault")
        migrate(Warehouse(url))
        with psycopg.connect(url) as connection:
            connection.execute("insert into integration.tenants (slug) values ('acme'), ('bravo')")
        yield url
    finally:
        server.stop()


@contextmanager
def world(template_url: str, oauth: OAuthServer) -> Iterator[World]:
    """A world that nobody else sees."""
    url = _database(template_url, f"test_{uuid4().hex[:12]}", template="template_vault")
    yield World(Vault(Warehouse(url), settings_for(url, oauth)), oauth)
    with psycopg.connect(_at(url, "postgres"), autocommit=True) as server:
        name = sql.Identifier(urlsplit(url).path[1:])
        server.execute(sql.SQL("drop database {} with (force)").format(name))


def settings_for(url: str, oauth: OAuthServer, **more: Any) -> Settings:
    """Settings of a test, nothing from the environment that it names."""
    facts: dict[str, Any] = {
        "database_url": SecretStr(url),
        "pipedrive_client_id": CLIENT_ID,
        "pipedrive_client_secret": SecretStr(CLIENT_SECRET),
        "pipedrive_oauth_url": oauth.url,
        "pipedrive_allowed_hosts": ("127.0.0.1",),
        "token_encryption_keys": (SecretStr(Fernet.generate_key().decode()),),
        "operator_key": SecretStr(OPERATOR_KEY),
    }
    return Settings(_env_file=None, **{**facts, **more})


def _database(url: str, name: str, *, template: str = "template1") -> str:
    with psycopg.connect(_at(url, "postgres"), autocommit=True) as server:
        server.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return _at(url, name)


def _at(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
