"""`tenants erase-person`: finds the person, requires a confirmation, erases, prints the receipt.

Only a person's id is ever printed.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption
from pipedrive_pipeline.cli.output import errors, print_json, terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.errors import BadInput, ExitCode
from pipedrive_pipeline.marts.erasure import Holders
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.sync.tenancy.erasure import (
    Erased,
    NobodyToErase,
    erase_persons,
    persons_with_email,
)
from pipedrive_pipeline.tenants import Tenant


def erase_person(
    tenant: TenantOption,
    person: Annotated[
        list[int] | None,
        typer.Option(
            "--id",
            min=1,
            metavar="N",
            help="The person's id in the CRM; may be given several times.",
        ),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(help="Whoever has this e-mail address; `-` reads it from standard input."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --email: erase whom it found.")] = False,
    system: OneSystemOption = None,
    json: AsJson = False,
) -> None:
    """Erase a person everywhere here; only an edit at the source brings them back."""
    if (person is None) == (email is None):
        raise BadInput("say whom: --id N, or --email ADDRESS.")
    name, session = Tenant(tenant), open_session()
    scope = registry.only_scope(session.warehouse, name, system)
    holders = Holders([str(person_id) for person_id in person or ()], [], 0)
    if email is not None:
        holders = _holders(session, scope, sys.stdin.readline() if email == "-" else email)
        if not yes:
            _require_yes(name, holders, json=json)
    with tenant_lock(session.warehouse, name) as lock:
        erased = erase_persons(
            lock,
            session.settings,
            scope.system,
            holders.ids,
            former=holders.former,
            who="operator",
        )
    if json:
        print_json(_facts(name, erased))
    else:
        _print_receipt(name, erased, holders)


def _holders(session: CommandSession, scope: Scope, email: str) -> Holders:
    if "@" not in email:
        raise BadInput("--email takes an e-mail address, or `-` for standard input.")
    holders = persons_with_email(session.warehouse, scope, email.strip())
    if not (holders.ids or holders.former):
        own = f" {_count(holders.of_the_app, 'contact')} that your app made: its to erase."
        raise NobodyToErase(
            f"{scope.tenant}: no contact from the CRM has this address; nothing was erased."
            + (own if holders.of_the_app else "")
        )
    return holders


def _require_yes(tenant: Tenant, holders: Holders, *, json: bool) -> None:
    """Prints who would be erased, and exits."""
    if json:
        print_json(
            {
                "tenant": tenant.slug,
                "erased": False,
                "ids": holders.ids,
                "of_a_former_company": len(holders.former),
                "of_the_app": holders.of_the_app,
            }
        )
    else:
        whom = _whom(holders)
        _print(f"{tenant}: {whom}. Nothing was erased; the same again with --yes erases them.")
    sys.exit(ExitCode.PERSON_MUST_ACT)


def _whom(holders: Holders) -> str:
    words = [f"{_count(len(holders.ids), 'person')} with this address"]
    words[0] += f" ({', '.join(holders.ids)})" if holders.ids else ""
    if holders.former:
        words.append(f"{_count(len(holders.former), 'contact')} of a company connected before")
    if holders.of_the_app:
        words.append(
            f"{_count(holders.of_the_app, 'contact')} that your app made, not to be erased"
        )
    return "; ".join(words)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _print_receipt(tenant: Tenant, erased: Erased, holders: Holders) -> None:
    kind = "person" if len(erased.ids) == 1 else "persons"
    who = f"{kind} {', '.join(erased.ids)} " if erased.ids else ""
    _print(
        f"{tenant}: {who}erased: {_count(erased.raw_rows, 'raw row')}, "
        f"{_count(erased.contacts, 'contact')}, "
        f"{_count(erased.rejected_values, 'rejected value')}. Receipt {erased.receipt}."
    )
    if erased.at_source:
        _print(
            f"{tenant}: {', '.join(erased.at_source)} stood in the source at the last sync. Delete "
            "the person there too: an edit would bring them back.",
            is_warning=True,
        )
    if holders.of_the_app:
        _print(
            f"{tenant}: {_count(holders.of_the_app, 'contact')} that your app made: its to erase."
        )
    _print("Backups, exports and your app's own tables are not reached: docs/erasure.md.")


def _print(text: str, *, is_warning: bool = False) -> None:
    (errors if is_warning else terminal).print(text, soft_wrap=True, markup=False, highlight=False)


def _facts(tenant: Tenant, erased: Erased) -> dict[str, object]:
    return {
        "tenant": tenant.slug,
        "erased": True,
        "receipt": str(erased.receipt),
        "ids": erased.ids,
        **erased.rows,
        "at_source": erased.at_source,
    }
