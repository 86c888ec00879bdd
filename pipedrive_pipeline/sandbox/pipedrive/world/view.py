"""A record as v2 prints it for one account: feature keys, live custom fields, requested extras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import RecordKind

Record = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The keys that a request selects."""

    include_fields: tuple[str, ...] = ()
    custom_fields: tuple[str, ...] | None = None  # None: all
    has_option_labels: bool = False
    has_labels: bool = False


PLAIN = Shape()
ONLY_ON_REQUEST = ("marketing_status",)  # may be stored, and is shown if ``include_fields`` asks


class View:
    """Turns stored records of one entity into rows."""

    def __init__(
        self,
        entity: RecordKind,
        book: FieldBook,
        people: Callable[[int], int],
        *,
        has_features: bool,
        shows_unset: bool,
    ) -> None:
        self._book = book
        self._people = people  # how many persons an organization has
        self._absent = (*ONLY_ON_REQUEST, *(() if has_features else entity.featured))
        self._absent_if_null = (*entity.never_null, *(() if shows_unset else entity.nullable))

    def row(self, record: Record, shape: Shape = PLAIN) -> Record:
        """One row of an answer."""
        row = record.copy()
        row["custom_fields"] = self._custom(record["custom_fields"], shape.custom_fields)
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

    def _custom(self, values: Record, codes: tuple[str, ...] | None) -> Record:
        live = self._book.live_values(values)
        if codes is None:
            return dict(live)
        return {code: live[code] for code in codes if code in live}

    def _extend(self, row: Record, record: Record, shape: Shape) -> None:
        for key in shape.include_fields:
            row[key] = self._people(row["id"]) if key == "people_count" else _extra(key, record)
        if shape.has_labels:
            row["labels"] = self._labelled("label_ids", row["label_ids"])
        if shape.has_option_labels:
            for code, value in row["custom_fields"].items():
                field = self._book.get(code)
                if value is not None and field is not None and field.options is not None:
                    row["custom_fields"][code] = self._labelled(code, value)

    def _labelled(self, code: str, value: int | Sequence[int]) -> Any:
        """Option ids with their labels; an id that no option explains has a null label."""
        field = self._book.get(code)
        labels = {option.id: option.label for option in (field and field.options) or ()}
        if isinstance(value, int):
            return {"id": value, "label": labels.get(value)}
        return [{"id": option_id, "label": labels.get(option_id)} for option_id in value]


def _disguise(row: Record, shown: Record, missing: Iterable[str]) -> None:
    """Overwrite a row with planted values; see ``Account.plant``."""
    custom = row["custom_fields"] | shown.get("custom_fields", {})
    row.update(shown | {"custom_fields": custom})
    for key in missing:
        row.pop(key, None)


def _extra(key: str, record: Record) -> Any:
    """A counter or stamp that comes only on request; the sandbox has no deals and activities."""
    if key.endswith("_count"):
        return 0
    if key == "smart_bcc_email":
        return f"acme-sandbox+{record['id']}@pipedrivemail.example"
    if key == "marketing_status":
        return record.get(key, "no_consent")
    return None
