"""OAuth keeps the documented answers: consent, exchange, refresh, rotation, revocation, notice."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, serve
from pipedrive_pipeline_tests.sandbox.client import CALLBACK, SandboxClient, as_app, installed

AUTHORIZE, ME = "/oauth/authorize", "/v1/users/me"


def _authorize_query(sandbox: Sandbox, **more: str) -> dict[str, Any]:
    return {"client_id": sandbox.client_id, "redirect_uri": CALLBACK, "state": "a b&c", **more}


def _sent_back(location: str) -> dict[str, str]:
    assert location.startswith(CALLBACK)
    return {key: values[0] for key, values in parse_qs(urlsplit(location).query).items()}


def test_consent_at_once_sends_a_code_and_the_state_back(client: SandboxClient) -> None:
    answer = client.get(AUTHORIZE, **_authorize_query(client.sandbox))

    sent = _sent_back(answer.headers["location"])
    assert answer.status_code == 302
    assert sent["state"] == "a b&c"
    assert len(sent["code"]) == 40


def test_the_consent_page_leads_to_a_code_or_to_a_refusal(account: CrmAccount) -> None:
    with serve(account, consent="page") as sandbox, SandboxClient(sandbox, headers={}) as client:
        page = client.get(AUTHORIZE, **_authorize_query(sandbox))
        allowed = client.http.post(
            AUTHORIZE,
            params=_authorize_query(sandbox),
            data={"decision": "allow", "user_id": "901"},
        )
        denied = client.http.post(
            AUTHORIZE, params=_authorize_query(sandbox), data={"decision": "deny"}
        )

        code = _sent_back(allowed.headers["location"])["code"]
        tokens = client.token_answer(
            grant_type="authorization_code", code=code, redirect_uri=CALLBACK
        ).json()
        bearer = {"authorization": f"Bearer {tokens['access_token']}"}
        me = client.http.get(ME, headers=bearer).json()["data"]

    assert "Allow and install" in page.text
    assert me["id"] == 901
    assert _sent_back(denied.headers["location"]) == {"error": "user_denied", "state": "a b&c"}


@pytest.mark.parametrize(
    "wrong", [{"client_id": "other"}, {"redirect_uri": "nowhere"}, {"redirect_uri": ""}]
)
def test_a_wrong_app_or_address_is_not_sent_back(
    client: SandboxClient, wrong: dict[str, str]
) -> None:
    assert client.get(AUTHORIZE, **_authorize_query(client.sandbox, **wrong)).status_code == 400


words = st.one_of(st.text(max_size=20), st.sampled_from(["http://[", "http://a/\r\nx: y", "allow"]))


@pytest.mark.slow
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words, words, words, st.binary(max_size=20))
def test_no_oauth_request_ends_in_a_server_error(
    client: SandboxClient, first: str, second: str, third: str, header: bytes
) -> None:
    query = _authorize_query(client.sandbox, redirect_uri=first, state=second)
    form = {"decision": second, "user_id": third, "grant_type": first, "code": second}
    basic = {b"authorization": b"Basic " + header.hex().encode()[:7] + b"\xe4"}

    answers = [
        client.get(AUTHORIZE, **query),
        client.http.post(AUTHORIZE, params=query, data=form),
        client.http.post("/oauth/token", data=form, headers=basic),
        client.token_answer(**form),
        client.http.post("/oauth/token", content=header),
        client.http.post("/oauth/revoke", content=header),
    ]

    assert {answer.status_code for answer in answers} <= {302, 400}


def test_a_registered_callback_is_the_only_one(account: CrmAccount) -> None:
    registered = "https://app.example/cb"
    with serve(account, redirect_uri=registered) as sandbox, SandboxClient(sandbox) as client:
        other = client.get(AUTHORIZE, **_authorize_query(sandbox))
        right = client.get(AUTHORIZE, **_authorize_query(sandbox, redirect_uri=registered))

    assert (other.status_code, right.status_code) == (400, 302)


def test_a_token_answer_has_the_documented_keys(sandbox: Sandbox) -> None:
    tokens = installed(sandbox)

    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3_599
    assert tokens["api_domain"] == sandbox.url
    assert "base" in tokens["scope"].split(",")
    assert tokens["refresh_token"].startswith("7700123:900:")


def test_a_code_works_once_and_for_five_minutes(client: SandboxClient) -> None:
    grants = client.sandbox.grants
    used, old = grants.code(900, CALLBACK), grants.code(900, CALLBACK)
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
    assert client.token_answer(code=used, **form).status_code == 200

    again = client.token_answer(code=used, **form)
    client.sandbox.clock.advance(300)
    late = client.token_answer(code=old, **form)

    assert again.json()["message"] == "Invalid grant: authorization code is invalid"
    assert late.json()["message"] == "Invalid grant: authorization code has expired"
    assert {again.status_code, late.status_code} == {400}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
    ],
)
def test_token_errors_are_400_with_their_names(
    client: SandboxClient, form: dict[str, str], error: str
) -> None:
    answer = client.token_answer(**form)

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["success"] is False


def test_another_callback_does_not_get_the_tokens(client: SandboxClient) -> None:
    code = client.sandbox.grants.code(900, CALLBACK)

    answer = client.token_answer(
        grant_type="authorization_code", code=code, redirect_uri="http://other.example/"
    )

    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("auth", [None, ("sandbox-client", "wrong"), ("wrong", "sandbox-secret")])
def test_a_wrong_client_is_refused(client: SandboxClient, auth: tuple[str, str] | None) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}

    answer = client.http.post("/oauth/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_client_credentials_may_be_in_the_body_but_json_is_refused(
    client: SandboxClient,
) -> None:
    sandbox = client.sandbox
    refresh_token = installed(sandbox)["refresh_token"]
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
    }

    assert client.http.post("/oauth/token", data=form).status_code == 200
    assert client.http.post("/oauth/token", json=form).json()["error"] == "invalid_request"


def test_a_refresh_gives_the_same_refresh_token_and_a_new_access_token(
    client: SandboxClient,
) -> None:
    first = installed(client.sandbox)

    second = client.token_answer(
        grant_type="refresh_token", refresh_token=first["refresh_token"]
    ).json()

    assert second["refresh_token"] == first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    for tokens in (first, second):
        bearer = {"authorization": f"Bearer {tokens['access_token']}"}
        assert client.http.get(ME, headers=bearer).status_code == 200


def test_with_rotation_the_old_refresh_token_is_dead(account: CrmAccount) -> None:
    with serve(account, rotates_refresh_token=True, refresh_kills_access_token=True) as sandbox:
        first = installed(sandbox)
        with SandboxClient(sandbox) as client:
            form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
            second = client.token_answer(**form)
            again = client.token_answer(**form)
            bearer = {"authorization": f"Bearer {first['access_token']}"}
            old = client.http.get(ME, headers=bearer)

    assert second.json()["refresh_token"] != first["refresh_token"]
    assert again.json()["error"] == "invalid_grant"
    assert old.status_code == 401


def test_an_access_token_dies_after_an_hour_and_a_refresh_token_after_sixty_idle_days(
    sandbox: Sandbox,
) -> None:
    with as_app(sandbox) as app:
        assert app.get(ME).status_code == 200
        sandbox.clock.advance(3_600)
        assert app.get(ME).status_code == 401
    tokens = installed(sandbox)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    with SandboxClient(sandbox) as client:
        sandbox.clock.advance(59 * 86_400)
        assert client.token_answer(**form).status_code == 200
        sandbox.clock.advance(60 * 86_400)
        assert client.token_answer(**form).json()["error"] == "invalid_grant"
