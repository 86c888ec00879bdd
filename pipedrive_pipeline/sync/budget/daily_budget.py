"""The day's request budget: what a company has left, and what one run may spend of it.

Belongs here: a company's standing, one run's allowance (asked before every call), a tenant's pause.
Does not belong here: writing what was spent (`records.py`), what a read will cost (`pricing.py`),
the seconds-long burst window (`connectors/pacing.py`).

The source's own figure is the truth where it tells one; between two of its words, and where it is
silent, `integration.api_usage` is counted. Time is passed in: a day is a day of the budget.
Rests on https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (read 2026-09).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from psycopg.rows import class_row

from pipedrive_pipeline.connectors.base import ApiCall, EntitySpec
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

DEFAULT_DAILY_TOKENS = 30_000  # a company's on the smallest plan with one seat
DEFAULT_SHARE = 0.5  # of what is left: others of the company work through the API too

Now = Callable[[], datetime]


class AllowanceSpent(BudgetSpent):
    """What this run may spend of the day is used up; the call was not made."""

    def __init__(self, tenant: str, system: str, resets_at: datetime, left: int) -> None:
        self.left = left
        super().__init__(
            tenant,
            system,
            resets_at,
            f"{tenant}: paused before it would spend more than its share of today's {system} "
            f"request budget ({left:,} tokens are left to the company); it goes on at "
            f"{resets_at:%Y-%m-%d %H:%M} UTC from what is committed.",
        )


class StillPaused(BudgetSpent):
    """A former run paused this tenant, and the budget has not returned; nothing was asked."""

    def __init__(self, tenant: str, system: str, resets_at: datetime) -> None:
        super().__init__(
            tenant,
            system,
            resets_at,
            f"{tenant}: paused until {resets_at:%Y-%m-%d %H:%M} UTC, when the {system} request "
            "budget returns; no call was made.",
        )


@dataclass(frozen=True)
class BudgetStatus:
    """Where a company stands in its day, and what the tenant may use of it."""

    limit: int  # tokens a day
    left: int  # tokens, to all tenants of the company together
    share: float  # of what is left, for one run
    sharers: int  # tenants of the company, this one included
    resets_at: datetime
    configured: int | None = None  # a limit that a person set; the source's own still holds

    def told(self, left: int, limit: int | None) -> BudgetStatus:
        """The same standing in the figures that the source itself now tells."""
        if self.configured is None:
            return replace(self, left=left, limit=limit or self.limit)
        return replace(
            self, left=min(left, self.left), limit=min(self.configured, limit or self.limit)
        )

    def allowed(self, reserve: int = 0) -> int:
        """Tokens that one run may spend, if ``reserve`` tokens are to stay for others."""
        return max(0, min(int(self.share * self.left), self.left - reserve))


def standing(warehouse: Warehouse, tenant: Tenant, system: str, now: datetime) -> BudgetStatus:
    """What is left of the day to the company that the tenant is connected to."""
    asked = {"tenant": tenant.slug, "system": system, "today": now.date()}
    with warehouse.transaction() as connection:
        row = connection.cursor(row_factory=class_row(_Row)).execute(_STANDING, asked).fetchone()
    assert row is not None  # noqa: S101 - its first table is one row of values
    limit = min(filter(None, (row.configured, _told_limit(row, now))), default=DEFAULT_DAILY_TOKENS)
    return BudgetStatus(
        limit=limit,
        left=max(0, _left(row, limit, now)),
        share=DEFAULT_SHARE if row.share is None else row.share,
        sharers=max(1, row.sharers),
        resets_at=row.resets_at if row.resets_at and row.resets_at > now else midnight(now),
        configured=row.configured,
    )


def _told_limit(row: _Row, now: datetime) -> int | None:
    """The limit that the source named; of a day that is over, no less than the smallest plan's.

    A lower one would forbid even the call whose answer corrects it, every day.
    """
    if row.told_limit is None or row.resets_at is None or now < row.resets_at:
        return row.told_limit
    return max(row.told_limit, DEFAULT_DAILY_TOKENS)


def _left(row: _Row, limit: int, now: datetime) -> int:
    if row.told_left is None or row.resets_at is None:
        return limit - row.used_today
    if now >= row.resets_at:  # told of a day that is over
        return limit - min(row.used_today, row.used_since_told)
    left = row.told_left - row.used_since_told
    # A limit below the source's own counts our calls only; others are not in our books.
    return left if row.configured is None else min(left, limit - row.used_today)


def paused_until(
    warehouse: Warehouse, tenant: Tenant, system: str, now: datetime
) -> datetime | None:
    """When the tenant's paused read may go on; None where nothing holds it back."""
    with warehouse.transaction(tenant=tenant) as connection:
        row = connection.execute(_PAUSED, [now, tenant.slug, system]).fetchone()
    return row[0] if row else None


def require_not_paused(warehouse: Warehouse, tenant: Tenant, system: str, now: datetime) -> None:
    """Nothing, if the tenant may ask its source.

    Raises:
        StillPaused: not before the budget returns.
    """
    until = paused_until(warehouse, tenant, system, now)
    if until:
        raise StillPaused(tenant.slug, system, until)


def midnight(now: datetime) -> datetime:
    """The next beginning of a day in UTC."""
    return datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), UTC) + timedelta(1)


class Allowance:
    """What one run may still spend; it says no before a call, not after.

    Asked by the reading thread and tightened by the loading one.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        tenant: Tenant,
        system: str,
        now: Now,
        *,
        reserve_per_tenant: int = 0,
    ) -> None:
        self._warehouse, self._tenant, self._system, self._now = warehouse, tenant, system, now
        self._reserve_per_tenant = reserve_per_tenant
        self._lock = threading.Lock()
        self._asked = self._answered = self._cap = 0  # tokens
        self._is_told = False
        self.standing: BudgetStatus
        self._begin_day()

    def before_call(self, _kind: str, tokens: int) -> None:
        """Returns if a call of this price may be made, and counts it, also where it fails.

        Raises:
            AllowanceSpent: it would be too much; ``resets_at`` says when the budget returns.
        """
        with self._lock:
            if self._now() >= self.standing.resets_at:
                self._begin_day()
            if self._asked + tokens > self._cap:
                left = max(0, self.standing.left - self._asked)
                resets_at = self.standing.resets_at
                raise AllowanceSpent(self._tenant.slug, self._system, resets_at, left)
            self._asked += tokens

    def on_call(self, call: ApiCall) -> None:
        """Takes in what an answer tells of the day: others of the company spend too."""
        with self._lock:
            self._answered += call.tokens
            if call.daily_left is None:
                return
            left_at_start = self._answered + call.daily_left
            if not self._is_told:  # the first word replaces what the books made of the day
                self._is_told = True
                self.standing = self.standing.told(left_at_start, call.daily_limit)
                self._cap = self._allowed()
            self._cap = min(self._cap, left_at_start)

    def refresh(self) -> None:
        """Takes in what other runs of the company have booked; call it after booking one's own."""
        now = standing(self._warehouse, self._tenant, self._system, self._now())
        with self._lock:
            self._cap = min(self._cap, self._answered + now.left)

    def _begin_day(self) -> None:
        self.standing = standing(self._warehouse, self._tenant, self._system, self._now())
        self._asked = self._answered = 0
        self._is_told = False
        self._cap = self._allowed()

    def _allowed(self) -> int:
        return self.standing.allowed(self._reserve_per_tenant * self.standing.sharers)


def cost_of_increment(entities: Iterable[EntitySpec]) -> int:
    """Tokens of a sync in which nothing changed: one page of everything."""
    return sum(entity.tokens_per_page for entity in entities)


@dataclass(frozen=True)
class _Row:
    share: float | None
    configured: int | None
    told_limit: int | None
    told_left: int | None
    resets_at: datetime | None
    used_today: int
    used_since_told: int
    sharers: int


_STANDING = """
select
    sync_settings.budget_share::float8 as share,
    sync_settings.daily_token_budget as configured,
    told.daily_limit as told_limit,
    told.daily_left as told_left,
    told.resets_at as resets_at,
    used.today as used_today,
    used.since_told as used_since_told,
    sharers.count as sharers
from (values (%(tenant)s, %(system)s)) as asked (tenant_id, system)
left join integration.connections as connections
    on connections.tenant_id = asked.tenant_id and connections.system = asked.system
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = asked.tenant_id and sync_settings.system = asked.system
left join lateral (
    select
        budget_statements.daily_limit,
        budget_statements.daily_left,
        (budget_statements.told_at at time zone 'UTC')::date as told_on,
        budget_statements.tokens_booked,
        budget_statements.resets_at
    from integration.budget_statements as budget_statements
    where budget_statements.system = asked.system
        and budget_statements.company_id = connections.company_id
    order by budget_statements.told_at desc, budget_statements.daily_left
    limit 1
) as told on true
left join lateral (
    select
        coalesce(
            sum(api_usage.tokens) filter (where api_usage.used_on >= %(today)s), 0
        )::bigint as today,
        greatest(
            coalesce(
                sum(api_usage.tokens) filter (where api_usage.used_on >= told.told_on), 0
            ) - coalesce(told.tokens_booked, 0),
            0
        )::bigint as since_told
    from integration.api_usage as api_usage
    where api_usage.system = asked.system
        and api_usage.company_id = coalesce(connections.company_id, '')
        and (api_usage.company_id <> '' or api_usage.tenant_id = asked.tenant_id)
        and api_usage.used_on >= least(%(today)s, told.told_on)
) as used on true
left join lateral (
    select count(*) as count
    from integration.connections as others
    where others.system = asked.system
        and others.company_id = connections.company_id
        and others.state = 'connected'
) as sharers on true
"""

# Whoever connects again may be another company, whose day is its own.
_PAUSED = """
select max(sync_logs.resume_at)
from (values (%s::timestamptz, %s, %s)) as asked (now, tenant_id, system)
inner join integration.sync_logs as sync_logs
    on sync_logs.tenant_id = asked.tenant_id
    and sync_logs.system = asked.system
    and sync_logs.status = 'paused'
    and sync_logs.resume_at > asked.now
inner join integration.connections as connections
    on connections.tenant_id = asked.tenant_id
    and connections.system = asked.system
    and (connections.connected_at is null or connections.connected_at <= sync_logs.started_at)
having max(sync_logs.resume_at) is not null
"""
