"""How consent ends: revocation, lost scopes, uninstall with its notice."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, as_app, installed

ME = "/v1/users/me"


def test_revoking_a_refresh_token_ends_the_installation(client: SandboxClient) -> None:
    sandbox = client.sandbox
    tokens = installed(sandbox)
    auth = (sandbox.client_id, sandbox.client_secret)

    known = client.http.post("/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=auth)
    unknown = client.http.post("/oauth/revoke", data={"token": "x"}, auth=auth)

    assert {known.status_code, unknown.status_code} == {200}
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    assert client.http.get(ME, headers=bearer).status_code == 401


def test_revoking_an_access_token_leaves_the_installation(client: SandboxClient) -> None:
    sandbox = client.sandbox
    tokens = installed(sandbox)
    auth = (sandbox.client_id, sandbox.client_secret)

    client.http.post("/oauth/revoke", data={"token": tokens["access_token"]}, auth=auth)

    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert client.token_answer(**form).status_code == 200


def test_a_revoked_consent_is_401_and_invalid_grant(sandbox: Sandbox) -> None:
    tokens, old_api_token = installed(sandbox), sandbox.api_token
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    with as_app(sandbox) as app, SandboxClient(sandbox) as client:
        sandbox.revoke()

        answer = app.get(ME)
        assert answer.status_code == 401
        assert answer.json()["error"] == "unauthorized access"
        assert answer.headers["x-401-by-gw"] == "true"
        assert client.token_answer(**form).json()["error"] == "invalid_grant"
        assert client.get(ME).status_code == 401
    assert sandbox.api_token != old_api_token


def test_who_may_edit_contacts_may_change_their_fields_but_not_add_or_delete_one(
    sandbox: Sandbox,
) -> None:
    field = sandbox.account.fields["persons"].named("Anrede")
    path = "/api/v2/personFields"
    with as_app(sandbox) as app:
        sandbox.grants.take_scopes("admin", "contact-fields:full")

        renamed = app.http.patch(f"{path}/{field.code}", json={"field_name": "Titel"})
        option = app.http.post(f"{path}/{field.code}/options", json=[{"label": "Dr."}])
        added = app.http.post(path, json={"field_name": "X", "field_type": "text"})
        deleted = app.http.delete(f"{path}/{field.code}")

    answers = (renamed, option, added, deleted)
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403]


def test_a_missing_scope_is_403_and_goes_with_the_next_installation(sandbox: Sandbox) -> None:
    with as_app(sandbox) as app:
        sandbox.grants.take_scopes("users:read")
        status, error = app.refusal("/v1/users")
        assert app.get(ME).status_code == 200
    sandbox.grants.give_scopes("users:read")

    with as_app(sandbox) as app:
        assert app.get("/v1/users").status_code == 200
    assert (status, error) == (403, "Scope and URL mismatch")


def test_requests_without_good_credentials_are_401_also_on_unknown_paths(sandbox: Sandbox) -> None:
    with SandboxClient(sandbox, headers={}) as nobody:
        assert nobody.get("/api/v2/persons").status_code == 401
        assert nobody.get("/api/v2/unknown").status_code == 401
        assert nobody.get("/api/v2/persons", api_token=sandbox.api_token).status_code == 401
    with SandboxClient(sandbox, headers={"authorization": "Basic x"}) as odd:
        assert (
            odd.refusal("/api/v2/persons")[1] == "Invalid request: malformed authorization header"
        )


def test_an_uninstall_calls_the_callback_with_the_apps_own_credentials(sandbox: Sandbox) -> None:
    notices: list[tuple[str, dict[str, Any]]] = []

    class Callback(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            notices.append((self.headers["authorization"], json.loads(body)))
            self.send_response(500)  # is ignored
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Callback) as callback:
        threading.Thread(target=callback.handle_request, daemon=True).start()
        uri = f"http://127.0.0.1:{callback.server_port}/callback"
        code = sandbox.grants.code(901, uri)
        with SandboxClient(sandbox) as client:
            client.token_answer(grant_type="authorization_code", code=code, redirect_uri=uri)

        ended = sandbox.uninstall()

    ((authorization, notice),) = notices
    assert ended == 1
    assert b64decode(authorization.removeprefix("Basic ")) == b"sandbox-client:sandbox-secret"
    assert notice["client_id"] == "sandbox-client"
    assert (notice["company_id"], notice["user_id"]) == (7_700_123, 901)
