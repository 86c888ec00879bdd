"""Rule 1 of the architecture: what is true of one system stands in that system's places only.

Shared code names no system and no entity of one. Comments and docstrings may give an example; what
runs may not: strings, names and SQL.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.schema_changes import BEGINNING
from pipedrive_pipeline.settings import PROJECT_ROOT

SYSTEMS = (PIPEDRIVE,)  # those of this package; a system of the tests is in no shared file
PLACES = ("pipedrive_pipeline/connectors/{}/", "sql/marts/{}/", "pipedrive_pipeline/sandbox/{}/")
SANDBOX = "the demo, the benchmark and `up --sandbox` play Pipedrive's look-alike"
ALIAS = "the public setting syncPersons, an alias of entitiesOff"
CRM_API = "a public word of the CRM API"
EXAMPLE = "an example in the comment on a column"
DECLARED = "pipedrive_pipeline/marts/declared.py"
ALLOWED = {
    # (file, word): reason
    ("pipedrive_pipeline/connectors/registry.py", "pipedrive"): "the one line that registers it",
    (DECLARED, "pipedrive"): "the contract's generated columns",
    (DECLARED, "organizations"): CRM_API,
    (DECLARED, "persons"): CRM_API,
    ("sql/schema/0004_crm.sql", "pipedrive"): "the contract's generated columns, as DDL",
    ("sql/schema/0005_runs.sql", "organizations"): "sync_logs keeps every column that it has",
    ("sql/schema/0005_runs.sql", "persons"): "sync_logs keeps every column that it has",
    ("sql/schema/0003_tenants.sql", "pipedrive"): EXAMPLE,
    ("sql/schema/0003_tenants.sql", "organizations"): EXAMPLE,
    ("pipedrive_pipeline/sync/tenancy/configuration.py", "persons"): ALIAS,
    ("pipedrive_pipeline/connect/api/sync_models.py", "persons"): ALIAS,
    ("pipedrive_pipeline/sandbox/__init__.py", "pipedrive"): SANDBOX,
    ("pipedrive_pipeline/cli/bench.py", "organizations"): SANDBOX,
    ("pipedrive_pipeline/cli/bench.py", "persons"): SANDBOX,
    ("pipedrive_pipeline/cli/demo.py", "pipedrive"): SANDBOX,
    ("pipedrive_pipeline/cli/demo.py", "organizations"): SANDBOX,
    ("pipedrive_pipeline/cli/demo.py", "persons"): SANDBOX,
    ("pipedrive_pipeline/cli/sandbox.py", "organizations"): SANDBOX,
    ("pipedrive_pipeline/cli/sandbox.py", "persons"): SANDBOX,
    ("pipedrive_pipeline/cli/up.py", "pipedrive"): SANDBOX,
}
PROJECT_NAME = re.compile(r"pipedrive[-_]pipeline")


def words() -> dict[str, re.Pattern[str]]:
    """What shared code must not say: keys, and entities whose name is no mart's."""
    marts = {mart.name for mart in MARTS}
    names = {system.key for system in SYSTEMS}
    names |= {entity.name for system in SYSTEMS for entity in system.entities} - marts
    return {name: re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE) for name in names}


def shared_files() -> list[str]:
    """Every file of code, SQL or HTML that belongs to no system."""
    places = tuple(place.format(system.key) for place in PLACES for system in SYSTEMS)
    globs = ("pipedrive_pipeline/**/*.py", "pipedrive_pipeline/**/*.html", "sql/**/*.sql")
    found = [path for glob in globs for path in PROJECT_ROOT.glob(glob)]
    names = sorted(path.relative_to(PROJECT_ROOT).as_posix() for path in found)
    return [name for name in names if not name.startswith(places)]


def running_text(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that run: without comments and docstrings."""
    text = path.read_text()
    if path.suffix != ".py":
        for number, line in enumerate(text.splitlines(), 1):
            yield number, line.partition("--")[0] if path.suffix == ".sql" else line
        return
    begins_statement = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = token.type == tokenize.STRING and begins_statement
        if token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            begins_statement = True
        elif token.type not in {tokenize.NL, tokenize.COMMENT, tokenize.ENCODING}:
            begins_statement = False
            if not is_docstring:
                yield token.start[0], token.string


def is_allowed(file: str, word: str) -> bool:
    """A file that is written from the declared marts may name what they name."""
    return (file, word) in ALLOWED or (
        is_written(PROJECT_ROOT / file) and (DECLARED, word) in ALLOWED
    )


def is_written(path: Path) -> bool:
    return path.suffix == ".sql" and path.read_text().startswith(BEGINNING)


def named(file: str) -> list[str]:
    """Where a file names a system or its entities, as ``file:line: word``."""
    found = []
    for number, text in running_text(PROJECT_ROOT / file):
        rest = PROJECT_NAME.sub("", text)
        found += [
            f"{file}:{number}: {word}"
            for word, pattern in words().items()
            if pattern.search(rest) and not is_allowed(file, word)
        ]
    return found


def test_a_written_file_of_the_schema_may_name_what_is_declared(tmp_path: Path) -> None:
    """Every new mart was an exception to be listed: its generated columns name a system."""
    written = tmp_path / "0099_visits.sql"
    written.write_text(f"{BEGINNING}visits.\n")

    assert is_written(written)
    assert not is_written(PROJECT_ROOT / "sql/schema/0004_crm.sql")  # is listed


@pytest.mark.slow
def test_shared_code_names_no_system_and_no_entity() -> None:
    """A list or a branch in shared code is the file that the next system forgets."""
    findings = [line for file in shared_files() for line in named(file)]

    assert findings == []


@pytest.mark.parametrize(("file", "word"), ALLOWED)
def test_every_exception_is_needed(file: str, word: str) -> None:
    """A reason that nothing needs any more would hide the next finding."""
    pattern = words()[word]
    texts = (PROJECT_NAME.sub("", text) for _, text in running_text(PROJECT_ROOT / file))

    assert any(pattern.search(text) for text in texts)
