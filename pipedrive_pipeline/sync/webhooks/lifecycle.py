"""Makes, checks and removes webhooks.

A look at one webhook compares what should be with what the source lists. A process may die after
the source has made a webhook and before that is stored: the next look finds a webhook that sends to
an address of ours with a token that is not stored, and deletes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import WebhookAdmin, WebhookState
from pipedrive_pipeline.errors import (
    DatabaseUnavailable,
    Permanent,
    PipelineError,
    ReauthNeeded,
    SourceUnavailable,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.webhooks import rows
from pipedrive_pipeline.sync.webhooks.conditions import app_url, endpoint, why_off
from pipedrive_pipeline.sync.webhooks.rows import Secrets, Webhook
from pipedrive_pipeline.vault import disconnect as vault_disconnect
from pipedrive_pipeline.vault.connect import run_to_end
from pipedrive_pipeline.vault.disconnect import Disconnected
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse

LOOKS_AT_ONCE = 8
LOOK_SECONDS = 15.0  # so that a source without an answer keeps no others waiting for long
USER = "pipedrive-pipeline"  # the name that a webhook signs in with; its password is the secret
ATTEMPTS_BEFORE_DEAD = 12  # looks in vain: six hours

log = logging.getLogger(__name__)


def look_at_due(warehouse: Warehouse, settings: Settings, *, limit: int) -> list[Scope]:
    """Looks at as many webhooks as are due, at most ``limit``, and returns whose they are."""
    systems = [each.key for each in registry.systems() if each.webhooks]
    scopes = rows.due(warehouse, systems, app_url(settings), limit=limit)
    if scopes:
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
            list(threads.map(lambda scope: look_at(warehouse, settings, scope), scopes))
    return scopes


def look_at(warehouse: Warehouse, settings: Settings, scope: Scope) -> None:
    """Makes, checks or removes one webhook; what came of it is stored.

    Raises:
        DatabaseUnavailable: nothing could be stored.
    """
    webhook = rows.read(warehouse, scope)
    if webhook is None:
        return
    reason = why_off(
        settings,
        registry.system(scope.system),
        is_wanted=webhook.is_wanted,
        source_url=webhook.source_url,
        scopes=webhook.scopes,
    )
    if reason and webhook.state not in {None, "off"}:
        remove(warehouse, settings, scope)
    if reason:
        rows.switched_off(warehouse, webhook, app_url(settings), reason)
        return
    try:
        _opened(warehouse, settings, webhook)
    except DatabaseUnavailable:
        raise
    except PipelineError as error:
        log.warning("%s: its webhook could not be looked at (%s)", scope, error.code)
        is_dead = (
            isinstance(error, Permanent) and not isinstance(error, ReauthNeeded)
        ) or webhook.attempts >= ATTEMPTS_BEFORE_DEAD
        rows.failed(warehouse, webhook, app_url(settings), str(error), is_dead=is_dead)


def remove(warehouse: Warehouse, settings: Settings, scope: Scope) -> None:
    """Deletes the webhook at the source, if that is possible; an error is only logged.

    A webhook that stays there sends to an address that opens nothing, until the source gives up.
    """
    webhook = rows.read(warehouse, scope)
    if webhook is None or webhook.state in {None, "off"}:
        return
    access = SourceAccess(warehouse, settings, scope, is_increment=True)

    async def delete() -> None:
        async with asyncio.timeout(LOOK_SECONDS), access.open_webhooks() as admin:
            listed = await admin.webhooks()
            await _delete_strays(admin, warehouse, settings, scope, listed)
            if webhook.remote_id:
                await admin.delete(webhook.remote_id)

    try:
        run_to_end(delete())
        access.book()
    except (PipelineError, TimeoutError) as error:
        log.warning("%s: its webhook was not removed (%s)", scope, type(error).__name__)


def disconnect(vault: Vault, scope: Scope, *, who: str) -> Disconnected:
    """Removes the webhook, if that is possible, then ends the connection.

    Raises:
        NotConnected, WrongKey: as `vault.disconnect.disconnect`.
    """
    remove(vault.warehouse, vault.settings, scope)
    return vault_disconnect.disconnect(vault, scope, who=who)


def _opened(warehouse: Warehouse, settings: Settings, webhook: Webhook) -> None:
    """One look, with the source's webhooks open; the tokens that it spent are booked."""
    access = SourceAccess(warehouse, settings, webhook.scope, is_increment=True)

    async def look() -> None:
        async with asyncio.timeout(LOOK_SECONDS), access.open_webhooks() as admin:
            await _look(admin, warehouse, settings, webhook)

    try:
        run_to_end(look())
    except TimeoutError:
        raise SourceUnavailable(
            f"{webhook.scope}: no answer about webhooks in {LOOK_SECONDS:.0f} s"
        ) from None
    finally:
        access.usage.write()


async def _look(
    admin: WebhookAdmin, warehouse: Warehouse, settings: Settings, webhook: Webhook
) -> None:
    scope = webhook.scope
    listed = await admin.webhooks()
    ours = next((each for each in listed if each.id == webhook.remote_id), None)
    is_here = ours is not None and ours.address.startswith(endpoint(settings, scope.system))
    is_active = ours is not None and is_here and ours.is_active
    trouble = ours.trouble if ours else None
    if is_active and not trouble:
        await _delete_strays(admin, warehouse, settings, scope, listed)
        rows.checked(warehouse, scope)
    elif is_active and webhook.attempts:  # making it again did not help, or it cannot be made
        reason = f"the source cannot deliver: {trouble}"
        rows.failed(warehouse, webhook, app_url(settings), reason, is_dead=True, gap_reason=reason)
    else:
        fresh = Secrets()
        # From here on the former webhook, also one whose process died, is a stray.
        rows.begin(warehouse, scope, app_url(settings), fresh)
        await _delete_strays(admin, warehouse, settings, scope, listed)
        if ours and not is_here:
            await admin.delete(ours.id)
        address = endpoint(settings, scope.system) + fresh.token
        remote_id = await admin.create(address, USER, fresh.password)
        why = _why_made(webhook, ours, is_here=is_here)
        # One that could not deliver is looked at again soon. Making it ends a pause of the source.
        is_stored = rows.made(
            warehouse, scope, fresh, remote_id, gap_reason=why, is_proven=not is_active
        )
        if not is_stored:
            await admin.delete(remote_id)


def _why_made(webhook: Webhook, ours: WebhookState | None, *, is_here: bool) -> str:
    if webhook.remote_id is None:
        return "the webhook was made"
    if ours is None:
        return "the webhook was missing at the source and was made again"
    if not is_here:
        return "the address of the Connect app changed and the webhook was made again"
    return f"the webhook was made again: {ours.trouble or 'it was not active'}"


async def _delete_strays(
    admin: WebhookAdmin,
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    listed: Sequence[WebhookState],
) -> None:
    """Deletes webhooks that send to an address of ours which opens nothing."""
    start = endpoint(settings, scope.system)
    tokens = {
        each.address.removeprefix(start): each.id
        for each in listed
        if each.address.startswith(start)
    }
    if tokens:
        for token in rows.unknown_tokens(warehouse, tokens):
            await admin.delete(tokens[token])
