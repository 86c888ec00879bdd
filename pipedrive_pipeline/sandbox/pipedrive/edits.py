"""Messages of ``POST /_sandbox/edit``; each applies itself to a sandbox."""

from __future__ import annotations

from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.pipedrive.running import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import convert_deal, convert_lead
from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES

Record = dict[str, Any]
RecordId = int | str  # leads and their labels have texts


class _Edit(msgspec.Struct, tag_field="action", forbid_unknown_fields=True):
    entity: str

    def __post_init__(self) -> None:
        if self.entity not in ENTITIES:
            raise ValueError(f"unknown entity; known: {', '.join(ENTITIES)}")


def _book(sandbox: Sandbox, entity: str) -> FieldBook:
    """The fields of a kind.

    Raises:
        LookupError: records of the kind have none.
    """
    if entity not in sandbox.account.fields:
        raise LookupError(f"{entity} have no fields")
    return sandbox.account.fields[entity]


class Create(_Edit, tag="create"):
    """Add a record, which lists may show only later."""

    values: Record
    visible_after_seconds: float = 0

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the record."""
        return sandbox.account.create(
            self.entity, visible_after_seconds=self.visible_after_seconds, **self.values
        )


class Edit(_Edit, tag="edit"):
    """Change records, all in one second."""

    ids: list[RecordId]
    values: Record

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the edit time."""
        return sandbox.account.edit_many(self.entity, self.ids, **self.values)


class Plant(_Edit, tag="plant"):
    """Show any values in records, or omit keys, unchecked and without a new edit time."""

    ids: list[RecordId]
    values: Record = {}
    without: list[str] = []

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the records."""
        return [
            sandbox.account.plant(self.entity, row_id, without=self.without, **self.values)
            for row_id in self.ids
        ]


class Delete(_Edit, tag="delete"):
    """Mark records deleted."""

    ids: list[RecordId]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        for row_id in self.ids:
            sandbox.account.delete(self.entity, row_id)


class Restore(_Edit, tag="restore"):
    """Bring records back."""

    ids: list[RecordId]
    is_touched: bool = True

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        for row_id in self.ids:
            sandbox.account.restore(self.entity, row_id, is_touched=self.is_touched)


class Merge(_Edit, tag="merge"):
    """Merge one record into another."""

    id: RecordId
    into: RecordId
    touches_children: bool = False

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the survivor."""
        return sandbox.account.merge(
            self.entity, self.id, self.into, touches_children=self.touches_children
        )


class Convert(_Edit, tag="convert"):
    """Make a deal of a lead, or a lead of a deal; the source is deleted."""

    id: RecordId
    stage_id: int | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the new record."""
        if self.entity == "deals":
            return convert_deal(sandbox.account, self.id)
        if self.entity == "leads":
            return convert_lead(sandbox.account, self.id, stage_id=self.stage_id)
        raise ValueError("only deals and leads can be converted")


class Delay(_Edit, tag="delay"):
    """Hide a record from lists for some time."""

    id: RecordId
    seconds: float

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.account.delay(self.entity, self.id, self.seconds)


class AddField(_Edit, tag="add_field"):
    """Add a custom field of any type, known or not."""

    name: str
    type: str
    labels: list[str] | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field."""
        return _book(sandbox, self.entity).add(self.name, self.type, self.labels)


class ChangeField(_Edit, tag="change_field"):
    """Rename a field, or change its type, which the API does not allow."""

    code: str
    name: str | None = None
    type: str | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field."""
        changes = {"name": self.name, "type": self.type}
        named = {key: value for key, value in changes.items() if value is not None}
        return _book(sandbox, self.entity).change(self.code, **named)


class DropField(_Edit, tag="drop_field"):
    """Delete a custom field."""

    code: str

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field as it was."""
        return _book(sandbox, self.entity).drop(self.code)


class AddOptions(_Edit, tag="add_options"):
    """Append options to an enum or a set."""

    code: str
    labels: list[str]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field."""
        return _book(sandbox, self.entity).add_options(self.code, self.labels)


class RenameOptions(_Edit, tag="rename_options"):
    """Relabel options by id."""

    code: str
    labels: dict[int, str]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field."""
        return _book(sandbox, self.entity).rename_options(self.code, self.labels)


class DropOptions(_Edit, tag="drop_options"):
    """Delete options; records keep their ids."""

    code: str
    ids: list[int]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the field."""
        return _book(sandbox, self.entity).drop_options(self.code, self.ids)


EditCommand = (
    Create
    | Edit
    | Plant
    | Delete
    | Restore
    | Merge
    | Convert
    | Delay
    | AddField
    | ChangeField
    | DropField
    | AddOptions
    | RenameOptions
    | DropOptions
)
