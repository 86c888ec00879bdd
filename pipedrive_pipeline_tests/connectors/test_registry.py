"""Systems are registered by a declaration; a contradiction is refused when it is registered."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Children, Column, ColumnType
from pipedrive_pipeline.errors import BadSlug, UsageError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connectors.ledger import BOOKS, ENTRIES, LEDGER

LINES = replace(
    BOOKS,
    name="lines",
    columns=(Column("entry", ColumnType.TEXT, "Its entry."),),
    read=Children("entries", "entry", batch=2),
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key": "pipedrive"}, "another system has this key"),
        ({"key": "pipedrive_eu"}, "begin alike"),
        ({"key": "Ledger"}, "lower-case"),
        ({"key": "a" * 23}, "at most 22"),
        ({"auth": ()}, "authentication"),
        ({"auth": LEDGER.auth * 2}, "one of each kind"),
        ({"entities": (BOOKS, BOOKS)}, "two entities"),
        ({"entities": (LINES, ENTRIES)}, "must come before"),
        ({"entities": (replace(BOOKS, defined_by="fields"),)}, "no entity fields"),
        ({"entities": (replace(BOOKS, personal=("mail",)),)}, "no column mail"),
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, object], problem: str) -> None:
    """Where it is registered, by name, and not in the middle of a tenant's first sync."""
    with pytest.raises(UsageError, match=problem):
        registry.register(replace(LEDGER, **changes))  # type: ignore[arg-type]
    assert "ledger" not in registry.system_keys()


def test_an_unknown_entity_is_a_wrong_word() -> None:
    """The message names those that there are."""
    with pytest.raises(UsageError, match="books, entries"):
        LEDGER.entity("persons")


def test_a_key_may_have_several_words() -> None:
    """`zoho_crm` is a key; schemas stay unique since no other key may be `zoho`."""
    assert Scope(Tenant("x"), "zoho_crm").raw_schema == "raw_zoho_crm_x"
    for wrong in ("zoho__crm", "_zoho", "zoho_", "zoho-crm", "z" * 23):
        with pytest.raises(BadSlug):
            Scope(Tenant("x"), wrong)


def test_modules_of_the_environment_register_systems_in_child_processes() -> None:
    """The made-up system of the suite is known to the processes that Dagster starts."""
    registering = "pipedrive_pipeline_tests.connectors.registered_ledger"
    script = "from pipedrive_pipeline.connectors import registry; print(registry.system_keys())"

    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, registry.MODULES_VARIABLE: registering},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "ledger" in shown
    assert "pipedrive" in shown
