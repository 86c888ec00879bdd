"""What a browser's way through consent can end with, beside the errors of other rooms.

Belongs here: errors that only this room raises. Does not belong here: their look (`answers.py`).
"""

from __future__ import annotations

from pipedrive_pipeline.errors import PersonMustAct, Transient, UsageError


class StateRefused(PersonMustAct):
    """The state is not one that this browser session began, or was used, or is too old."""

    code = "state_refused"

    def __init__(self) -> None:
        # One message for all causes: which one it was helps nobody but a forger.
        super().__init__(
            "This consent was not begun in this browser, was used before, or is older than ten "
            "minutes. Nothing was stored; start the connection again."
        )


class ConsentDeclined(PersonMustAct):
    """The person, or the source, said no."""

    code = "consent_declined"

    def __init__(self) -> None:
        super().__init__(
            "The account's owner declined, or the system did. Nothing was changed; start the "
            "connection again when you want to."
        )


class CodeRefused(PersonMustAct):
    """The code that came back is unknown to the source, was used, or came too late."""

    code = "code_refused"

    def __init__(self) -> None:
        super().__init__(
            "The system does not accept the code that the browser brought back. Nothing was "
            "stored; start the connection again."
        )


class LinkRefused(PersonMustAct):
    """The one-time link was opened before, is too old, or never existed."""

    code = "link_refused"

    def __init__(self) -> None:
        super().__init__(
            "This link was opened before, or is older than ten minutes. Ask for a new one."
        )


class NotSignedIn(UsageError):
    """The request carries no key, or one that opens nothing."""

    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__(
            "This needs a key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`. `keys add` "
            "makes one; the operator's stands in OPERATOR_KEY, or where `up` printed it."
        )


class Forbidden(UsageError):
    """The request did not come from our own page."""

    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("This was not sent from this app's own page. Nothing was changed.")


class TooManyRequests(Transient):
    """This caller asked too often; it may again after ``wait_seconds``."""

    code = "too_many_requests"

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many requests; ask again in {wait_seconds:.0f} s.")


class NotFound(UsageError):
    """Nothing is at this address."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("Nothing is at this address.")


class RoleTooLow(UsageError):
    """The key is a right one, and may not do this."""

    code = "role_too_low"

    def __init__(self, role: str, needed: str) -> None:
        super().__init__(
            f"This key has the role {role}; this needs {needed}. "
            "An admin of the tenant, or the operator, makes other keys."
        )


class OtherTenant(UsageError):
    """The key opens one tenant, and the request names another."""

    code = "other_tenant"

    def __init__(self) -> None:
        super().__init__("X-Tenant names another tenant than this key opens; leave it out.")


class KeyReused(UsageError):
    """The same Idempotency-Key came with another request before."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came with another request before; use a new one for each."
        )
