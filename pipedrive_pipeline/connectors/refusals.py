"""The errors that only a connector raises; the family itself is in `errors.py`."""

from __future__ import annotations

from pipedrive_pipeline.errors import PersonMustAct, SourceBroke, Transient


class SourceRefused(PersonMustAct):
    """The source understood the call and says no: closed account, retired or wrong address."""

    code = "source_refused"

    def __init__(
        self,
        tenant: str,
        label: str,
        kind: str,
        status: int,
        reason: str,
        *,
        source_text: str = "",
    ) -> None:
        self.tenant, self.status = tenant, status
        self.source_text = source_text  # the source's own words; may hold values of a record
        super().__init__(f"{tenant}: {label} refused {kind!r} with status {status}: {reason}.")


class SourceBlocked(PersonMustAct):
    """The source's edge turned us away with a page for people; asking on makes it worse."""

    code = "source_blocked"

    def __init__(self, tenant: str, label: str, kind: str, status: int) -> None:
        self.tenant, self.status = tenant, status
        super().__init__(
            f"{tenant}: {label}'s edge blocks this machine (status {status}, a web page instead of "
            f"data, at {kind!r}). Nothing was repeated. Wait an hour, then run again; if it stays, "
            f"ask {label}'s support."
        )


class SourceRedirected(PersonMustAct):
    """The source points to another address. It was not followed: the token stays here."""

    code = "source_redirected"

    def __init__(self, tenant: str, system: str, kind: str, host: str, target: str) -> None:
        self.tenant, self.host, self.target = tenant, host, target
        super().__init__(
            f"{tenant}: {system} at {host} redirects {kind!r} to {target}; it was not followed and "
            f"no token was sent there. If the company's address changed, run "
            f"`connect --tenant {tenant} --system {system}` again."
        )


class CursorRefused(SourceBroke):
    """A window of a list does not go on as it must, and may do so from its beginning.

    The source refuses its own cursor, or has nothing behind it any more; records left the list
    between two pages; or the list ended before a part of it that is known. The walk begins that
    window again, and raises this when it was of no use.
    """

    code = "cursor_refused"


class StateExpired(Transient):
    """Where the last walk ended is unknown or cannot be true; everything is read again.

    Raised before the first page: by a source that no longer knows its token, and for a stored
    watermark that cannot be read or is later than our clock.
    """

    code = "state_expired"


class GrantRefused(PersonMustAct):
    """The token endpoint refuses a code or a refresh token; ``error`` is its OAuth error code.

    The vault knows the tenant and turns ``invalid_grant`` into `ReauthNeeded`. Any other code
    (``invalid_request``) speaks of the call, such as a redirect address that is not the app's.
    """

    code = "grant_refused"

    def __init__(self, error: str) -> None:
        self.error = error
        step = (
            "the tenant must connect again"
            if error == "invalid_grant"
            else "check that the redirect URI is the one registered for the app"
        )
        super().__init__(f"the token endpoint refuses this grant ({error}); {step}.")
