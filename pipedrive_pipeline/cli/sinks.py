"""`sinks`: tables of an app that the marts feed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption, read_json
from pipedrive_pipeline.cli.output import errors, print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session, who
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.sync.tenancy.registry import only_scope
from pipedrive_pipeline.tenants import Tenant

commands = typer.Typer(
    help="Show, try out and save which tables of an app are fed; match rows that the app has.",
    no_args_is_help=True,
)
SinkOption = Annotated[str, typer.Option("--sink", help="Name of the sink.")]
FileOption = Annotated[Path, typer.Option("--file", help="Sinks by name, as JSON.")]


@commands.command()
def show(tenant: TenantOption, system: OneSystemOption = None, json: AsJson = False) -> None:
    """Print the active sinks, their state, and the role with whose rights each writes."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    with session.warehouse.transaction(scope.tenant) as connection:
        version = sinks.active(connection, scope)
        states = sinks.states(connection, scope)
    if json:
        print_json(
            {
                "version": version.number,
                "sinks": version.written(),
                "saved_at": version.saved_at,
                "saved_by": version.saved_by,
                "states": {name: sinks.state_facts(state) for name, state in states.items()},
            }
        )
        return
    rows = [
        [state.sink, state.mart, state.app_table, state.state, state.linked_count, state.role]
        for state in states.values()
    ]
    heads = ("sink", "mart", "table", "state", "linked", "role")
    print_table(f"{name}: version {version.number}", heads, rows)
    for state in states.values():
        if state.fault:
            errors.print(f"{state.sink}: {state.fault['message']}", markup=False, soft_wrap=True)
        if state.is_waiting:
            line = f"{state.sink} waits: `sinks match`, then `sinks confirm`."
            errors.print(line, markup=False, soft_wrap=True)


@commands.command()
def preview(
    tenant: TenantOption, file: FileOption, system: OneSystemOption = None, json: AsJson = False
) -> None:
    """Write ten rows of each sink, show them before and after, and take it back."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    previews = sinks.preview(session.warehouse, scope, read_json(file))
    if json:
        print_json({each.sink.name: sinks.preview_facts(each) for each in previews})
        return
    for each in previews:
        rows = [
            [row["remote_id"], row["outcome"], column, (row["before"] or {}).get(column), after]
            for row in each.rows
            for column, after in (row["after"] or {}).items()
        ]
        title = f"{name}: {each.sink.name} into {each.sink.table_name} ({each.app_rows:,} rows)"
        print_table(title, ("id", "outcome", "column", "before", "after"), rows)
        if each.triggers:
            line = f"Triggers {', '.join(each.triggers)} run with the rights of {each.role}."
            terminal.print(line, markup=False, soft_wrap=True)
        for statement in each.statements:
            terminal.print(statement, markup=False, soft_wrap=True, highlight=False)
        if each.fault:
            errors.print(each.fault, markup=False, soft_wrap=True)


@commands.command("set")
def set_sinks(
    tenant: TenantOption,
    file: FileOption,
    system: OneSystemOption = None,
    add_columns: Annotated[
        bool,
        typer.Option(
            "--add-columns", help="Add the columns for link and time where a table lacks them."
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """Save sinks and make them the active ones. Exits 4 if one cannot be used."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    version = sinks.save(
        session.warehouse,
        scope,
        read_json(file),
        who=who(),
        is_adding_columns=add_columns,
    )
    if json:
        print_json({"version": version.number, "sinks": version.written()})
        return
    with session.warehouse.transaction(scope.tenant) as connection:
        states = sinks.states(connection, scope)
    terminal.print(
        f"{name}: version {version.number} is active; `remap --tenant {name}` or the next sync "
        "feeds it."
    )
    for sink, state in states.items():
        if state.is_waiting:
            terminal.print(f"{sink} waits for `sinks match --tenant {name} --sink {sink}`.")


@commands.command("match")
def match_rows(
    tenant: TenantOption, sink: SinkOption, system: OneSystemOption = None, json: AsJson = False
) -> None:
    """Find which rows of the app are in the CRM, and report it; nothing of the app is written."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    report = sinks.match(session.warehouse, scope, sink)
    if json:
        print_json(asdict(report))
        return
    rows = [[f"matched by {rule}", count] for rule, count in report.matched.items()]
    rows += [
        ["linked before", report.linked],
        ["ambiguous: a person decides", report.ambiguous],
        ["left over: not in the CRM", report.left_over],
        ["new: not in the app", report.new],
    ]
    print_table(f"{name}: {sink}", ("rows", "count"), rows)
    candidates = [
        [row.app_key, each.remote_id, each.name, each.matched_by, each.doubt]
        for row in report.listed
        for each in row.candidates
    ]
    if candidates:
        heads = ("row of the app", "candidate", "name", "by", "doubt")
        print_table(f"{name}: ambiguous", heads, candidates)
        terminal.print("Decide with `sinks confirm --choose ROW=CANDIDATE`, or ROW=none.")


@commands.command()
def confirm(
    tenant: TenantOption,
    sink: SinkOption,
    choose: Annotated[
        list[str] | None,
        typer.Option("--choose", help="ROW=CANDIDATE or ROW=none for an ambiguous row."),
    ] = None,
    system: OneSystemOption = None,
    json: AsJson = False,
) -> None:
    """Link the rows that were matched; the next sync or remap writes them."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    choices = dict(_choice(each) for each in choose or ())
    confirmed = sinks.confirm(session.warehouse, scope, sink, who=who(), choices=choices)
    if json:
        print_json(asdict(confirmed))
        return
    terminal.print(
        f"{name}: {confirmed.linked:,} rows are linked, {confirmed.open:,} wait for a decision; "
        f"`remap --tenant {name}` or the next sync writes them."
    )


@commands.command()
def undo(
    tenant: TenantOption, sink: SinkOption, system: OneSystemOption = None, json: AsJson = False
) -> None:
    """Give the rows that the app had before their values back, and stop the sink."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    undone = sinks.undo(session.warehouse, scope, sink, who=who())
    if json:
        print_json(asdict(undone))
        return
    terminal.print(
        f"{name}: {undone.rows:,} rows have their values back; the sink {sink} waits for "
        "`sinks match` and `sinks confirm`."
    )


def _choice(written: str) -> tuple[str, str | None]:
    key, equals, remote_id = written.rpartition("=")
    if not (equals and key and remote_id):
        raise BadInput(f"--choose {written}: say ROW=CANDIDATE, or ROW=none.")
    return key, None if remote_id == "none" else remote_id
