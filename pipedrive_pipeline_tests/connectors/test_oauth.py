"""What a token endpoint answers, and what must never leave this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import AuthScheme
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.oauth import OAuthApp, TokenGrant
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE_OAUTH
from pipedrive_pipeline.connectors.refusals import GrantRefused
from pipedrive_pipeline.errors import (
    ClientRejected,
    HostNotAllowed,
    PipelineError,
    SourceBroke,
    SourceUnavailable,
)
from pipedrive_pipeline_tests.connectors.doubles import run
from pipedrive_pipeline_tests.connectors.scripted import ReceivedRequest, Reply, as_json, scripted

OLD_TOKEN = SecretStr("1234:old-refresh/+token=")
LOOPBACK = AllowedHosts(("127.0.0.1",))
VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:8000/api/integrations/pipedrive/callback"
ANSWER = {
    "access_token": "v1u:new-access",
    "token_type": "Bearer",
    "expires_in": 3599,
    "refresh_token": "1234:new-refresh",
    "scope": "base,contacts:read,users:read",
    "api_domain": "https://acme-sandbox.pipedrive.com",
}


def app_at(
    url: str,
    scheme: AuthScheme = PIPEDRIVE_OAUTH,
    *,
    allowed_hosts: AllowedHosts = LOOPBACK,
    deadline_seconds: float = 10,
) -> OAuthApp:
    """An app that is registered with the system at this address."""
    return OAuthApp(
        "pipedrive",
        scheme,
        url,
        "app-id",
        SecretStr("app-secret:x"),
        REDIRECT,
        allowed_hosts,
        deadline_seconds,
    )


def refreshed(
    reply: Reply, scheme: AuthScheme = PIPEDRIVE_OAUTH
) -> tuple[TokenGrant, list[ReceivedRequest]]:
    """The grant that a refresh brought, called as it is where a loop runs: from inside one."""

    async def act() -> tuple[TokenGrant, list[ReceivedRequest]]:
        async with scripted(lambda _: reply) as server:
            app = app_at(server.url, scheme, deadline_seconds=0.3)
            grant = await asyncio.to_thread(app.refresh, OLD_TOKEN)
            return grant, server.requests

    return run(act())


def refusal(reply: Reply) -> PipelineError:
    """The error of a refresh."""
    with pytest.raises(PipelineError) as caught:
        refreshed(reply)
    shown = "".join(traceback.format_exception(caught.value))
    assert "app-secret" not in shown
    assert "old-refresh" not in shown
    return caught.value


def test_a_refresh_is_a_form_with_basic_authentication() -> None:
    """As Pipedrive's guide asks for; a JSON body is refused."""
    grant, (request,) = refreshed(as_json(ANSWER))

    assert request.path == "/oauth/token"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(request.headers["authorization"].split()[1]) == b"app-id:app-secret:x"
    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": OLD_TOKEN.get_secret_value(),
    }
    assert grant.access_token.get_secret_value() == "v1u:new-access"
    assert grant.refresh_token
    assert grant.refresh_token.get_secret_value() == "1234:new-refresh"
    assert grant.lifetime == timedelta(seconds=3599)
    assert grant.scopes == ("base", "contacts:read", "users:read")
    assert grant.api_domain == "https://acme-sandbox.pipedrive.com"
    assert "new-" not in repr(grant)


def test_a_code_is_exchanged_with_its_redirect_address() -> None:
    """It must equal the address of the consent request."""

    async def act() -> tuple[TokenGrant, ReceivedRequest]:
        async with scripted(lambda _: as_json(ANSWER)) as server:
            app = app_at(server.url)
            grant = await asyncio.to_thread(app.exchange, SecretStr("the code"), VERIFIER)
            return grant, server.requests[0]

    grant, request = run(act())

    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "authorization_code",
        "code": "the code",
        "redirect_uri": REDIRECT,
    }
    assert grant.expires_in_seconds == 3599


def test_a_system_may_want_id_and_secret_in_the_body() -> None:
    """As HubSpot and Zoho do."""
    scheme = AuthScheme(kind="oauth", token_path="/t", client_auth="body")

    _, (request,) = refreshed(as_json(ANSWER), scheme)

    body = dict(parse_qsl(request.body.decode()))
    assert (body["client_id"], body["client_secret"]) == ("app-id", "app-secret:x")
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (3599.9, 3599),
        (None, 300),
        ("soon", 300),
        (0, 300),
        (-1, 300),
        (True, 300),
        (10**12, 31 * 86_400),
    ],
)
def test_a_lifetime_is_read_leniently(expires_in: object, seconds: int) -> None:
    """Number and text both occur; an absurd one must not keep a dead token in use."""
    grant, _ = refreshed(as_json({**ANSWER, "expires_in": expires_in}))

    assert grant.expires_in_seconds == seconds


def test_what_an_answer_leaves_out_is_none() -> None:
    """The caller keeps the former refresh token and address."""
    grant, _ = refreshed(as_json({"access_token": "a"}))

    assert grant.refresh_token is None
    assert grant.api_domain is None
    assert grant.scopes == ()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (as_json({"success": False, "error": "invalid_grant"}, 400), GrantRefused),
        (
            as_json({"success": "false", "error": "invalid_grant", "message": "x"}, 400),
            GrantRefused,
        ),
        (as_json({"error": "invalid_grant"}), GrantRefused),
        (as_json({"error": "invalid_request"}, 400), GrantRefused),
        (as_json({"error": "invalid_client"}, 400), ClientRejected),
        (as_json({"error": "invalid_client"}, 401), ClientRejected),
        (Reply(401), ClientRejected),
        (Reply(500), SourceUnavailable),
        (Reply(503, b"<html>", content_type="text/html"), SourceUnavailable),
        (Reply(429), SourceUnavailable),
        (Reply(403, b"<html>", content_type="text/html"), SourceUnavailable),
        (Reply(200, b"<html>", content_type="text/html"), SourceUnavailable),
        (Reply(200, b'{"access_token":"v1u'), SourceUnavailable),
        (Reply(200, b'{"access_token":"x"}', cut_after=90), SourceUnavailable),
        (Reply(200, b"", cut_after=0), SourceUnavailable),
        (Reply(is_silent=True), SourceUnavailable),
        (Reply(200, b"x" * 100, second_per_byte=0.05), SourceUnavailable),
        (Reply(200, b" " * 2_000_000), SourceBroke),
        (Reply(404), SourceBroke),
        (as_json({"error": "Ada Lovelace did it"}, 400), SourceBroke),
        (as_json({"token_type": "Bearer"}), SourceBroke),
        (as_json({"access_token": ""}), SourceBroke),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_answer_without_tokens_is_a_typed_error(
    reply: Reply, error: type[PipelineError]
) -> None:
    """The vault ends a connection on invalid_grant only, never on trouble or our own mistake."""
    refused = refusal(reply)

    assert type(refused) is error
    assert "Ada" not in str(refused)
    if isinstance(refused, GrantRefused):
        assert refused.error in {"invalid_grant", "invalid_request"}


def test_a_call_is_made_once() -> None:
    """A source that rotates may have replaced the token although its answer was lost."""

    async def act() -> int:
        async with scripted(lambda _: Reply(503)) as server:
            with pytest.raises(SourceUnavailable):
                await asyncio.to_thread(app_at(server.url).refresh, OLD_TOKEN)
            return len(server.requests)

    assert run(act()) == 1


def test_a_redirect_is_not_followed() -> None:
    """The app's secret and the token would go with it."""
    refused = refusal(Reply(307, headers={"location": "https://evil.example/x?code=1"}))

    assert isinstance(refused, SourceBroke)
    assert "evil.example" in str(refused)
    assert "code=1" not in str(refused)


@pytest.mark.parametrize(
    "act",
    [
        lambda app: app.refresh(OLD_TOKEN),
        lambda app: app.exchange(SecretStr("c"), VERIFIER),
        lambda app: app.revoke(OLD_TOKEN),
        lambda app: app.authorize_url("s", VERIFIER),
    ],
    ids=["refresh", "exchange", "revoke", "authorize_url"],
)
def test_a_host_that_is_not_listed_gets_nothing(act: Callable[[OAuthApp], object]) -> None:
    """Neither a secret nor a browser."""
    for url in ("https://oauth.pipedrive.com.evil.org", "http://oauth.pipedrive.com"):
        with pytest.raises(HostNotAllowed):
            act(app_at(url, allowed_hosts=AllowedHosts(("*.pipedrive.com",))))


def test_a_host_that_refuses_connections_is_named() -> None:
    """One line that says where to look."""
    with pytest.raises(SourceUnavailable, match="refuses connections"):
        app_at("http://127.0.0.1:9").refresh(OLD_TOKEN)


def test_revoking_names_the_token_and_takes_any_200() -> None:
    """An unknown token answers 200 as well: it is forgotten."""

    async def act() -> list[ReceivedRequest]:
        async with scripted(lambda _: Reply(200)) as server:
            await asyncio.to_thread(app_at(server.url).revoke, OLD_TOKEN)
            return server.requests

    (request,) = run(act())

    assert request.path == "/oauth/revoke"
    assert dict(parse_qsl(request.body.decode())) == {
        "token": OLD_TOKEN.get_secret_value(),
        "token_type_hint": "refresh_token",
    }


def test_the_consent_address_carries_what_pipedrive_documents() -> None:
    """Neither response_type nor scope: scopes are the app's, chosen in the Developer Hub."""
    url = app_at(
        "https://oauth.pipedrive.com/", allowed_hosts=AllowedHosts(("*.pipedrive.com",))
    ).authorize_url("s&t", VERIFIER)

    assert url.startswith("https://oauth.pipedrive.com/oauth/authorize?")
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "client_id": "app-id",
        "redirect_uri": REDIRECT,
        "state": "s&t",
    }


def test_the_consent_address_carries_what_a_system_declares() -> None:
    """Most want response_type and scopes, each with its own separator; some want PKCE."""
    scheme = AuthScheme(
        kind="oauth",
        authorize_params=(("response_type", "code"),),
        scopes_needed=("read", "write"),
        sends_scopes=True,
        scope_separator=" ",
        has_pkce=True,
    )
    app = app_at("https://o.example", scheme, allowed_hosts=AllowedHosts(("o.example",)))

    query = dict(parse_qsl(urlsplit(app.authorize_url("s", VERIFIER)).query))

    digest = hashlib.sha256(VERIFIER.encode()).digest()
    assert query["response_type"] == "code"
    assert query["scope"] == "read write"
    assert query["code_challenge_method"] == "S256"
    assert query["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert VERIFIER not in query.values()


def test_the_code_is_exchanged_with_the_verifier_of_its_challenge() -> None:
    """Without it, a code that was caught on its way would open the account (RFC 7636)."""

    async def act() -> ReceivedRequest:
        async with scripted(lambda _: as_json(ANSWER)) as server:
            app = app_at(server.url, replace(PIPEDRIVE_OAUTH, has_pkce=True))
            await asyncio.to_thread(app.exchange, SecretStr("the code"), VERIFIER)
            return server.requests[0]

    assert dict(parse_qsl(run(act()).body.decode()))["code_verifier"] == VERIFIER


@pytest.mark.parametrize(
    ("separator", "scope", "scopes"),
    [
        (" ", "a b", ("a", "b")),
        (",", "a, b", ("a", "b")),
        (" ", ["a", "b"], ("a", "b")),
        (" ", None, ()),
    ],
)
def test_granted_scopes_are_separated_as_declared(
    separator: str, scope: object, scopes: tuple[str, ...]
) -> None:
    scheme = replace(PIPEDRIVE_OAUTH, scope_separator=separator)

    grant, _ = refreshed(as_json({**ANSWER, "scope": scope}), scheme)

    assert grant.scopes == scopes


def test_the_address_of_the_api_may_be_fixed() -> None:
    """HubSpot's token answers name no host."""
    scheme = replace(PIPEDRIVE_OAUTH, api_url_key="", api_url="https://api.example.com")

    grant, _ = refreshed(as_json({"access_token": "a"}), scheme)

    assert grant.api_domain == "https://api.example.com"


def test_a_refusal_names_the_settings_of_its_own_system() -> None:
    """With several systems, the operator must not correct another one's app."""
    app = replace(app_at("https://elsewhere.example"), system="zoho_crm")

    with pytest.raises(HostNotAllowed):
        app.refresh(OLD_TOKEN)

    async def act() -> None:
        async with scripted(lambda _: as_json({"error": "invalid_client"}, 400)) as server:
            await asyncio.to_thread(replace(app, oauth_url=server.url).refresh, OLD_TOKEN)

    with pytest.raises(ClientRejected, match="ZOHO_CRM_CLIENT_ID and ZOHO_CRM_CLIENT_SECRET"):
        run(act())


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither by us nor by the libraries below."""
    with caplog.at_level(logging.DEBUG):
        refreshed(as_json(ANSWER))

    for secret in ("app-secret", "old-refresh", "new-access", "new-refresh"):
        assert secret not in caplog.text
