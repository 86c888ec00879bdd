"""Pipedrive's OAuth endpoints: authorize, token, revoke.

Source:
    https://pipedrive.readme.io/docs/marketplace-oauth-authorization (read 2026-09)
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from secrets import compare_digest
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web.answers import Answer, encode, html
from pipedrive_pipeline.sandbox.web.faults import token_refusal
from pipedrive_pipeline.sandbox.web.grants import GrantRefused, Grants, Tokens
from pipedrive_pipeline.sandbox.web.pages import consent_page
from pipedrive_pipeline.sandbox.world.account import Account

FORM = "application/x-www-form-urlencoded"
Form = dict[str, str]


class OAuth:
    """The authorization server of one sandbox."""

    def __init__(self, account: Account, options: Options, grants: Grants) -> None:
        self._account, self._options, self._grants = account, options, grants

    def authorize(self, query: Form, decision: Form | None = None) -> Answer:
        """Send the browser back with a code, or show the consent page first.

        Args:
            query: of the authorize address.
            decision: the form of the consent page, after the person's decision.
        """
        redirect_uri = query.get("redirect_uri", "")
        if query.get("client_id") != self._options.client_id:
            return html(400, "<h1>App cannot be installed for requested company</h1>")
        if not self._is_callback(redirect_uri):
            return html(400, "<h1>Invalid redirect URL</h1>")
        if decision is None and self._options.consent == "page":
            return html(200, consent_page(self._account, self._options, query))
        state = {"state": query["state"]} if "state" in query else {}
        if decision is not None and decision.get("decision") != "allow":
            return _back(redirect_uri, {"error": "user_denied", **state})
        chosen = (decision or {}).get("user_id", str(self._account.admin_id))
        user_id = next((known for known in self._account.rights if str(known) == chosen), None)
        if user_id is None:
            return html(400, "<h1>No such user</h1>")
        return _back(redirect_uri, {"code": self._grants.code(user_id, redirect_uri), **state})

    def token(self, headers: Mapping[str, str], body: bytes, base_url: str) -> Answer:
        """Exchange a code or a refresh token."""
        try:
            form = _form(headers, body)
            self._check_client(headers, form)
            tokens = self._tokens(form)
        except GrantRefused as refused:
            is_client = refused.error == "invalid_client"
            status = self._options.wrong_client_status if is_client else 400
            return token_refusal(status, refused.error, refused.message)
        content = {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": self._options.access_token_seconds,
            "refresh_token": tokens.refresh_token,
            "scope": ",".join(sorted(tokens.scopes)),
            "api_domain": base_url,
        }
        return Answer(200, encode(content))

    def revoke(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Forget a token; 200 for an unknown one, too."""
        try:
            form = _form(headers, body)
            self._check_client(headers, form)
        except GrantRefused as refused:
            return token_refusal(400, refused.error, refused.message)
        self._grants.revoke(form.get("token", ""))
        return Answer(200, encode({"success": True}))

    def _tokens(self, form: Form) -> Tokens:
        kind = form.get("grant_type")
        if kind == "authorization_code":
            return self._grants.exchange(form.get("code", ""), form.get("redirect_uri"))
        if kind == "refresh_token":
            return self._grants.refresh(form.get("refresh_token", ""))
        if not kind:
            raise GrantRefused("invalid_request", "Missing parameter: `grant_type`")
        raise GrantRefused(
            "unsupported_grant_type", "Unsupported grant type: `grant_type` is invalid"
        )

    def _check_client(self, headers: Mapping[str, str], form: Form) -> None:
        client_id, secret = _basic(headers.get("authorization", ""))
        client_id = client_id or form.get("client_id", "")
        secret = secret or form.get("client_secret", "")
        if not client_id or not secret:
            raise GrantRefused(
                "invalid_client", "Invalid client: cannot retrieve client credentials"
            )
        is_ours = compare_digest(client_id.encode(), self._options.client_id.encode())
        if not (is_ours and compare_digest(secret.encode(), self._options.client_secret.encode())):
            raise GrantRefused("invalid_client", "Invalid client: client is invalid")

    def _is_callback(self, redirect_uri: str) -> bool:
        if self._options.redirect_uri is not None:
            return redirect_uri == self._options.redirect_uri
        if not redirect_uri.isprintable():
            return False
        try:
            parts = urlsplit(redirect_uri)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and bool(parts.netloc)


def _form(headers: Mapping[str, str], body: bytes) -> Form:
    if not headers.get("content-type", "").startswith(FORM):
        raise GrantRefused("invalid_request", f"Invalid request: content must be `{FORM}`")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = b64decode(encoded).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote(client_id), unquote(secret)


def _back(redirect_uri: str, values: Form) -> Answer:
    joint = "&" if "?" in redirect_uri else "?"
    return Answer(302, b"", headers={"location": redirect_uri + joint + urlencode(values)})
