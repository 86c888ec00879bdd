"""The sandbox is written from the contract: it shares no code with what it tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pipedrive_pipeline.sandbox

FOLDER = Path(pipedrive_pipeline.sandbox.__file__).parent


def _imported(source: Path) -> set[str]:
    imports = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.name}: imports are absolute"
            imports.add(node.module or "")
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
    return imports


def test_the_sandbox_imports_nothing_of_the_package_but_itself() -> None:
    """A misreading of ours could otherwise agree with itself."""
    sources = list(FOLDER.rglob("*.py"))
    ours = {name for source in sources for name in _imported(source) if "pipedrive" in name}

    assert len(sources) > 30
    assert all(name.startswith("pipedrive_pipeline.sandbox") for name in ours)


def test_the_kit_has_no_word_of_one_system() -> None:
    """A second system's look-alike is made of it; what only one has belongs beside it."""
    words = re.compile(r"pipedrive(?!_pipeline)|persons|organi[sz]ation|\bdeals?\b", re.IGNORECASE)
    files = [file for file in (FOLDER / "kit").rglob("*.*") if file.suffix != ".pyc"]
    found = {file.name: set(words.findall(file.read_text())) for file in files}

    assert len(files) > 15
    assert {name: texts for name, texts in found.items() if texts} == {}
