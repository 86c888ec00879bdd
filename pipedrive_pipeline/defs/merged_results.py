"""The results of marts and views over the systems of one run: one materialization per asset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from pipedrive_pipeline.defs.asset_metadata import ROW_COUNT
from pipedrive_pipeline.sync.runs.run import TenantRun

ColumnDeps = Iterable[dg.TableColumnDep]
Result = dg.MaterializeResult[None] | dg.AssetCheckResult


class MergedResults:
    """Collects the results of each system; Dagster takes one result per asset and step."""

    def __init__(self) -> None:
        self._materialized: dict[dg.AssetKey, list[dict[str, Any]]] = {}
        self._checked: dict[tuple[dg.AssetKey, str], list[tuple[str, dg.AssetCheckResult]]] = {}

    def add(self, run: TenantRun, results: Iterable[Result]) -> None:
        """Takes the results of one system's run."""
        for result in results:
            key = result.asset_key
            assert key is not None  # noqa: S101 - all results of ours name their asset
            if isinstance(result, dg.AssetCheckResult):
                name = str(result.check_name)
                self._checked.setdefault((key, name), []).append((run.facts.scope.system, result))
            else:
                self._materialized.setdefault(key, []).append(dict(result.metadata or {}))

    def checks_of(self, system: str) -> list[dg.AssetCheckResult]:
        """Returns the check results of one system."""
        return [
            result
            for results in self._checked.values()
            for name, result in results
            if name == system
        ]

    def results(self, places: Mapping[dg.AssetKey, int]) -> Iterator[Result]:
        """Yields one result per asset, in the order of their places, then one per check.

        Dagster asks for the results that an asset depends on when it takes its own, and all that
        waits is written first. So those that do not depend on each other come together.
        """
        for key in sorted(self._materialized, key=lambda key: places[key]):
            parts = self._materialized[key]
            yield dg.MaterializeResult(asset_key=key, metadata=_sum(parts))
        for results in self._checked.values():
            yield _worst(results)


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the metadata of all systems: counts added up, lineage joined, else the last value.

    The row count is the tenant's own, in all systems, so that the last one counts.
    """
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            former = total.get(name)
            if isinstance(value, int) and isinstance(former, int) and name != ROW_COUNT:
                total[name] = former + value
            elif isinstance(value, dg.TableColumnLineage) and former is not None:
                total[name] = dg.TableColumnLineage(
                    _joined(former.deps_by_column, value.deps_by_column)
                )
            else:
                total[name] = value
    return total


def _joined(
    first: Mapping[str, Iterable[dg.TableColumnDep]],
    second: Mapping[str, Iterable[dg.TableColumnDep]],
) -> dict[str, list[dg.TableColumnDep]]:
    return {
        column: list(dict.fromkeys((*first.get(column, ()), *second.get(column, ()))))
        for column in (*first, *(name for name in second if name not in first))
    }


def _worst(results: list[tuple[str, dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    """Returns a check of all systems: passed if all passed, each one's metadata under its name."""
    if len(results) == 1:
        return results[0][1]
    failed = [result for _, result in results if not result.passed]
    is_error = any(result.severity is dg.AssetCheckSeverity.ERROR for result in failed)
    _, first = results[0]
    return dg.AssetCheckResult(
        asset_key=first.asset_key,
        check_name=first.check_name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        metadata={
            f"{system} {name}": value
            for system, result in results
            for name, value in (result.metadata or {}).items()
        },
    )
