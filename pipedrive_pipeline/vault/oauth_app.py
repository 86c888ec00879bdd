"""Our OAuth app at one system: client id, secret, callback and scopes from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from pipedrive_pipeline.connectors import oauth, registry
from pipedrive_pipeline.connectors.contract import AuthScheme
from pipedrive_pipeline.connectors.oauth import OAuthClient, TokenGrant
from pipedrive_pipeline.errors import SettingsError, UsageError
from pipedrive_pipeline.settings import Settings

CALL_DEADLINE_SECONDS = 10.0  # a row is locked during the call


@dataclass(frozen=True)
class OAuthApp:
    """Our app at one system, with the calls of its token endpoint."""

    scheme: AuthScheme
    oauth_url: str
    client: OAuthClient
    redirect_uri: str
    allowed_hosts: tuple[str, ...]

    def authorize_url(self, state: str) -> str:
        """The URL at which a browser asks for consent."""
        return oauth.authorize_url(
            self.scheme,
            self.oauth_url,
            self.client.client_id,
            self.redirect_uri,
            state,
            allowed_hosts=self.allowed_hosts,
        )

    def exchange(self, code: SecretStr) -> TokenGrant:
        """The first tokens; raises as `oauth.exchange_code`."""
        return oauth.exchange_code(
            self.scheme,
            self.oauth_url,
            self.client,
            code,
            self.redirect_uri,
            allowed_hosts=self.allowed_hosts,
            deadline_seconds=CALL_DEADLINE_SECONDS,
        )

    def refresh(self, refresh_token: SecretStr) -> TokenGrant:
        """Newer tokens; raises as `oauth.refresh`."""
        return oauth.refresh(
            self.scheme,
            self.oauth_url,
            self.client,
            refresh_token,
            allowed_hosts=self.allowed_hosts,
            deadline_seconds=CALL_DEADLINE_SECONDS,
        )

    def revoke(self, refresh_token: SecretStr) -> None:
        """Revokes the grant at the source; raises as `oauth.revoke`."""
        oauth.revoke(
            self.scheme,
            self.oauth_url,
            self.client,
            refresh_token,
            allowed_hosts=self.allowed_hosts,
            deadline_seconds=CALL_DEADLINE_SECONDS,
        )


def oauth_app(settings: Settings, system: str) -> OAuthApp:
    """Our app at this system.

    Raises:
        SettingsError: the operator has not set the app's id or secret.
        UsageError: there is no such system.
    """
    declaration = registry.system(system)
    scheme = declaration.auth_of("oauth")
    if scheme is None:
        raise UsageError(f"{declaration.label} has no consent; connect with an API token.")
    if settings.pipedrive_client_id is None:
        raise _missing("PIPEDRIVE_CLIENT_ID")
    if settings.pipedrive_client_secret is None:
        raise _missing("PIPEDRIVE_CLIENT_SECRET")
    return OAuthApp(
        scheme=scheme,
        oauth_url=str(settings.pipedrive_oauth_url).rstrip("/"),
        client=OAuthClient(settings.pipedrive_client_id, settings.pipedrive_client_secret),
        redirect_uri=settings.redirect_uri,
        allowed_hosts=settings.pipedrive_allowed_hosts,
    )


def _missing(name: str) -> SettingsError:
    return SettingsError(
        f"{name} is not set; consent needs the app's id and secret, as the Developer Hub shows "
        "them. An API token needs neither: `connect --api-token`."
    )
