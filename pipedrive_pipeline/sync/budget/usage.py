"""Writes a run's calls to `integration.api_usage`, `budget_statements` and the run's own row.

Calls are booked to the company that was connected when the run began to call it. The tenant may be
moved to another company meanwhile: what the former one has left says nothing of the new one.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

from pipedrive_pipeline.connectors.contract import ApiCall
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import Now, midnight
from pipedrive_pipeline.warehouse.database import Warehouse


class UsageRecorder:
    """Counts one run's calls by kind; `write` adds them to the usage of the company and the run."""

    def __init__(self, warehouse: Warehouse, scope: Scope, now: Now) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._now = now
        self.company_id = ""  # whose tokens are spent; empty where it is not known
        self.run_id: UUID | None = None  # whose calls these are; None outside of a run
        self._told: ApiCall | None = None  # the newest that carries the tokens left today
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self.api_calls = self.tokens_spent = 0  # of the whole run

    def on_call(self, call: ApiCall) -> None:
        """Counts one call; runs in the reading thread."""
        with self._lock:
            self._calls[call.kind] += 1
            self._tokens[call.kind] += call.tokens
            self.api_calls += 1
            self.tokens_spent += call.tokens
            if call.daily_left is not None:
                self._told = call

    def write(self) -> None:
        """Adds the calls since the last write to `integration.api_usage` and the run's row.

        Both in one statement, so that a run which dies keeps what is booked.
        """
        with self._lock:
            calls, tokens = self._calls, self._tokens
            self._calls, self._tokens = Counter(), Counter()
            newest_call, self._told = self._told, None
        if not calls:
            return
        now = self._now()
        kinds = sorted(calls)
        usage = {
            "tenant": self._scope.tenant.slug,
            "system": self._scope.system,
            "company": self.company_id,
            "used_on": now.date(),
            "run": self.run_id,
            "run_calls": calls.total(),
            "run_tokens": tokens.total(),
            "kinds": kinds,
            "calls": [calls[kind] for kind in kinds],
            "tokens": [tokens[kind] for kind in kinds],
        }
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(_USAGE, usage)
            if newest_call:
                connection.execute(_TOLD, self._statement(newest_call, now))

    def note_spent(self, resets_at: datetime) -> None:
        """Saves for the whole company that no tokens are left, and when the source resets them.

        Nothing is saved if the tenant is connected to another company by now.
        """
        now = self._now()
        statement = self._statement(None, now) | {"left": 0, "resets_at": resets_at}
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(_TOLD, statement)

    def _statement(self, call: ApiCall | None, now: datetime) -> dict[str, Any]:
        return {
            "tenant": self._scope.tenant.slug,
            "system": self._scope.system,
            "company": self.company_id,
            "limit": call.daily_limit if call else None,
            "left": call.daily_left if call else None,
            "now": now,
            "today": now.date(),
            "resets_at": None,
            "midnight": midnight(now),
        }


_USAGE = """
with run as (
    update integration.runs
    set api_calls = runs.api_calls + %(run_calls)s,
        tokens_spent = runs.tokens_spent + %(run_tokens)s
    where runs.tenant_id = %(tenant)s and runs.id = %(run)s
)

insert into integration.api_usage as book
    (tenant_id, system, company_id, used_on, call_kind, calls, tokens)
select %(tenant)s, %(system)s, %(company)s,
    %(used_on)s, given.call_kind, given.calls, given.tokens
from unnest(%(kinds)s::text[], %(calls)s::bigint[], %(tokens)s::bigint[])
    as given (call_kind, calls, tokens)
order by given.call_kind
on conflict (tenant_id, system, company_id, used_on, call_kind) do update
set calls = book.calls + excluded.calls, tokens = book.tokens + excluded.tokens
"""

# A reset time that came with a refusal is valid until it has passed; otherwise the budget is reset
# at the next midnight.
_TOLD = """
insert into integration.budget_statements as told
    (tenant_id, system, company_id, daily_limit, daily_left, told_at, tokens_booked, resets_at)
select connections.tenant_id, connections.system, connections.company_id,
    coalesce(
        %(limit)s::bigint,
        (
            select former.daily_limit
            from integration.budget_statements as former
            where former.system = connections.system
                and former.company_id = connections.company_id
                and former.daily_limit is not null
            order by former.told_at desc
            limit 1
        )
    ),
    %(left)s, %(now)s,
    (
        select coalesce(sum(api_usage.tokens), 0)
        from integration.api_usage as api_usage
        where api_usage.system = connections.system
            and api_usage.company_id = connections.company_id
            and api_usage.used_on = %(today)s
    ),
    coalesce(%(resets_at)s::timestamptz, %(midnight)s)
from integration.connections as connections
where connections.tenant_id = %(tenant)s
    and connections.system = %(system)s
    and connections.company_id = %(company)s
on conflict (tenant_id, system) do update
set company_id = excluded.company_id,
    daily_limit = excluded.daily_limit,
    daily_left = excluded.daily_left,
    told_at = excluded.told_at,
    tokens_booked = excluded.tokens_booked,
    resets_at = case
        when %(resets_at)s::timestamptz is null
            and told.resets_at > excluded.told_at
            and told.company_id = excluded.company_id
            then told.resets_at
        else excluded.resets_at
    end
where told.told_at <= excluded.told_at
"""
