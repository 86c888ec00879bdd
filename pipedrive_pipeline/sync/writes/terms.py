"""How a caller names columns, measures numbers and refers to records."""

from __future__ import annotations

from typing import Any

from pipedrive_pipeline.sync.writes.forms import WrongValue


class Terms:
    """The marts' own terms: names of columns, percent, ids in the system. An API has others."""

    def name_of(self, column: str) -> str:
        """The caller's name of a column."""
        return column

    def unit_of(self, _column: str) -> int:
        """How many of the column's units are one of the caller's: 100 for fractions of percent."""
        return 1

    def remote_id(self, _mart: str, value: Any) -> str:
        """The id in the system of the record that a value refers to.

        Raises:
            WrongValue: the value is no id, or refers to nothing that the caller may see.
        """
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise WrongValue("must be the id of a record")
        return str(value)


MART_TERMS = Terms()
