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


def demo() -> None:
    """Run the main job on a sandbox: connect, full sync, edits, incremental sync, result."""
    if "DATABASE_URL" in os.environ:
        raise SettingsError("DATABASE_URL is set; `demo` runs on the embedded Postgres, unset it.")
    os.environ["SCHEDULES"] = "off"
    began = time.monotonic()
    settings = load_settings()
    Installation(settings.pipeline_home).require_no_up("demo")
    with served(settings) as account:
        counts = (
            f"{sum(1 for _ in truth(account, entity)):,} {entity}" for entity in account.records
        )
        _step(1, f"Postgres and a sandbox Pipedrive with {' and '.join(counts)}")
        session = open_session()
        require_no_real_tenant(session, "demo")
        _step(2, f"Tenant `{SANDBOX}` connects by OAuth")
        company = connect_sandbox(session)
        terminal.print(f"connected to {company.company_name} as {company.account_user_name}")
        _step(3, "Everything is read: job `full_resync`, a real Dagster run")
        _run(session, "full")
        _step(4, "Somebody works in the CRM")
        for line in _edits(account):
            terminal.print(line)
        _step(5, "What changed is read: job `sync`")
        _run(session, "incremental")
        _step(6, "Five customers and their contacts, as an app or an analyst reads them")
        _show_customers(session)
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


def _show_customers(session: CommandSession) -> None:
    with session.warehouse.transaction(tenant=SANDBOX) as connection:
        rows = connection.execute(_CUSTOMERS, [SANDBOX.slug]).fetchall()
    print_table(
        "crm.customers with crm.contacts", ("id", "customer", "city", "owner", "contacts"), rows
    )


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
