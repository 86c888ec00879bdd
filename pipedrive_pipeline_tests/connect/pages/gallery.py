"""Every page in every state that a person may see: for axe, for weights, and for pictures.

A stage fills the database; its scenes are the pages of that world. A new page, or a new state of
one, is a line in `STAGES`: a test fails if a route has none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, ConnectSite
from pipedrive_pipeline_tests.connect.pages import app_tables, mapped
from pipedrive_pipeline_tests.connect.pages.troubles import (
    ARABIC,
    EVIL,
    revoked_tenant,
    troubled_tenant,
)
from pipedrive_pipeline_tests.connect.tenants import filled_tenant
from pipedrive_pipeline_tests.scenarios.world import World
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft " * 4
OPERATOR = "operator"
SYSTEM = "/integrations/pipedrive"
SINKS = f"{SYSTEM}/sinks?tenant=acme"
SINK = f"{SYSTEM}/sinks/customers?tenant=acme"
NEW_SINK = f"{SYSTEM}/sinks/new-table?tenant=acme"
NAMES = {"acme": "Kirschweg Maschinenbau GmbH", "bravo": ARABIC, "calm": LONG, "evil": EVIL}
TENANTS = """
insert into integration.tenants (slug, display_name, time_zone)
select 'tenant_' || n, 'Company number ' || n, 'Europe/Berlin'
from generate_series(1, 40) as n;
insert into integration.tenants (slug) values ('calm'), ('evil') on conflict do nothing
"""
PAST = """
insert into integration.runs (
    tenant_id, system, sync_type, trigger, status, started_at, completed_at, tokens_spent
)
select
    %(tenant)s, 'pipedrive', 'incremental', 'schedule',
    case when n in (3, 9) then 'failed' else 'success' end,
    now() - n * interval '1 day', now() - n * interval '1 day' + interval '48 s', 60
from generate_series(1, 12) as n where n <> 6
"""


RUNNING = """
insert into integration.runs
    (tenant_id, system, sync_type, trigger, status, started_at, progress)
values ('acme', 'pipedrive', 'full', 'manual', 'running', now() - interval '1 minute', '{
    "phase": "reading", "stage": "persons", "pages": 9, "rows": 600, "seconds": 60, "tokens": 308,
    "entities": {
        "organizations": {"rows": 150, "is_complete": true},
        "persons": {"rows": 600, "is_complete": false}
    },
    "expected": {"organizations": 200, "persons": 800, "users": 9}
}'::jsonb)
"""
REFUSED = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason, target)
select 'acme', 'pipedrive', 'organizations', n::text, 'aaa', %s, 'is no number', 'annual_revenue'
from generate_series(1, 25) as n
"""
CHANGED = """
insert into integration.field_changes
    (tenant_id, system, entity, field_key, change, before, after)
values ('acme', 'pipedrive', 'organizations', 'aaa', %s, %s, %s)
"""
WEBHOOK = """
insert into integration.app_webhooks
    (id, tenant_id, url, description, event_types, secret, created_by, {facts[0]})
values (
    %s, 'acme', %s, %s,
    array['deal.*', 'person.created', 'organization.*', 'note.created'], 'x',
    %s, {facts[1]}
)
"""
WEBHOOKS = {  # by their state: host, what it is for, columns, and their values
    "works": (
        "portal.example.com",
        "Customer portal",
        "state, last_delivered_at, former_secret, former_secret_until",
        "'active', now() - interval '2 minutes', 'y', now() + interval '20 hours'",
    ),
    "new": ("reports.example.com", "Reports", "state", "'active'"),
    "failing": (
        "newsletter.example.org",
        ARABIC,
        "state, last_delivered_at, failing_since, last_failure, failures, failed_system",
        """
        'active', now() - interval '3 days', now() - interval '9 hours', 'it answered 500', 40,
        'pipedrive'
        """,
    ),
    "paused": (
        "warehouse.example.com",
        "Data warehouse",
        "state, last_delivered_at",
        "'paused', now() - interval '30 hours'",
    ),
    "disabled": (
        "old-shop.example.com",
        None,
        "state, state_reason, failing_since, last_failure, failed_system, disabled_at",
        """
        'disabled', 'The receiver says that it is gone (410).', now() - interval '3 days',
        'it answered 410', 'pipedrive', now()
        """,
    ),
}
EVENTS = """
insert into integration.record_events (tenant_id, system, mart, row_id, type, record, recorded_at)
select
    'acme', 'pipedrive', 'deals', gen_random_uuid(),
    (array['deal.created', 'deal.updated', 'deal.won'])[1 + n % 3], '{}',
    now() - n * interval '7 minutes'
from generate_series(40, 1, -1) as n
"""
DELIVERIES = """
insert into integration.event_deliveries
    (webhook_id, event_id, tenant_id, row_id, attempts, delivered_at, next_attempt_at, tries)
select
    given.id, event.id, event.tenant_id, event.row_id, 2,
    case when given.state = 'works' and event.id %% 9 > 0 then event.recorded_at end,
    now() + interval '10 minutes',
    jsonb_build_array(
        jsonb_build_object(
            'at', event.recorded_at, 'milliseconds', 85,
            'status', case when given.state = 'works' and event.id %% 9 > 0 then 200 else 500 end,
            'error', case
                when given.state = 'works' and event.id %% 9 > 0 then null else 'it answered 500'
            end
        ),
        jsonb_build_object(
            'at', event.recorded_at, 'milliseconds', 10003, 'status', null,
            'error', 'it did not answer in time'
        )
    )
from integration.record_events as event
cross join (values (%s::uuid, %s)) as given (id, state)
"""


@dataclass(frozen=True)
class Scene:
    """One page in one state."""

    name: str
    path: str  # with `{run_id}` and the other ids that its stage gives
    who: str | None = None  # a role of acme, `operator`, another tenant's name, or nobody
    act: Callable[[Page], None] | None = None  # what the person does there
    status: int = 200
    until: str = ""  # a selector of what the page loads afterwards
    during: Callable[[ConnectSite], AbstractContextManager[None]] | None = (
        None  # a context in which it is shown
    )


@dataclass(frozen=True)
class Stage:
    """A world, and the pages that are seen in it."""

    name: str
    fill: Callable[[ConnectSite], Mapping[str, str]]  # the key of each who, and ids
    scenes: tuple[Scene, ...] = field(default=())


def nothing(site: ConnectSite) -> Mapping[str, str]:
    """An installation without a tenant."""
    site.world.execute("delete from integration.tenants")
    return {OPERATOR: OPERATOR_KEY}


def troubled(site: ConnectSite) -> Mapping[str, str]:
    """Tenants with every kind of problem, and names that try to do harm."""
    acme, bravo = troubled_tenant(site), revoked_tenant(site)
    site.world.execute(TENANTS)
    for slug, name in NAMES.items():
        site.world.execute(
            "update integration.tenants set display_name = %s, time_zone = 'Europe/Berlin'"
            " where slug = %s",
            name,
            slug,
        )
    with site.world.vault.warehouse.transaction() as connection:
        for slug in ("acme", "bravo"):
            connection.execute(PAST, {"tenant": slug})
    return {
        OPERATOR: OPERATOR_KEY,
        "admin": acme.keys[Role.ADMIN],
        "reader": acme.keys[Role.USER],
        "bravo": bravo.keys[Role.ADMIN],
        **acme.ids,
    }


def healthy(site: ConnectSite) -> Mapping[str, str]:
    """A tenant whose fields are known and whose tables are built; another that never connected."""
    tenant = filled_tenant(site, "acme", 1)
    site.world.execute("delete from integration.fields where field_key = 'aaa'")
    site.world.execute("delete from integration.field_mappings")
    mapped.load(site)
    mapping = {"organizations": {mapped.KEYS["number"]: "customer_number"}}
    site.world.execute(
        "insert into integration.field_mappings"
        " (tenant_id, system, version, mapping, is_active, created_by)"
        " values ('acme', 'pipedrive', 1, %s, true, 'Ada')",
        json.dumps(mapping),
    )
    site.world.execute(
        "update integration.tenants set display_name = %s where slug = 'acme'", NAMES["acme"]
    )
    return {OPERATOR: OPERATOR_KEY, "admin": tenant.keys[Role.ADMIN]}


def connecting(site: ConnectSite) -> Mapping[str, str]:
    """Acme has agreed and nothing was read yet; bravo never connected."""
    tenant = filled_tenant(site, "acme", 1)
    for table in ("runs", "sync_requests", "sync_settings"):
        site.world.execute(f"delete from integration.{table}")
    site.world.execute(
        "update integration.connections set company_name = %s, is_account_admin = false,"
        " scopes = array['base', 'contacts:read', 'users:read']",
        EVIL,
    )
    link = links.make(site.world.vault, mapped.SCOPE, who=EVIL, reconnects_only=True)
    return {
        OPERATOR: OPERATOR_KEY,
        "admin": tenant.keys[Role.ADMIN],
        "link": link.url.rpartition("/")[2],
    }


def reading(site: ConnectSite) -> Mapping[str, str]:
    """A full read runs; fields changed, values were refused, deletions wait."""
    tenant = filled_tenant(site, "acme", 1)
    with site.world.vault.warehouse.transaction() as connection:
        connection.execute(PAST, {"tenant": "acme"})
    site.world.execute(RUNNING)
    site.world.execute(REFUSED, EVIL)
    site.world.execute("update integration.fields set first_seen_at = now() - interval '9 days'")
    for change in ("added", "renamed", "retyped", "removed", "restored", "option_renamed"):
        site.world.execute(CHANGED, change, EVIL, ARABIC)
    return {"admin": tenant.keys[Role.ADMIN], **tenant.ids}


def feeding(site: ConnectSite) -> Mapping[str, str]:
    """Tables of an app: one waits for a person, one refuses rows, one is paused and gone."""
    tenant = filled_tenant(site, "acme", 1)
    app_tables.make_tables(site)
    app_tables.declare_all(site)
    return {OPERATOR: OPERATOR_KEY, "admin": tenant.keys[Role.ADMIN]}


def notifying(site: ConnectSite) -> Mapping[str, str]:
    """Webhooks of an app in every state; one has a log of more than a page."""
    tenant = filled_tenant(site, "acme", 1)
    site.world.execute("delete from integration.app_webhooks")
    ids = {state: str(uuid4()) for state in WEBHOOKS}
    for state, (host, purpose, *facts) in WEBHOOKS.items():
        url = f"https://{host}/crm-events?from=connect"
        site.world.execute(WEBHOOK.format(facts=facts), ids[state], url, purpose, EVIL)
    site.world.execute(EVENTS)
    for state in ("works", "failing", "disabled"):
        site.world.execute(DELIVERIES, ids[state], state)
    return {OPERATOR: OPERATOR_KEY, "admin": tenant.keys[Role.ADMIN], **ids}


def new_secret(page: Page) -> None:
    """Makes a new secret for a webhook."""
    page.locator('form[action$="/secret"] button').click()


def send_again(page: Page) -> None:
    """Sends the events of the last day again."""
    page.locator('form[action$="/replay"] button').click()


def send_again_backwards(page: Page) -> None:
    """Sends the events of a time again that ends before it begins."""
    page.locator("#until").fill("2026-01-01T00:00")
    send_again(page)


def pause_webhook(page: Page) -> None:
    """Pauses a webhook."""
    page.locator('form[action$="/state"] button').click()


def consent(page: Page) -> None:
    """Agrees at the source, which leads back to the confirmation."""
    page.locator("main a.main").click()


def press(value: str) -> Callable[[Page], None]:
    """Presses a button of the mapping."""
    return lambda page: page.locator(f'#mapping button[value="{value}"]').last.click()


def no_such_column(page: Page) -> None:
    """Saves a mapping with columns that cannot be used, and two fields of one column."""
    for name, column in (
        ("markup", EVIL),
        ("founded", "customer_number"),
        ("long", "attributes.contract"),
    ):
        page.locator(f'[name="to:{mapped.KEYS[name]}"]').fill(column[:80])
    press("save")(page)


def too_much(page: Page) -> None:
    """Saves settings that cannot be meant."""
    page.locator("#budget_share").fill("150")
    page.locator("button.main").click()


def erase_after_a_month(page: Page) -> None:
    """Asks for deleted records to be erased."""
    page.locator("#erase_deleted_after_days").select_option("30")
    page.locator("button.main").click()


def test_connection(page: Page) -> None:
    """Tests the connection, whose source does not answer."""
    page.locator(f'form[action="{SYSTEM}/test"] button').click()


def bad_alert_address(page: Page) -> None:
    """Saves an address for alerts that may not be used."""
    page.locator("#alert_urls").fill("http://127.0.0.1/hook")
    page.locator("button.main").click()


def make_key(page: Page) -> None:
    """Makes a key."""
    page.locator("#key-name").fill("Power BI")
    page.locator("button.main").click()


def no_such_table(page: Page) -> None:
    """Begins a sink with a table that does not exist."""
    page.locator("#table").fill("app.nothing")
    page.locator("#name").fill("Customers")
    page.locator("main form button").click()


def press_in_sink(value: str) -> Callable[[Page], None]:
    """Presses a button of a sink's form."""
    return lambda page: page.locator(f'#declaration .save button[value="{value}"]').click()


def misfits(page: Page) -> None:
    """Previews a sink with columns and settings that cannot be used."""
    page.locator('[name="from:company"]').fill("")
    page.locator('[name="from:town"]').fill("no_such_column")
    page.locator('[name="from:workspace_id"]').fill("name")
    page.locator("#on_delete-unlink").check()
    page.locator("#link_column").fill("")
    press_in_sink("preview")(page)


def save_outdated(page: Page) -> None:
    """Saves a sink on top of a version that another one has replaced."""
    page.evaluate("document.querySelector('[name=version]').value = '1'")
    press_in_sink("save")(page)


def decide(page: Page) -> None:
    """Chooses a candidate, and confirms."""
    page.locator('[value="id:7001"]').check()
    page.locator("button.main").click()


def press_main(page: Page) -> None:
    """Presses the only button of a page that asks first."""
    page.locator("main .risk").click()


def pause_first(page: Page) -> None:
    """Pauses the first sink of the list."""
    page.locator('form[action$="/customers/pause"] button').click()


@contextmanager
def without_database(site: ConnectSite) -> Iterator[None]:
    """The database does not answer."""
    services = site.app.state.services
    site.app.state.services = replace(
        services, warehouse=Warehouse("postgresql://nobody@127.0.0.1:1/nowhere")
    )
    try:
        yield
    finally:
        site.app.state.services = services


@contextmanager
def with_source(site: ConnectSite) -> Iterator[None]:
    """Bravo is connected to a CRM that answers."""
    vault = site.world.vault
    with (
        tempfile.TemporaryDirectory(prefix="pp-") as home,
        serve(seeded(40, 90)) as sandbox,
    ):
        settings = vault.settings.model_copy(update={"pipeline_home": Path(home)})
        World(vault.warehouse, settings).connect(Tenant("bravo"), sandbox)
        yield


@contextmanager
def without_table(site: ConnectSite) -> Iterator[None]:
    """A table that the page needs is missing: a mistake of ours."""
    site.world.execute("alter table integration.held_deletions rename to not_there")
    try:
        yield
    finally:
        site.world.execute("alter table integration.not_there rename to held_deletions")


@contextmanager
def with_few_requests(site: ConnectSite) -> Iterator[None]:
    """Everybody's rate limit is reached at once."""
    limit = site.app.state.services.requests_a_minute
    site.limit_requests(0)
    try:
        yield
    finally:
        site.limit_requests(limit)


def wrong_key(page: Page) -> None:
    """Signs in with a key that opens nothing."""
    page.locator("#key").fill("key_acme.wrong")
    page.locator("main button").click()


def wrong_zone(page: Page) -> None:
    """Adds a tenant in a time zone that does not exist."""
    page.locator("#name").fill("Müller & Söhne")
    page.locator("#time_zone").fill("Mars/Base")
    page.locator("main button").click()


def forbidden_form(page: Page) -> None:
    """Sends a form whose token is another session's."""
    page.evaluate("document.querySelectorAll('[name=form_token]').forEach(i => i.value = 'x.y')")
    page.locator("header button").click()


STAGES = (
    Stage(
        "empty",
        nothing,
        (
            Scene("login", "/login"),
            Scene("login-refused", "/login", act=wrong_key, status=401),
            Scene("api", "/docs"),
            Scene("home-operator-empty", "/", OPERATOR),
            Scene("tenant-new", "/tenants/new", OPERATOR),
            Scene("tenant-new-refused", "/tenants/new", OPERATOR, act=wrong_zone, status=422),
            Scene("problems-none", "/problems", OPERATOR),
        ),
    ),
    Stage(
        "troubled",
        troubled,
        (
            Scene("home-operator", "/", OPERATOR),
            Scene("home-operator-none-found", "/?q=<svg onload=alert(1)>x", OPERATOR),
            Scene("problems-operator", "/problems", OPERATOR),
            Scene("home-tenant", "/", "admin"),
            Scene("home-tenant-reader", "/", "reader"),
            Scene("home-tenant-revoked", "/", "bravo"),
            Scene("home-tenant-never", "/?tenant=calm", OPERATOR),
            Scene("problems", "/problems", "admin"),
            Scene("problems-revoked", "/problems", "bravo"),
            Scene("system-troubled", SYSTEM, "admin"),
            Scene("system-tested", SYSTEM, "admin", act=test_connection),
            Scene("deletions", f"{SYSTEM}/deletions/persons", "admin"),
            Scene("history-troubled", f"{SYSTEM}/history", "admin"),
            Scene("run", f"{SYSTEM}/history/{{run_id}}", "admin"),
            Scene("ask-full", f"{SYSTEM}/full", "admin"),
            Scene("ask-disconnect", f"{SYSTEM}/disconnect", "admin"),
            Scene("keys", "/keys", "admin"),
            Scene("key-revoke", "/keys/{key_id}/revoke", "admin"),
            Scene("system-revoked", SYSTEM, "bravo"),
            Scene("error-404", "/no/such/page", "admin", status=404),
            Scene("error-403", "/tenants/new", "admin", status=403),
            Scene("error-form", "/", "admin", act=forbidden_form, status=403),
            Scene("error-nothing-to-confirm", CONFIRM_PAGE, "admin", status=404),
            Scene("error-429", "/", "admin", status=429, during=with_few_requests),
            Scene("error-500", "/", "admin", status=500, during=without_table),
            Scene("error-503", "/", "admin", status=503, during=without_database),
        ),
    ),
    Stage(
        "healthy",
        healthy,
        (
            Scene("system", SYSTEM, "admin"),
            Scene("mapping", f"{SYSTEM}/mapping", "admin"),
            Scene("mapping-preview", f"{SYSTEM}/mapping", "admin", act=press("accept")),
            Scene("mapping-refused", f"{SYSTEM}/mapping", "admin", act=no_such_column, status=422),
            Scene("mapping-version", f"{SYSTEM}/mapping/versions/1", "admin"),
            Scene("sinks-none", f"{SYSTEM}/sinks", "admin"),
            Scene("sinks-none-operator", f"{SYSTEM}/sinks?tenant=acme", OPERATOR),
            Scene("settings", f"{SYSTEM}/settings", "admin"),
            Scene("settings-refused", f"{SYSTEM}/settings", "admin", act=too_much, status=422),
            Scene("settings-erase", f"{SYSTEM}/settings", "admin", act=erase_after_a_month),
            Scene(
                "settings-bad-alert",
                f"{SYSTEM}/settings",
                "admin",
                act=bad_alert_address,
                status=422,
            ),
            Scene("key-made", "/keys", "admin", act=make_key),
            Scene("webhooks-none", "/webhooks", "admin"),
        ),
    ),
    Stage(
        "connecting",
        connecting,
        (
            Scene("connect-start", f"{SYSTEM}/connect?tenant=bravo", OPERATOR),
            Scene("connect-link", "/connect/{link}"),
            Scene("connect-again", f"{SYSTEM}/connect", "admin"),
            Scene("connect-choose", f"{SYSTEM}/choose", "admin", until="#choice:not(:has(.asked))"),
            Scene("system-never-read", SYSTEM, "admin"),
            Scene("system-not-connected", f"{SYSTEM}?tenant=bravo", OPERATOR),
            Scene("history-empty", f"{SYSTEM}/history", "admin"),
            Scene("connect-confirm", f"{SYSTEM}/connect", "admin", act=consent),
            Scene(
                "connect-choose-priced",
                f"{SYSTEM}/choose?tenant=bravo",
                OPERATOR,
                during=with_source,
                until="#choice input[name=prices]",
            ),
        ),
    ),
    Stage(
        "reading",
        reading,
        (
            Scene("system-reading", SYSTEM, "admin"),
            Scene("history", f"{SYSTEM}/history", "admin"),
            Scene("history-none-found", f"{SYSTEM}/history?kind=verify", "admin"),
            Scene("run-refused", f"{SYSTEM}/history/{{run_id}}", "admin"),
        ),
    ),
    Stage(
        "feeding",
        feeding,
        (
            Scene("sinks", SINKS, OPERATOR),
            Scene("sinks-reader", f"{SYSTEM}/sinks", "admin"),
            Scene("sink-new", NEW_SINK, OPERATOR),
            Scene(
                "sink-new-refused",
                NEW_SINK,
                OPERATOR,
                act=no_such_table,
                status=422,
            ),
            Scene("sink-draft", f"{NEW_SINK}&name=more&table=app.deals&mart=deals", OPERATOR),
            Scene(
                "sink-rights",
                f"{NEW_SINK}&name=more&table=app.locked&mart=customers",
                OPERATOR,
                act=press_in_sink("save"),
                status=409,
            ),
            Scene("sink", SINK, OPERATOR),
            Scene("sink-preview", SINK, OPERATOR, act=press_in_sink("preview")),
            Scene("sink-misfits", SINK, OPERATOR, act=misfits, status=422),
            Scene("sink-outdated", SINK, OPERATOR, act=save_outdated, status=409),
            Scene("sink-table-gone", f"{SYSTEM}/sinks/people?tenant=acme", OPERATOR),
            Scene("sink-remove", f"{SYSTEM}/sinks/customers/remove?tenant=acme", OPERATOR),
            Scene("sink-match-none", f"{SYSTEM}/sinks/deals/match?tenant=acme", OPERATOR),
            Scene("sink-match", f"{SYSTEM}/sinks/customers/match?tenant=acme", OPERATOR),
            Scene(
                "sink-confirmed",
                f"{SYSTEM}/sinks/customers/match?tenant=acme",
                OPERATOR,
                act=decide,
            ),
            Scene("sink-undo", f"{SYSTEM}/sinks/customers/undo?tenant=acme", OPERATOR),
            Scene(
                "sink-undone",
                f"{SYSTEM}/sinks/customers/undo?tenant=acme",
                OPERATOR,
                act=press_main,
            ),
            Scene("sink-paused", SINKS, OPERATOR, act=pause_first),
        ),
    ),
    Stage(
        "notifying",
        notifying,
        (
            Scene("webhooks", "/webhooks", "admin"),
            Scene("webhook", "/webhooks/{works}", "admin"),
            Scene("webhook-waiting", "/webhooks/{works}?show=waiting", "admin"),
            Scene("webhook-new", "/webhooks/{new}", "admin"),
            Scene("webhook-failing", "/webhooks/{failing}", "admin"),
            Scene("webhook-disabled", "/webhooks/{disabled}?tenant=acme", OPERATOR),
            Scene("webhook-paused", "/webhooks/{paused}", "admin"),
            Scene("webhook-secret", "/webhooks/{works}", "admin", act=new_secret),
            Scene("webhook-replayed", "/webhooks/{works}", "admin", act=send_again),
            Scene(
                "webhook-replay-refused",
                "/webhooks/{works}",
                "admin",
                act=send_again_backwards,
                status=422,
            ),
            Scene("webhook-pausing", "/webhooks/{works}", "admin", act=pause_webhook),
        ),
    ),
)
