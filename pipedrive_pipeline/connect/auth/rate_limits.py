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
LENDINGS_A_MINUTE = 120  # of one key: 64 workers that start at once, and again

# Needs a CTE `caller` with `caller_id` and at most one row, and the parameters tenant and address.
COUNT_REQUEST: Final = """
request_window as (
    insert into integration.request_windows as stored (
        tenant_id, caller, began_at, requests, addresses
    )
    select %(tenant)s, caller.caller_id, now(), 1, array[%(address)s::text]
    from caller
    on conflict (tenant_id, caller) do update
    set began_at = case
            when stored.began_at > now() - interval '1 minute' then stored.began_at
            else now()
        end,
        requests = case
            when stored.began_at > now() - interval '1 minute' then stored.requests + 1
            else 1
        end,
        addresses = case
            when %(address)s::text = any(stored.addresses) then stored.addresses
            else (%(address)s::text || stored.addresses)[1:8]
        end
    returning
        stored.requests,
        extract(epoch from stored.began_at + interval '1 minute' - now())::float
            as resets_in_seconds
)
"""


@dataclass(frozen=True)
class Quota:
    """The rest of a caller's minute, for the headers of the answer."""

    limit: int
    remaining: int
    resets_in_seconds: float

    @classmethod
    def after(cls, requests: int, resets_in_seconds: float, *, limit: int) -> Quota:
        """The quota after as many requests in the current minute.

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
    values = {"tenant": tenant.slug, "address": None, "caller": f"{caller_id} credential"}
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
