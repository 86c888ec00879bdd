"""The documents are true: what the README types works, and nothing is left undocumented."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.core import TyperCommand

import pipedrive_pipeline
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ChangedSince, Children, Entity
from pipedrive_pipeline.connectors.registry import MODULES_VARIABLE
from pipedrive_pipeline.errors import ExitCode, Permanent, PipelineError, UsageError
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings, SystemSettings
from pipedrive_pipeline.sync.status.alerts import KILLED, OVERDUE, UNEXPECTED
from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.cli.test_help import commands, options_of
from pipedrive_pipeline_tests.waiting import free_port

README = (PROJECT_ROOT / "README.md").read_text()
DOCUMENTS = [
    *PROJECT_ROOT.glob("*.md"),
    *PROJECT_ROOT.glob("docs/**/*.md"),
    *PROJECT_ROOT.glob("sql/**/*.md"),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
OF_A_PERSON = {
    "mapping_outdated",
    "sinks_outdated",
    "erasure_refused",
    "removal_refused",
}  # the caller gets it as an answer
BASES = {"failed"}  # PipelineError, Transient, Permanent and PersonMustAct are never raised


def section(title: str) -> str:
    """One `##` section of the README; the part above the first one is called by no name."""
    parts = re.split(r"^## (.*)$", README, flags=re.MULTILINE)
    return parts[0] if not title else parts[parts.index(title) + 1]


def typed(title: str) -> list[str]:
    """The commands that a section shows, without their comments."""
    block = SHELL.findall(section(title))[0]
    return [line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()]


def errors(kind: type[PipelineError] = PipelineError) -> Iterator[type[PipelineError]]:
    for module in pkgutil.walk_packages(pipedrive_pipeline.__path__, "pipedrive_pipeline."):
        if not module.name.endswith(("__main__", "definitions")):
            importlib.import_module(module.name)
    for inner in kind.__subclasses__():
        yield inner
        yield from errors(inner)


SYNCED = re.compile(r"(<!-- synced: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def how_it_is_read(entity: Entity) -> str:
    """How often, and which of its records."""
    match entity.read:
        case ChangedSince(column=column):
            how = f"what changed, by `{column}`"
        case Children(of=parent, due_by=str(column)):
            how = f"with each of the {parent} in which `{column}` changed"
        case Children(of=parent):
            how = f"with each of the {parent} that changed"
        case _:
            how = "all, each time"
    if entity.cycle_hours:
        how += f"; every {entity.cycle_hours} hours"
    return how if entity.is_on_by_default else f"{how}; off unless the settings ask for it"


def synced_table() -> str:
    """Each kind of record that is read, where it goes, and how it is kept up to date."""
    rows = ["| Pipedrive | here | kept up to date by reading |", "|---|---|---|"]
    system = registry.system("pipedrive")
    marts: dict[str, list[str]] = defaultdict(list)
    for source in mart_sources(system.key):
        marts[source.entity].append(f"`crm.{source.name}`")
    for entity in system.entities:
        here = ", ".join((f"raw `{entity.name}`", *marts[entity.name]))
        rows.append(f"| {entity.label} | {here} | {how_it_is_read(entity)} |")
    return "\n".join(rows) + "\n"


@pytest.mark.generated
def test_the_readme_says_what_is_synced_as_it_is_declared() -> None:
    """A kind of record that is read, or no longer is, changes the table."""
    page = PROJECT_ROOT / "README.md"
    table = synced_table()
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(SYNCED.sub(lambda found: found[1] + table + found[2], page.read_text()))

    (written,) = re.findall(r"<!-- synced: .*? -->\n(.*?)<!-- end -->", page.read_text(), re.DOTALL)

    assert written == table, "`UPDATE_DOCS=1 pytest -m generated` writes the table"


def test_the_readme_shows_pictures_that_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((docs/pictures/[a-z]+\.png)\)", README)

    assert len(pictures) == 2
    for picture in pictures:
        content = (PROJECT_ROOT / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 5_000 < len(content) < 300_000


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_is_in_the_readme(name: str) -> None:
    rows = [line for line in section("Settings").splitlines() if line.startswith("|")]

    assert any(f"`{name.upper()}`" in row.split("|")[1] for row in rows)


def test_the_readme_names_only_settings_that_exist() -> None:
    lines = section("Settings").splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("|")]

    names = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}

    of_systems = set(re.findall(r"`<SYSTEM>_([A-Z_]+)`", " ".join(rows)))
    assert names == {name.upper() for name in Settings.model_fields} | {MODULES_VARIABLE}
    assert of_systems == {name.upper() for name in SystemSettings.model_fields}


@pytest.mark.parametrize("words", [words for words, command in commands() if not command.hidden])
def test_a_command_is_in_the_readme(words: str) -> None:
    rows = [line.split(" | ")[0] for line in section("Commands").splitlines() if "| `" in line]
    first, *rest = words.split()

    assert any(
        re.match(rf"\| `{first}\b", row) and all(word in row for word in rest) for row in rows
    )


def rows_of_commands() -> Iterator[tuple[str, list[TyperCommand]]]:
    """What each row of the README's table shows to be typed, and the commands that it is about."""
    known = dict(commands())
    for typed_words in re.findall(r"^\| `([^`]+)`", section("Commands"), re.MULTILINE):
        words = re.split(r" (?=--|\[|…)", typed_words)[0].split()
        *group, last = words
        names = [" ".join((*group, word)) for word in last.split("\\|")]
        if words[0] in known:
            names = [words[0]]  # what follows is an argument, such as FOLDER
        if names != ["command"]:
            yield typed_words, [known[name] for name in names]


@pytest.mark.parametrize(
    ("typed_words", "of_the_row"), [pytest.param(*row, id=row[0]) for row in rows_of_commands()]
)
def test_the_options_in_a_row_are_those_of_its_commands(
    typed_words: str, of_the_row: list[TyperCommand]
) -> None:
    """One without brackets is an option of each command; a required one is in the row."""
    always = set(re.findall(r"--[a-z-]+", re.sub(r"\[.*\]", "", typed_words)))
    named = set(re.findall(r"--[a-z-]+", typed_words))
    options = [options_of(command) for command in of_the_row]
    required = {
        spelling
        for command in of_the_row
        for parameter in command.params
        if parameter.required and parameter.param_type_name == "option"
        for spelling in parameter.opts
    }

    assert all(always <= known for known in options)
    assert named <= set().union(*options)
    assert required <= named


@pytest.mark.parametrize("code", ExitCode)
def test_an_exit_code_is_in_the_readme(code: ExitCode) -> None:
    listed = section("Commands").partition("Exit codes:")[2]

    assert re.search(rf"\b{code.value} [a-z]", listed)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        led = document.parent / path if path else document
        assert led.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", led.read_text(), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
            }
            assert anchor in slugs, target


def test_every_failure_has_its_line() -> None:
    """Who meets a code looks it up; one that is not there sends them into the source."""
    listed = set(re.findall(r"`([a-z_]+)`", (PROJECT_ROOT / "docs/failures.md").read_text()))

    assert {error.code for error in errors()} - BASES - listed == set()


def test_every_alert_has_its_page_in_the_runbook() -> None:
    """A person who is woken by a code finds the next step under that code."""
    failures = (PROJECT_ROOT / "docs/failures.md").read_text().partition("Of a connection")[0]
    of_runs = set(re.findall(r"`([a-z_]+)`", failures))
    permanent = {error.code for error in errors(Permanent) if not issubclass(error, UsageError)}
    headings = re.findall(
        r"^## (.*)$", (PROJECT_ROOT / "docs/runbook.md").read_text(), re.MULTILINE
    )

    alerts = permanent & of_runs - OF_A_PERSON | {KILLED, OVERDUE, UNEXPECTED}

    assert alerts - set(headings) == set()


def test_every_state_reason_and_package_has_its_line() -> None:
    from pipedrive_pipeline.vault.states import ConnectionState, Reason

    connections = (PROJECT_ROOT / "docs/connections.md").read_text()
    packages = {path.stem for path in (PROJECT_ROOT / "docs/packages").glob("*.md")}
    index = (PROJECT_ROOT / "docs/README.md").read_text()

    assert all(f"| `{word}` |" in connections for word in (*ConnectionState, *Reason))
    assert all(f"packages/{package}.md" in index for package in packages)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for the README's commands; its server is stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        try:
            yield Path(folder)
        finally:
            server = running_server(Path(folder))
            if server:
                server.stop()


def environment_at(home: Path) -> dict[str, str]:
    """A new clone's environment, with this home."""
    environment = Terminal({"PIPELINE_HOME": str(home)}).environment
    environment.pop("SYSTEM_MODULES", None)  # the suite's second system is not in a new clone
    return environment


def run(line: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A line as a person types it in the project's folder, with settings of its own."""
    return subprocess.run(
        ["sh", "-c", line],
        env={**environment_at(home), **more},
        cwd=PROJECT_ROOT,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=240,
        check=False,
    )


@contextmanager
def running(line: str, home: Path) -> Iterator[list[str]]:
    """A server as a person types it, ended with the block; yields its first lines."""
    process = subprocess.Popen(
        ["sh", "-c", f"exec {line}"],
        env={**environment_at(home), "PYTHONUNBUFFERED": "1"},
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield [process.stdout.readline() for _ in range(4)]
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_screen_works_twice(home: Path) -> None:
    """`./run test` is what runs this; the demo starts on nothing, and on what it left behind.

    Then docs/try-without-an-account.md is typed in the same installation.
    """
    demo = typed("")[0]
    assert demo == "./run demo"
    _up, of_sandbox, (serve_own,), connect_own = (
        [line.partition("  #")[0] for line in block.splitlines()]
        for block in SHELL.findall((PROJECT_ROOT / "docs/try-without-an-account.md").read_text())
    )

    first, second = run(demo, home), run(demo, home)
    results = [run(line, home) for line in of_sandbox]
    port = str(free_port())
    with running(f"{serve_own} --port {port}", home) as printed:
        tried = run(printed[-1].removeprefix("Try"), home)
        trial = [run(line.replace("8100", port), home) for line in connect_own]

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    for output in (first.stdout, second.stdout):
        assert "Nordlicht Windkraft GmbH" in output
        assert "Done in" in output
    for result in (*results, *trial):
        assert result.returncode == 0, (result.args, result.stdout, result.stderr)
    assert "make-believe" in results[-1].stdout
    assert json.loads(tried.stdout)["success"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_company_of_ones_own_is_synced_as_the_readme_says(home: Path) -> None:
    """Also the commands of other sections and pages that need a company."""
    add, connect, full, psql, _up = typed("With your own Pipedrive")
    (add_key,) = typed("From your app")
    (verify,) = [line for line in documented("docs/operating.md") if " verify " in line]
    account = seeded(12, 35)
    with serve(account) as sandbox:
        connect = connect.replace("TOKEN", sandbox.api_token)
        connect = connect.replace("https://acme.pipedrive.com", sandbox.url)
        later = full.replace(" --full", "")
        count = f"echo 'select count(*) from customers;' | {psql} -At"
        lines = [add, connect, full, later, count, add_key, verify]

        results = [run(line, home, PIPEDRIVE_ALLOWED_HOSTS="127.0.0.1") for line in lines]

    assert [process.returncode for process in results] == [0] * 7, [
        process.stderr for process in results
    ]
    assert results[4].stdout == "12\n"
    assert "0 calls" not in results[3].stdout
    assert "key_acme" in results[5].stdout


def documented(page: str) -> list[str]:
    """The commands of a page, without their comments."""
    lines = [
        line
        for block in SHELL.findall((PROJECT_ROOT / page).read_text())
        for line in block.splitlines()
    ]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def test_every_test_that_security_md_names_exists() -> None:
    """A control without its test is a claim."""
    text = (PROJECT_ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.py)(?:::([a-z_]+))?`", text)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (file := PROJECT_ROOT / "pipedrive_pipeline_tests" / path).is_file()
        or (name and f"def {name}(" not in file.read_text())
    ]

    assert len(named) > 30
    assert missing == []
