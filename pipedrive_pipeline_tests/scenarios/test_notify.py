"""Alerts reach the addresses that may be used, and no service of this machine's network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.errors import BadInput, SettingsError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.alert_addresses import alert_address
from pipedrive_pipeline.sync.status.notify import (
    check_operators_addresses,
    notify,
    notify_operator,
)
from pipedrive_pipeline.vault.cipher import SecretLocation
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

RELAY = (
    "mailtos://relay:secret@mail.acme.example:587?from=alerts@acme.example&to=night@acme.example"
)
HOOK = "https://hooks.acme.example/alerts?key=1"


def saved(world: World, *urls: str) -> None:
    """The tenant's addresses as a release before may have saved them, without a check."""
    place = SecretLocation(Scope(ACME, SYSTEM), "sync_settings.alert_urls")
    sealed = open_vault(world.warehouse, world.settings).cipher.seal(
        SecretStr(",".join(urls)), place
    )
    with world.warehouse.transaction(ACME) as connection:
        connection.execute(
            "insert into integration.sync_settings (tenant_id, system, alert_urls)"
            " values (%s, %s, %s)"
            " on conflict (tenant_id, system) do update set alert_urls = excluded.alert_urls",
            [ACME.slug, SYSTEM, sealed],
        )


def answering(
    status: int, arrived: list[httpx.Request], **headers: str
) -> Callable[[], httpx.AsyncClient]:
    """A client whose other side answers each request so."""

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        return httpx.Response(status, headers=headers)

    return lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer))


def sent(world: World, **more: Any) -> bool:
    return notify(
        world.warehouse, world.settings, ACME, SYSTEM, title="acme: a title", body="a body", **more
    )


def test_a_webhook_gets_the_alert_as_json(world: World) -> None:
    saved(world, HOOK)
    arrived: list[httpx.Request] = []

    is_sent = sent(world, client=answering(204, arrived))

    (request,) = arrived
    assert is_sent
    assert str(request.url) == HOOK
    assert json.loads(request.content)["title"] == "acme: a title"


def test_a_redirect_is_a_failure_and_is_not_followed(world: World) -> None:
    saved(world, HOOK)
    arrived: list[httpx.Request] = []

    assert not sent(world, client=answering(307, arrived, location="https://127.0.0.1/graphql"))
    assert len(arrived) == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "https", "jsons"])
def test_an_address_of_this_machine_that_was_saved_before_is_not_sent_to(
    world: World, form: str
) -> None:
    """The check when it is saved is not enough: what is stored may be older than the check."""
    with receiver() as (address, arrived):
        saved(world, address.replace("json", form))

        assert not sent(world)
    assert arrived == []


def test_a_name_that_leads_into_this_network_is_refused_when_it_is_connected_to(
    world: World,
) -> None:
    """By its letters it is public; its address is known only at the time of sending."""
    saved(world, "https://localhost.localdomain/graphql")

    assert not sent(world)


def test_mail_goes_by_the_operators_relay() -> None:
    settings = Settings.model_validate({"alert_urls": RELAY})

    address = alert_address("mailto:person@example.com", settings)

    assert address.kind == "mail"
    assert address.target.startswith("mailtos://relay:secret@mail.acme.example:587?")
    assert "to=person%40example.com" in address.target
    assert "night" not in address.target


def test_mail_without_a_relay_is_refused_with_what_the_operator_must_set() -> None:
    with pytest.raises(BadInput, match="ALERT_URLS"):
        alert_address("mailto:person@example.com", Settings.model_validate({}))


def test_an_address_that_apprise_cannot_use_is_no_success_and_hides_no_other(
    world: World,
) -> None:
    """An alert that counts as sent is not sent again."""
    with receiver() as (address, arrived):
        urls = (SecretStr("nosuchkind://night"), SecretStr(address))
        settings = world.settings.model_copy(update={"alert_urls": urls})
        is_sent = notify_operator(settings, title="a title", body="a body")

    assert not is_sent
    assert len(arrived) == 1
    with pytest.raises(SettingsError, match=r"ALERT_URLS: .* address 1 \(nosuchkind://\)"):
        check_operators_addresses(settings)
