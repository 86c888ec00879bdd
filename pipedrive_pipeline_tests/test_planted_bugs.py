"""The suite itself is tested: a bug that is planted on purpose must be caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests import planted_bugs
from pipedrive_pipeline_tests.planted_bugs import BUGS, Bug, TextIsGone


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that bugs are planted into."""
    for path in {bug.path for bug in BUGS}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_still_be_planted(bug: Bug, tree: Path) -> None:
    former = bug.plant(tree)

    planted = (tree / bug.path).read_text()
    assert planted != former
    if bug.path.endswith(".py"):
        compile(planted, bug.path, "exec")
    assert (PROJECT_ROOT / bug.tests).exists()


def test_a_bug_whose_text_is_gone_is_an_error(tree: Path) -> None:
    """A bug that is no longer planted would pass for one that the suite cannot catch, or can."""
    gone = Bug("gone", BUGS[0].path, (("no such text", ""),), BUGS[0].tests)

    with pytest.raises(TextIsGone):
        gone.plant(tree)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_every_planted_bug_is_caught() -> None:
    assert planted_bugs.main([]) == 0
