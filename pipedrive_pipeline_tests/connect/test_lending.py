"""`POST …/credential`: one refresh for many borrowers, and nothing for those who may not borrow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.auth.rate_limits import LENDINGS_A_MINUTE
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.world import ACME

CREDENTIAL = f"{ROUTES}/credential"


def key(site: ConnectSite, role: Role = Role.ADMIN, tenant: Tenant = ACME) -> keys.NewKey:
    with site.world.vault.warehouse.as_app(tenant) as connection:
        return keys.add(connection, tenant, role, f"a {role}", who="a test")


def borrower(site: ConnectSite, role: Role = Role.ADMIN, tenant: Tenant = ACME) -> httpx.Client:
    return site.client({"x-api-key": key(site, role, tenant).text})


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_lent_token_works_and_no_refresh_token_leaves(site: ConnectSite) -> None:
    refresh_token = site.world.connect_acme()

    answer = borrower(site).post(CREDENTIAL)

    lent = answer.json()["data"]
    assert answer.status_code == 200
    assert set(lent) == {"accessToken", "expiresAt", "apiDomain"}
    assert site.world.oauth.company_of(lent["accessToken"], "") is not None
    assert lent["apiDomain"] == site.world.oauth.url
    assert refresh_token not in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.slow
def test_64_borrowers_of_an_expired_token_make_one_refresh(site: ConnectSite) -> None:
    """They start at once, as the workers of a service do; the source may rotate strictly."""
    site.world.connect_acme()
    site.world.oauth.rotation = "strict"
    site.world.expire()
    headers = {"x-api-key": key(site).text}

    def borrow(_: int) -> httpx.Response:
        return httpx.post(site.url + CREDENTIAL, headers=headers, timeout=60)

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(borrow, range(64)))

    tokens = {answer.json()["data"]["accessToken"] for answer in answers}
    assert [answer.status_code for answer in answers] == [200] * 64
    assert len(tokens) == 1
    assert site.world.oauth.company_of(tokens.pop(), "") is not None
    assert site.world.oauth.count("refresh") == 1


def test_each_lent_token_is_in_the_audit_log_without_the_token(site: ConnectSite) -> None:
    site.world.connect_acme()

    token = borrower(site).post(CREDENTIAL).json()["data"]["accessToken"]

    (entry,) = site.world.rows(
        "select who, tenant_id, subject, after from integration.audit_log"
        " where action = 'credential.lend'"
    )
    assert entry["who"].startswith("key a admin (key_acme.")
    assert (entry["tenant_id"], entry["subject"]) == ("acme", "pipedrive")
    assert token not in str(entry)


def test_a_revoked_key_borrows_nothing_from_then_on(site: ConnectSite) -> None:
    site.world.connect_acme()
    new = key(site)
    client = site.client({"x-api-key": new.text})
    assert client.post(CREDENTIAL).status_code == 200
    with site.world.vault.warehouse.as_app(ACME) as connection:
        keys.revoke(connection, ACME, new.key.id, who="a test")

    answer = client.post(CREDENTIAL)

    assert (answer.status_code, code(answer)) == (401, "not_signed_in")


def test_a_role_below_admin_borrows_nothing(site: ConnectSite) -> None:
    site.world.connect_acme()

    answers = [borrower(site, role).post(CREDENTIAL) for role in (Role.USER, Role.MANAGER)]

    assert {(answer.status_code, code(answer)) for answer in answers} == {(403, "role_too_low")}


def test_another_tenants_key_borrows_nothing(site: ConnectSite) -> None:
    """Neither as itself, which is not connected, nor by naming the tenant that is."""
    site.world.connect_acme()
    bravo = borrower(site, tenant=Tenant("bravo"))

    own = bravo.post(CREDENTIAL)
    foreign = bravo.post(CREDENTIAL, headers={"x-tenant": "acme"})

    assert (own.status_code, code(own)) == (404, "not_connected")
    assert (foreign.status_code, code(foreign)) == (403, "other_tenant")


def test_one_key_borrows_so_many_times_a_minute(site: ConnectSite) -> None:
    """A loop gone wild must not fill the audit log; another key is not held back by it."""
    site.world.connect_acme()
    new = key(site)
    client, other = site.client({"x-api-key": new.text}), borrower(site)
    client.post(CREDENTIAL)
    site.world.execute(
        "update integration.request_windows set requests = %s where caller = %s",
        LENDINGS_A_MINUTE,
        f"{new.key.id} credential",
    )

    refused = client.post(CREDENTIAL)

    assert (refused.status_code, code(refused)) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) <= 60
    assert other.post(CREDENTIAL).status_code == 200


def test_an_api_token_is_not_lent(site: ConnectSite) -> None:
    """It never ends, and nobody here could take it back."""
    site.world.connect_acme()
    site.world.execute(
        "update integration.connections set kind = 'api_token', token_expires_at = null"
    )

    answer = borrower(site).post(CREDENTIAL)

    assert (answer.status_code, code(answer)) == (409, "not_lendable")
    assert "accessToken" not in answer.text
