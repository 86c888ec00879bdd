"""`tenants erase-person`: who is meant, the yes to it, and what is said."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World

EMAIL = "ada@example.com"
ERASE = ("tenants", "erase-person", "--tenant", "acme")


@pytest.fixture
def account() -> CrmAccount:
    account = seeded(2, 20)
    for person in (18, 19):
        account.edit("persons", person, name="Ada Canary", emails=[{"value": EMAIL}])
    return account


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account) as running:
        yield running


@pytest.fixture
def synced(world: World, sandbox: Sandbox) -> World:
    world.connect(ACME, sandbox)
    world.first_sync()
    return world


def contacts(world: World) -> set[int]:
    return {row["pipedrive_id"] for row in world.rows("crm", "contacts")}


@pytest.mark.slow
def test_the_documented_commands_erase_whom_they_say(
    in_process: InProcessTerminal, synced: World
) -> None:
    """An address alone erases nobody; a person has to see first how many it finds."""
    page = (PROJECT_ROOT / "docs" / "erasure.md").read_text()
    lines = re.findall(r"^\./run (tenants erase-person .*)$", page, re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in lines]

    by_id, asked, by_email = [in_process.run(*words) for words in commands]

    assert [by_id.code, asked.code, by_email.code] == [0, 4, 0], [by_id, asked, by_email]
    assert re.match(
        r"acme: pipedrive persons 17 erased: 1 raw row, 1 of contacts, "
        r"0 rejected values\. "
        r"Receipt [-0-9a-f]{36}\.",
        by_id.out,
    )
    assert "pipedrive persons 17 existed in the source at the last sync" in by_id.err
    assert asked.out == (
        "acme: 2 records with this address (pipedrive persons 18, 19). Nothing was erased; the "
        "same again with --yes erases them.\n"
    )
    assert "persons 18, 19 erased: 2 raw rows" in by_email.out
    assert contacts(synced) == set(range(1, 21)) - {17, 18, 19}
    output = "".join(result.out + result.err for result in (by_id, asked, by_email))
    assert "ada" not in re.sub(r"Receipt [-0-9a-f]{36}", "", output).lower()


@pytest.mark.slow
def test_facts_are_json_and_an_address_may_come_from_standard_input(
    in_process: InProcessTerminal, synced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a command line it would stand in the shell's history."""
    monkeypatch.setattr("sys.stdin", io.StringIO(EMAIL + "\n"))
    asked = in_process.run(*ERASE, "--email", "-", "--json")
    erased = in_process.run(*ERASE, "--id", "18", "--json").facts

    assert asked.code == 4
    records = [{"system": "pipedrive", "entity": "persons", "id": key} for key in ("18", "19")]
    assert asked.facts["records"] == records
    assert (erased["erased"], erased["records"], erased["contacts"]) == (True, records[:1], 1)
    assert 18 not in contacts(synced)


@pytest.mark.slow
def test_nobody_is_erased_by_a_wrong_word(in_process: InProcessTerminal, synced: World) -> None:
    with tenant_lock(synced.warehouse, ACME):
        busy = in_process.run(*ERASE, "--id", "17")
    results = {
        "nobody said": in_process.run(*ERASE),
        "both said": in_process.run(*ERASE, "--id", "17", "--email", EMAIL),
        "unknown id": in_process.run(*ERASE, "--id", "17", "--id", "4711"),
        "no number": in_process.run(*ERASE, "--id", "abc"),
        "empty id": in_process.run(*ERASE, "--id", ""),
        "digits of another script": in_process.run(*ERASE, "--id", "\N{FULLWIDTH DIGIT ONE}"),
        "too great a number": in_process.run(*ERASE, "--id", "9" * 20),
        "just too great a number": in_process.run(*ERASE, "--id", str(2**63)),
        "the greatest number": in_process.run(*ERASE, "--id", str(2**63 - 1)),
        "unknown address": in_process.run(*ERASE, "--email", "nobody@example.com", "--yes"),
        "no address": in_process.run(*ERASE, "--email", "ada", "--yes"),
        "unknown tenant": in_process.run(*ERASE[:-1], "other", "--id", "17"),
        "a mart of no persons": in_process.run(*ERASE, "--id", "17", "--mart", "customers"),
    }

    assert busy.code == 3
    assert {case: result.code for case, result in results.items()} == dict.fromkeys(results, 2)
    assert "no persons with the id 4711" in results["unknown id"].error
    assert "'abc' is no id of pipedrive persons" in results["no number"].error
    assert "whole numbers" in results["too great a number"].error
    assert "no persons with the id 9223372036854775807" in results["the greatest number"].error
    assert "nobody@example.com" not in results["unknown address"].error
    assert len(contacts(synced)) == 20
