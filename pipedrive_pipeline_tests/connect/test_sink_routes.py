"""The routes and the page of sinks: readable by the tenant, changed by the operator only."""

from __future__ import annotations

from typing import Any

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with, filled_tenant

ROUTES = "/api/integrations/pipedrive/sinks"
TABLE = """
drop schema if exists app cascade;
create schema app;
create table app.customers (
    id uuid primary key default gen_random_uuid(),
    tenant text not null,
    company text not null,
    mail text
);
insert into app.customers (tenant, company, mail) values ('acme', 'Own', 'own@own.de')
"""
SINKS: dict[str, Any] = {
    "customers": {
        "mart": "customers",
        "table": "app.customers",
        "tenant": {"column": "tenant", "value": "acme"},
        "columns": {"company": "name", "mail": "email"},
        "match_by": ["email", "name"],
    }
}


def test_the_operator_declares_tries_matches_and_undoes(site: ConnectSite) -> None:
    """Each step is answered; the tenant's reader sees the state, and no row of the app."""
    acme = filled_tenant(site, "acme", 1)
    site.world.execute(TABLE)
    operator, reader = site.operator(), client_with(site, acme.keys[Role.USER])
    operator.headers["x-tenant"] = "acme"

    previewed = operator.post(f"{ROUTES}/preview", json={"sinks": SINKS}).json()["data"]
    saved = operator.put(ROUTES, json={"sinks": SINKS, "version": 0}).json()["data"]
    late = operator.put(ROUTES, json={"sinks": SINKS, "version": 0})
    report = operator.post(f"{ROUTES}/customers/match").json()["data"]
    seen = reader.get(ROUTES).json()["data"]
    confirmed = operator.post(f"{ROUTES}/customers/confirm", json={}).json()["data"]
    undone = operator.post(f"{ROUTES}/customers/undo").json()["data"]
    versions = reader.get(f"{ROUTES}/versions").json()["data"]

    assert (previewed[0]["sink"], previewed[0]["fault"], previewed[0]["appRows"]) == (
        "customers",
        None,
        1,
    )
    assert saved["version"] == 1
    assert (late.status_code, late.json()["error"]["code"]) == (409, "sinks_outdated")
    assert (report["leftOver"], report["ambiguous"]) == (1, 0)
    assert [(each["sink"], each["state"]) for each in seen["states"]] == [("customers", "waiting")]
    assert (confirmed["linked"], undone["rows"]) == (0, 0)
    assert [each["version"] for each in versions] == [1]


def test_a_declaration_that_cannot_be_used_names_each_setting(site: ConnectSite) -> None:
    """422, and nothing is saved."""
    filled_tenant(site, "acme", 1)
    site.world.execute(TABLE)
    operator = site.operator()
    operator.headers["x-tenant"] = "acme"
    wrong = {"customers": {**SINKS["customers"], "columns": {"company": "nme", "x": "name"}}}
    wrong["customers"]["match_by"] = []

    answer = operator.put(ROUTES, json={"sinks": wrong, "version": 0})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "bad_sink")
    assert {each["field"] for each in error["details"]} == {"customers.company", "customers.x"}
    assert operator.get(ROUTES).json()["data"]["version"] == 0


def test_an_admin_of_the_tenant_may_not_declare_a_sink(site: ConnectSite) -> None:
    """A declaration could name another tenant's rows of the app's table."""
    acme = filled_tenant(site, "acme", 1)

    answer = client_with(site, acme.keys[Role.ADMIN]).put(
        ROUTES, json={"sinks": SINKS, "version": 0}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "operator_only")
