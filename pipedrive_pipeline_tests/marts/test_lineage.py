"""Where a mart's column comes from is what its select says."""

from __future__ import annotations

import re

import pytest

from pipedrive_pipeline.marts.lineage import SELECTED, origins
from pipedrive_pipeline.marts.sources import MartSource, mart_sources

# Derived in the select's joins: what they are made of.
JOINED = {
    "address.parts": {("address",)},
    "label_names.by_id": {("label_ids",), ("options",)},
    "industry_names.by_id": {("options",)},
    "email_points.entries": {("emails",)},
    "phone_points.entries": {("phones",)},
}


def selected(target: MartSource) -> dict[str, str]:
    """The expression of each column of the select, by name."""
    text = re.sub(r" *--.*\n", "", target.select.text)
    listed = text[: re.search(r"\nfrom ", text).start()]  # type: ignore[union-attr]
    by_column = {}
    for item in re.split(r",\n(?=    \S)", listed.partition("select")[2]):
        expression, _, name = item.strip().rpartition(" as ")
        by_column[name] = expression
    return by_column


@pytest.mark.parametrize("target", mart_sources("pipedrive"), ids=lambda target: target.name)
def test_every_column_names_the_raw_columns_of_its_expression(target: MartSource) -> None:
    """No column is left out, and none that its expression reads."""
    expressions = selected(target)

    assert expressions.keys() == SELECTED[target.name].keys()
    for name, expression in expressions.items():
        declared = {*SELECTED[target.name][name], (target.entity, "id")}  # the key finds the row
        read = set(re.findall(rf"\b({target.entity}|users|deletions|customers)\.(\w+)", expression))
        assert read <= declared, name
        for joined, columns in JOINED.items():
            if joined in expression:
                assert {column[0] for column in columns} <= {column for _, column in declared}, name


@pytest.mark.parametrize("target", mart_sources("pipedrive"), ids=lambda target: target.name)
def test_every_column_that_is_filled_has_an_origin(target: MartSource) -> None:
    """Without a mapping: what the select fills."""
    by_column = origins(target, [])

    assert by_column.keys() == {"pipedrive_id", *target.columns}
    assert all(origin.sources for origin in by_column.values())
