"""The worked example of docs/sinks.md, typed as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.status.problems import open_problems
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World

PAGE = (PROJECT_ROOT / "docs" / "sinks.md").read_text()


def block(language: str) -> str:
    """The first block of the page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def words(line: str) -> list[str]:
    """The words of a shell line after `./run`, without its comment."""
    return line.partition("  #")[0].split()[1:]


@pytest.mark.slow
@pytest.mark.timeout(300)  # Dagster runs in processes of their own
def test_the_example_of_the_page_works_as_it_is_typed(
    in_process: InProcessTerminal,
    terminal: Terminal,
    world: World,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """The app's own customer is adopted, the others are added, and undo gives it back."""
    world.connect(ACME, sandbox)
    world.first_sync()
    company = world.rows("crm", "customers")[0]["name"]
    as_sql = company.replace("'", "''")
    with world.warehouse.transaction() as connection:
        connection.execute(block("sql").replace("Kirsch Maschinenbau", as_sql).encode())
    in_process.monkeypatch.chdir(tmp_path)
    Path("s.json").write_text(block("json"))
    results = {}
    for line in block("sh").splitlines():
        typed = words(line)
        runner = terminal if typed[0] == "remap" else in_process
        results[" ".join(typed[:2])] = runner.run(*typed)
        if typed[0] == "remap":
            fed = world.rows("shop", "customers")

    customers = [row for row in world.rows("crm", "customers") if not row["deleted_at"]]
    assert {name: result.code for name, result in results.items()} == dict.fromkeys(results, 0)
    assert "alter table" in results["sinks preview"].out
    assert "matched by name" in results["sinks match"].out
    assert len(fed) == len(customers)
    assert {row["company"] for row in fed} == {row["name"] for row in customers}
    assert [row["discount"] for row in fed if row["company"] == company] == [5]
    (own,) = [row for row in world.rows("shop", "customers") if row["discount"] == 5]
    assert (own["company"], own["town"], own["pipedrive_id"]) == (company, None, None)


@pytest.mark.slow
@pytest.mark.timeout(300)  # Dagster runs in processes of their own
def test_a_failing_sink_is_named_everywhere_and_fails_no_mart(
    in_process: InProcessTerminal,
    terminal: Terminal,
    world: World,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """Exit code, history, status, problems; marts are built; the next run catches up."""
    world.connect(ACME, sandbox)
    world.first_sync()
    file = tmp_path / "s.json"
    sink = json.loads(block("json"))["customers"] | {"match_by": []}
    file.write_text(json.dumps({"customers": sink}))
    with world.warehouse.transaction() as connection:
        connection.execute(block("sql").encode())
        connection.execute("delete from shop.customers")
        connection.execute(
            "alter table shop.customers add constraint no_town check (town is null) not valid"
        )
    tenant = ("--tenant", "acme")
    in_process.run("sinks", "set", *tenant, "--file", str(file), "--add-columns")

    failed = terminal.run("remap", *tenant, "--json")
    status = in_process.run("status", *tenant, "--json").facts
    with world.warehouse.transaction() as connection:
        (problem,) = open_problems(connection, ACME)
        connection.execute("alter table shop.customers drop constraint no_town")
    repaired = terminal.run("remap", *tenant, "--json")

    assert failed.code == 4
    assert failed.facts["marts"]["customers"]["unchanged"] == 12
    assert "constraint no_town" in failed.out
    assert "shop.customers" in failed.out
    assert world.history()[-2]["status"] == "partial"
    assert "no_town" in str(status)
    assert (problem.kind, problem.subject) == ("sink", "customers")
    assert repaired.code == 0
    assert len(world.rows("shop", "customers")) == 12
    with world.warehouse.transaction() as connection:
        assert open_problems(connection, ACME) == []
