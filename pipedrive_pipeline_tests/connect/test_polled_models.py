"""What is written without a check is spelled as the API documents it, byte for byte."""

from __future__ import annotations

import httpx
import pytest
from pydantic import BaseModel

from pipedrive_pipeline.connect import models, sync_models
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.models import Answer, Listed
from pipedrive_pipeline_tests.connect.browser import ROUTES, Site
from pipedrive_pipeline_tests.connect.tenants import holder, inhabited

# One in the middle of its work, one that waits for the budget, one of a whole second, and a
# request that never had a run.
EVERY_KIND = """
insert into integration.sync_logs (
    tenant_id, system, sync_type, trigger, status, started_at, completed_at, resume_at,
    progress, watermarks, errors
)
values
    (
        'acme', 'pipedrive', 'incremental', 'schedule', 'running', now(), null, null,
        '{"stage": "persons", "pages": 4, "rows": 2000, "seconds": 3}', '{}', '[]'
    ),
    (
        'acme', 'pipedrive', 'full', 'backfill', 'paused', now(), now(), now() + interval '1 hour',
        null,
        '{"organizations": {"before": "2026-11-01T00:00:00.5+01:00", "after": null}}',
        '[{"code": "budget_spent", "message": "Grüße: \\"tomorrow\\" \\u2028"}]'
    ),
    (
        'acme', 'pipedrive', 'sweep', 'connect', 'failed', '2026-11-01', '2026-11-01 00:00:00.12',
        null, null, '{}', '[{"code": "a", "message": "b"}, {"code": "c", "message": "d"}]'
    );
insert into integration.sync_requests (
    tenant_id, system, sync_type, trigger, state, requested_by, settled_at
)
values ('acme', 'pipedrive', 'full', 'manual', 'failed', null, now())
"""


@pytest.fixture
def client(site: Site) -> httpx.Client:
    tenant = inhabited(site, "acme", 1)
    for statement in EVERY_KIND.split(";\n"):
        site.world.execute(statement)
    return holder(site, tenant.keys[Role.USER])


def written_again(answer: httpx.Response, model: type[BaseModel]) -> str:
    """The answer, read and written by what documents it."""
    return model.model_validate_json(answer.content).model_dump_json(by_alias=True)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/api/integrations", Listed[models.Connection]),
        (f"{ROUTES}/status", Answer[sync_models.Status]),
        (f"{ROUTES}/sync/history", Listed[sync_models.Run]),
    ],
)
def test_an_answer_is_spelled_as_it_is_documented(
    client: httpx.Client, path: str, model: type[BaseModel]
) -> None:
    """A name, a null or an instant that is spelled otherwise would reach only some programs."""
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.text == written_again(answer, model)


def test_one_run_and_one_request_are_spelled_as_they_are_documented(
    site: Site, client: httpx.Client
) -> None:
    runs = [one["id"] for one in client.get(f"{ROUTES}/sync/history").json()["data"]]
    requests = [
        str(row["id"]) for row in site.world.rows("select id from integration.sync_requests")
    ]

    of_runs = [client.get(f"{ROUTES}/sync/history/{one}") for one in runs]
    of_requests = [client.get(f"{ROUTES}/sync/requests/{one}") for one in requests]

    assert len(of_runs) == 6
    for answer in of_runs:
        assert answer.text == written_again(answer, Answer[sync_models.Run])
    assert len(of_requests) >= 3
    for answer in of_requests:
        assert answer.text == written_again(answer, Answer[sync_models.SyncRequest])


def test_a_tenant_that_never_connected_is_spelled_as_documented(site: Site) -> None:
    """Nearly everything is null then."""
    answer = site.operator("bravo").get(f"{ROUTES}/status")

    assert answer.json()["data"]["state"] == "disconnected"
    assert answer.text == written_again(answer, Answer[sync_models.Status])
