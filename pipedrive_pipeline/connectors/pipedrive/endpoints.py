"""Where and how each kind of record is listed: the numbers and names of Pipedrive's addresses.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pipedrive_pipeline.connectors.contract import ChangedSince, Cost, Entity

PAGE_LIMIT = 500  # records, Pipedrive's maximum; a call costs the same for 1 and for 500
UNPAGED_RECORDS = 10_000  # in a list that is not paged; nobody has as many
IDS_LIMIT = 100  # ids in one `ids=`, Pipedrive's maximum
V2_LIST_TOKENS, V1_LIST_TOKENS, ME_TOKENS = 10, 20, 2
GET_TOKENS, V1_GET_TOKENS = 1, 2  # one record of v2, of v1
# Stamps have whole seconds and rows can become visible late; reading five minutes twice costs
# at most one page more.
OVERLAP = timedelta(minutes=5)
BY_UPDATE_TIME = ChangedSince("update_time", OVERLAP)
V2_LIST = Cost(V2_LIST_TOKENS, PAGE_LIMIT)

Paging = Literal["cursor", "offset", "whole"]


@dataclass(frozen=True)
class RecordList:
    """One list of records of an entity."""

    path: str
    tokens: int  # of a page
    params: tuple[tuple[str, str], ...] = ()  # that go with every call
    part: str | None = None  # its name among the entity's lists; the first has none
    has_since: bool = True  # takes ``updated_since``; without it, only reads of everything walk it
    has_until: bool = True  # takes ``updated_until``


@dataclass(frozen=True)
class Endpoint:
    """Where an entity is listed, and how.

    A record is on one of the lists at a time. Of children, the path has a place for the parent's
    id, or the parents' ids are the parameter ``parents``.
    """

    spec: Entity
    lists: tuple[RecordList, ...]
    paging: Paging
    takes_ids: bool = False  # whether `ids=` picks single records
    get_tokens: int | None = None  # of one record by its id; None: there is no such call
    parents: str | None = None  # parameter of a list of children
    event: str | None = None  # the record's name in events of webhooks; None: there are none

    @property
    def path(self) -> str:
        """Where single records are read."""
        return self.lists[0].path

    def list_of(self, part: str | None) -> RecordList:
        """The list of this name; the first one for a name that is not known."""
        return next((each for each in self.lists if each.part == part), self.lists[0])


def endpoint(
    spec: Entity,
    path: str,
    paging: Paging,
    *,
    params: tuple[tuple[str, str], ...] = (),
    takes_ids: bool = False,
    get_tokens: int | None = None,
    has_until: bool = True,
    parents: str | None = None,
    event: str | None = None,
) -> Endpoint:
    """The endpoint of an entity that has one list, at the price in its declaration."""
    only = RecordList(path, spec.cost.tokens_per_page, params, has_until=has_until)
    return Endpoint(spec, (only,), paging, takes_ids, get_tokens, parents, event)
