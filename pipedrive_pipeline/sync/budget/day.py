"""The day's budget of a company as people see it: who used how much of it, and what is reserved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget import daily_budget
from pipedrive_pipeline.sync.tenancy.configuration import entities_read_of
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class BudgetDay:
    """Tokens of one day: of the company, of this tenant, of everybody else."""

    limit: int
    left: int
    share: float
    used_by_tenant: int
    reserved: int  # for the syncs of changes of the tenants that share the budget
    resets_at: datetime

    @property
    def used(self) -> int:
        """Returns what the whole company has used."""
        return max(0, self.limit - self.left)

    @property
    def used_by_others(self) -> int:
        """Returns what other apps, users and tenants of the company have used."""
        return max(0, self.used - self.used_by_tenant)

    @property
    def reserved_left(self) -> int:
        """Returns what is reserved, as far as it is left."""
        return min(self.reserved, self.left)

    @property
    def free(self) -> int:
        """Returns what is neither used nor reserved."""
        return max(0, self.left - self.reserved_left)

    @property
    def is_unlimited(self) -> bool:
        """True if the system declares no budget."""
        return self.limit >= daily_budget.UNLIMITED_TOKENS


def budget_day(warehouse: Warehouse, scope: Scope, now: datetime) -> BudgetDay:
    """Returns the budget of today of the company that the tenant is connected to."""
    status = daily_budget.standing(warehouse, scope, now)
    with warehouse.transaction(scope.tenant) as connection:
        values = {"tenant": scope.tenant.slug, "system": scope.system, "today": now.date()}
        row = connection.execute(_OWN, values).fetchone()
        increment = daily_budget.cost_of_increment(entities_read_of(connection, scope).values())
    return BudgetDay(
        limit=status.limit,
        left=status.left,
        share=status.share,
        used_by_tenant=row[0] if row else 0,
        reserved=increment * status.sharers,
        resets_at=status.resets_at,
    )


_OWN = """
select coalesce(sum(api_usage.tokens), 0)::bigint
from integration.api_usage
where api_usage.tenant_id = %(tenant)s
    and api_usage.system = %(system)s
    and api_usage.used_on >= %(today)s
"""
