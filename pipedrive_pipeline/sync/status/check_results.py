"""The newest result of each check, kept per tenant and system.

Dagster keeps one newest result of a check that is not partitioned, of any tenant; one that passes
would hide another tenant's that failed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

CURRENT_FOR = timedelta(days=35)  # an entity that is not read any more keeps no result for ever


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. ``finding`` names counts, ids and keys, never values."""

    asset: str
    check_name: str
    is_passed: bool
    is_error: bool  # False: a warning if it fails
    finding: str


@dataclass(frozen=True)
class Offender:
    """A tenant for which a check of an asset fails."""

    scope: Scope
    result: CheckResult

    def __str__(self) -> str:
        finding = f": {self.result.finding}" if self.result.finding else ""
        return f"{self.scope} {self.result.check_name}{finding}"


@dataclass(frozen=True)
class AssetSummary:
    """All tenants' newest results of one asset."""

    looked_at: int = 0  # tenants and systems that have a result
    offenders: tuple[Offender, ...] = ()  # errors first

    @property
    def is_error(self) -> bool:
        """True if one of the failed checks is an error."""
        return any(offender.result.is_error for offender in self.offenders)


def store(warehouse: Warehouse, scope: Scope, results: Sequence[CheckResult]) -> None:
    """Replaces the results of these checks of one tenant and system."""
    if not results:
        return
    columns = {
        "assets": [result.asset for result in results],
        "names": [result.check_name for result in results],
        "passed": [result.is_passed for result in results],
        "errors": [result.is_error for result in results],
        "findings": [result.finding for result in results],
    }
    with warehouse.transaction(scope.tenant) as connection:
        connection.execute(_STORE, columns | {"tenant": scope.tenant.slug, "system": scope.system})


def summaries(warehouse: Warehouse, assets: Collection[str]) -> Mapping[str, AssetSummary]:
    """Returns the summary of each asset, over every tenant that is connected or must reconnect."""
    values = {"assets": list(assets), "current_for": CURRENT_FOR}
    with warehouse.transaction() as connection:
        counted = connection.execute(_COUNTED, values).fetchall()
        failed = connection.execute(_FAILED, values).fetchall()
    offenders: dict[str, list[Offender]] = defaultdict(list)
    for tenant, system, *result in failed:
        offenders[result[0]].append(Offender(Scope(Tenant(tenant), system), CheckResult(*result)))
    looked_at: dict[str, int] = dict(counted)
    return {
        asset: AssetSummary(looked_at.get(asset, 0), tuple(offenders[asset])) for asset in assets
    }


_STORE = """
insert into integration.check_results as stored
    (tenant_id, system, asset, check_name, is_passed, is_error, finding)
select
    %(tenant)s,
    %(system)s,
    result.asset,
    result.check_name,
    result.is_passed,
    result.is_error,
    result.finding
from unnest(
    %(assets)s::text[],
    %(names)s::text[],
    %(passed)s::boolean[],
    %(errors)s::boolean[],
    %(findings)s::text[]
) as result (asset, check_name, is_passed, is_error, finding)
where exists (select from integration.tenants where tenants.slug = %(tenant)s)
on conflict (tenant_id, system, asset, check_name) do update
set
    is_passed = excluded.is_passed,
    is_error = excluded.is_error,
    finding = excluded.finding,
    evaluated_at = now()
"""
_USED = """
inner join integration.connections
    on connections.tenant_id = check_results.tenant_id
    and connections.system = check_results.system
    and connections.state in ('connected', 'needs_reauth')
where check_results.asset = any(%(assets)s)
    and check_results.evaluated_at > now() - %(current_for)s
"""
_COUNTED = f"""
select
    check_results.asset,
    count(distinct (check_results.tenant_id, check_results.system))
from integration.check_results
{_USED}
group by check_results.asset
"""
_FAILED = f"""
select
    check_results.tenant_id,
    check_results.system,
    check_results.asset,
    check_results.check_name,
    check_results.is_passed,
    check_results.is_error,
    check_results.finding
from integration.check_results
{_USED}
    and not check_results.is_passed
order by
    check_results.is_error desc,
    check_results.tenant_id asc,
    check_results.system asc,
    check_results.check_name asc
"""
