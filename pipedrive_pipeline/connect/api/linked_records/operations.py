"""The operations of the integration routes, as data: the records that each may hold, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.connectors.writing import Operation, Verb
from pipedrive_pipeline.marts.declared import Mart, mart
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY, By, is_usable


@dataclass(frozen=True)
class RecordPart:
    """One record of a request: its name in the body, and the mart whose record it is."""

    name: str
    mart_name: str
    invites: bool = False  # people take part in it, whom a system may invite

    @property
    def mart(self) -> Mart:
        """The declaration of its mart."""
        return mart(self.mart_name)


CUSTOMER: Final = RecordPart("customer", "customers")
CONTACT: Final = RecordPart("contact", "contacts")
LEAD: Final = RecordPart("lead", "leads")
APPOINTMENT: Final = RecordPart("appointment", "activities", invites=True)


@dataclass(frozen=True)
class SyncOperation:
    """What one route writes.

    Attributes:
        main: the record that it is about; the answer's status is this one's.
        parts: the records that a request may hold, in the order of writing: a later one is linked
            to those before it.
    """

    main: RecordPart
    parts: tuple[RecordPart, ...]


OPERATIONS: Final[Mapping[str, SyncOperation]] = MappingProxyType(
    {
        "sync_customer": SyncOperation(CUSTOMER, (CUSTOMER, CONTACT)),
        "sync_lead": SyncOperation(LEAD, (CUSTOMER, CONTACT, LEAD)),
        "sync_appointment": SyncOperation(APPOINTMENT, (CUSTOMER, CONTACT, APPOINTMENT)),
    }
)


def links_between(part: RecordPart, earlier: RecordPart) -> Iterator[str]:
    """Yields the links of a part's mart to the mart of a part that is written before it."""
    yield from (link.name for link in part.mart.links if link.mart == earlier.mart_name)


def verbs_of(system: System, part: RecordPart) -> list[Verb]:
    """What the system can do to a part's records, of `create` and `update`."""
    every: tuple[Verb, ...] = ("create", "update")
    return [verb for verb in every if Operation(part.mart_name, verb) in system.writes]


def sends_invitations(system: System) -> bool:
    """True if the system invites those who take part in an appointment, when it is asked to."""
    made = system.writes.get(Operation(APPOINTMENT.mart_name, "create"))
    return made is not None and made.invites_by is not None


def matches_of(part: RecordPart) -> list[By]:
    """The keys by which a part's records are found, besides their ids."""
    return [by for by in get_args(By) if by == EXTERNAL_KEY or is_usable(part.mart_name, by)]
