"""A record as v2 prints it for one account: feature keys, live custom fields, requested extras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.v1_rows import V1_ROWS

if TYPE_CHECKING:
    from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount

Record = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The keys that a request selects."""

    include_fields: tuple[str, ...] = ()
    custom_fields: tuple[str, ...] | None = None  # None: all
    has_option_labels: bool = False
    has_labels: bool = False


PLAIN = Shape()


class View:
    """Turns stored records of one kind into rows."""

    def __init__(self, kind: RecordKind, account: CrmAccount) -> None:
        self.kind, self._account = kind, account
        self._book = account.fields.get(kind.fields_of or "")
        has_features, shows_unset = account.has_features, account.shows_unset
        self._absent = (*kind.on_request, *kind.hidden, *(() if has_features else kind.featured))
        self._absent_if_null = (*kind.never_null, *(() if shows_unset else kind.nullable))

    def row(self, record: Record, shape: Shape = PLAIN) -> Record:
        """One row of an answer."""
        row = record.copy()
        if self._book is not None:
            row["custom_fields"] = self._custom(
                self._book, record["custom_fields"], shape.custom_fields
            )
            if self.kind.null_without_fields and not self._book.custom_codes:
                row["custom_fields"] = None
        if self.kind.lists_deleted and record["is_deleted"]:
            row["status"] = "deleted"
        for key in self._absent:
            row.pop(key, None)
        for key in self._absent_if_null:
            if row.get(key) is None:
                row.pop(key, None)
        if shape is not PLAIN:
            self._extend(row, record, shape)
        if "planted" in row:
            _disguise(row, *row.pop("planted"))
        return row

    @staticmethod
    def _custom(book: FieldBook, values: Record, codes: tuple[str, ...] | None) -> Record:
        live = book.live_values(values)
        if codes is None:
            return dict(live)
        return {code: live[code] for code in codes if code in live}

    def _extend(self, row: Record, record: Record, shape: Shape) -> None:
        for key in shape.include_fields:
            row[key] = self._extra(key, record)
        if shape.has_labels:
            row["labels"] = self._labelled("label_ids", row["label_ids"])
        if shape.has_option_labels and self._book is not None:
            for code, value in (row["custom_fields"] or {}).items():
                field = self._book.get(code)
                if value is not None and field is not None and field.options is not None:
                    row["custom_fields"][code] = self._labelled(code, value)

    def _labelled(self, code: str, value: int | Sequence[int]) -> Any:
        """Option ids with their labels; an id that no option explains has a null label."""
        field = self._book and self._book.get(code)
        labels = {option.id: option.label for option in (field and field.options) or ()}
        if isinstance(value, int):
            return {"id": value, "label": labels.get(value)}
        return [{"id": option_id, "label": labels.get(option_id)} for option_id in value]

    def _extra(self, key: str, record: Record) -> Any:
        """A counter or another key that comes only on request."""
        if key in record:
            return record[key]
        if (self.kind.name, key) in _COUNTED:
            entity, parent_key, test = _COUNTED[self.kind.name, key]
            records = self._account.records[entity]
            rows = map(records.get, records.children_of(parent_key, record["id"]))
            return sum(row is not None and not row["is_deleted"] and test(row) for row in rows)
        if key.endswith("_count"):
            return 0
        if key == "smart_bcc_email":
            return f"acme-sandbox+{record['id']}@pipedrivemail.example"
        return "no_consent" if key == "marketing_status" else None


class V1View(View):
    """Turns stored records of a kind that only v1 serves into rows."""

    def row(self, record: Record, shape: Shape = PLAIN) -> Record:
        """One row of an answer."""
        del shape
        row = V1_ROWS[self.kind.name](self._account, record)
        if "planted" in record:
            shown, missing = record["planted"]
            row.update(shown | (shown.get("custom_fields") or {}))
            for key in ("custom_fields", *missing):
                row.pop(key, None)
        return row


_DEALS_OF = ("deals", "org_id")
# Counters that are counted: the kind and key of what belongs to a record, and which of them count.
# The others are 0.
_COUNTED: dict[tuple[str, str], tuple[str, str, Callable[[Record], bool]]] = {
    ("organizations", "people_count"): ("persons", "org_id", lambda _: True),
    ("organizations", "open_deals_count"): (*_DEALS_OF, lambda row: row["status"] == "open"),
    ("organizations", "won_deals_count"): (*_DEALS_OF, lambda row: row["status"] == "won"),
    ("organizations", "lost_deals_count"): (*_DEALS_OF, lambda row: row["status"] == "lost"),
    ("organizations", "closed_deals_count"): (*_DEALS_OF, lambda row: row["status"] != "open"),
    ("deals", "participants_count"): ("deal_participants", "deal_id", lambda _: True),
    ("deals", "products_count"): ("deal_products", "deal_id", lambda _: True),
    ("deals", "activities_count"): ("activities", "deal_id", lambda _: True),
    ("deals", "done_activities_count"): ("activities", "deal_id", lambda row: bool(row["done"])),
    ("deals", "undone_activities_count"): ("activities", "deal_id", lambda row: not row["done"]),
}


def views(account: CrmAccount) -> dict[str, View]:
    """A view of each kind."""
    return {
        name: V1View(kind, account) if name in V1_ROWS else View(kind, account)
        for name, kind in ENTITIES.items()
    }


def _disguise(row: Record, shown: Record, missing: Iterable[str]) -> None:
    """Overwrite a row with planted values; see ``Account.plant``."""
    custom = row.get("custom_fields", {})
    row.update(shown)
    if shown.get("custom_fields") is not None:
        row["custom_fields"] = custom | shown["custom_fields"]
    for key in missing:
        row.pop(key, None)
