"""Documents that list the tables of the CRM and the resources of its API are as declared."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.generated import assert_part

DOCS = PROJECT_ROOT / "docs"


@pytest.mark.generated
def test_analysts_find_every_view_of_a_mart() -> None:
    assert_part(
        DOCS / "analysts.md",
        "marts",
        ["| view | rows |", "|---|---|", *(f"| `{each.name}` | {each.of} |" for each in MARTS)],
    )


@pytest.mark.generated
def test_developers_find_every_resource_of_the_api() -> None:
    assert_part(
        DOCS / "crm-api.md",
        "resources",
        [
            "| path | ids | are | table |",
            "|---|---|---|---|",
            *(row for each in MARTS for row in resource(each)),
        ],
    )


def resource(shown: Mart) -> list[str]:
    """The line of a mart that the API shows, with the paths of what is nested in its records."""
    if shown.api is None:
        return []
    nested = [
        f"{shown.api.path}/{{id}}/{last}"
        for other in MARTS
        if other.api is not None
        for link in other.links
        if link.mart == shown.name and (last := other.api.nested.get(link.name))
    ]
    paths = ", ".join(f"`{path}`" for path in (shown.api.path, *nested))
    return [f"| {paths} | `{shown.api.id_prefix}_…` | {shown.of} | `crm.{shown.name}` |"]


def test_each_test_that_writes_a_file_is_run_by_the_command() -> None:
    """One that lacks the mark would leave its file as it was, and fail in CI."""
    tests = (PROJECT_ROOT / "pipedrive_pipeline_tests").rglob("test_*.py")
    writing = {
        path.name: text
        for path in tests
        if 'get("UPDATE_DOCS")' in (text := path.read_text()) or "    assert_part(" in text
    }

    assert len(writing) > 4
    assert [name for name, text in writing.items() if "@pytest.mark.generated" not in text] == []
