"""OAuth 2.0 as the app's side of it: consent address, code, refresh, revocation.

Each function makes one call and never repeats it: a source that rotates has replaced the refresh
token even if its answer was lost, and only the vault, which holds the row lock, knows what to try
next. They block; called where an event loop runs, they work in a thread of their own.

Bodies and client authentication are Authlib's. Its httpx client is not used: since 1.8 it warns
unless another package (httpx2) is there, and it reads answers without a cap or a deadline.
Source: RFC 6749 §4.1.3, §5.2, §6, RFC 7009 and
https://pipedrive.readme.io/docs/marketplace-oauth-authorization (read 2026-11).
"""

from __future__ import annotations

import asyncio
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from pydantic import SecretStr

from pipedrive_pipeline.connectors.answers import HttpAnswer, plain_number
from pipedrive_pipeline.connectors.contract import AuthScheme
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.connectors.refusals import GrantRefused
from pipedrive_pipeline.connectors.transport import (
    BodyTooLarge,
    Limits,
    UnknownCompression,
    exchange,
    in_plain_words,
    open_client,
)
from pipedrive_pipeline.errors import ClientRejected, SourceBroke, SourceUnavailable

DEADLINE_SECONDS = 15.0  # one call as a whole; the caller may hold a row lock meanwhile
ANSWER_BYTES_MAX = 1024 * 1024  # a token pair is about 2 KB
LIFETIME_SECONDS_MAX = 31 * 86_400  # a longer lifetime is ignored
ERROR_CODE = re.compile(r"[a-z_]{1,40}")
CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
UNWELL_STATUSES = frozenset({403, 408, 425, 429})  # and 5xx; 403 is the edge's own page


@dataclass(frozen=True)
class OAuthClient:
    """The app's own id and secret, as registered with the system."""

    client_id: str
    client_secret: SecretStr


@dataclass(frozen=True)
class TokenGrant:
    """What a token endpoint handed out. Its secrets are masked in every text form."""

    access_token: SecretStr
    refresh_token: SecretStr | None  # None: the answer named none, the former one stays
    expires_in_seconds: int
    scopes: tuple[str, ...]
    api_domain: str | None  # as answered, unchecked: ask `checked_base_url` before using it

    @property
    def lifetime(self) -> timedelta:
        """How long the access token lives from now on."""
        return timedelta(seconds=self.expires_in_seconds)


def authorize_url(
    scheme: AuthScheme,
    oauth_url: str,
    client_id: str,
    redirect_uri: str,
    state: str,
    *,
    allowed_hosts: tuple[str, ...],
) -> str:
    """Where to send a browser for consent.

    Raises:
        HostNotAllowed: `PIPEDRIVE_OAUTH_URL` leads to a host that is not listed.
    """
    origin = checked_base_url(oauth_url, allowed_hosts)
    own = {"client_id": client_id, "redirect_uri": redirect_uri, "state": state}
    if scheme.sends_scopes:
        own["scope"] = scheme.scope_separator.join(scheme.scopes_needed)
    return f"{origin}{scheme.authorize_path}?{urlencode({**dict(scheme.authorize_params), **own})}"


def exchange_code(
    scheme: AuthScheme,
    oauth_url: str,
    client: OAuthClient,
    code: SecretStr,
    redirect_uri: str,
    *,
    allowed_hosts: tuple[str, ...],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> TokenGrant:
    """The first token pair for a code that consent brought; a code works once, for minutes.

    Raises:
        GrantRefused: the code is unknown, used or late; the tenant consents again.
        ClientRejected: the app's own id or secret is wrong; the operator corrects the setting.
        HostNotAllowed: the operator lists the host, or corrects `PIPEDRIVE_OAUTH_URL`.
        SourceUnavailable: no usable answer; the code may be used up all the same.
        SourceBroke: an answer against the contract, or a redirect.
    """
    body = prepare_token_request(
        "authorization_code", redirect_uri=redirect_uri, code=code.get_secret_value()
    )
    post = _Post(scheme, oauth_url, scheme.token_path, allowed_hosts, deadline_seconds)
    return _grant(scheme, post.answered(client, body))


def refresh(
    scheme: AuthScheme,
    oauth_url: str,
    client: OAuthClient,
    refresh_token: SecretStr,
    *,
    allowed_hosts: tuple[str, ...],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> TokenGrant:
    """A newer token pair; the refresh token may be the same one or another.

    Raises:
        GrantRefused: with ``error == "invalid_grant"`` consent is gone.
        ClientRejected, HostNotAllowed, SourceBroke: as `exchange_code`.
        SourceUnavailable: no usable answer; the source may have replaced the token all the same.
    """
    body = prepare_token_request("refresh_token", refresh_token=refresh_token.get_secret_value())
    post = _Post(scheme, oauth_url, scheme.token_path, allowed_hosts, deadline_seconds)
    return _grant(scheme, post.answered(client, body))


def revoke(
    scheme: AuthScheme,
    oauth_url: str,
    client: OAuthClient,
    refresh_token: SecretStr,
    *,
    allowed_hosts: tuple[str, ...],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Tell the system to forget this grant; one that it does not know is forgotten already.

    Raises:
        ClientRejected, HostNotAllowed, SourceBroke, SourceUnavailable: as `refresh`.
    """
    if not scheme.revoke_path:
        return
    body, _ = prepare_revoke_token_request(refresh_token.get_secret_value(), "refresh_token")
    post = _Post(scheme, oauth_url, scheme.revoke_path, allowed_hosts, deadline_seconds)
    answer = post.answered(client, body)
    if answer.status >= 300:
        raise _refusal(answer)


@dataclass(frozen=True)
class _Post:
    """One form to one path of the token host."""

    scheme: AuthScheme
    oauth_url: str
    path: str
    allowed_hosts: tuple[str, ...]
    deadline_seconds: float

    def answered(self, client: OAuthClient, body: str) -> HttpAnswer:
        """The answer, if it is one of a token endpoint."""
        origin = checked_base_url(self.oauth_url, self.allowed_hosts)
        uri, headers, signed = _signed(self.scheme, client, origin + self.path, body)
        limits = Limits(call_seconds=self.deadline_seconds, body_bytes=ANSWER_BYTES_MAX)
        # A thread of its own, since `asyncio.run` refuses where a loop runs already.
        with ThreadPoolExecutor(max_workers=1) as pool:
            sending = _sent(
                origin, uri, headers, signed, limits=limits, allowed_hosts=self.allowed_hosts
            )
            answer = pool.submit(asyncio.run, sending).result()
        if 300 <= answer.status < 400:
            target = urlsplit(answer.headers.get("location", "")).hostname or "another path"
            raise SourceBroke(
                f"{origin} redirects {self.path} to {target}; it was not followed and no secret "
                "was sent there. Check PIPEDRIVE_OAUTH_URL."
            )
        if answer.status >= 500 or answer.status in UNWELL_STATUSES:
            raise SourceUnavailable(f"{origin}{self.path} answered with status {answer.status}.")
        return answer


def _signed(
    scheme: AuthScheme, client: OAuthClient, uri: str, body: str
) -> tuple[str, dict[str, str], str]:
    secret = client.client_secret.get_secret_value()
    if not (client.client_id + secret).isascii():
        raise ClientRejected("the app's client id or secret holds letters that no such id has.")
    method = {"basic": "client_secret_basic", "body": "client_secret_post"}[scheme.client_auth]
    headers = {"content-type": "application/x-www-form-urlencoded"}
    signature = ClientAuth(client.client_id, secret, method)
    signed: tuple[str, dict[str, str], str] = signature.prepare("POST", uri, headers, body)
    return signed


async def _sent(
    origin: str,
    uri: str,
    headers: dict[str, str],
    body: str,
    *,
    limits: Limits,
    allowed_hosts: tuple[str, ...],
) -> HttpAnswer:
    try:
        async with (
            asyncio.timeout(limits.call_seconds),
            open_client(limits, allowed_hosts) as client,
        ):
            request = client.build_request("POST", uri, headers=headers, content=body.encode())
            return await exchange(client, request, limits)
    except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
        raise SourceUnavailable(f"{in_plain_words(error, origin, limits)}.") from error
    except (BodyTooLarge, UnknownCompression) as error:
        raise SourceBroke(f"{origin} sent an answer that no token endpoint sends.") from error


def _grant(scheme: AuthScheme, answer: HttpAnswer) -> TokenGrant:
    facts = _facts(answer)
    if answer.status >= 300 or "error" in facts:
        raise _refusal(answer)
    access, renewing = facts.get("access_token"), facts.get("refresh_token")
    if not isinstance(access, str) or not access:
        raise SourceBroke("the token endpoint answered without an access token.")
    api_url = facts.get(scheme.api_url_key) or scheme.api_url
    return TokenGrant(
        access_token=SecretStr(access),
        refresh_token=SecretStr(renewing) if isinstance(renewing, str) and renewing else None,
        expires_in_seconds=_lifetime(facts.get("expires_in"), scheme.default_lifetime_seconds),
        scopes=_scopes(scheme, facts.get("scope")),
        api_domain=api_url if isinstance(api_url, str) and api_url else None,
    )


def _scopes(scheme: AuthScheme, scope: object) -> tuple[str, ...]:
    """The granted scopes; most answers hold text, some a list."""
    names = scope if isinstance(scope, list) else str(scope or "").split(scheme.scope_separator)
    return tuple(name.strip() for name in map(str, names) if name.strip())


def _refusal(answer: HttpAnswer) -> ClientRejected | GrantRefused | SourceBroke:
    """The error of a 4xx, chosen by the OAuth error code, the only dependable part."""
    code = _facts(answer).get("error")
    error = code if isinstance(code, str) and ERROR_CODE.fullmatch(code) else None
    if error in CLIENT_ERRORS or (error is None and answer.status == 401):
        return ClientRejected(
            "the token endpoint refuses the app itself (invalid_client); check "
            "PIPEDRIVE_CLIENT_ID and PIPEDRIVE_CLIENT_SECRET. No tenant's consent is in question."
        )
    if error:
        return GrantRefused(error)
    return SourceBroke(
        f"the token endpoint answered with status {answer.status} and no OAuth error; check "
        "PIPEDRIVE_OAUTH_URL."
    )


def _facts(answer: HttpAnswer) -> dict[str, object]:
    """The body's JSON object; one that was cut or is a web page counts as no answer."""
    try:
        return msgspec.json.decode(answer.body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if answer.status < 300:
            raise SourceUnavailable("the token endpoint's answer cannot be read.") from None
        return {}


def _lifetime(expires_in: object, default_seconds: int) -> int:
    """Seconds until the access token ends; the answer has a number, text or nothing."""
    seconds = (
        plain_number(str(expires_in).strip()) if isinstance(expires_in, (int, float, str)) else None
    )
    if seconds is None or seconds < 1:
        return default_seconds
    return math.floor(min(seconds, LIFETIME_SECONDS_MAX))
