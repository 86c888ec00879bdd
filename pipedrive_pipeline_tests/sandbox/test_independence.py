"""The sandbox is written from the contract: it shares no code with what it tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pipedrive_pipeline.sandbox

ROOM = Path(pipedrive_pipeline.sandbox.__file__).parent


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
    sources = list(ROOM.rglob("*.py"))
    ours = {name for source in sources for name in _imported(source) if "pipedrive" in name}

    assert len(sources) > 30
    assert all(name.startswith("pipedrive_pipeline.sandbox") for name in ours)
