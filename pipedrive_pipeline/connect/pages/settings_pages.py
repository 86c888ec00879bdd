"""`/integrations/{system}/settings`: when a system is synced, what is read, who is alerted.

Settings that erase data are saved on a page of their own, which says how much it will erase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from zoneinfo import available_timezones

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import tenant_status
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.pages import rendering, settings_form
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.health import deleted_rows
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget import pricing
from pipedrive_pipeline.sync.status import notify
from pipedrive_pipeline.sync.tenancy import configuration
from pipedrive_pipeline.sync.tenancy.configuration import SyncConfig
from pipedrive_pipeline.vault import connections
from pipedrive_pipeline.vault.connection_test import missing_scopes

router = APIRouter(include_in_schema=False)

UTC: Final = "UTC"
CONFIRMED: Final = "confirmed"
SEEN: Final = "seen"  # the fingerprint of the settings that the form was made from


@dataclass(frozen=True)
class SettingsRequest:
    """One request of the settings of one system."""

    request: Request
    services: Services
    visitor: Visitor
    scope: Scope


@dataclass(frozen=True)
class Result:
    """What became of a sent form."""

    problems: Sequence[str] = ()
    alert_problem: str | None = None  # in the words of the error
    is_outdated: bool = False

    @property
    def count(self) -> int:
        """How many fields need a correction."""
        return len(self.problems) + (self.alert_problem is not None)


@router.get("/integrations/{system}/settings")
def settings(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    saved: Annotated[bool, Query()] = False,
    tested: Annotated[int | None, Query(ge=0, le=10)] = None,
    arrived: Annotated[bool, Query()] = False,
) -> Response:
    """The settings of one system."""
    visitor.require(Permission.READ_RECORDS)
    asked = SettingsRequest(request, services, visitor, Scope(visitor.tenant, system))
    with services.warehouse.as_app(visitor.tenant) as connection:
        config = configuration.read(connection, services.vault.cipher, asked.scope)
    values = settings_form.values_of(config, system)
    test = None if tested is None else (tested, arrived)
    return _page(asked, config, values, saved=saved, test=test)


@router.post("/integrations/{system}/settings")
def save(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: FormVisitor,
    sent: SentBody,
) -> Response:
    """Saves the form; asks first if that erases data."""
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    asked = SettingsRequest(request, services, visitor, Scope(visitor.tenant, system))
    values, cipher = sent.texts(), services.vault.cipher
    with services.warehouse.as_app(
        asked.scope.tenant, turn=asked.scope.tenant.settings_lock
    ) as app:
        config = configuration.read(app, cipher, asked.scope)
        if values.get(SEEN) != settings_form.fingerprint(config):
            return _page(asked, config, values, result=Result(is_outdated=True))
        wanted = settings_form.sent_settings(values, config, system)
        if wanted.problems:
            return _page(asked, config, values, result=Result(wanted.problems))
        days = wanted.changes.get("erase_deleted_after_days")
        if days is not None and _erases_more(config, days) and CONFIRMED not in values:
            return _confirmation(asked, values, days, deleted_rows(app, asked.scope, days=days))
        try:
            configuration.save(
                app,
                cipher,
                asked.scope,
                wanted.changes,
                settings=services.vault.settings,
                who=caller.name,
            )
        except BadInput as error:  # an address that may not be used
            return _page(asked, config, values, result=Result(alert_problem=str(error)))
    return rendering.go_to(visitor.address(f"/integrations/{system}/settings", saved="true"))


@router.post("/integrations/{system}/settings/test-alert")
def test_alert(services: AppServices, system: SystemKey, visitor: FormVisitor) -> Response:
    """Sends an alert to the saved addresses, and says whether each took it."""
    visitor.require(Permission.MANAGE_CONNECTION)
    with services.slow_work.slot(visitor.tenant):
        outcome = notify.send_test(
            services.vault.warehouse, services.vault.settings, Scope(visitor.tenant, system)
        )
    address = visitor.address(
        f"/integrations/{system}/settings",
        tested=str(outcome.addresses),
        arrived=str(outcome.is_complete).lower(),
    )
    return rendering.go_to(f"{address}#alerts")


@router.post("/integrations/{system}/settings/display")
def choose_zone(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """The zone in which this browser shows times; none chooses the tenant's own again."""
    zone = sent.text("zone").strip()
    answer = rendering.go_to(visitor.address(f"/integrations/{system}/settings"))
    known = zone if zone in available_timezones() else ""
    rendering.remember(answer, services.vault.settings, rendering.ZONE_COOKIE, known)
    return answer


def _erases_more(config: SyncConfig, days: int) -> bool:
    before = config.erase_deleted_after_days
    return before is None or days < before


def _page(
    asked: SettingsRequest,
    config: SyncConfig,
    values: Mapping[str, str],
    *,
    saved: bool = False,
    test: tuple[int, bool] | None = None,
    result: Result | None = None,
) -> Response:
    visitor, scope, result = asked.visitor, asked.scope, result or Result()
    with asked.services.warehouse.as_app(scope.tenant) as connection:
        zone = configuration.zone_of(connection, scope.tenant, config)
        prices = pricing.estimated_tokens(connection, scope)
        rows = connections.of_tenant(connection, scope.tenant)
    granted = next((row.scopes for row in rows if row.system == scope.system), ())
    return rendering.page(
        asked.request,
        "settings.html",
        visitor,
        status_code=409 if result.is_outdated else 422 if result.count else 200,
        system=registry.system(scope.system),
        has_near_real_time="near_real_time" in config.facts(),
        seen=settings_form.fingerprint(config),
        values=values,
        result=result,
        saved=saved,
        test=test,
        zone=str(zone),
        zones=sorted(available_timezones()),
        next_syncs=tenant_status.next_syncs(config, zone),
        entities=settings_form.choosable(scope.system),
        prices=prices,
        without_right=[
            entity.name
            for entity in settings_form.choosable(scope.system)
            if missing_scopes(scope.system, granted, [entity])
            != missing_scopes(scope.system, granted, [])
        ],
        chosen_zone=_chosen_zone(asked.request, visitor),
        may_write=visitor.may(Permission.MANAGE_CONNECTION),
        choices=settings_form,
        writable=configuration.writable_marts(scope.system),
    )


def _confirmation(
    asked: SettingsRequest, values: Mapping[str, str], days: int, rows: int
) -> Response:
    """The page that says how many rows the settings will erase."""
    hidden = {name: value for name, value in values.items() if name not in {"form_token", "tenant"}}
    return rendering.page(
        asked.request,
        "settings_confirm.html",
        asked.visitor,
        system=registry.system(asked.scope.system),
        hidden={**hidden, CONFIRMED: "1"},
        days=days,
        rows=rows,
    )


def _chosen_zone(request: Request, visitor: Visitor) -> str:
    """The zone that this browser chose; empty if it follows the tenant's."""
    zone = str(rendering.display_of(request, visitor).zone)
    return "" if zone == (visitor.time_zone or UTC) else zone
