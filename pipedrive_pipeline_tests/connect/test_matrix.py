"""Every route × every kind of object × every actor: no tenant crosses, no role exceeds its set.

The routes come from the running app and the roles from `ROLES`; a new route fails here until its
permission is listed in `NEEDS`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from pipedrive_pipeline.connect.app import ROUTERS
from pipedrive_pipeline.connect.auth.dependencies import Needs
from pipedrive_pipeline.connect.auth.permissions import ROLES, Permission, Role
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, client_with, filled_tenant
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

SYSTEM = "/api/integrations/{system}"
INTEGRATIONS = "/api/v1/integrations/crm"
MAPPING = {"organizations": {"aaa": "customer_number"}}
NEEDS: dict[tuple[str, str], Permission | None] = {  # None: no key is needed
    ("GET", "/healthz"): None,
    ("GET", "/api/integrations"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/status"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/fields"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/fields/values"): Permission.WRITE_MAPPING,
    ("GET", f"{SYSTEM}/field-mapping"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/field-mapping/proposals"): Permission.READ_RECORDS,
    ("PUT", f"{SYSTEM}/field-mapping"): Permission.WRITE_MAPPING,
    ("POST", f"{SYSTEM}/field-mapping/preview"): Permission.WRITE_MAPPING,
    ("GET", f"{SYSTEM}/field-mapping/versions"): Permission.READ_RECORDS,
    ("GET", SYSTEM + "/field-mapping/versions/{number}"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/sinks"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/sinks/versions"): Permission.READ_RECORDS,
    ("PUT", f"{SYSTEM}/sinks"): Permission.MANAGE_CONNECTION,
    ("POST", f"{SYSTEM}/sinks/preview"): Permission.MANAGE_CONNECTION,
    ("POST", SYSTEM + "/sinks/{sink}/match"): Permission.MANAGE_CONNECTION,
    ("POST", SYSTEM + "/sinks/{sink}/confirm"): Permission.MANAGE_CONNECTION,
    ("POST", SYSTEM + "/sinks/{sink}/undo"): Permission.MANAGE_CONNECTION,
    ("POST", f"{SYSTEM}/sync"): Permission.ASK_SYNC,
    ("GET", SYSTEM + "/sync/requests/{request_id}"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/sync/history"): Permission.READ_RECORDS,
    ("GET", SYSTEM + "/sync/history/{run_id}"): Permission.READ_RECORDS,
    ("POST", SYSTEM + "/sync/history/{run_id}/cancel"): Permission.ASK_SYNC,
    ("GET", f"{SYSTEM}/sync/trends"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/deletions"): Permission.READ_RECORDS,
    ("PUT", SYSTEM + "/deletions/{entity}"): Permission.ASK_SYNC,
    ("GET", f"{SYSTEM}/rejected-values"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/rejected-values.csv"): Permission.READ_RECORDS,
    ("GET", f"{SYSTEM}/sync-config"): Permission.READ_RECORDS,
    ("PUT", f"{SYSTEM}/sync-config"): Permission.MANAGE_CONNECTION,
    ("GET", f"{SYSTEM}/sync-config/next"): Permission.READ_RECORDS,
    ("POST", f"{SYSTEM}/sync-config/test-alert"): Permission.MANAGE_CONNECTION,
    ("POST", f"{SYSTEM}/test"): Permission.ASK_SYNC,
    ("POST", f"{SYSTEM}/connect-link"): Permission.MANAGE_CONNECTION,
    ("GET", f"{SYSTEM}/connect-links"): Permission.MANAGE_CONNECTION,
    ("DELETE", SYSTEM + "/connect-links/{link_id}"): Permission.MANAGE_CONNECTION,
    ("GET", f"{SYSTEM}/auth"): Permission.MANAGE_CONNECTION,
    ("POST", f"{SYSTEM}/confirm"): Permission.MANAGE_CONNECTION,
    ("DELETE", f"{SYSTEM}/disconnect"): Permission.MANAGE_CONNECTION,
    ("POST", SYSTEM + "/webhook/{token}"): None,  # no key opens it
    ("POST", f"{SYSTEM}/credential"): Permission.LEND_CREDENTIALS,
    ("GET", "/api/crm/lookup"): Permission.READ_RECORDS,
    ("POST", "/api/crm/lookup"): Permission.READ_RECORDS,
    ("GET", "/api/crm/lookup/unreadable"): Permission.READ_RECORDS,
    ("GET", f"{INTEGRATIONS}/platforms"): Permission.READ_RECORDS,
    ("POST", f"{INTEGRATIONS}/test-connection"): Permission.ASK_SYNC,
    ("POST", f"{INTEGRATIONS}/get-customer"): Permission.READ_RECORDS,
    **{
        ("POST", f"{INTEGRATIONS}/{name}{ending}"): Permission.WRITE_RECORDS
        for name in ("sync-customer", "sync-lead", "sync-appointment")
        for ending in ("", "/try")
    },
    ("GET", "/api/keys"): Permission.MANAGE_KEYS,
    ("POST", "/api/keys"): Permission.MANAGE_KEYS,
    ("DELETE", "/api/keys/{key_id}"): Permission.MANAGE_KEYS,
    ("GET", "/api/audit"): Permission.READ_AUDIT,
}
# The operator alone, whatever the role of a tenant's key.
OF_THE_OPERATOR = {path for method, path in NEEDS if "/sinks" in path and method in {"PUT", "POST"}}
BODIES: dict[str, Any] = {
    "/sinks": {"sinks": {}, "version": 0},
    "/field-mapping": {"mapping": MAPPING, "version": 1},
    "/preview": {"mapping": MAPPING},
    "/sync": {"syncType": "full"},
    "/sync-config": {"everyHours": 7},
    "/keys": {"name": "new", "role": "user"},
    "/confirm": {},
    "/test-connection": {},
    "/get-customer": {"platform": "pipedrive", "customer": {"id": "pipedrive:1"}},
}
QUERIES = {"/values": {"entity": "organizations"}}
CRM_API = "/api/crm/v1"  # `crm/test_rights.py` asks its routes
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Actor:
    """Somebody who asks: with what, for whom, and as what it is known (None: nobody)."""

    name: str
    headers: dict[str, str]
    role: Role | None
    of: str  # the tenant whose rows it may see; '' for none


def actors(acme: FilledTenant, bravo: FilledTenant) -> Iterator[Actor]:
    for tenant, other in ((acme, bravo), (bravo, acme)):
        slug = tenant.tenant.slug
        for role, key in tenant.keys.items():
            yield Actor(f"{slug}'s {role}", {"x-api-key": key}, role, slug)
            yield Actor(
                f"{slug}'s {role} for {other.tenant}",
                {"authorization": f"Bearer {key}", "x-tenant": other.tenant.slug},
                None,
                slug,
            )
        changed = tenant.keys[Role.ADMIN].replace(slug, other.tenant.slug, 1)
        yield Actor(f"{slug}'s key as {other.tenant}'s", {"x-api-key": changed}, None, "")
        operator = {"x-api-key": OPERATOR_KEY, "x-tenant": slug}
        yield Actor(f"operator for {slug}", operator, Role.ADMIN, slug)
    yield Actor("nobody", {}, None, "")
    yield Actor("made up", {"x-api-key": "key_acme.made-up"}, None, "")
    yield Actor("half a key", {"x-api-key": acme.keys[Role.ADMIN][:-1]}, None, "")
    yield Actor("operator for nobody", {"x-api-key": OPERATOR_KEY}, None, "")
    yield Actor("a forged session", {"cookie": "login=x~acme~99999999999~y.z"}, None, "")


def routes(site: ConnectSite) -> list[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = site.client().get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if not path.startswith(CRM_API)
    ]


def objects(path: str, acme: FilledTenant, bravo: FilledTenant) -> Iterator[dict[str, str]]:
    """The path's parameters: each tenant's own, one that nobody has, and a system that is none."""
    names = [name for name in re.findall(r"{(\w+)}", path) if name != "system"]
    systems = ["pipedrive", "hubspot"] if "{system}" in path else [""]
    ids = [{**acme.ids}, {**bravo.ids}, dict.fromkeys(names, UNKNOWN)] if names else [{}]
    for system, path_ids in itertools.product(systems, ids):
        yield {"system": system, **path_ids}


def rows_of(site: ConnectSite, tenant: str) -> dict[str, list[str]]:
    """Every row of the tenant, as text, without last uses and failed attempts of strangers."""
    site.store_refusals()  # else the app stores a former actor's between two looks
    tables = site.world.rows(
        "select table_schema || '.' || table_name as name from information_schema.columns"
        " where table_schema in ('crm', 'integration') and column_name = 'tenant_id'"
        " and table_name <> 'failed_attempts'"
    )
    columns = "to_jsonb(held) - 'last_used_at' - 'token_expires_at'"
    return {
        table["name"]: sorted(
            str(row["line"])
            for row in site.world.rows(
                f"select ({columns})::text as line from {table['name']} as held"
                " where tenant_id = %s",
                tenant,
            )
        )
        for table in tables
    }


def test_every_route_declares_the_permission_that_is_listed_here(site: ConnectSite) -> None:
    """A new route must not be reachable by accident, nor an old one with less than before."""
    declared = {
        (method, route.path): needed_by(route.dependant)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        if not route.path.startswith(CRM_API)
        for method in route.methods or ()
    }

    # `confirm` takes a key or the page of a browser session, and so it checks in its body.
    in_its_body = {("POST", f"{SYSTEM}/confirm"): None}
    assert declared == {**NEEDS, **in_its_body}
    assert set(routes(site)) == set(NEEDS)


def needed_by(dependant: Dependant) -> Permission | None:
    """The permission of the route's `Needs` dependency."""
    calls = [dependency.call for dependency in dependant.dependencies]
    return next((call.permission for call in calls if isinstance(call, Needs)), None)


def test_a_role_is_a_set_of_permissions_and_each_permission_has_a_role() -> None:
    """Roles are names of sets: a later permission needs no new level."""
    assert set(ROLES) == set(Role)
    assert frozenset().union(*ROLES.values()) == frozenset(Permission)
    assert ROLES[Role.USER] < ROLES[Role.MANAGER] < ROLES[Role.ADMIN]
    assert {"credentials:lend", "keys:manage", "connection:manage"} <= ROLES[Role.ADMIN]
    assert not {"credentials:lend", "keys:manage", "connection:manage"} & ROLES[Role.MANAGER]


@pytest.mark.slow
@pytest.mark.timeout(300)  # some five thousand requests
def test_no_key_reaches_another_tenant_and_no_role_rises(site: ConnectSite) -> None:
    """Each answer holds no word of another tenant; another's ids are 404; its rows stay."""
    acme, bravo = filled_tenant(site, "acme", 1), filled_tenant(site, "bravo", 2)
    words = {"acme": acme.word, "bravo": bravo.word}
    client = site.client()
    site.limit_requests(1_000_000)
    asked = 0
    for actor in actors(acme, bravo):
        others = [row for row in words if row != actor.of]
        before = {row: rows_of(site, row) for row in others}
        site.forgive()
        for method, path in routes(site):
            for ids in objects(path, acme, bravo):
                if asked % 15 == 0:
                    site.forgive()
                answer = call(client, method, path, ids, actor)
                asked += 1
                is_for_operator = method != "GET" and path in OF_THE_OPERATOR
                if is_for_operator and not actor.name.startswith("operator for"):
                    assert answer.status_code >= 400, (actor.name, method, path)
                    assert '"data"' not in answer.text, (actor.name, method, path)
                else:
                    check(answer, NEEDS[method, path], actor, (method, path, ids))
                for other in others:
                    assert words[other] not in answer.text, (actor.name, method, path, ids)
                own = words.get(actor.of) and {"acme": acme, "bravo": bravo}[actor.of].ids
                if is_foreign(path, ids, own) and answer.status_code < 400:
                    raise AssertionError((actor.name, method, path, answer.text))
        assert {row: rows_of(site, row) for row in others} == before, actor.name

    assert asked >= 1_000


def call(
    client: httpx.Client, method: str, path: str, ids: dict[str, str], actor: Actor
) -> httpx.Response:
    ending = "/" + path.rpartition("/")[2]
    body = BODIES.get(ending) if method in {"POST", "PUT"} else None
    return client.request(
        method,
        path.format(**ids),
        params=QUERIES.get(ending),
        json=body,
        headers=actor.headers,
    )


def is_foreign(path: str, ids: dict[str, str], own: dict[str, str] | str | None) -> bool:
    """Whether the address names a row that is not the actor's (a version's number is no id)."""
    kinds = ("key_id", "run_id", "request_id", "link_id")
    names = [name for name in kinds if f"{{{name}}}" in path]
    return bool(names) and (not isinstance(own, dict) or any(ids[n] != own[n] for n in names))


def check(answer: httpx.Response, needed: Permission | None, actor: Actor, what: object) -> None:
    result = (actor.name, what, answer.status_code, answer.text[:300])
    assert answer.status_code < 500, result
    if needed is None:
        assert answer.status_code == (404 if "/webhook/" in str(what) else 200), result
    elif actor.role is None:
        assert answer.status_code in {400, 401, 403, 404, 429}, result
        assert '"data"' not in answer.text, result
    elif needed not in ROLES[actor.role]:
        assert answer.status_code in {403, 404}, result
        assert '"data"' not in answer.text, result
    else:
        assert answer.status_code not in {401, 403, 429}, result


def test_an_id_of_another_tenant_is_answered_as_an_unknown_id(site: ConnectSite) -> None:
    """404 for both, word for word: a difference would tell that it exists."""
    acme, bravo = filled_tenant(site, "acme", 1), filled_tenant(site, "bravo", 2)
    client = client_with(site, acme.keys[Role.ADMIN])
    addresses = {
        "/api/keys/{}": ("DELETE", "key_id"),
        "/api/integrations/pipedrive/connect-links/{}": ("DELETE", "link_id"),
        "/api/integrations/pipedrive/sync/history/{}": ("GET", "run_id"),
        "/api/integrations/pipedrive/sync/requests/{}": ("GET", "request_id"),
    }

    for address, (method, name) in addresses.items():
        theirs = client.request(method, address.format(bravo.ids[name]))
        nobodys = client.request(method, address.format(UNKNOWN))
        own = client.request(method, address.format(acme.ids[name]))

        assert (theirs.status_code, nobodys.status_code, own.status_code) == (404, 404, 200)
        assert theirs.json()["error"] == nobodys.json()["error"]
