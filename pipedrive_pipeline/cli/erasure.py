"""`tenants erase-person`: finds the person, requires a confirmation, erases, prints the receipt.

Only ids of records are ever printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption
from pipedrive_pipeline.cli.output import errors, print_json, terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.errors import BadInput, ExitCode
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.sync.tenancy.person_erasure import (
    Erased,
    Matches,
    NobodyToErase,
    PersonalRecord,
    erase_records,
    find_by_address,
    personal_marts,
    personal_record,
)
from pipedrive_pipeline.tenants import Tenant

CONTACTS = "contacts"


def erase_person(
    tenant: TenantOption,
    person: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="The person's id in the CRM; may be given several times.",
        ),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(help="The e-mail address of the person; `-` reads it from standard input."),
    ] = None,
    mart: Annotated[
        str,
        typer.Option(
            help="With --id: what the person is here, "
            f"{' or '.join(mart.name for mart in personal_marts())}."
        ),
    ] = CONTACTS,
    yes: Annotated[bool, typer.Option("--yes", help="With --email: erase whom it found.")] = False,
    system: OneSystemOption = None,
    json: AsJson = False,
) -> None:
    """Erase a person everywhere here; only an edit at the source brings them back."""
    if (person is None) == (email is None):
        raise BadInput("say whom: --id ID, or --email ADDRESS.")
    if mart not in {personal.name for personal in personal_marts()}:
        raise BadInput(f"--mart {mart[:64]!r}: an erasure finds nobody in this mart.")
    name, session = Tenant(tenant), open_session()
    registry.known(session.warehouse, name)
    matches = Matches()
    if person is not None:
        key = registry.only_scope(session.warehouse, name, system).system
        matches = Matches(tuple(personal_record(key, mart, each) for each in person))
    if email is not None:
        matches = _matches(session, name, sys.stdin.readline() if email == "-" else email)
        if not yes:
            _require_yes(name, matches, json=json)
    with tenant_lock(session.warehouse, name) as lock:
        erased = erase_records(
            lock, session.settings, matches.records, former=matches.former, who="operator"
        )
    if json:
        print_json(_facts(name, erased))
    else:
        _print_receipt(name, erased, matches)


def _matches(session: CommandSession, tenant: Tenant, email: str) -> Matches:
    if "@" not in email:
        raise BadInput("--email takes an e-mail address, or `-` for standard input.")
    matches = find_by_address(session.warehouse, tenant, email.strip())
    if not (matches.records or matches.former):
        own = f" {_count(matches.of_the_app, 'row')} that your app made: its to erase."
        raise NobodyToErase(
            f"{tenant}: no record from the CRM has this address; nothing was erased."
            + (own if matches.of_the_app else "")
        )
    return matches


def _require_yes(tenant: Tenant, matches: Matches, *, json: bool) -> None:
    """Prints who would be erased, and exits."""
    if json:
        print_json(
            {
                "tenant": tenant.slug,
                "erased": False,
                "records": _records(matches.records),
                "of_a_former_company": len(matches.former),
                "of_the_app": matches.of_the_app,
            }
        )
    else:
        whom = _whom(matches)
        _print(f"{tenant}: {whom}. Nothing was erased; the same again with --yes erases them.")
    sys.exit(ExitCode.PERSON_MUST_ACT)


def _whom(matches: Matches) -> str:
    words = [f"{_count(len(matches.records), 'record')} with this address"]
    words[0] += f" ({_named(matches.records)})" if matches.records else ""
    if matches.former:
        words.append(f"{_count(len(matches.former), 'row')} of a company connected before")
    if matches.of_the_app:
        words.append(f"{_count(matches.of_the_app, 'row')} that your app made, not to be erased")
    return "; ".join(words)


def _named(records: Iterable[PersonalRecord]) -> str:
    """Returns records as text, each kind once: `pipedrive persons 30, 31`."""
    kinds = groupby(sorted(records), lambda record: (record.system, record.entity))
    return "; ".join(
        f"{system} {entity} {', '.join(record.id for record in group)}"
        for (system, entity), group in kinds
    )


def _records(records: Iterable[PersonalRecord]) -> list[dict[str, str]]:
    return [
        {"system": record.system, "entity": record.entity, "id": record.id} for record in records
    ]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _print_receipt(tenant: Tenant, erased: Erased, matches: Matches) -> None:
    who = f"{_named(erased.records)} " if erased.records else ""
    places = [
        _count(erased.raw_rows, "raw row"),
        *(f"{count} of {mart}" for mart, count in erased.mart_rows.items() if count),
        _count(erased.rejected_values, "rejected value"),
    ]
    _print(f"{tenant}: {who}erased: {', '.join(places)}. Receipt {erased.receipt}.")
    if erased.at_source:
        _print(
            f"{tenant}: {_named(erased.at_source)} existed in the source at the last sync. Delete "
            "the person there too: an edit would bring them back.",
            is_warning=True,
        )
    if matches.of_the_app:
        _print(f"{tenant}: {_count(matches.of_the_app, 'row')} that your app made: its to erase.")
    _print("Backups, exports and your app's own tables are not reached: docs/erasure.md.")


def _print(text: str, *, is_warning: bool = False) -> None:
    (errors if is_warning else terminal).print(text, soft_wrap=True, markup=False, highlight=False)


def _facts(tenant: Tenant, erased: Erased) -> dict[str, object]:
    return {
        "tenant": tenant.slug,
        "erased": True,
        "receipt": str(erased.receipt),
        "records": _records(erased.records),
        **erased.rows,
        "at_source": _records(erased.at_source),
    }
