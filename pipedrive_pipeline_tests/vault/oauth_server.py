"""A token endpoint and its `users/me` on a loopback port, with the faults a vault must survive.

Written from https://pipedrive.readme.io/docs/marketplace-oauth-authorization; it imports nothing of
the package.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit

Rotation = Literal["static", "silent", "grace", "strict"]
"""What a refresh does to the refresh token: kept and sent, kept and not sent, replaced while the
former one still works, replaced for good (a former one that comes back revokes the grant)."""

CLIENT_ID, CLIENT_SECRET = "app-id", "canary-client-secret"


@dataclass(frozen=True)
class OAuthCompany:
    """Whose data a grant opens."""

    id: int = 7654321
    name: str = "Müller & Söhne"
    domain: str = "mueller"
    user_id: int = 11
    user_name: str = "Ada Admin"
    is_admin: bool = True


@dataclass
class OAuthGrant:
    """One consent: its tokens, the newest last."""

    company: OAuthCompany
    refresh_tokens: list[str] = field(default_factory=list)
    access_tokens: set[str] = field(default_factory=set)
    is_revoked: bool = False


@dataclass
class OAuthServer:
    """The server's memory; tests read it and set its faults."""

    url: str = ""
    rotation: Rotation = "static"
    api_domain: str | None = None  # None: its own address
    expires_in: object = 3599
    scope: str = "base,contacts:read,users:read"
    faults: list[str] = field(default_factory=list)  # one per call of the token endpoint
    faults_of_revoke: list[str] = field(default_factory=list)
    grants: list[OAuthGrant] = field(default_factory=list)
    codes: dict[str, OAuthGrant] = field(default_factory=dict)
    api_tokens: dict[str, OAuthCompany] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)  # "refresh", "exchange", "revoke", "me"
    redirects_me_to: str | None = None
    redirects_token_to: str | None = None
    refusals: list[str] = field(default_factory=list)  # OAuth error codes that were answered
    lock: threading.Lock = field(default_factory=threading.Lock)
    answers_me: threading.Event = field(default_factory=threading.Event)  # cleared: `me` waits

    def __post_init__(self) -> None:
        self.answers_me.set()

    def forget(self) -> None:
        """As new, at the same address."""
        fresh = OAuthServer(url=self.url, lock=self.lock)
        vars(self).update(vars(fresh))

    def consent(self, company: OAuthCompany | None = None) -> str:
        """A code, as a browser would bring it back."""
        code = secrets.token_hex(8)
        self.codes[code] = self._new_grant(company)
        return code

    def granted(self, company: OAuthCompany | None = None) -> tuple[str, str]:
        """An access and a refresh token, as if a code had been exchanged."""
        grant = self._new_grant(company)
        return self._access(grant), grant.refresh_tokens[-1]

    def honours(self, refresh_token: str) -> bool:
        """Whether a refresh with this token would succeed."""
        grant = self._grant_of(refresh_token)
        if grant is None or grant.is_revoked:
            return False
        return self.rotation != "strict" or refresh_token == grant.refresh_tokens[-1]

    def count(self, call: str) -> int:
        """How often this was called."""
        return self.calls.count(call)

    def token_answer(self, form: dict[str, str], authorization: str) -> tuple[int, object]:
        """Status and body of the token endpoint."""
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if authorization != f"Basic {expected}":
            return self._error("invalid_client", "Invalid client: client is invalid")
        grant, is_refresh = None, form.get("grant_type") == "refresh_token"
        if is_refresh:
            if self.honours(form["refresh_token"]):
                grant = self._grant_of(form["refresh_token"])
            elif reused := self._grant_of(form["refresh_token"]):
                reused.is_revoked = True
        else:
            grant = self.codes.pop(form.get("code", ""), None)
        if grant is None:
            return self._error("invalid_grant", "Invalid grant: it is invalid")
        if is_refresh and self.rotation in {"grace", "strict"}:
            grant.refresh_tokens.append(secrets.token_hex(16))
        answer = {
            "access_token": self._access(grant),
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": self.scope,
            "api_domain": self.api_domain or self.url,
        }
        if not (is_refresh and self.rotation == "silent"):
            answer["refresh_token"] = grant.refresh_tokens[-1]
        return 200, answer

    def revoke(self, token: str) -> None:
        """Forget the grant of a refresh token."""
        grant = self._grant_of(token)
        if grant:
            grant.is_revoked = True

    def company_of(self, bearer: str, api_token: str) -> OAuthCompany | None:
        """Whose account a call opens; None is a 401."""
        for grant in self.grants:
            if bearer in grant.access_tokens and not grant.is_revoked:
                return grant.company
        return self.api_tokens.get(api_token)

    def _error(self, code: str, message: str) -> tuple[int, object]:
        self.refusals.append(code)
        return 400, {"success": False, "message": message, "error": code}

    def _new_grant(self, company: OAuthCompany | None) -> OAuthGrant:
        grant = OAuthGrant(company or OAuthCompany(), refresh_tokens=[secrets.token_hex(16)])
        self.grants.append(grant)
        return grant

    def _access(self, grant: OAuthGrant) -> str:
        token = "v1u:" + secrets.token_hex(24)
        grant.access_tokens.add(token)
        return token

    def _grant_of(self, refresh_token: str) -> OAuthGrant | None:
        return next((grant for grant in self.grants if refresh_token in grant.refresh_tokens), None)


@contextmanager
def running() -> Iterator[OAuthServer]:
    """The server on a free port, until the end of the block."""
    memory = OAuthServer()

    class Handler(_Handler):
        server_memory = memory

    http = _Quiet(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    memory.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield memory
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that died before their answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed client is what a test wanted; anything else shows in the test itself."""


class _Handler(BaseHTTPRequestHandler):
    """HTTP around the memory."""

    server_memory: OAuthServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The consent page, at once answered yes, and `users/me`."""
        memory, parts = self.server_memory, urlsplit(self.path)
        if parts.path == "/oauth/authorize":
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            back = urlencode({"code": memory.consent(), "state": query.get("state", "")})
            self._answer(302, {}, location=f"{query['redirect_uri']}?{back}")
            return
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        with memory.lock:
            memory.calls.append("me")
        memory.answers_me.wait()
        with memory.lock:
            company = memory.company_of(bearer, self.headers.get("x-api-token", ""))
        if memory.redirects_me_to:
            self._answer(302, {}, location=memory.redirects_me_to)
            return
        if parts.path != "/v1/users/me" or company is None:
            self._answer(401, {"success": False, "error": "unauthorized access", "errorCode": 401})
            return
        facts = {
            "id": company.user_id,
            "name": company.user_name,
            "company_id": company.id,
            "company_name": company.name,
            "company_domain": company.domain,
            "access": [{"app": "sales", "admin": company.is_admin}],
        }
        self._answer(200, {"success": True, "data": facts})

    def do_POST(self) -> None:
        """The token endpoint and revocation."""
        memory, length = self.server_memory, int(self.headers.get("content-length", 0))
        form = {key: value[0] for key, value in parse_qs(self.rfile.read(length).decode()).items()}
        with memory.lock:
            if self.path == "/oauth/revoke":
                memory.calls.append("revoke")
                status = int(memory.faults_of_revoke.pop(0)) if memory.faults_of_revoke else 200
                if status == 200:
                    memory.revoke(form["token"])
                self._answer(status, {})
                return
            grant_type = form.get("grant_type")
            memory.calls.append("refresh" if grant_type == "refresh_token" else "exchange")
            fault = memory.faults.pop(0) if memory.faults else ""
            if memory.redirects_token_to:
                self._answer(307, {}, location=memory.redirects_token_to)
                return
            if fault.isdigit():
                self._answer(int(fault), {"success": False, "error": "server"})
                return
            status, body = memory.token_answer(form, self.headers.get("authorization", ""))
            if fault == "lost":  # done, but nobody hears of it
                self.close_connection = True
                self.connection.close()
                return
            self._answer(status, body, as_text="<html>down</html>" if fault == "html" else None)

    def _answer(
        self, status: int, body: object, *, location: str | None = None, as_text: str | None = None
    ) -> None:
        content = (as_text if as_text is not None else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html" if as_text else "application/json")
        self.send_header("content-length", str(len(content)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing: a test that fails shows the memory."""
