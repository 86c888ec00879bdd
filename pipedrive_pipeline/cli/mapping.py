"""`mapping`: which field fills which column."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption, read_json
from pipedrive_pipeline.cli.output import errors, print_json, print_table, terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session, who
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.registry import only_scope
from pipedrive_pipeline.tenants import Tenant

commands = typer.Typer(
    help="Show, propose, try out and save which field fills which column.", no_args_is_help=True
)
FileOption = Annotated[Path, typer.Option("--file", help="A mapping as JSON.")]


@commands.command()
def show(tenant: TenantOption, system: OneSystemOption = None, json: AsJson = False) -> None:
    """Print the active mapping, and name entries that rest: field gone, or of another type."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    version, fields = _active(session, scope)
    unusable = mappings.unusable_entries(scope, version.mapping, fields)
    if json:
        gone = [entry.name for entry in mappings.vanished(version.mapping, fields)]
        print_json(_facts(version) | {"vanished": gone, "resting": unusable})
        return
    names = {field.identity: field.field_name for field in fields}
    rows = [
        [entry.entity, names.get((entry.entity, entry.field_key)), entry.source, entry.target]
        for entry in version.mapping.entries
    ]
    print_table(f"{name}: version {version.number}", ("of", "field", "key", "fills"), rows)
    for entry in version.mapping.entries:
        if entry.name in unusable:
            line = f"{entry.name}: {unusable[entry.name]}; {entry.target} keeps its last values."
            errors.print(line, markup=False)


@commands.command()
def propose(tenant: TenantOption, system: OneSystemOption = None, json: AsJson = False) -> None:
    """Print the mapping with what looks fitting added; nothing is saved."""
    session, name = open_session(), Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    version, fields = _active(session, scope)
    with session.warehouse.transaction(scope.tenant) as connection:
        offered = mappings.proposals(connection, scope, version.mapping, fields)
    entries = (*version.mapping.entries, *(proposal.entry for proposal in offered))
    if json:
        print_json(replace(version.mapping, entries=entries).written())
        return
    rows = [
        [
            proposal.entry.entity,
            *(proposal.field_name, proposal.entry.source, proposal.entry.target, proposal.reason),
        ]
        for proposal in offered
    ]
    print_table(f"{name}: proposed", ("of", "field", "key", "fills", "because"), rows)
    if offered:
        whose = f"--tenant {name}" + (f" --system {system}" if system else "")
        terminal.print("To write a file with these entries, try it out and save it:")
        for command in (
            f"mapping propose {whose} --json > m.json",
            f"mapping preview {whose} --file m.json",
            f"mapping set {whose} --file m.json",
        ):
            line = f"./run {command}"
            terminal.print(line, soft_wrap=True, markup=False, highlight=False)


@commands.command()
def preview(
    tenant: TenantOption, file: FileOption, system: OneSystemOption = None, json: AsJson = False
) -> None:
    """Show rows before and after, coverage and refused values of a mapping; nothing is saved."""
    session = open_session()
    name = Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    comparison = mappings.preview(session.warehouse, scope, read_json(file))
    if json:
        print_json(
            {
                "rows": comparison.rows,
                "coverage": [_coverage(entry) for entry in comparison.coverage],
            }
        )
        return
    fields = mappings.catalogue(session.warehouse, scope).fields
    names = {field.identity: field.field_name for field in fields}
    filled = [
        [
            entry.entity,
            names.get((entry.entity, entry.source.partition(".")[0])),
            *(entry.source, entry.target, entry.percent, entry.refused),
        ]
        for entry in comparison.coverage
    ]
    heads = ("of", "field", "key", "fills", "percent", "refused")
    print_table(f"{name}: what each entry fills", heads, filled)
    refused = [
        [entry.entity, entry.target, *astuple(example)]
        for entry in comparison.coverage
        for example in entry.refused_examples
    ]
    if refused:
        print_table(f"{name}: refused", ("of", "fills", "id", "value", "reason"), refused)
    for mart, rows in comparison.rows.items():
        print_table(
            f"{name}: {mart}",
            ("id", "column", "before", "after"),
            [
                [row["remote_id"], column, _cell(row["before"][column]), _cell(after)]
                for row in rows
                for column, after in row["after"].items()
            ],
        )


@commands.command("set")
def set_mapping(
    tenant: TenantOption, file: FileOption, system: OneSystemOption = None, json: AsJson = False
) -> None:
    """Save a mapping and make it the active one. Exits 4 if an entry cannot be used."""
    session = open_session()
    name = Tenant(tenant)
    scope = only_scope(session.warehouse, name, system)
    version = mappings.save(
        session.warehouse,
        scope,
        read_json(file),
        who=who(),
    )
    if json:
        print_json(_facts(version))
        return
    terminal.print(
        f"{name}: version {version.number} is active; `remap --tenant {name}` or the next sync "
        "builds with it."
    )


def _active(session: CommandSession, scope: Scope) -> tuple[mappings.Version, list[mappings.Field]]:
    fields = mappings.catalogue(session.warehouse, scope).fields
    with session.warehouse.transaction(scope.tenant) as connection:
        return mappings.active(connection, scope), list(fields)


def _cell(value: Any) -> Any:
    """A value of a mart as a table cell: attributes as JSON."""
    is_nested = isinstance(value, dict | list)
    return jsonlib.dumps(value, ensure_ascii=False) if is_nested else value


def _facts(version: mappings.Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "mapping": version.mapping.written(),
        "saved_at": version.saved_at,
        "saved_by": version.saved_by,
    }


def _coverage(coverage: mappings.Coverage) -> dict[str, Any]:
    return {
        "entity": coverage.entity,
        "source": coverage.source,
        "target": coverage.target,
        "records": coverage.records,
        "filled": coverage.filled,
        "percent": coverage.percent,
        "refused": coverage.refused,
        "refused_examples": [asdict(example) for example in coverage.refused_examples],
    }
