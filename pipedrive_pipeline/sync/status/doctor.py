"""`doctor`: checks each condition that a sync needs and reports a finding; repairs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.errors import PipelineError, ScopeMissing
from pipedrive_pipeline.marts.schema_changes import missing
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.connection_alerts import check_connection_and_alert
from pipedrive_pipeline.sync.status.notify import check_operators_addresses
from pipedrive_pipeline.sync.tenancy.registry import known, scopes_of_run
from pipedrive_pipeline.sync.webhooks.live_status import WebhookDead, near_real_time
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connection_test import ConnectionCheck
from pipedrive_pipeline.vault.rotation import check_keys
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import SchemaBehind, head, require_current
from pipedrive_pipeline.warehouse.requirements import locale_limit, require_fit
from pipedrive_pipeline.warehouse.urls import DAGSTER_SETTING


@dataclass(frozen=True)
class Finding:
    """One check: its subject, its result, and the error if it failed."""

    check: str
    found: str
    error: PipelineError | None = None

    def cells(self) -> list[str]:
        """Returns the cells of a table row."""
        return [self.check, "no" if self.error else "yes", self.found]

    def facts(self) -> dict[str, Any]:
        """Returns the values for JSON."""
        return {
            "check": self.check,
            "ok": self.error is None,
            "finding": self.found,
            "code": self.error.code if self.error else None,
        }


def examine(
    warehouse: Warehouse, settings: Settings, tenant: Tenant | None, system: str | None
) -> list[Finding]:
    """Returns the findings in the order in which a person would repair them.

    Of a tenant, the named connection is examined, else every one.
    """
    slug = tenant.slug if tenant else None
    checks: list[tuple[str, Callable[[], str]]] = [
        ("database", lambda: _database(warehouse)),
        ("schema", lambda: _schema(warehouse)),
        *_of_dagster(settings),
        ("encryption keys", lambda: _keys(warehouse, settings)),
    ]
    if settings.alert_urls:
        checks.append(("alerts", lambda: _alerts(settings)))
    for each in [registry.system(system)] if system else registry.systems():
        checks += [
            (f"{each.label}: hosts", partial(_hosts, settings, each, slug)),
            (f"{each.label}: OAuth app", partial(_app, settings, each, slug)),
        ]
    findings = [_finding(name, check) for name, check in checks]
    return [*findings, *_connections(warehouse, settings, tenant, system)] if tenant else findings


def _connections(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str | None
) -> list[Finding]:
    try:
        known(warehouse, tenant)
        scopes = scopes_of_run(warehouse, tenant, system, "incremental")
    except PipelineError as error:
        return [Finding(f"tenant {tenant}", str(error), error)]
    checks: list[tuple[str, Callable[[], str]]] = []
    for scope in scopes:
        name = f"tenant {tenant}" if len(scopes) == 1 else f"tenant {scope}"
        checks += [
            (name, partial(_connection, warehouse, settings, scope.tenant, scope.system)),
            (f"{name}: near real time", partial(_near_real_time, warehouse, scope)),
        ]
    return [_finding(name, check) for name, check in checks]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except PipelineError as error:
        return Finding(name, str(error), error)


def _database(warehouse: Warehouse) -> str:
    require_fit(warehouse)
    with warehouse.transaction() as connection:
        row = connection.execute(_SERVER).fetchone()
    assert row is not None  # noqa: S101 - it has no `from`
    version, is_read_only = row
    if is_read_only:
        raise warehouse.read_only()
    facts = [f"PostgreSQL {version}, {warehouse.place}", locale_limit(warehouse)]
    return "; ".join(fact for fact in facts if fact)


_SERVER = """
select current_setting('server_version'), current_setting('transaction_read_only') = 'on'
"""


def _schema(warehouse: Warehouse) -> str:
    require_current(warehouse)
    with warehouse.transaction() as connection:
        dropped = missing(connection)
    if dropped:
        raise SchemaBehind(
            f"{warehouse.place}: somebody dropped {', '.join(dropped)}; run `migrate`, which makes "
            "it again, then `remap` of each tenant, which fills it."
        )
    return f"up to date ({head()})"


def _of_dagster(settings: Settings) -> list[tuple[str, Callable[[], str]]]:
    """The check of Dagster's database, where it has one of its own."""
    if settings.dagster_database_url is None:
        return []
    url = settings.dagster_database_url.get_secret_value()
    return [("Dagster's database", partial(_reached, Warehouse(url, setting=DAGSTER_SETTING)))]


def _reached(warehouse: Warehouse) -> str:
    with warehouse.connect():
        return warehouse.place


def _keys(warehouse: Warehouse, settings: Settings) -> str:
    count = check_keys(open_vault(warehouse, settings))
    return f"open all {count} stored secrets"


def _alerts(settings: Settings) -> str:
    return f"{check_operators_addresses(settings)} of the operator; nothing was sent"


def _hosts(settings: Settings, system: System, slug: str | None) -> str:
    return ", ".join(settings.system(system.key, slug).allowed_hosts or system.hosts)


def _app(settings: Settings, system: System, slug: str | None) -> str:
    client_id = settings.system(system.key, slug).client_id
    if client_id is None:
        return "none; API tokens and the sandbox work without one"
    return f"{client_id}, callback {settings.redirect_uri(system.key)}"


def _connection(warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str) -> str:
    proof = check_connection_and_alert(open_vault(warehouse, settings), tenant, system)
    if proof.missing_scopes:
        raise ScopeMissing(
            f"{tenant}: {_as_whom(proof)}, but the consent lacks {', '.join(proof.missing_scopes)}"
            f"{_unread(proof)}; add the scope to the app, then run `connect --tenant {tenant} "
            f"--system {system}`."
        )
    return " ".join([f"{_as_whom(proof)}.", *proof.limits])


def _near_real_time(warehouse: Warehouse, scope: Scope) -> str:
    with warehouse.transaction(tenant=scope.tenant) as connection:
        states = near_real_time(connection, scope.tenant, scope.system)
    if not states:
        return "off: not connected"
    if states[0].trouble:
        raise WebhookDead(f"{scope}: {states[0].trouble}")
    reason = states[0].reason if states[0].state != "live" else None
    return f"{states[0].words()}: {reason}" if reason else states[0].words()


def _as_whom(proof: ConnectionCheck) -> str:
    return f"works: {proof.account.company_name} as {proof.account.user_name}"


def _unread(proof: ConnectionCheck) -> str:
    names = ", ".join(proof.unreadable_entities)
    return f" and cannot read {names}" if names else ""
