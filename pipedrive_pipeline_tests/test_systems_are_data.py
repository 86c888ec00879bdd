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
from pipedrive_pipeline.settings import PROJECT_ROOT

SYSTEMS = (PIPEDRIVE,)  # those of this package; a system of the tests is in no shared file
PLACES = ("pipedrive_pipeline/connectors/{}/", "sql/marts/{}/", "pipedrive_pipeline/sandbox/{}/")
ALLOWED = {
    # (file or folder, word): reason
    ("pipedrive_pipeline/connectors/registry.py", "pipedrive"): "the one line that registers it",
    ("pipedrive_pipeline/marts/declared.py", "pipedrive"): "the contract's generated columns",
    ("sql/schema/0004_crm.sql", "pipedrive"): "the contract's generated columns, as DDL",
}
# Files that other parts of the reshaping still change; empty when it is done.
PENDING = (
    "pipedrive_pipeline/cli/bench.py",
    "pipedrive_pipeline/cli/demo.py",
    "pipedrive_pipeline/cli/sandbox.py",
    "pipedrive_pipeline/cli/up.py",
    "pipedrive_pipeline/connect/api/presenters.py",
    "pipedrive_pipeline/connect/api/sync_models.py",
    "pipedrive_pipeline/sandbox/__init__.py",
    "pipedrive_pipeline/sync/runs/history.py",
    "pipedrive_pipeline/sync/runs/listing.py",
    "pipedrive_pipeline/sync/runs/run.py",
    "pipedrive_pipeline/sync/schedule/due.py",
    "pipedrive_pipeline/sync/status/overview.py",
    "pipedrive_pipeline/sync/status/tenant_status.py",
    "pipedrive_pipeline/sync/tenancy/configuration.py",
    "sql/schema/0003_tenants.sql",
    "sql/schema/0005_runs.sql",
    "sql/views/sync_status.sql",
)
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
            yield number, line.partition("--")[0]
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
    return any(file.startswith(place) and word == allowed for place, allowed in ALLOWED)


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


def test_shared_code_names_no_system_and_no_entity() -> None:
    """A list or a branch in shared code is the file that the next system forgets."""
    findings = [line for file in shared_files() if file not in PENDING for line in named(file)]

    assert findings == []


@pytest.mark.parametrize(("file", "word"), ALLOWED)
def test_every_exception_is_needed(file: str, word: str) -> None:
    """A reason that nothing needs any more would hide the next finding."""
    pattern = words()[word]
    texts = (
        PROJECT_NAME.sub("", text)
        for name in shared_files()
        if name.startswith(file)
        for _, text in running_text(PROJECT_ROOT / name)
    )

    assert any(pattern.search(text) for text in texts)
