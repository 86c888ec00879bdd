"""The webhooks of an app: rows of `integration.app_webhooks`, with their secrets sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row
from pydantic import SecretStr

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.events import known_patterns, known_types
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.events.addresses import checked_url
from pipedrive_pipeline.sync.events.signatures import new_secret
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, secret_of_webhook
from pipedrive_pipeline.warehouse import audit_log

WEBHOOKS_MAX: Final = 20  # of a tenant; each event is stored once for all of them
OVERLAP_HOURS: Final = 24  # so long the former secret signs too, unless said otherwise
State = Literal["active", "paused", "disabled"]


@dataclass(frozen=True)
class AppWebhook:
    """One webhook, without its secrets.

    Attributes:
        waiting: events that are not delivered yet.
    """

    id: UUID
    tenant_id: str
    url: str
    description: str | None
    event_types: list[str]
    state: State
    state_reason: str | None
    failing_since: datetime | None
    last_failure: str | None
    last_delivered_at: datetime | None
    former_secret_until: datetime | None
    created_at: datetime
    created_by: str
    waiting: int


@dataclass(frozen=True)
class NewSecret:
    """A webhook with the secret that it was just given, which is shown once."""

    webhook: AppWebhook
    secret: SecretStr


def of_tenant(
    connection: psycopg.Connection,
    tenant: Tenant,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int = WEBHOOKS_MAX,
) -> list[AppWebhook]:
    """Returns the tenant's webhooks, the oldest first, from a place on."""
    created_at, webhook_id = after or (None, None)
    values = {"tenant": tenant.slug, "at": created_at, "id": webhook_id, "limit": limit}
    return connection.cursor(row_factory=class_row(AppWebhook)).execute(_LISTED, values).fetchall()


def webhook_of(
    connection: psycopg.Connection, tenant: Tenant, webhook_id: UUID
) -> AppWebhook | None:
    """Returns the webhook of this id, if it is the tenant's."""
    cursor = connection.cursor(row_factory=class_row(AppWebhook))
    return cursor.execute(_BY_ID, [tenant.slug, webhook_id]).fetchone()


def add(
    connection: psycopg.Connection,
    tenant: Tenant,
    *,
    url: str,
    event_types: Sequence[str],
    description: str | None,
    settings: Settings,
    cipher: Cipher,
    who: str,
) -> NewSecret:
    """Makes a webhook, which is sent what changes from now on.

    Raises:
        BadInput: the address or a type cannot be used, or there are as many as are allowed.
    """
    secret, webhook_id = new_secret(), uuid4()
    values = {
        "id": webhook_id,
        "tenant": tenant.slug,
        "url": checked_url(url, settings),
        "types": checked_types(event_types),
        "description": description,
        "secret": cipher.seal(secret, secret_of_webhook(tenant, webhook_id)),
        "who": who,
        "max": WEBHOOKS_MAX,
    }
    if connection.execute(_ADD, values).rowcount == 0:
        raise BadInput(
            f"{tenant}: there are {WEBHOOKS_MAX} webhooks, as many as are allowed; remove one."
        )
    webhook = _existing(connection, tenant, webhook_id)
    audit_log.note(
        connection, tenant, who=who, action="app_webhook.add", subject=str(webhook_id),
        after=_facts(webhook),
    )  # fmt: skip
    return NewSecret(webhook, secret)


def change(
    connection: psycopg.Connection,
    tenant: Tenant,
    before: AppWebhook,
    *,
    settings: Settings,
    who: str,
    **values: Any,
) -> AppWebhook:
    """Changes a webhook, and returns it; one that is made active is tried again at once.

    Args:
        connection: the caller's.
        tenant: whose.
        before: as it is.
        settings: of this process.
        who: the caller, for the audit log.
        values: of url, event_types, description and state, those that are to be changed.

    Raises:
        BadInput: the address or a type cannot be used.
    """
    if "url" in values:
        checked_url(values["url"], settings)
    if "event_types" in values:
        values["event_types"] = checked_types(values["event_types"])
    facts = {name: getattr(before, name) for name in ("url", "event_types", "description")}
    state = values.get("state", before.state)
    parameters = facts | values | {"state": state, "id": before.id, "tenant": tenant.slug}
    connection.execute(_CHANGE, parameters)
    if state == "active" and before.state != "active":
        connection.execute(_TRY_AGAIN, parameters)
    webhook = _existing(connection, tenant, before.id)
    audit_log.note(
        connection, tenant, who=who, action="app_webhook.change", subject=str(before.id),
        before=_facts(before), after=_facts(webhook),
    )  # fmt: skip
    return webhook


def remove(connection: psycopg.Connection, tenant: Tenant, before: AppWebhook, *, who: str) -> None:
    """Deletes a webhook and what waits for it."""
    connection.execute(_REMOVE, [tenant.slug, before.id])
    audit_log.note(
        connection, tenant, who=who, action="app_webhook.remove", subject=str(before.id),
        before=_facts(before),
    )  # fmt: skip


def rotate(
    connection: psycopg.Connection,
    tenant: Tenant,
    before: AppWebhook,
    *,
    overlap: timedelta,
    cipher: Cipher,
    who: str,
) -> NewSecret:
    """Gives a webhook a new secret; for a while its deliveries are signed with both.

    Args:
        connection: the caller's.
        tenant: whose.
        before: as it is.
        overlap: so long the former secret signs too; none: it was lost to somebody.
        cipher: seals the secret.
        who: the caller, for the audit log.
    """
    secret = new_secret()
    values = {
        "id": before.id,
        "tenant": tenant.slug,
        "secret": cipher.seal(secret, secret_of_webhook(tenant, before.id)),
        "overlap": overlap,
    }
    connection.execute(_ROTATE, values)
    webhook = _existing(connection, tenant, before.id)
    until = webhook.former_secret_until
    audit_log.note(
        connection, tenant, who=who, action="app_webhook.rotate", subject=str(before.id),
        after={"former_secret_until": until and until.isoformat()},
    )  # fmt: skip
    return NewSecret(webhook, secret)


def secrets_of(
    connection: psycopg.Connection, tenant: Tenant, webhook_id: UUID, cipher: Cipher
) -> list[SecretStr]:
    """Returns the secrets that a webhook's deliveries are signed with now, the newest first."""
    row = connection.execute(_SECRETS, [tenant.slug, webhook_id]).fetchone()
    place = secret_of_webhook(tenant, webhook_id)
    return [cipher.open(sealed, place) for sealed in row or () if sealed]


def checked_types(event_types: Sequence[str]) -> list[str]:
    """Returns the types and patterns, each once.

    Raises:
        BadInput: there is none, or one that does not exist.
    """
    known = (*known_patterns(), *known_types())
    unknown = [name for name in event_types if name not in known]
    if unknown or not event_types:
        problem = f"{unknown[0][:64]!r} does not exist" if unknown else "name at least one"
        raise BadInput(f"event_types: {problem}; there are {', '.join(known)}.")
    return list(dict.fromkeys(event_types))


def _existing(connection: psycopg.Connection, tenant: Tenant, webhook_id: UUID) -> AppWebhook:
    webhook = webhook_of(connection, tenant, webhook_id)
    if webhook is None:
        raise BadInput(f"{tenant}: the webhook was removed meanwhile.")
    return webhook


def _facts(webhook: AppWebhook) -> dict[str, object]:
    """Returns what the audit log keeps: no address, because its path may be a secret."""
    return {"event_types": webhook.event_types, "state": webhook.state}


_COLUMNS: Final = """
    app_webhooks.id,
    app_webhooks.tenant_id,
    app_webhooks.url,
    app_webhooks.description,
    app_webhooks.event_types,
    app_webhooks.state,
    app_webhooks.state_reason,
    app_webhooks.failing_since,
    app_webhooks.last_failure,
    app_webhooks.last_delivered_at,
    case
        when app_webhooks.former_secret_until > clock_timestamp()
            then app_webhooks.former_secret_until
    end as former_secret_until,
    app_webhooks.created_at,
    app_webhooks.created_by,
    (
        select count(*)
        from integration.event_deliveries
        where event_deliveries.webhook_id = app_webhooks.id
            and event_deliveries.delivered_at is null
    ) as waiting
"""
_LISTED: Final = f"""
select {_COLUMNS}
from integration.app_webhooks
where app_webhooks.tenant_id = %(tenant)s
    and (
        %(at)s::timestamptz is null
        or (app_webhooks.created_at, app_webhooks.id) > (%(at)s::timestamptz, %(id)s::uuid)
    )
order by
    app_webhooks.created_at asc,
    app_webhooks.id asc
limit %(limit)s
"""
_BY_ID: Final = f"""
select {_COLUMNS}
from integration.app_webhooks
where app_webhooks.tenant_id = %s
    and app_webhooks.id = %s
"""
_ADD: Final = """
insert into integration.app_webhooks (
    id, tenant_id, url, event_types, description, secret, created_by
)
select %(id)s, %(tenant)s, %(url)s, %(types)s, %(description)s, %(secret)s, %(who)s
where (
    select count(*)
    from integration.app_webhooks
    where app_webhooks.tenant_id = %(tenant)s
) < %(max)s
"""
_CHANGE: Final = """
update integration.app_webhooks
set url = %(url)s,
    event_types = %(event_types)s,
    description = %(description)s,
    state = %(state)s::text,
    state_reason = case when %(state)s::text = 'disabled' then app_webhooks.state_reason end,
    disabled_at = case when %(state)s::text = 'disabled' then app_webhooks.disabled_at end
where app_webhooks.tenant_id = %(tenant)s
    and app_webhooks.id = %(id)s
"""
_TRY_AGAIN: Final = """
with again as (
    update integration.app_webhooks
    set failures = 0,
        failing_since = null,
        resume_at = 'epoch'
    where app_webhooks.tenant_id = %(tenant)s
        and app_webhooks.id = %(id)s
)
update integration.event_deliveries
set attempts = 0,
    first_attempt_at = null,
    next_attempt_at = 'epoch'
where event_deliveries.tenant_id = %(tenant)s
    and event_deliveries.webhook_id = %(id)s
    and event_deliveries.delivered_at is null
    and event_deliveries.lease is null
"""
_SECRETS: Final = """
select
    app_webhooks.secret,
    case
        when app_webhooks.former_secret_until > clock_timestamp() then app_webhooks.former_secret
    end
from integration.app_webhooks
where app_webhooks.tenant_id = %s
    and app_webhooks.id = %s
"""
_REMOVE: Final = """
delete from integration.app_webhooks
where app_webhooks.tenant_id = %s
    and app_webhooks.id = %s
"""
_ROTATE: Final = """
update integration.app_webhooks
set former_secret = case when %(overlap)s > interval '0' then app_webhooks.secret end,
    former_secret_until = case
        when %(overlap)s > interval '0' then clock_timestamp() + %(overlap)s
    end,
    secret = %(secret)s
where app_webhooks.tenant_id = %(tenant)s
    and app_webhooks.id = %(id)s
"""
