"""OAuth 2.0 as the app's side of it: consent address, code, refresh, revocation.

Each method makes one call and never repeats it: a source that rotates has replaced the refresh
token even if its answer was lost, and only the vault, which holds the row lock, knows what to try
next. They block; called where an event loop runs, they work in a thread of their own.

Bodies and client authentication are Authlib's. Its httpx client is not used: since 1.8 it warns
unless another package (httpx2) is there, and it reads answers without a cap or a deadline.
Source: RFC 6749 §4.1.3, §5.2, §6, RFC 7009, RFC 7636 (read 2026-11).
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
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from pipedrive_pipeline.connectors.answers import HttpAnswer, plain_number
from pipedrive_pipeline.connectors.contract import AuthScheme
from pipedrive_pipeline.connectors.hosts import AllowedHosts, checked_base_url
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
from pipedrive_pipeline.settings import setting_name

DEADLINE_SECONDS = 10.0  # one call as a whole; a row may be locked meanwhile
ANSWER_BYTES_MAX = 1024 * 1024  # a token pair is about 2 KB
LIFETIME_SECONDS_MAX = 31 * 86_400  # a longer lifetime is ignored
ERROR_CODE = re.compile(r"[a-z_]{1,40}")
CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
UNWELL_STATUSES = frozenset({403, 408, 425, 429})  # and 5xx; 403 is the edge's own page


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


@dataclass(frozen=True)
class OAuthApp:
    """Our app at one system, with the calls of its token endpoint."""

    system: str  # its key, for the names of settings in messages
    scheme: AuthScheme
    oauth_url: str
    client_id: str
    client_secret: SecretStr
    redirect_uri: str
    allowed_hosts: AllowedHosts
    deadline_seconds: float = DEADLINE_SECONDS

    def authorize_url(self, state: str, verifier: str) -> str:
        """Where to send a browser for consent.

        Args:
            state: comes back with the code.
            verifier: 43 to 128 characters of base64url that only we know; the address carries its
                challenge if the system has PKCE.

        Raises:
            HostNotAllowed: the setting `<KEY>_OAUTH_URL` leads to a host that is not listed.
        """
        scheme = self.scheme
        parameters = dict(scheme.authorize_params) | {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": state,
        }
        if scheme.sends_scopes:
            parameters["scope"] = scheme.scope_separator.join(scheme.scopes_needed)
        if scheme.has_pkce:
            parameters["code_challenge"] = create_s256_code_challenge(verifier)
            parameters["code_challenge_method"] = "S256"
        return f"{self._origin()}{scheme.authorize_path}?{urlencode(parameters)}"

    def exchange(self, code: SecretStr, verifier: str) -> TokenGrant:
        """The first token pair for a code that consent brought; a code works once, for minutes.

        Args:
            code: as the source sent it.
            verifier: the one that the address was made with.

        Raises:
            GrantRefused: the code is unknown, used or late; the tenant consents again.
            ClientRejected: the app's own id or secret is wrong; the operator corrects the setting.
            HostNotAllowed: the operator lists the host, or corrects `<KEY>_OAUTH_URL`.
            SourceUnavailable: no usable answer; the code may be used up all the same.
            SourceBroke: an answer against the contract, or a redirect.
        """
        pkce = {"code_verifier": verifier} if self.scheme.has_pkce else {}
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self.redirect_uri,
            code=code.get_secret_value(),
            **pkce,
        )
        return self._grant(self._answer(self.scheme.token_path, body))

    def refresh(self, refresh_token: SecretStr) -> TokenGrant:
        """A newer token pair; the refresh token may be the same one or another.

        Raises:
            GrantRefused: with ``error == "invalid_grant"`` consent is gone.
            ClientRejected, HostNotAllowed, SourceBroke: as `exchange`.
            SourceUnavailable: no usable answer; the source may have replaced the token all the
                same.
        """
        secret = refresh_token.get_secret_value()
        body = prepare_token_request("refresh_token", refresh_token=secret)
        return self._grant(self._answer(self.scheme.token_path, body))

    def revoke(self, refresh_token: SecretStr) -> None:
        """Tells the system to forget this grant; one that it does not know is forgotten already.

        Raises:
            ClientRejected, HostNotAllowed, SourceBroke, SourceUnavailable: as `refresh`.
        """
        if not self.scheme.revoke_path:
            return
        body, _ = prepare_revoke_token_request(refresh_token.get_secret_value(), "refresh_token")
        answer = self._answer(self.scheme.revoke_path, body)
        if answer.status >= 300:
            raise self._refusal(answer)

    def _origin(self) -> str:
        return checked_base_url(self.oauth_url, self.allowed_hosts)

    def _answer(self, path: str, body: str) -> HttpAnswer:
        """The answer to one form, if it is one of a token endpoint."""
        origin = self._origin()
        uri, headers, signed = self._signed(origin + path, body)
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
                f"{origin} redirects {path} to {target}; it was not followed and no secret "
                f"was sent there. Check {self._setting('OAUTH_URL')}."
            )
        if answer.status >= 500 or answer.status in UNWELL_STATUSES:
            raise SourceUnavailable(f"{origin}{path} answered with status {answer.status}.")
        return answer

    def _signed(self, uri: str, body: str) -> tuple[str, dict[str, str], str]:
        secret = self.client_secret.get_secret_value()
        if not (self.client_id + secret).isascii():
            raise ClientRejected("the app's client id or secret holds letters that no such id has.")
        method = {"basic": "client_secret_basic", "body": "client_secret_post"}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        signature = ClientAuth(self.client_id, secret, method[self.scheme.client_auth])
        signed: tuple[str, dict[str, str], str] = signature.prepare("POST", uri, headers, body)
        return signed

    def _grant(self, answer: HttpAnswer) -> TokenGrant:
        scheme, facts = self.scheme, _facts(answer)
        if answer.status >= 300 or "error" in facts:
            raise self._refusal(answer)
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

    def _refusal(self, answer: HttpAnswer) -> ClientRejected | GrantRefused | SourceBroke:
        """The error of a 4xx, chosen by the OAuth error code, the only dependable part."""
        code = _facts(answer).get("error")
        error = code if isinstance(code, str) and ERROR_CODE.fullmatch(code) else None
        if error in CLIENT_ERRORS or (error is None and answer.status == 401):
            return ClientRejected(
                "the token endpoint refuses the app itself (invalid_client); check "
                f"{self._setting('CLIENT_ID')} and {self._setting('CLIENT_SECRET')}. No tenant's "
                "consent is in question."
            )
        if error:
            return GrantRefused(error)
        return SourceBroke(
            f"the token endpoint answered with status {answer.status} and no OAuth error; check "
            f"{self._setting('OAUTH_URL')}."
        )

    def _setting(self, name: str) -> str:
        return setting_name(self.system, name)


async def _sent(
    origin: str,
    uri: str,
    headers: dict[str, str],
    body: str,
    *,
    limits: Limits,
    allowed_hosts: AllowedHosts,
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


def _scopes(scheme: AuthScheme, scope: object) -> tuple[str, ...]:
    """The granted scopes; most answers hold text, some a list."""
    names = scope if isinstance(scope, list) else str(scope or "").split(scheme.scope_separator)
    return tuple(name.strip() for name in map(str, names) if name.strip())


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
