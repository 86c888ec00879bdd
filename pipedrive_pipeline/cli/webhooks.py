"""`webhooks`: addresses of an app to which the changes of a tenant's records are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer

from pipedrive_pipeline.cli.options import AsJson, TenantOption
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session_of, who
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.sync.events import delivering, log, queue, webhooks
from pipedrive_pipeline.sync.events.webhooks import OVERLAP_HOURS, AppWebhook, NewSecret
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault

LOG_ROWS = 30

commands = typer.Typer(
    help="Add, list, test, replay and remove the webhooks of an app.", no_args_is_help=True
)
WebhookOption = Annotated[
    str, typer.Option("--webhook", help="Its id, or its first characters as listed.")
]


@commands.command()
def add(
    tenant: TenantOption,
    url: Annotated[str, typer.Option(help="An https address with a public name.")],
    types: Annotated[
        str, typer.Option(help="What is sent, with commas: deal.*,person.created; * for all.")
    ],
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    json: AsJson = False,
) -> None:
    """Make a webhook. Its secret is shown once, and stored encrypted."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        new = webhooks.add(
            connection,
            of,
            url=url,
            event_types=[name.strip() for name in types.split(",") if name.strip()],
            description=description,
            settings=session.settings,
            cipher=open_vault(session.warehouse, session.settings).cipher,
            who=who(),
        )
    _print_secret(new, json=json)


@commands.command("list")
def list_(tenant: TenantOption, json: AsJson = False) -> None:
    """List a tenant's webhooks, their state, and how many events wait for each."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        rows = webhooks.of_tenant(connection, of)
    if json:
        print_json([vars(row) for row in rows])
    elif rows:
        print_table(
            f"{of}: webhooks",
            ("webhook", "url", "types", "state", "waiting", "last delivered", "last failure"),
            [_row(row) for row in rows],
        )
    else:
        terminal.print(f"{of}: no webhooks yet; see docs/events.md.")


@commands.command("log")
def log_(tenant: TenantOption, webhook: WebhookOption, json: AsJson = False) -> None:
    """Print the newest events of a webhook and what became of each."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        chosen = _chosen(connection, of, webhook)
        rows = log.deliveries_of(connection, of, chosen.id, limit=LOG_ROWS)
    if json:
        print_json([vars(row) for row in rows])
        return
    print_table(
        f"{of}: the newest events of {str(chosen.id)[:8]}",
        ("webhook-id", "type", "recorded", "delivered", "attempts", "last answer"),
        [
            [
                delivering.message_id(row.message_id),
                row.type,
                _moment(row.recorded_at),
                _moment(row.delivered_at),
                row.attempts,
                (row.tries[0]["error"] or row.tries[0]["status"]) if row.tries else None,
            ]
            for row in rows
        ],
    )


@commands.command()
def test(tenant: TenantOption, webhook: WebhookOption) -> None:
    """Send an event of the type webhook.test now; exits 1 if the receiver does not take it."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        chosen = _chosen(connection, of, webhook)
    attempt = delivering.send_test(session.warehouse, session.settings, of, chosen)
    outcome = attempt.error or f"it answered {attempt.status}"
    terminal.print(f"{of}: {outcome}, after {attempt.milliseconds} ms.", markup=False)
    if not attempt.is_delivered:
        raise typer.Exit(1)


@commands.command()
def rotate(
    tenant: TenantOption,
    webhook: WebhookOption,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=336, help="So long the former secret signs, too.")
    ] = OVERLAP_HOURS,
    json: AsJson = False,
) -> None:
    """Give a webhook a new secret, which is shown once."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        new = webhooks.rotate(
            connection,
            of,
            _chosen(connection, of, webhook),
            overlap=timedelta(hours=overlap_hours),
            cipher=open_vault(session.warehouse, session.settings).cipher,
            who=who(),
        )
    _print_secret(new, json=json)


@commands.command()
def pause(tenant: TenantOption, webhook: WebhookOption) -> None:
    """Stop sending; events wait, for up to a week."""
    _set_state(tenant, webhook, "paused")


@commands.command()
def resume(tenant: TenantOption, webhook: WebhookOption) -> None:
    """Send again what waits, also to a webhook that was disabled."""
    _set_state(tenant, webhook, "active")


@commands.command()
def replay(
    tenant: TenantOption,
    webhook: WebhookOption,
    since: Annotated[
        str, typer.Option(help="A time with its offset, such as 2026-11-30T08:00:00+00:00.")
    ],
    until: Annotated[str | None, typer.Option(help="And before this one; else now.")] = None,
) -> None:
    """Deliver the events of a time again, delivered or not; they are kept for seven days."""
    session, of = open_session_of(tenant)
    begin, end = _instant("since", since), None if until is None else _instant("until", until)
    with session.warehouse.as_app(of) as connection:
        chosen = _chosen(connection, of, webhook)
        count = queue.replay(connection, of, chosen.id, since=begin, until=end, who=who())
    terminal.print(f"{of}: {count} events wait for their delivery.", markup=False)


@commands.command()
def remove(tenant: TenantOption, webhook: WebhookOption) -> None:
    """Remove a webhook and what waits for it."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        chosen = _chosen(connection, of, webhook)
        webhooks.remove(connection, of, chosen, who=who())
    terminal.print(f"{of}: the webhook {chosen.id} is removed.", markup=False)


def _set_state(tenant: str, webhook: str, state: webhooks.State) -> None:
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        chosen = webhooks.change(
            connection,
            of,
            _chosen(connection, of, webhook),
            settings=session.settings,
            who=who(),
            state=state,
        )
    terminal.print(f"{of}: {chosen.id} is {state}; {chosen.waiting} events wait.", markup=False)


def _chosen(connection: psycopg.Connection, of: Tenant, beginning: str) -> AppWebhook:
    rows = webhooks.of_tenant(connection, of)
    matches = [row for row in rows if beginning and str(row.id).startswith(beginning.lower())]
    if len(matches) != 1:
        raise BadInput(
            f"{of}: {len(matches) or 'no'} webhooks are called {beginning[:64]!r}; "
            f"`webhooks list --tenant {of} --json` shows their ids."
        )
    return matches[0]


def _print_secret(new: NewSecret, *, json: bool) -> None:
    secret = new.secret.get_secret_value()
    if json:
        print_json(vars(new.webhook) | {"secret": secret})
        return
    terminal.print(secret, soft_wrap=True, markup=False)
    terminal.print(
        f"{new.webhook.tenant_id}: the secret of the webhook {new.webhook.id}. It is not shown "
        "again; the receiver checks signatures with it.",
        soft_wrap=True,
        markup=False,
    )


def _instant(option: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        in_utc = at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        raise BadInput(f"--{option}: write a time with its offset: 2026-11-30T08:00:00+00:00.")
    return in_utc


def _row(row: AppWebhook) -> list[Any]:
    types = ", ".join(row.event_types)
    delivered = _moment(row.last_delivered_at)
    return [str(row.id)[:8], row.url, types, row.state, row.waiting, delivered, row.last_failure]


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
