"""A class name stands for one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT


@pytest.mark.slow
def test_no_class_name_comes_twice() -> None:
    """A reader who has met `Budget` in one package must not meet another one in the next."""
    modules = defaultdict(list)
    for file in sorted((PROJECT_ROOT / "pipedrive_pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(file.relative_to(PROJECT_ROOT)))

    assert len(modules) > 300
    assert {name: files for name, files in modules.items() if len(files) > 1} == {}
