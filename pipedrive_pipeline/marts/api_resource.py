"""How the CRM API shows a mart: path, ids, names and units, declared next to the mart's columns.

Routes, schemas, filters, indexes and the documents are derived from it. A column that is not named
here keeps its name; a link is shown as the id of the other record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ApiResource:
    """The resource of the CRM API that shows a mart.

    Attributes:
        path: of the resource under `/api/crm/v1`, such as ``deals``.
        id_prefix: begins the ids of its records, as in ``deal_<uuid hex>``.
        names: the API's name of a column or link by its name in the mart.
        fractions: columns in percent that the API shows as fractions: 25 as 0.25.
        percent_or_amount: of a column whose unit is in another column, that column: where it says
            ``percent`` the API shows a fraction under the column's name, else an amount under
            ``<name>_amount``.
        entries: columns of lists of ``{"value": …}``: the API shows their values as texts under the
            column's name, and the full entries under ``<singular>_entries``.
        parts: columns that are parts of a text, by the text's column: the API shows them under
            ``<name>_parts``, and the text joined from them where it is empty itself.
        times: names of times of day (HH:MM, UTC) by the column of the instant.
        sorts: columns that lists may be sorted by, besides ``id`` and ``updated_at``; each has an
            index.
        filters: columns and links that lists are filtered by, each with an index; a link with an
            index of its own is a filter by itself.
        ranges: columns among ``sorts`` with the filters ``<name>_min`` and ``<name>_max``.
        searched: columns of texts, or of lists of ``{"value": …}``, whose words `search` finds.
        numbers: such columns of telephone numbers, whose digits it finds.
        nested: last part of the path under another resource, by the link to it: ``products`` for
            `/deals/{id}/products`.
    """

    path: str
    id_prefix: str
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    fractions: tuple[str, ...] = ()
    percent_or_amount: Mapping[str, str] = field(default_factory=dict, hash=False)
    entries: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    times: Mapping[str, str] = field(default_factory=dict, hash=False)
    sorts: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    nested: Mapping[str, str] = field(default_factory=dict, hash=False)

    def name_of(self, column: str) -> str:
        """Returns the API's name of a column or link."""
        return self.names.get(column, column)
