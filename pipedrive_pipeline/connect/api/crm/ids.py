"""Ids of the CRM API: `deal_<uuid hex>`, made from our id of the row, or `<system>:<remote id>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.marts.declared import ApiResource

ID_MAX_CHARACTERS: Final = 320
_HEX: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RowId:
    """Our id of a row."""

    id: UUID


@dataclass(frozen=True)
class RemoteId:
    """The id that a system gave its record."""

    system: str
    remote_id: str


def shown(resource: ApiResource, row_id: UUID) -> str:
    """Returns the id of a row as the API shows it."""
    return f"{resource.id_prefix}_{row_id.hex}"


def shown_remote(system: str, remote_id: str) -> str:
    """Returns the id of a record of a system, for one that has no row of ours."""
    return f"{system}:{remote_id}"


def parsed(text: str, resource: ApiResource) -> RowId | RemoteId:
    """Returns what an id of this resource refers to.

    Raises:
        NotFound: it is no id of this resource, so no record has it.
    """
    start, _, digits = text.partition("_")
    if start == resource.id_prefix and _HEX.fullmatch(digits):
        return RowId(UUID(digits))
    system, _, remote_id = text.partition(":")
    is_usable = remote_id and remote_id.isprintable() and len(text) <= ID_MAX_CHARACTERS
    if is_usable and system in system_keys():
        return RemoteId(system, remote_id)
    raise NotFound(f"Nothing of {resource.path} has this id; {_forms(resource, system_keys())}.")


def _forms(resource: ApiResource, keys: Sequence[str]) -> str:
    remote = f" or {keys[0]}:123" if keys else ""
    return f"an id looks like {resource.id_prefix}_0123…{remote}"
