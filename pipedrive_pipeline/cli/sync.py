"""`sync`, `sweep`, `verify`, `remap`: a tenant's runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from pipedrive_pipeline.cli.job_run import Outcome, RunOptions, having_entities, run_systems
from pipedrive_pipeline.cli.options import AsJson, SystemOption, TenantOption
from pipedrive_pipeline.cli.output import (
    ReadProgress,
    errors,
    print_json,
    print_table,
    terminal,
)
from pipedrive_pipeline.cli.session import CommandSession, open_session, sandbox_within_reach
from pipedrive_pipeline.errors import BadInput, BudgetSpent, PipelineError
from pipedrive_pipeline.marts import RowCounts
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import cost_of_increment
from pipedrive_pipeline.sync.budget.pricing import Price, TokenRange
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.sync.tenancy.registry import known, scopes_of_run
from pipedrive_pipeline.tenants import Tenant


def sync(
    tenant: TenantOption,
    system: SystemOption = None,
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
    if restart and not full:
        raise BadInput("--restart goes with --full.")
    session = open_session()
    if dry_run and not full:
        tokens = _cost_without_changes(session, name, system)
        raise BadInput(
            f"--dry-run goes with --full; a sync in which nothing changed costs {tokens:,} tokens "
            "at most."
        )
    if dry_run:
        _print_prices(session, name, system, entity, json=json)
        return
    with ReadProgress() as progress:
        options = RunOptions(
            "full" if full else "incremental",
            entities=entity,
            is_restarted=restart,
            on_page=progress.on_page,
            on_price=partial(_print_price, to=errors if json else terminal),
        )
        _run_and_exit(session, name, system, options, progress, json=json)


def sweep(
    tenant: TenantOption,
    system: SystemOption = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Many rows are really gone; mark them all.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Find what was deleted at the source, and prove that nothing is missing."""
    with ReadProgress() as progress:
        options = RunOptions("sweep", is_confirmed=confirm, on_page=progress.on_page)
        _run_and_exit(open_session(), Tenant(tenant), system, options, progress, json=json)


def verify(tenant: TenantOption, system: SystemOption = None, json: AsJson = False) -> None:
    """Compare every row and value of the marts with raw, and heal what differs. No tokens."""
    _run_and_exit(open_session(), Tenant(tenant), system, RunOptions("verify"), json=json)


def remap(tenant: TenantOption, system: SystemOption = None, json: AsJson = False) -> None:
    """Rebuild marts and views from raw; no call to the CRM. Exits 3 if busy."""
    _run_and_exit(open_session(), Tenant(tenant), system, RunOptions("remap"), json=json)


def _print_prices(
    session: CommandSession,
    tenant: Tenant,
    system: str | None,
    names: list[str] | None,
    *,
    json: bool,
) -> None:
    """Prints what a full read of each system costs; calls sources only if raw cannot tell."""
    known(session.warehouse, tenant)
    scopes = scopes_of_run(session.warehouse, tenant, system, "full")
    for scope in having_entities(scopes, names):
        source = SourceAccess(session.warehouse, session.settings, scope)
        entities = entities_read(session.warehouse, scope)
        with sandbox_within_reach(session.settings, tenant):
            price = source.price(
                entity for name, entity in entities.items() if not names or name in names
            )
        if json:
            facts = {"system": scope.system, "tokens_estimated": price.tokens}
            least = {"tokens_least": price.tokens_least, "entities": price.entities}
            print_json(facts | least | {"daily_limit": price.limit})
        else:
            _print_price(scope, price, to=terminal)
            for name, tokens in price.ranges.items():
                terminal.print(f"  {name}: {_words_of(tokens)}", markup=False, soft_wrap=True)


def _cost_without_changes(session: CommandSession, tenant: Tenant, system: str | None) -> int:
    """Returns the tokens of a sync that finds nothing new, with each entity whose cycle is over."""
    known(session.warehouse, tenant)
    scopes = scopes_of_run(session.warehouse, tenant, system, "incremental")
    return sum(
        cost_of_increment(entities_read(session.warehouse, scope).values()) for scope in scopes
    )


def _words_of(tokens: TokenRange) -> str:
    if tokens.least == tokens.most:
        return f"{tokens.most:,}"
    return f"{tokens.least:,} to {tokens.most:,}"


def _print_price(scope: Scope, price: Price, *, to: Console) -> None:
    to.print(f"{scope.tenant}: full read: {price}", markup=False, soft_wrap=True)


def _run_and_exit(
    session: CommandSession,
    tenant: Tenant,
    system: str | None,
    options: RunOptions,
    progress: ReadProgress | None = None,
    *,
    json: bool,
) -> NoReturn:
    """Runs the systems; prints each outcome, with ``--json`` as a document of its own."""

    def on_end(outcome: Outcome) -> None:
        if progress:
            progress.clear()
        (_print_facts if json else print_outcome)(outcome)

    sys.exit(run_systems(session, tenant, system, options, on_end=on_end))


def _print_facts(outcome: Outcome) -> None:
    print_json(outcome_facts(outcome))


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON: entities, marts, cost, errors."""
    return {
        "system": outcome.scope.system,
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


def print_outcome(outcome: Outcome) -> None:
    """Prints an outcome: records read, mart rows changed, price."""
    tenant = outcome.scope.tenant
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
        _print_built(tenant, outcome.built.counts)
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


def _print_built(tenant: Tenant, marts: Mapping[str, RowCounts]) -> None:
    """Prints the marts that had rows to build, and how many had none."""
    rows = [
        [f"crm.{name}", counts.created, counts.updated, counts.unchanged, counts.deleted]
        for name, counts in marts.items()
        if counts != RowCounts()
    ]
    columns = ("written", "new", "changed", "same", "gone")
    if rows:
        print_table(f"{tenant}: into the marts", columns, rows)
    if idle := len(marts) - len(rows):
        terminal.print(f"{idle} of {len(marts)} marts had nothing to build.")


def _print_comparison(tenant: Tenant, outcome: Outcome) -> None:
    """Prints the mart rows that differed from raw, if all were compared."""
    marts = {name: counts for name, counts in outcome.comparison.items() if name != "values"}
    if not marts:
        return
    columns = ("missing", "differing", "links", "extra", "unhealed")
    if not any(counts[column] for counts in marts.values() for column in columns):
        terminal.print(f"{len(marts)} marts compared with raw: every row and link is equal.")
    else:
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


def _counts(counts: RowCounts) -> dict[str, int]:
    return {
        "created": counts.created,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "deleted": counts.deleted,
    }


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, PipelineError) else type(error).__name__
