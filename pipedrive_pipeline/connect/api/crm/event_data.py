"""What an event says of a record: the object that the CRM API shows, and its former values."""

from __future__ import annotations

from typing import Any, Final

from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.connect.api.crm.objects import as_object, fields_of, resource_of
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.sync.events.queue import RecordChange

ERASED: Final = "erased"


def event_data(change: RecordChange) -> dict[str, Any]:
    """Returns the ``data`` of an event.

    ``record`` is the object as it was right after the change; of an erased one its id only.
    ``previous`` has the former value of each field that changed, without custom fields.
    """
    declared = mart(change.mart)
    if change.row is None:
        shown = ids.shown(resource_of(declared), change.row_id)
        return {"record": {"id": shown, "deletion_reason": ERASED}, "previous": {}}
    row, former = change.row, change.former_row
    previous = {}
    if former is not None:
        values = ((each.name, each.read(former), each.read(row)) for each in fields_of(declared))
        previous = {name: before for name, before, after in values if before != after}
    return {"record": as_object(declared, row, change.custom_fields), "previous": previous}
