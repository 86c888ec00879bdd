"""Requests that fit the description of the CRM API, or nearly do, to a tenant that may write."""

from __future__ import annotations

import pytest
import requests

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.crm.installation import Installed
from pipedrive_pipeline_tests.connect.test_schema import WITH_TIME, ask_under
from pipedrive_pipeline_tests.scenarios.writing import allow_writes

UNDER = ("/api/crm/", "/api/v1/integrations/crm/")


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("role", Role)
def test_three_thousand_questions_to_the_crm_api_are_answered_as_described(
    installed: Installed, role: Role
) -> None:
    """No 5xx and no answer that the document does not describe, with a key of each role.

    A tenant that is connected and lets everything be written: what fits reaches the source.
    """
    allow_writes(installed.world)
    key = str(installed.client(role, f"asks {role}").headers["x-api-key"])

    with requests.Session() as session:
        answered = [
            ask_under(start, installed.site, session, key, WITH_TIME // len(UNDER))
            for start in UNDER
        ]

    assert sum(each.total() for each in answered) >= WITH_TIME
    assert all({404, 422} & set(each) or {403} & set(each) for each in answered)
