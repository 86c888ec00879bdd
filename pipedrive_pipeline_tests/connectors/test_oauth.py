"""What a token endpoint answers, and what must never leave this machine."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors import oauth
from pipedrive_pipeline.connectors.contract import AuthScheme
from pipedrive_pipeline.connectors.oauth import OAuthClient, TokenGrant
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

APP = OAuthClient("app-id", SecretStr("app-secret:x"))
OLD_TOKEN = SecretStr("1234:old-refresh/+token=")
LOOPBACK = ("127.0.0.1",)
REDIRECT = "http://127.0.0.1:8000/api/integrations/pipedrive/callback"
ANSWER = {
    "access_token": "v1u:new-access",
    "token_type": "Bearer",
    "expires_in": 3599,
    "refresh_token": "1234:new-refresh",
    "scope": "base,contacts:read,users:read",
    "api_domain": "https://acme-sandbox.pipedrive.com",
}


def refreshed(
    reply: Reply, scheme: AuthScheme = PIPEDRIVE_OAUTH
) -> tuple[TokenGrant, list[ReceivedRequest]]:
    """The grant that a refresh brought, called as it is where a loop runs: from inside one."""

    async def act() -> tuple[TokenGrant, list[ReceivedRequest]]:
        async with scripted(lambda _: reply) as server:
            grant = await asyncio.to_thread(
                lambda: oauth.refresh(
                    scheme,
                    server.url,
                    APP,
                    OLD_TOKEN,
                    allowed_hosts=LOOPBACK,
                    deadline_seconds=0.3,
                )
            )
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
            grant = await asyncio.to_thread(
                lambda: oauth.exchange_code(
                    PIPEDRIVE_OAUTH,
                    server.url,
                    APP,
                    SecretStr("the code"),
                    REDIRECT,
                    allowed_hosts=LOOPBACK,
                )
            )
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
                await asyncio.to_thread(
                    lambda: oauth.refresh(
                        PIPEDRIVE_OAUTH, server.url, APP, OLD_TOKEN, allowed_hosts=LOOPBACK
                    )
                )
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
        lambda url: oauth.refresh(
            PIPEDRIVE_OAUTH, url, APP, OLD_TOKEN, allowed_hosts=("*.pipedrive.com",)
        ),
        lambda url: oauth.exchange_code(
            PIPEDRIVE_OAUTH, url, APP, SecretStr("c"), REDIRECT, allowed_hosts=("*.pipedrive.com",)
        ),
        lambda url: oauth.revoke(
            PIPEDRIVE_OAUTH, url, APP, OLD_TOKEN, allowed_hosts=("*.pipedrive.com",)
        ),
        lambda url: oauth.authorize_url(
            PIPEDRIVE_OAUTH, url, "id", REDIRECT, "s", allowed_hosts=("*.pipedrive.com",)
        ),
    ],
    ids=["refresh", "exchange_code", "revoke", "authorize_url"],
)
def test_a_host_that_is_not_listed_gets_nothing(act: Callable[[str], object]) -> None:
    """Neither a secret nor a browser."""
    for url in ("https://oauth.pipedrive.com.evil.org", "http://oauth.pipedrive.com"):
        with pytest.raises(HostNotAllowed):
            act(url)


def test_a_host_that_refuses_connections_is_named() -> None:
    """One line that says where to look."""
    with pytest.raises(SourceUnavailable, match="refuses connections"):
        oauth.refresh(PIPEDRIVE_OAUTH, "http://127.0.0.1:9", APP, OLD_TOKEN, allowed_hosts=LOOPBACK)


def test_revoking_names_the_token_and_takes_any_200() -> None:
    """An unknown token answers 200 as well: it is forgotten."""

    async def act() -> list[ReceivedRequest]:
        async with scripted(lambda _: Reply(200)) as server:
            await asyncio.to_thread(
                lambda: oauth.revoke(
                    PIPEDRIVE_OAUTH, server.url, APP, OLD_TOKEN, allowed_hosts=LOOPBACK
                )
            )
            return server.requests

    (request,) = run(act())

    assert request.path == "/oauth/revoke"
    assert dict(parse_qsl(request.body.decode())) == {
        "token": OLD_TOKEN.get_secret_value(),
        "token_type_hint": "refresh_token",
    }


def test_the_consent_address_carries_what_pipedrive_documents() -> None:
    """Neither response_type nor scope: scopes are the app's, chosen in the Developer Hub."""
    url = oauth.authorize_url(
        PIPEDRIVE_OAUTH,
        "https://oauth.pipedrive.com/",
        "app id",
        REDIRECT,
        "s&t",
        allowed_hosts=("*.pipedrive.com",),
    )

    assert url.startswith("https://oauth.pipedrive.com/oauth/authorize?")
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "client_id": "app id",
        "redirect_uri": REDIRECT,
        "state": "s&t",
    }


def test_fixed_parameters_of_a_system_are_added() -> None:
    """Google wants access_type, most want response_type and scope."""
    scheme = AuthScheme(kind="oauth", authorize_params=(("response_type", "code"),))

    url = oauth.authorize_url(
        scheme, "https://o.example", "id", REDIRECT, "s", allowed_hosts=("o.example",)
    )

    assert "response_type=code" in url


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither by us nor by the libraries below."""
    with caplog.at_level(logging.DEBUG):
        refreshed(as_json(ANSWER))

    for secret in ("app-secret", "old-refresh", "new-access", "new-refresh"):
        assert secret not in caplog.text
