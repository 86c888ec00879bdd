"""`sync`, `sweep`, `verify` and `status`: one tenant's runs, and what the history says of them."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from pipedrive_pipeline.cli.job_run import Outcome, run_job
from pipedrive_pipeline.cli.options import AsJson, TenantOption
from pipedrive_pipeline.cli.output import (
    ReadProgress,
    errors,
    print_facts,
    print_json,
    print_table,
    terminal,
)
from pipedrive_pipeline.cli.session import CommandSession, open_session, sandbox_within_reach
from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM, system
from pipedrive_pipeline.errors import BadInput, BudgetSpent, PipelineError
from pipedrive_pipeline.marts import RowCounts
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.status.tenant_status import TenantStatus, tenant_statuses
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.tenants import Tenant

STATUS_TABLE_COLUMNS = 110  # of a terminal; a narrower one gets a block per tenant


def sync(
    tenant: TenantOption,
    full: Annotated[
        bool,
        typer.Option("--full", help="Read everything again; goes on where one was broken off."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="With --full: begin anew, do not go on.")
    ] = False,
    entity: Annotated[
        list[str] | None, typer.Option(help="Only this entity; may be given several times.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --full: only say what it would cost.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Bring one tenant up to date. Exits 3 if busy, 4 if a person must act, 5 if paused."""
    name = Tenant(tenant)
    _check_entities(entity)
    if restart and not full:
        raise BadInput("--restart goes with --full.")
    if dry_run and not full:
        raise BadInput("--dry-run goes with --full; a sync of what changed costs about 60 tokens.")
    session = open_session()
    say_price = partial(_print_price, name, to=errors if json else terminal)
    if dry_run:
        priced = _priced(session, name, entity)
        if json:
            print_json({"tokens_estimated": priced.tokens, "daily_limit": priced.limit})
        else:
            say_price(priced)
        return
    with ReadProgress() as progress:
        outcome = run_job(
            session,
            name,
            "full_resync" if full else "sync",
            sync_type="full" if full else "incremental",
            entities=entity,
            is_restarted=restart,
            on_page=progress.on_page,
            on_price=say_price,
        )
    _end_with(name, outcome, json=json)


def sweep(
    tenant: TenantOption,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Many rows are really gone; mark them all.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Find what was deleted at the source, and prove that nothing is missing."""
    name = Tenant(tenant)
    session = open_session()
    with ReadProgress() as progress:
        outcome = run_job(
            session,
            name,
            "sweep",
            sync_type="sweep",
            is_confirmed=confirm,
            on_page=progress.on_page,
            on_price=partial(_print_price, name, to=errors if json else terminal),
        )
    _end_with(name, outcome, json=json)


def verify(tenant: TenantOption, json: AsJson = False) -> None:
    """Compare every row and value of the marts with raw, and heal what differs. No tokens."""
    name = Tenant(tenant)
    _end_with(name, run_job(open_session(), name, "verify", sync_type="verify"), json=json)


def _priced(session: CommandSession, tenant: Tenant, names: list[str] | None) -> Price:
    """The price of a full read; calls the source only for entities that were never read whole."""
    known(session.warehouse, tenant)
    source = SourceAccess(session.warehouse, session.settings, Scope(tenant, DEFAULT_SYSTEM))
    with sandbox_within_reach(session.settings, tenant):
        return source.price(
            entity for name, entity in source.entities.items() if names is None or name in names
        )


def _print_price(tenant: Tenant, price: Price, *, to: Console) -> None:
    to.print(f"{tenant}: full read: {price}", markup=False, soft_wrap=True)


def status(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    json: AsJson = False,
) -> None:
    """Show each tenant's connection, last run and rows."""
    session = open_session()
    statuses = tenant_statuses(session.warehouse, Tenant(tenant) if tenant else None)
    if json:
        print_json([status.facts() for status in statuses])
        return
    if not statuses:
        terminal.print("no tenants yet; `tenants add NAME` makes one.")
        return
    if terminal.width >= STATUS_TABLE_COLUMNS:
        print_table("Tenants", TenantStatus.COLUMNS, [status.cells() for status in statuses])
    else:
        for status in statuses:
            print_facts(dict(zip(TenantStatus.COLUMNS, status.cells(), strict=True)))
            terminal.print()
    for status in statuses:
        if status.last_error:
            errors.print(f"{status.tenant}: {status.last_error}", markup=False, soft_wrap=True)


def _end_with(tenant: Tenant, outcome: Outcome, *, json: bool) -> NoReturn:
    if json:
        print_json(outcome_facts(outcome))
    else:
        print_outcome(tenant, outcome)
    sys.exit(outcome.exit_code)


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON: entities, marts, cost, errors."""
    return {
        "run_id": outcome.run_id,
        "success": outcome.is_success,
        "paused_until": outcome.paused_until,
        "entities": {
            name: {
                "fetched": read.fetched,
                "created": read.created,
                "updated": read.updated,
                "unchanged": read.unchanged,
                "deleted": read.deleted,
                "rejected": read.rejected,
                "rejected_values": read.rejected_values,
                "withheld": read.withheld,
                "resumed_rows": read.resumed_rows,
                "missing": read.missing,
                "extra": read.extra,
                "stale": read.stale,
                "api_calls": read.api_calls,
                "tokens_spent": read.tokens,
                "watermark_before": read.cursor_before,
                "watermark_after": read.cursor_after,
            }
            for name, read in outcome.reads.items()
        },
        "marts": {
            name: _counts(counts)
            for name, counts in (outcome.built.counts if outcome.built else {}).items()
        },
        "comparison": outcome.comparison,
        "warnings": [{"code": code, "message": text} for code, text in outcome.warnings.items()],
        "api_calls": outcome.api_calls,
        "tokens_spent": outcome.tokens_spent,
        "errors": [_message(error) for error in outcome.errors],
    }


def print_outcome(tenant: Tenant, outcome: Outcome) -> None:
    """Prints an outcome: records read, mart rows changed, price."""
    rows: list[list[object]] = [
        [
            name,
            read.fetched,
            read.created,
            read.updated,
            read.unchanged,
            read.deleted,
            read.api_calls,
            read.tokens,
        ]
        for name, read in outcome.reads.items()
    ]
    columns = ("read", "rows", "new", "changed", "same", "gone", "calls", "tokens")
    print_table(f"{tenant}: from the source", columns, rows)
    for name, read in outcome.reads.items():
        if read.resumed_rows:
            terminal.print(f"{name}: went on after {read.resumed_rows:,} rows of an earlier run.")
        if read.rejected or read.rejected_values:
            terminal.print(
                f"{name}: {read.rejected:,} records without a usable id and "
                f"{read.rejected_values:,} values that do not fit their column were set aside; "
                f"integration.rejected_values lists them.",
                soft_wrap=True,
            )
    if outcome.built:
        print_table(
            f"{tenant}: into the marts",
            ("written", "new", "changed", "same", "gone"),
            [
                [f"crm.{name}", counts.created, counts.updated, counts.unchanged, counts.deleted]
                for name, counts in outcome.built.counts.items()
            ],
        )
    _print_comparison(tenant, outcome)
    for message in outcome.warnings.values():
        errors.print(f"warning: {tenant}: {message}.", markup=False, soft_wrap=True)
    if outcome.is_success:
        cost = f"{outcome.api_calls} calls, {outcome.tokens_spent:,} tokens"
        terminal.print(f"{tenant}: up to date; {cost}.")
    for error in outcome.errors:
        kind = "paused" if isinstance(error, BudgetSpent) else "error"
        errors.print(f"{kind}: {_message(error)}", markup=False, soft_wrap=True)
    if not outcome.is_success and not outcome.errors:
        errors.print(f"error: {tenant}: the run failed; the Dagster UI shows run {outcome.run_id}.")


def _print_comparison(tenant: Tenant, outcome: Outcome) -> None:
    """Prints the mart rows that differed from raw, if all were compared."""
    marts = {name: counts for name, counts in outcome.comparison.items() if name != "values"}
    if not marts:
        return
    columns = ("missing", "differing", "links", "extra", "unhealed")
    print_table(
        f"{tenant}: marts compared with raw",
        ("compared", *columns),
        [
            [f"crm.{name}", *(counts[column] for column in columns)]
            for name, counts in marts.items()
        ],
    )
    if values := outcome.comparison.get("values"):
        terminal.print(f"{values['seen']:,} values compared; {values['lost']:,} are nowhere.")


def _check_entities(names: list[str] | None) -> None:
    entities = system(DEFAULT_SYSTEM).by_name
    for name in names or ():
        if name not in entities:
            raise BadInput(f"--entity {name}: there is no such entity; use {', '.join(entities)}.")


def _counts(counts: RowCounts) -> dict[str, int]:
    return {
        "created": counts.created,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "deleted": counts.deleted,
    }


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, PipelineError) else type(error).__name__
