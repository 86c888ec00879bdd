"""Rate limits of callers, counted in Postgres so that they hold across processes.

`COUNT_REQUEST` is a part of the statement that looks the caller up, so that counting costs no
statement of its own (`callers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg

from pipedrive_pipeline.connect.errors import TooManyRequests
from pipedrive_pipeline.tenants import Tenant

REQUESTS_A_MINUTE = 600  # of one key and tenant: a page that polls ten times a second
CRM_REQUESTS_IN_TEN_MINUTES = 1_000  # of one key and tenant to `/api/crm`, counted by themselves
LENDINGS_A_MINUTE = 120  # of one key: 64 workers that start at once, and again

# Needs a CTE `caller` with `caller_id` and at most one row, and the parameters tenant, address and
# those of a `CountingWindow`.
COUNT_REQUEST: Final = """
request_window as (
    insert into integration.request_windows as stored (
        tenant_id, caller, began_at, requests, addresses
    )
    select
        %(tenant)s,
        caller.caller_id || %(counted_as)s,
        now(),
        1,
        array[%(address)s::text]
    from caller
    on conflict (tenant_id, caller) do update
    set began_at = case
            when stored.began_at > now() - make_interval(secs => %(window_seconds)s)
                then stored.began_at
            else now()
        end,
        requests = case
            when stored.began_at > now() - make_interval(secs => %(window_seconds)s)
                then stored.requests + 1
            else 1
        end,
        addresses = case
            when %(address)s::text = any(stored.addresses) then stored.addresses
            else (%(address)s::text || stored.addresses)[1:8]
        end
    returning
        stored.requests,
        %(window_seconds)s - extract(epoch from now() - stored.began_at)::float
            as resets_in_seconds
)
"""


@dataclass(frozen=True)
class CountingWindow:
    """A time in which requests are counted; those of another name are counted by themselves."""

    seconds: int
    name: str = ""

    @property
    def values(self) -> dict[str, object]:
        """The parameters of `COUNT_REQUEST`."""
        counted_as = f" {self.name}" if self.name else ""
        return {"window_seconds": self.seconds, "counted_as": counted_as}


MINUTE: Final = CountingWindow(60)
LENDING: Final = CountingWindow(60, "credential")
CRM: Final = CountingWindow(600, "crm")


@dataclass(frozen=True)
class Quota:
    """The rest of a caller's window, for the headers of the answer."""

    limit: int
    remaining: int
    resets_in_seconds: float

    @classmethod
    def after(cls, requests: int, resets_in_seconds: float, *, limit: int) -> Quota:
        """The quota after as many requests in the current window.

        Raises:
            TooManyRequests: they are more than the limit.
        """
        wait_seconds = max(0.0, resets_in_seconds)
        if requests > limit:
            raise TooManyRequests(wait_seconds)
        return cls(limit, limit - requests, wait_seconds)


def count_lending(connection: psycopg.Connection, tenant: Tenant, caller_id: str) -> Quota:
    """Counts one lent credential of a caller, besides its requests.

    Args:
        connection: as the app.
        tenant: whose credential.
        caller_id: of the key.

    Raises:
        TooManyRequests: the caller has borrowed too often in this minute.
    """
    values = {"tenant": tenant.slug, "address": None, "caller": caller_id, **LENDING.values}
    row = connection.execute(_COUNT_LENDING.encode(), values).fetchone()
    assert row is not None  # noqa: S101 - `returning` of an insert
    return Quota.after(*row, limit=LENDINGS_A_MINUTE)


_COUNT_LENDING = f"""
with caller as (
    select %(caller)s::text as caller_id
),
{COUNT_REQUEST}
select
    request_window.requests,
    request_window.resets_in_seconds
from request_window
"""
