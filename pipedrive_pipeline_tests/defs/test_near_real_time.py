"""The sensor that keeps the webhooks, and its check of who does not get changes at once."""

from __future__ import annotations

import dagster as dg
import pytest

from pipedrive_pipeline.defs.near_real_time import webhooks
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.connect.browser import running_app
from pipedrive_pipeline_tests.scenarios.world import World


def tick(
    instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    """One tick of the sensor."""
    result = webhooks(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def execute(world: World, statement: str) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(statement.encode())


@pytest.mark.slow
def test_the_sensor_makes_webhooks_and_reports_each_trouble_once(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A green check over all tenants; then one whose events wait, and the check names it."""
    with running_app(open_vault(world.warehouse, world.settings)) as (url, _):
        monkeypatch.setenv("APP_URL", url)
        made = tick(instance)
        assert isinstance(made, dg.SensorResult)
        again = tick(instance, made.cursor)
        execute(
            world,
            "insert into integration.signals (tenant_id, system, entity, remote_id, received_at)"
            " values ('acme', 'pipedrive', 'persons', '1', now() - interval '1 hour')",
        )
        execute(
            world,
            "insert into integration.webhook_events (tenant_id, system, webhook_id, event_key,"
            " entity, remote_id, received_at, served_at) values ('acme', 'pipedrive', 'a', 'b',"
            " 'deals', '1', now() - interval '9 s', now() - interval '5 s')",
        )
        late = tick(instance, made.cursor)

    (row,) = world.rows("integration", "webhooks", "tenant_id")
    first, *_ = made.asset_events
    assert row["state"] == "live"
    assert isinstance(first, dg.AssetCheckEvaluation)
    assert (first.passed, first.metadata["live"].value) == (True, 1)
    assert isinstance(again, dg.SkipReason)
    assert isinstance(late, dg.SensorResult)
    check, lag = late.asset_events
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert not check.passed
    assert "acme/pipedrive: changes wait for 60 min" in str(check.metadata["offenders"].value)
    assert isinstance(lag, dg.AssetObservation)
    assert lag.partition == "acme"
    assert lag.metadata["lag_seconds"].value == pytest.approx(4)
