"""`refresh`: the one thing of this room that may be asked for from anywhere, by name.

Belongs here: the question, and who opens a tenant for whoever has nothing but settings. Does not
belong here: the work (`refreshing.py`), the rules that a tenant is opened under (`sync/`). Light:
no dlt, no Arrow, so that a command line may import it.

A tenant is opened by a room above this one: lock, credential, allowance. This room must not import
it, so it is handed down: the package's own `__init__`, above all rooms, gives it at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pipedrive_pipeline.tenants import Tenant


@dataclass(frozen=True)
class Refreshed:
    """What became of the ids that were asked for; ``absent`` ones are not marked by it."""

    created: int
    updated: int
    unchanged: int  # equal to the stored version
    restored: int  # marks of deletion taken back
    absent: tuple[str, ...]  # the source gives no such record now


class Refreshes(Protocol):
    """One tenant's way from ids to raw."""

    def refresh(self, entity: str, ids: Sequence[str]) -> Refreshed:
        """Reads these records again and merges them into raw."""
        ...


Opener = Callable[[Tenant, str | None], AbstractContextManager[Refreshes]]
"""Opens a tenant for one refresh, under its rules; None is the default system."""

_given: list[Opener] = []


def open_with(opener: Opener) -> None:
    """From now on tenants are opened with this. The package's `__init__` says it once."""
    _given[:] = [opener]


def refresh(
    tenant: Tenant | str,
    entity: str,
    ids: Iterable[int | str],
    *,
    system: str | None = None,
) -> Refreshed:
    """Given records as they are now, merged into raw: never an older version over a newer one.

    Settings come from the environment. It is one short run of the tenant: under its lock, with its
    own credential, within its share of the day's budget, every call booked. The next build of the
    marts takes the rows in. No cursor moves and nothing is marked as deleted: what the source no
    longer gives is told, and judged by the next sweep.

    Args:
        tenant: whose records.
        entity: their kind: ``persons``.
        ids: their keys; 100 are one call. None at all is no call.
        system: the connector's key; the default system if left out.

    Raises:
        Busy: another run of this tenant is alive; ask again when it has ended.
        UnknownTenant, BadInput: a wrong word; nothing was begun.
        NotConnected, ReauthNeeded, ScopeMissing: a person must act.
        BudgetSpent: the tenant's share of the day is spent; ``resets_at`` says when it returns.
        SourceUnavailable, DatabaseUnavailable: a rerun may help.
    """
    keys = list(dict.fromkeys(str(one) for one in ids))
    known = tenant if isinstance(tenant, Tenant) else Tenant(tenant)
    with _given[0](known, system) as opened:
        return opened.refresh(entity, keys)
