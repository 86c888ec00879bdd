"""All tokens: authorization codes, access and refresh tokens, API tokens."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from pipedrive_pipeline.sandbox.kit.options import ServerOptions
from pipedrive_pipeline.sandbox.kit.world import RemoteId, World

CODE_LIFE = timedelta(minutes=5)
REFRESH_LIFE = timedelta(days=60)  # since its last use


@dataclass(frozen=True)
class TokenHolder:
    """The authenticated caller: a user, through a personal token or an app."""

    token: str
    user_id: Any
    is_app: bool
    scopes: frozenset[str]


@dataclass(frozen=True)
class Grant:
    """One user's installation of the app."""

    user_id: Any
    scopes: frozenset[str]
    redirect_uri: str
    company_id: RemoteId


@dataclass(frozen=True)
class _Code:
    grant: Grant
    redirect_uri: str
    expires_at: datetime
    challenge: str | None


@dataclass
class Pair:
    """The tokens of one installation."""

    grant: Grant
    refresh_token: str
    refresh_until: datetime
    access_until: dict[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Tokens:
    """The content of a token answer."""

    access_token: str
    refresh_token: str
    scopes: frozenset[str]


class GrantDenied(Exception):
    """The app must not have a token; ``error`` is the word of OAuth for it."""

    def __init__(self, error: str, message: str) -> None:
        self.error, self.message = error, message
        super().__init__(message)


class Grants:
    """All tokens of one look-alike. Called under the lock of its world."""

    def __init__(self, world: World, options: ServerOptions) -> None:
        self._world, self._options = world, options
        self._codes: dict[str, _Code] = {}
        self._pairs: dict[str, Pair] = {}  # by refresh token
        self.api_tokens: dict[str, Any] = {}
        if options.api_token is not None:
            self.api_tokens[options.api_token] = world.admin_id
        self.scopes = frozenset(options.scopes)
        self.on_end: Callable[[Grant], None] = lambda _: None  # called with each that ends

    def code(self, user_id: Any, redirect_uri: str, *, challenge: str | None = None) -> str:
        """A new authorization code: five minutes, one use, bound to a PKCE challenge if given."""
        code = secrets.token_hex(20)
        grant = Grant(user_id, self.scopes, redirect_uri, self._world.company_id)
        self._codes[code] = _Code(grant, redirect_uri, self._now() + CODE_LIFE, challenge)
        return code

    def exchange(self, code: str, redirect_uri: str | None, *, verifier: str = "") -> Tokens:
        """Turn a code into tokens.

        Raises:
            GrantRefused: the code is unknown, used or old, or address or verifier are others.
        """
        stored = self._codes.get(code)
        if stored is None:
            raise GrantDenied("invalid_grant", "Invalid grant: authorization code is invalid")
        if redirect_uri != stored.redirect_uri:
            raise GrantDenied("invalid_request", "Invalid request: `redirect_uri` is invalid")
        if stored.challenge is not None and pkce_challenge(verifier) != stored.challenge:
            raise GrantDenied("invalid_grant", "Invalid grant: `code_verifier` is invalid")
        del self._codes[code]
        if self._now() >= stored.expires_at:
            raise GrantDenied("invalid_grant", "Invalid grant: authorization code has expired")
        pair = Pair(stored.grant, self._new_refresh_token(stored.grant), self._now())
        self._pairs[pair.refresh_token] = pair
        return self._issue(pair)

    def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token; the same refresh token unless rotation is on.

        Raises:
            GrantRefused: it is unknown, revoked, exchanged before or unused for 60 days.
        """
        pair = self._pairs.get(refresh_token)
        if pair is None or self._now() >= pair.refresh_until:
            raise GrantDenied("invalid_grant", "Invalid grant: refresh token is invalid")
        if self._options.refresh_kills_access_token:
            pair.access_until.clear()
        if self._options.rotates_refresh_token:
            del self._pairs[refresh_token]
            pair.refresh_token = self._new_refresh_token(pair.grant)
            self._pairs[pair.refresh_token] = pair
        return self._issue(pair)

    def caller(self, token: str, *, is_app: bool) -> TokenHolder | None:
        """The owner of a token, None if it is not valid."""
        if not is_app:
            user_id = self.api_tokens.get(token)
            return None if user_id is None else TokenHolder(token, user_id, False, frozenset())
        for pair in self._pairs.values():
            until = pair.access_until.get(token)
            if until is not None and self._now() < until:
                return TokenHolder(token, pair.grant.user_id, True, pair.grant.scopes)
        return None

    def revoke(self, token: str) -> None:
        """Revoke a refresh token with its installation, or only one access token."""
        ended = self._pairs.pop(token, None)
        if ended is not None:
            self.on_end(ended.grant)
        for pair in self._pairs.values():
            pair.access_until.pop(token, None)

    def uninstall(self, user_id: Any = None) -> list[Grant]:
        """End the installations of a user, or all; returns those that ended."""
        ended = {
            key: pair
            for key, pair in self._pairs.items()
            if user_id is None or pair.grant.user_id == user_id
        }
        for key in ended:
            del self._pairs[key]
        grants = [pair.grant for pair in ended.values()]
        for grant in grants:
            self.on_end(grant)
        return grants

    def expire_access_tokens(self) -> None:
        """Expire every access token now; refresh tokens stay valid."""
        for pair in self._pairs.values():
            pair.access_until.clear()

    def take_scopes(self, *scopes: str) -> None:
        """Remove scopes from the app and from every token of it."""
        self.scopes -= frozenset(scopes)
        for pair in self._pairs.values():
            pair.grant = replace(pair.grant, scopes=pair.grant.scopes - frozenset(scopes))

    def give_scopes(self, *scopes: str) -> None:
        """Add scopes to the app; tokens get them when the user installs it again."""
        self.scopes |= frozenset(scopes)

    def pairs(self) -> list[Pair]:
        """The current tokens of every installation."""
        pairs = self._pairs.values()
        return [replace(pair, access_until=dict(pair.access_until)) for pair in pairs]

    def restore(self, pairs: Iterable[Pair], api_tokens: Mapping[str, Any]) -> None:
        """Puts back installations and API tokens that an earlier sandbox issued."""
        self._pairs = {pair.refresh_token: pair for pair in pairs}
        self.api_tokens = dict(api_tokens)

    def new_api_token(self, user_id: Any) -> str:
        """Create a new API token for a user; the former one becomes invalid."""
        self.api_tokens = {t: u for t, u in self.api_tokens.items() if u != user_id}
        token = secrets.token_hex(20)
        self.api_tokens[token] = user_id
        return token

    def _issue(self, pair: Pair) -> Tokens:
        now = self._now()
        pair.access_until = {t: until for t, until in pair.access_until.items() if now < until}
        access_token = f"v1u:{secrets.token_urlsafe(120)}"
        pair.access_until[access_token] = now + timedelta(
            seconds=self._options.access_token_seconds
        )
        pair.refresh_until = now + REFRESH_LIFE
        return Tokens(access_token, pair.refresh_token, pair.grant.scopes)

    def _new_refresh_token(self, grant: Grant) -> str:
        return f"{self._world.company_id}:{grant.user_id}:{secrets.token_hex(20)}"

    def _now(self) -> datetime:
        return self._world.clock.now()


def pkce_challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier.

    Source:
        RFC 7636, section 4.2.
    """
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
