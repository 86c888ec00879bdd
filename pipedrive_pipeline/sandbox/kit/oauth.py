"""An authorization server: authorize, token, revoke, in the dialect of one vendor."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import compare_digest
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pipedrive_pipeline.sandbox.kit.answers import IncomingRequest, SandboxAnswer, encode, html
from pipedrive_pipeline.sandbox.kit.grants import GrantDenied, Grants, Tokens
from pipedrive_pipeline.sandbox.kit.options import ServerOptions
from pipedrive_pipeline.sandbox.kit.pages import templates
from pipedrive_pipeline.sandbox.kit.world import World

FORM = "application/x-www-form-urlencoded"
Form = dict[str, str]


def _standard_error(status: int, error: str, message: str) -> SandboxAnswer:
    return SandboxAnswer(status, encode({"error": error, "error_description": message}))


@dataclass(frozen=True)
class OAuthDialect:
    """How the authorization server of one vendor differs from RFC 6749's."""

    authorize_path: str = "/oauth/authorize"
    token_path: str = "/oauth/token"  # noqa: S105 (a path)
    revoke_path: str = "/oauth/revoke"
    scope_separator: str = " "
    denied: str = "access_denied"  # the error when the user refuses
    client_auth: tuple[str, ...] = ("header", "body")  # where the client's secret may be
    needs_pkce: bool = False  # with the method S256
    asks_scopes: bool = False  # the authorize address must name scopes that the app has
    refusal: Callable[[int, str, str], SandboxAnswer] = _standard_error  # status, error, message
    facts: Callable[[World, str], Mapping[str, Any]] = lambda *_: {}  # of world and base address


class OAuth:
    """The authorization server of one look-alike."""

    def __init__(
        self, world: World, options: ServerOptions, grants: Grants, dialect: OAuthDialect
    ) -> None:
        self._world, self._options, self._grants = world, options, grants
        self.dialect = dialect

    def answer(self, incoming: IncomingRequest) -> SandboxAnswer | None:
        """The answer to a request of one of the three routes; None for any other."""
        dialect, route = self.dialect, (incoming.method, incoming.path)
        if route == ("GET", dialect.authorize_path):
            return self.authorize(dict(parse_qsl(incoming.query)))
        if route == ("POST", dialect.authorize_path):
            decision = dict(parse_qsl(incoming.body.decode("utf-8", "replace")))
            return self.authorize(dict(parse_qsl(incoming.query)), decision)
        if route == ("POST", dialect.token_path):
            return self.token(incoming.headers, incoming.body, incoming.base_url)
        if route == ("POST", dialect.revoke_path):
            return self.revoke(incoming.headers, incoming.body)
        return None

    def authorize(self, query: Form, decision: Form | None = None) -> SandboxAnswer:
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
        state = {"state": query["state"]} if "state" in query else {}
        error = self._query_error(query)
        if error is None and decision is None and self._options.consent == "page":
            return html(200, self._consent_page(query))
        if decision is not None and decision.get("decision") != "allow":
            error = self.dialect.denied
        if error is not None:
            return _back(redirect_uri, {"error": error, **state})
        chosen = (decision or {}).get("user_id", str(self._world.admin_id))
        known = (user["id"] for user in self._world.users)
        user_id = next((known_id for known_id in known if str(known_id) == chosen), None)
        if user_id is None:
            return html(400, "<h1>No such user</h1>")
        challenge = query.get("code_challenge") if self.dialect.needs_pkce else None
        code = self._grants.code(user_id, redirect_uri, challenge=challenge)
        return _back(redirect_uri, {"code": code, **state})

    def token(self, headers: Mapping[str, str], body: bytes, base_url: str) -> SandboxAnswer:
        """Exchange a code or a refresh token."""
        try:
            form = _form(headers, body)
            self._check_client(headers, form)
            tokens = self._tokens(form)
        except GrantDenied as refused:
            is_client = refused.error == "invalid_client"
            status = self._options.wrong_client_status if is_client else 400
            return self.dialect.refusal(status, refused.error, refused.message)
        content = {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": self._options.access_token_seconds,
            "refresh_token": tokens.refresh_token,
            "scope": self.dialect.scope_separator.join(sorted(tokens.scopes)),
            **self.dialect.facts(self._world, base_url),
        }
        return SandboxAnswer(200, encode(content))

    def revoke(self, headers: Mapping[str, str], body: bytes) -> SandboxAnswer:
        """Forget a token; 200 for an unknown one, too."""
        try:
            form = _form(headers, body)
            self._check_client(headers, form)
        except GrantDenied as refused:
            return self.dialect.refusal(400, refused.error, refused.message)
        self._grants.revoke(form.get("token", ""))
        return SandboxAnswer(200, encode({"success": True}))

    def _query_error(self, query: Form) -> str | None:
        """What an authorize address lacks that the dialect demands."""
        if self.dialect.needs_pkce and not (
            query.get("code_challenge") and query.get("code_challenge_method") == "S256"
        ):
            return "invalid_request"
        wanted = query.get("scope", "").split(self.dialect.scope_separator)
        if self.dialect.asks_scopes and not self._grants.scopes.issuperset(wanted):
            return "invalid_scope"
        return None

    def _consent_page(self, query: Form) -> str:
        """The page on which a user allows or denies the app."""
        return (
            templates()
            .get_template("consent.html")
            .render(world=self._world, options=self._options, query=query)
        )

    def _tokens(self, form: Form) -> Tokens:
        kind = form.get("grant_type")
        if kind == "authorization_code":
            return self._grants.exchange(
                form.get("code", ""),
                form.get("redirect_uri"),
                verifier=form.get("code_verifier", ""),
            )
        if kind == "refresh_token":
            return self._grants.refresh(form.get("refresh_token", ""))
        if not kind:
            raise GrantDenied("invalid_request", "Missing parameter: `grant_type`")
        raise GrantDenied(
            "unsupported_grant_type", "Unsupported grant type: `grant_type` is invalid"
        )

    def _check_client(self, headers: Mapping[str, str], form: Form) -> None:
        client_id = secret = ""
        if "header" in self.dialect.client_auth:
            client_id, secret = _basic(headers.get("authorization", ""))
        if "body" in self.dialect.client_auth:
            client_id = client_id or form.get("client_id", "")
            secret = secret or form.get("client_secret", "")
        if not client_id or not secret:
            raise GrantDenied(
                "invalid_client", "Invalid client: cannot retrieve client credentials"
            )
        is_ours = compare_digest(client_id.encode(), self._options.client_id.encode())
        if not (is_ours and compare_digest(secret.encode(), self._options.client_secret.encode())):
            raise GrantDenied("invalid_client", "Invalid client: client is invalid")

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
        raise GrantDenied("invalid_request", f"Invalid request: content must be `{FORM}`")
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


def _back(redirect_uri: str, values: Form) -> SandboxAnswer:
    joint = "&" if "?" in redirect_uri else "?"
    return SandboxAnswer(302, b"", headers={"location": redirect_uri + joint + urlencode(values)})
