"""`demo`: the main job from nothing to filled tables, with every step shown."""

from __future__ import annotations

import os
import sys
import time
from itertools import islice

from pipedrive_pipeline.cli.installation import Installation
from pipedrive_pipeline.cli.job_run import Outcome, RunOptions, run_system
from pipedrive_pipeline.cli.output import print_table, terminal
from pipedrive_pipeline.cli.sandbox import (
    SANDBOX,
    connect_sandbox,
    require_no_real_tenant,
    served,
)
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.cli.sync import print_outcome
from pipedrive_pipeline.errors import ExitCode, SettingsError
from pipedrive_pipeline.sandbox import SYSTEM, CrmAccount, truth
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs.history import SyncType

COUNTED = ("organizations", "persons", "deals", "activities")


def demo() -> None:
    """Run the main job on a sandbox: connect, full sync, edits, incremental sync, result."""
    if "DATABASE_URL" in os.environ:
        raise SettingsError("DATABASE_URL is set; `demo` runs on the embedded Postgres, unset it.")
    os.environ["SCHEDULES"] = "off"
    began = time.monotonic()
    settings = load_settings()
    Installation(settings.pipeline_home).require_no_up("demo")
    with served(settings) as account:
        *counts, last = (
            f"{sum(1 for _ in truth(account, entity)):,} {entity}" for entity in COUNTED
        )
        _step(1, f"Postgres and a sandbox Pipedrive with {', '.join(counts)} and {last}")
        session = open_session()
        require_no_real_tenant(session, "demo")
        _step(2, f"Tenant `{SANDBOX}` connects by OAuth")
        company = connect_sandbox(session)
        terminal.print(f"connected to {company.company_name} as {company.account_user_name}")
        _step(3, "Everything is read: job `full_resync`, a real Dagster run")
        _run(session, "full")
        _step(4, "Somebody works in the CRM")
        deal_id = _unmoved_deal(account)
        for line in (*_edits(account), *_deal_edits(account, deal_id)):
            terminal.print(line)
        _step(5, "What changed is read: job `sync`")
        _run(session, "incremental")
        _step(6, "Five customers and their contacts, as an app or an analyst reads them")
        _show(
            session,
            "crm.customers with crm.contacts",
            ("id", "customer", "city", "owner", "contacts"),
            _CUSTOMERS,
        )
        _step(7, "The pipeline now, and the course of the deal that was won")
        _show_pipeline(session)
        _show(
            session,
            f"crm.deal_stage_history of deal {deal_id}",
            ("stage", "entered", "left", "known from", "then"),
            _HISTORY,
            str(deal_id),
        )
    terminal.print(
        f"\nDone in {time.monotonic() - began:.0f} s. `./run psql --tenant {SANDBOX}` opens the "
        "database; `./run up` starts the Dagster UI on the same instance, with both runs in it."
    )


def _run(session: CommandSession, sync_type: SyncType) -> None:
    outcome: Outcome = run_system(session, Scope(SANDBOX, SYSTEM), RunOptions(sync_type))
    print_outcome(outcome)
    if not outcome.is_success:
        sys.exit(outcome.exit_code or ExitCode.FAILED)


def _edits(account: CrmAccount) -> list[str]:
    """Makes some edits in the sandbox; returns a line that describes each."""
    persons = (person for person in truth(account, "persons") if person["org_id"])
    mover, colleague = islice(persons, 2)
    renamed = account.get("organizations", colleague["org_id"])
    company = account.create("organizations", name="Nordlicht Windkraft GmbH")
    account.create("persons", name="Änne Müller", org_id=company["id"])
    account.edit("organizations", renamed["id"], name=f"{renamed['name']} (umfirmiert)")
    account.edit("persons", mover["id"], org_id=company["id"])
    return [
        f"new: organization {company['id']} “{company['name']}” with person “Änne Müller”",
        f"renamed: organization {renamed['id']} “{renamed['name']}” is now “… (umfirmiert)”",
        f"moved: person {mover['id']} “{mover['name']}” to organization {company['id']}",
    ]


def _unmoved_deal(account: CrmAccount) -> int:
    """The id of an open deal that never left its first stage, so that its whole past is known."""
    stages = [stage["id"] for stage in truth(account, "stages") if stage["pipeline_id"] == 1]
    return next(
        int(deal["id"])
        for deal in truth(account, "deals")
        if deal["status"] == "open"
        and not deal["is_archived"]
        and deal["stage_change_time"] is None
        and deal["stage_id"] in stages[:-1]
    )


def _deal_edits(account: CrmAccount, deal_id: int) -> list[str]:
    """Moves a deal to the next stage and wins it; returns a line that describes each."""
    before = account.get("deals", deal_id)
    names = {stage["id"]: stage["name"] for stage in truth(account, "stages")}
    deal = account.edit("deals", deal_id, stage_id=before["stage_id"] + 1)
    account.edit("deals", deal_id, status="won")
    stages = f"“{names[before['stage_id']]}” to “{names[deal['stage_id']]}”"
    return [
        f"moved: deal {deal_id} “{deal['title']}” from {stages}",
        f"won: deal {deal_id}, {deal['value']:,} {deal['currency']}",
    ]


def _show_pipeline(session: CommandSession) -> None:
    """Prints the open deals of each stage, with a column for each currency: no sum across them."""
    with session.warehouse.transaction(tenant=SANDBOX) as connection:
        rows = connection.execute(_PIPELINE, [SANDBOX.slug]).fetchall()
    currencies = sorted({currency for *_, amounts in rows for currency in amounts})
    print_table(
        "open deals in crm.deals, with their value",
        ("pipeline", "stage", "deals", *currencies),
        [[*row, *(round(amounts.get(name, 0)) for name in currencies)] for *row, amounts in rows],
    )


def _show(
    session: CommandSession, title: str, columns: tuple[str, ...], query: str, *values: str
) -> None:
    with session.warehouse.transaction(tenant=SANDBOX) as connection:
        rows = connection.execute(query, [SANDBOX.slug, *values]).fetchall()
    print_table(title, columns, rows)


def _step(number: int, title: str) -> None:
    terminal.print(f"\n[bold]{number}. {title}[/bold]")


_CUSTOMERS = """
select customers.pipedrive_id::text as id, customers.name, customers.city, customers.owner_name,
    string_agg(contacts.name, ', ' order by contacts.name) as contacts
from crm.customers as customers
left join crm.contacts as contacts on contacts.customer_id = customers.id
where customers.tenant_id = %s
group by customers.id
order by customers.changed_at desc nulls last, customers.pipedrive_id desc
limit 5
"""
_PIPELINE = """
select per_currency.pipeline, per_currency.stage, sum(per_currency.deals)::integer as deals,
    jsonb_object_agg(per_currency.currency, per_currency.amount) as amounts
from (
    select pipelines.name as pipeline, stages.name as stage, deals.currency,
        pipelines.sort as pipeline_sort, stages.sort as stage_sort,
        count(*) as deals, sum(deals.amount) as amount
    from crm.deals as deals
    inner join crm.stages as stages on stages.id = deals.stage_id
    inner join crm.pipelines as pipelines on pipelines.id = deals.pipeline_id
    where deals.tenant_id = %s
        and deals.deleted_at is null
        and pipelines.deleted_at is null
        and deals.status = 'open'
        and not deals.is_archived
    group by pipelines.id, stages.id, deals.currency
) as per_currency
group by per_currency.pipeline, per_currency.stage, per_currency.pipeline_sort,
    per_currency.stage_sort
order by per_currency.pipeline_sort, per_currency.stage_sort
"""
_HISTORY = """
select stages.name as stage,
    to_char(history.entered_at, 'YYYY-MM-DD HH24:MI') as entered,
    to_char(history.left_at, 'YYYY-MM-DD HH24:MI') as left_at,
    history.origin,
    case when history.won_at is not null then 'won' end as outcome
from crm.deal_stage_history as history
left join crm.stages as stages on stages.id = history.stage_id
where history.tenant_id = %s and history.deal_remote_id = %s
order by history.entered_at
"""
