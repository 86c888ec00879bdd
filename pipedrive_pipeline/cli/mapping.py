"""`mapping` and `remap`: which field fills which column, and the marts rebuilt with it."""

from __future__ import annotations

import getpass
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipedrive_pipeline.cli.job_run import run_job
from pipedrive_pipeline.cli.options import AsJson, TenantOption
from pipedrive_pipeline.cli.output import errors, print_json, print_table, terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.cli.sync import outcome_facts, print_outcome
from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.sync.registry import known
from pipedrive_pipeline.tenants import Tenant

commands = typer.Typer(
    help="Show, propose, try out and save which field fills which column.", no_args_is_help=True
)
FileOption = Annotated[Path, typer.Option("--file", help="A mapping as JSON.")]


@commands.command()
def show(tenant: TenantOption, json: AsJson = False) -> None:
    """Print the active mapping, and name entries that rest: field gone, or of another type."""
    session, name = open_session(), Tenant(tenant)
    version, fields = _active(session, name)
    unusable = mappings.unusable_entries(name, version.mapping, fields)
    if json:
        gone = [one.name for one in mappings.vanished(version.mapping, fields)]
        print_json(_facts(version) | {"vanished": gone, "resting": unusable})
        return
    names = {one.identity: one.field_name for one in fields}
    rows = [
        [one.entity, names.get((one.entity, one.field_key)), one.source, one.target]
        for one in version.mapping.entries
    ]
    print_table(f"{name}: version {version.number}", ("of", "field", "key", "fills"), rows)
    for one in version.mapping.entries:
        if one.name in unusable:
            told = f"{one.name}: {unusable[one.name]}; {one.target} keeps its last values."
            errors.print(told, markup=False)


@commands.command()
def propose(tenant: TenantOption, json: AsJson = False) -> None:
    """Print the mapping with what looks fitting added; nothing is saved."""
    session, name = open_session(), Tenant(tenant)
    version, fields = _active(session, name)
    offered = mappings.proposals(name, version.mapping, fields)
    entries = (*version.mapping.entries, *(one.entry for one in offered))
    if json:
        print_json(mappings.Mapping(entries).written())
        return
    rows = [[one.field_name, one.entry.source, one.entry.target, one.reason] for one in offered]
    print_table(f"{name}: proposed", ("field", "key", "fills", "because"), rows)
    terminal.print(
        "`mapping propose --json > m.json` writes a file for `mapping preview` and `set`."
    )


@commands.command()
def preview(tenant: TenantOption, file: FileOption, json: AsJson = False) -> None:
    """Show rows before and after, coverage and refused values of a mapping; nothing is saved."""
    session = open_session()
    name = known(session.warehouse, Tenant(tenant)).tenant
    seen = mappings.preview(session.warehouse, name, DEFAULT_SYSTEM, _read(file))
    if json:
        print_json({"rows": seen.rows, "coverage": [_coverage(one) for one in seen.coverage]})
        return
    fields = mappings.catalogue(session.warehouse, name, DEFAULT_SYSTEM).fields
    names = {one.identity: one.field_name for one in fields}
    filled = [
        [
            one.entity,
            names.get((one.entity, one.source.partition(".")[0])),
            *(one.source, one.target, one.percent, one.refused),
        ]
        for one in seen.coverage
    ]
    heads = ("of", "field", "key", "fills", "percent", "refused")
    print_table(f"{name}: what each entry fills", heads, filled)
    refused = [
        [one.entity, one.target, *example]
        for one in seen.coverage
        for example in one.refused_examples
    ]
    if refused:
        print_table(f"{name}: refused", ("of", "fills", "id", "value", "reason"), refused)
    for mart, rows in seen.rows.items():
        print_table(
            f"{name}: {mart}",
            ("id", "column", "before", "after"),
            [
                [row["pipedrive_id"], column, _cell(row["before"][column]), _cell(after)]
                for row in rows
                for column, after in row["after"].items()
            ],
        )


@commands.command("set")
def set_mapping(tenant: TenantOption, file: FileOption, json: AsJson = False) -> None:
    """Save a mapping and make it the active one. Exits 4 if an entry cannot be used."""
    session = open_session()
    name = known(session.warehouse, Tenant(tenant)).tenant
    version = mappings.save(
        session.warehouse,
        name,
        DEFAULT_SYSTEM,
        _read(file),
        who=f"command line: {getpass.getuser()}",
    )
    if json:
        print_json(_facts(version))
        return
    terminal.print(
        f"{name}: version {version.number} is active; `remap --tenant {name}` or the next sync "
        "builds with it."
    )


def remap(tenant: TenantOption, json: AsJson = False) -> None:
    """Rebuild customers, contacts and views from raw; no call to the CRM. Exits 3 if busy."""
    session, name = open_session(), Tenant(tenant)
    outcome = run_job(session, name, "remap", sync_type="remap")
    if json:
        print_json(outcome_facts(outcome))
    else:
        print_outcome(name, outcome)
    sys.exit(outcome.exit_code)


def _active(
    session: CommandSession, tenant: Tenant
) -> tuple[mappings.Version, list[mappings.Field]]:
    known(session.warehouse, tenant)
    fields = mappings.catalogue(session.warehouse, tenant, DEFAULT_SYSTEM).fields
    with session.warehouse.transaction(tenant) as connection:
        return mappings.active(connection, tenant, DEFAULT_SYSTEM), list(fields)


def _read(file: Path) -> Any:
    try:
        return jsonlib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--file {file}: cannot be read ({error.strerror}).") from None
    except ValueError:
        raise BadInput(f"--file {file}: is no JSON.") from None


def _cell(value: Any) -> Any:
    """A value of a mart for people: attributes as JSON."""
    is_nested = isinstance(value, dict | list)
    return jsonlib.dumps(value, ensure_ascii=False) if is_nested else value


def _facts(version: mappings.Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "mapping": version.mapping.written(),
        "saved_at": version.saved_at,
        "saved_by": version.saved_by,
    }


def _coverage(one: mappings.Coverage) -> dict[str, Any]:
    return {
        "entity": one.entity,
        "source": one.source,
        "target": one.target,
        "records": one.records,
        "filled": one.filled,
        "percent": one.percent,
        "refused": one.refused,
        "refused_examples": one.refused_examples,
    }
