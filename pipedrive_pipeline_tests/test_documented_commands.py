"""Every command that a document shows is typed by a test, or says here why none can."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.cli.test_help import commands, options_of

DOCUMENTS = [
    *PROJECT_ROOT.glob("*.md"),
    *(PROJECT_ROOT / "docs").glob("**/*.md"),
    *(PROJECT_ROOT / "deploy").glob("**/*.md"),
]
SHELL = re.compile(r"```(?:sh|bash|shell|console)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`\./run ([^`]+)`")
TESTS = PROJECT_ROOT / "pipedrive_pipeline_tests"
OF_THE_SCRIPT = {"test", "oracles"}  # words that `./run` answers itself
PASSED_ON = {"dagster", "sandbox"}  # their words are for another program, or for one system

README = "test_readme.py::test_a_company_of_ones_own_is_synced_as_the_readme_says"
SANDBOX = "test_readme.py::test_the_first_screen_works_twice"
MAPPING = "cli/test_mapping.py"
SINKS = "cli/test_sinks.py"
WEBHOOKS = "cli/test_webhooks.py"
EXAMPLES = "connect/test_examples.py"
PLANTED = "test_planted_bugs.py"
BACKUP = "deploy/test_backup.py::test_a_restored_warehouse_goes_on_from_the_dump"
UP = "cli/test_up.py::test_a_tenants_whole_life_by_http_alone"
LIVENESS = "cli/test_near_real_time.py"
KEYS = "cli/test_connecting.py::test_without_its_key_every_secret_is_given_up_and_named"
DG = "defs/test_definitions.py::test_dg_finds_the_same_definitions_and_phones_nobody"

# The beginning of a line -> the test that types it.
TYPED = {
    "./run demo": SANDBOX,
    "./run doctor --tenant sandbox": SANDBOX,
    "./run sync --tenant sandbox": SANDBOX,
    "./run status --tenant sandbox": SANDBOX,
    "./run sandbox --control": SANDBOX,
    "./run tenants add trial": SANDBOX,
    "PIPEDRIVE_ALLOWED_HOSTS=127.0.0.1 ./run connect --tenant trial": SANDBOX,
    "./run tenants add acme": README,
    "./run connect --tenant acme": README,
    "./run sync --tenant acme": README,
    "./run psql --tenant acme": README,
    "./run keys add --tenant acme": README,
    "./run verify --tenant acme": README,
    "./run mapping ": MAPPING,
    "./run sinks ": SINKS,
    "./run webhooks ": WEBHOOKS,
    "./run remap --tenant acme": MAPPING,
    "./run up": UP,
    "./run status --tenant acme": LIVENESS,
    "./run doctor --tenant acme": LIVENESS,
    "./run settings set --tenant acme": LIVENESS,
    "CONNECT_SITE=": "deploy/test_reverse_proxy.py",
    'eval "$(./run env)"': DG,
    "uv run --group dev dg": DG,
    "request=$(curl": EXAMPLES,
    "curl -sS": EXAMPLES,
    '-H "': EXAMPLES,
    "python3 -c 'import json": EXAMPLES,
    "./run backup": BACKUP,
    "./run rotate-keys --discard": KEYS,
    "./run rotate-keys --discard --confirm": KEYS,
    'DATABASE_URL="$NEW_DATABASE_URL" ./run restore': BACKUP,
    'psql "postgresql://ada@': "scenarios/test_analysts.py",
    "uv run --frozen --group dev python -m pipedrive_pipeline_tests.planted_bugs": PLANTED,
}
# The beginning of a line -> why no test types it.
NOT_TYPED = {
    "./run test": "it is what runs this test",
    "uv run --frozen --group dev python -m pipedrive_pipeline_tests.pictures": (
        "it rewrites the README's pictures; the newcomer's test opens the same pages"
    ),
    "APP_URL=": "it needs a name on the internet, and a proxy or a tunnel",
    "UPDATE_DOCS=1": "it writes what the tests marked `generated` compare",
    "SCREENSHOTS=": "it is the suite itself, with a folder for its pictures",
    "./run bench": "a benchmark takes minutes, and its figures depend on the machine",
    "uv run python bench/": "a benchmark, as above",
    "uv run --group dev python bench/": "a benchmark, as above",
    "uv run --frozen --group dev python bench/": "a benchmark, as above",
}


def shell_lines() -> Iterator[tuple[str, str]]:
    """Every line of a shell block, without its comment, with the name of its document."""
    for document in DOCUMENTS:
        for block in SHELL.findall(document.read_text()):
            for line in block.splitlines():
                if text := line.partition("  #")[0].strip():
                    yield document.name, text


def test_every_command_of_a_document_is_typed_by_a_test_or_says_why_not() -> None:
    """A page that nobody types is wrong after the next change of an option."""
    known = (*TYPED, *NOT_TYPED)
    lines = list(shell_lines())

    unknown = [line for line in lines if not line[1].startswith(known)]
    stale = [start for start in known if not any(line.startswith(start) for _, line in lines)]

    assert len(lines) > 30
    assert unknown == []
    assert stale == []


@pytest.mark.parametrize("test", sorted(set(TYPED.values())))
def test_the_test_that_types_a_command_exists(test: str) -> None:
    path, _, name = test.partition("::")

    assert (TESTS / path).is_file()
    assert not name or f"def {name}(" in (TESTS / path).read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_in_a_sentence_exists_with_its_options(document: Path) -> None:
    """`./run X --option` in the text of a page, a runbook or a table."""
    problems = [
        (words, problem)
        for words in INLINE.findall(document.read_text())
        if (problem := problem_of(words))
    ]

    assert problems == []


def problem_of(typed: str) -> str | None:
    """What is wrong with a command; None if there is such a command with these options."""
    words = shlex.split(re.sub(r"\s+", " ", typed))
    if words[0] in OF_THE_SCRIPT | PASSED_ON or words[0].isupper():
        return None
    known = dict(commands())
    path = next(
        (name for size in (3, 2, 1) if (name := " ".join(words[:size])) in known),
        None,
    )
    if path is None:
        groups = {name.split()[0] for name in known}
        return None if words[0] in groups and len(words) == 1 else "there is no such command"
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    return ", ".join(sorted(given - options_of(known[path]) - {"--help"})) or None
