"""The daily token budget: the tokens a company has left, and how many of them one run may spend.

The source's own figure wins where a response carries one. Otherwise the calls booked in
`integration.api_usage` are added up. Time is passed in; a day is a day of the budget.
Source: https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (read 2026-09).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from psycopg.rows import class_row

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ApiCall, Entity
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

UNLIMITED_TOKENS = 10**12  # of a system that declares no budget
KEPT_FOR_SYNCS = 0.25  # of a day's limit: single records are read again only while more is left
DEFAULT_SHARE = 0.5  # of what is left: others of the company work through the API too

Now = Callable[[], datetime]


class AllowanceSpent(BudgetSpent):
    """This run has used its share of the day's tokens; the call was not made."""

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
    """An earlier run paused this tenant and the budget has not been reset; no call was made."""

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
    """A company's remaining tokens of the day, and the share that the tenant may use."""

    limit: int  # tokens a day
    left: int  # tokens, to all tenants of the company together
    share: float  # of what is left, for one run
    sharers: int  # tenants of the company, this one included
    resets_at: datetime
    configured: int | None = None  # a limit that a person set; the source's own still holds
    company_id: str = ""  # empty where it is not known

    def told(self, left: int, limit: int | None) -> BudgetStatus:
        """Returns a copy with the figures that the source has just reported."""
        if self.configured is None:
            return replace(self, left=left, limit=limit or self.limit)
        return replace(
            self, left=min(left, self.left), limit=min(self.configured, limit or self.limit)
        )

    def allowed(self, reserve: int = 0) -> int:
        """Returns the tokens that one run may spend if ``reserve`` tokens stay for other runs."""
        return max(0, min(int(self.share * self.left), self.left - reserve))


def smallest_budget(system: str) -> int:
    """Returns a day's tokens on the system's smallest plan."""
    budget = registry.system(system).budget
    return budget.daily_tokens if budget else UNLIMITED_TOKENS


def standing(warehouse: Warehouse, scope: Scope, now: datetime) -> BudgetStatus:
    """Returns the budget status of the company that the tenant is connected to."""
    values = {"tenant": scope.tenant.slug, "system": scope.system, "today": now.date()}
    with warehouse.transaction() as connection:
        row = (
            connection.cursor(row_factory=class_row(_BudgetRow))
            .execute(_STANDING, values)
            .fetchone()
        )
    assert row is not None  # noqa: S101 - its first table is one row of values
    smallest = smallest_budget(scope.system)
    limit = min(filter(None, (row.configured, _told_limit(row, smallest, now))), default=smallest)
    return BudgetStatus(
        limit=limit,
        left=max(0, _left(row, limit, now)),
        share=DEFAULT_SHARE if row.share is None else row.share,
        sharers=max(1, row.sharers),
        resets_at=row.resets_at if row.resets_at and row.resets_at > now else midnight(now),
        configured=row.configured,
        company_id=row.company_id,
    )


def _told_limit(row: _BudgetRow, smallest: int, now: datetime) -> int | None:
    """Returns the limit that the source reported, or None.

    A limit reported on an earlier day is raised to at least the smallest plan's limit: a lower one
    would forbid even the call whose response corrects it, every day.
    """
    if row.told_limit is None or row.resets_at is None or now < row.resets_at:
        return row.told_limit
    return max(row.told_limit, smallest)


def _left(row: _BudgetRow, limit: int, now: datetime) -> int:
    if row.told_left is None or row.resets_at is None:
        return limit - row.used_today
    if now >= row.resets_at:  # the figure is from a day that is over
        return limit - min(row.used_today, row.used_since_told)
    left = row.told_left - row.used_since_told
    # A configured limit below the source's own is compared with our own calls only, because the
    # calls of other API users are not in `api_usage`.
    return left if row.configured is None else min(left, limit - row.used_today)


def paused_until(warehouse: Warehouse, scope: Scope, now: datetime) -> datetime | None:
    """Returns when the tenant's paused read may go on; None if it is not paused."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        row = connection.execute(_PAUSED, [now, scope.tenant.slug, scope.system]).fetchone()
    return row[0] if row else None


def require_not_paused(warehouse: Warehouse, scope: Scope, now: datetime) -> None:
    """Returns if the tenant may call its source.

    Raises:
        StillPaused: the budget has not been reset yet.
    """
    until = paused_until(warehouse, scope, now)
    if until:
        raise StillPaused(scope.tenant.slug, scope.system, until)


def midnight(now: datetime) -> datetime:
    """Returns the next midnight in UTC."""
    return datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), UTC) + timedelta(1)


class Allowance:
    """The tokens that one run may still spend; refuses a call before it is made, not after.

    The reading thread checks it before each call; the loading thread lowers it.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        scope: Scope,
        now: Now,
        *,
        reserve_per_tenant: int = 0,
        kept_share: float = 0.0,
    ) -> None:
        self._warehouse, self._scope, self._now = warehouse, scope, now
        self._reserve_per_tenant = reserve_per_tenant
        self._kept_share = kept_share
        self._lock = threading.Lock()
        self._asked = self._answered = self._cap = 0  # tokens
        self._is_told = False
        self.standing: BudgetStatus
        self._begin_day()

    def before_call(self, _kind: str, tokens: int) -> None:
        """Returns if a call of this price may be made, and counts it even if the call fails.

        Raises:
            AllowanceSpent: too few tokens are left; ``resets_at`` is when the budget is reset.
        """
        with self._lock:
            if self._now() >= self.standing.resets_at:
                self._begin_day()
            if self._asked + tokens > self._cap:
                left = max(0, self.standing.left - self._asked)
                resets_at = self.standing.resets_at
                raise AllowanceSpent(self._scope.tenant.slug, self._scope.system, resets_at, left)
            self._asked += tokens

    @property
    def left(self) -> int:
        """The tokens that this run may still spend today."""
        with self._lock:
            return max(0, self._cap - self._asked)

    def on_call(self, call: ApiCall) -> None:
        """Updates the allowance from a response: other users of the company spend tokens too."""
        with self._lock:
            self._answered += call.tokens
            if call.daily_left is None:
                return
            left_at_start = self._answered + call.daily_left
            if not self._is_told:  # the source's first figure replaces our own sum
                self._is_told = True
                self.standing = self.standing.told(left_at_start, call.daily_limit)
                self._cap = self._allowed()
            self._cap = min(self._cap, left_at_start)

    def refresh(self) -> None:
        """Subtracts the tokens that other runs booked; call it after booking this run's own."""
        now = standing(self._warehouse, self._scope, self._now())
        with self._lock:
            self._cap = min(self._cap, self._answered + now.left)

    def _begin_day(self) -> None:
        self.standing = standing(self._warehouse, self._scope, self._now())
        self._asked = self._answered = 0
        self._is_told = False
        self._cap = self._allowed()

    def _allowed(self) -> int:
        reserve = self._reserve_per_tenant * self.standing.sharers
        return self.standing.allowed(max(reserve, int(self._kept_share * self.standing.limit)))


def cost_of_increment(entities: Iterable[Entity]) -> int:
    """Returns the tokens of a sync without changes: one page of each list."""
    return sum(entity.cost.tokens_of_no_change for entity in entities)


@dataclass(frozen=True)
class _BudgetRow:
    company_id: str
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
    coalesce(connections.company_id, '') as company_id,
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

# A tenant that connects again may be another company, with a budget of its own.
_PAUSED = """
select max(runs.resume_at)
from (values (%s::timestamptz, %s, %s)) as asked (now, tenant_id, system)
inner join integration.runs
    on runs.tenant_id = asked.tenant_id
    and runs.system = asked.system
    and runs.status = 'paused'
    and runs.resume_at > asked.now
inner join integration.connections as connections
    on connections.tenant_id = asked.tenant_id
    and connections.system = asked.system
    and (connections.connected_at is null or connections.connected_at <= runs.started_at)
having max(runs.resume_at) is not null
"""
