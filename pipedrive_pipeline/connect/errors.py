"""Errors that only the Connect app raises.

PersonMustAct   StateRefused, ConsentDeclined, CodeRefused, LinkRefused, DecidedMeanwhile
UsageError      NotSignedIn, Forbidden, NotFound, WebhookRefused, PermissionMissing, OtherTenant,
                KeyOfCrmUser, KeyReused, OperatorOnly
Transient       TooManyRequests, TooMuchAtOnce
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipedrive_pipeline.errors import PersonMustAct, Transient, UsageError


def error_body(
    request_id: str, code: str, message: str, details: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """The JSON of every error answer; ``details`` names fields and the issue of each."""
    return {
        "error": {"code": code, "message": message, "details": list(details)},
        "meta": {"request_id": request_id},
    }


class StateRefused(PersonMustAct):
    """The OAuth state is forged, used, expired, or belongs to another browser session."""

    code = "state_refused"

    def __init__(self) -> None:
        # One message for all causes: the exact cause would only help a forger.
        super().__init__(
            "This consent was not begun in this browser, was used before, or is older than ten "
            "minutes. Nothing was stored; start the connection again."
        )


class ConsentDeclined(PersonMustAct):
    """The source sent an error instead of a code."""

    code = "consent_declined"

    def __init__(self) -> None:
        super().__init__(
            "The account's owner declined, or the system did. Nothing was changed; start the "
            "connection again when you want to."
        )


class OperatorOnly(UsageError):
    """Only the operator may do this, with no role of a tenant's key."""

    code = "operator_only"

    def __init__(self) -> None:
        super().__init__(
            "Only the operator may do this: a sink reads and writes a table of the app, and its "
            "declaration says which rows are the tenant's."
        )


class CodeRefused(PersonMustAct):
    """The source does not accept the code: it is unknown, used or expired."""

    code = "code_refused"

    def __init__(self) -> None:
        super().__init__(
            "The system does not accept the code that the browser brought back. Nothing was "
            "stored; start the connection again."
        )


class LinkRefused(PersonMustAct):
    """The one-time link is forged, used or expired."""

    code = "link_refused"

    def __init__(self) -> None:
        super().__init__(
            "This link was used before, was withdrawn, or has expired. Ask for a new one."
        )


class DecidedMeanwhile(PersonMustAct):
    """Held deletions are not those that the person looked at; nothing was changed."""

    code = "decided_meanwhile"

    def __init__(self) -> None:
        super().__init__(
            "The records were compared again since you looked at them. Nothing was changed; look "
            "at the new examples and decide again."
        )


class NotSignedIn(UsageError):
    """The request carries no key and no session, or an invalid one."""

    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__(
            "This needs a key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`. `keys add` "
            "makes one; the operator's is in OPERATOR_KEY, or where `up` printed it."
        )


class Forbidden(UsageError):
    """A request of a browser session that no page of ours sent."""

    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("This was not sent from this app's own page. Nothing was changed.")


class TooManyRequests(Transient):
    """The caller's rate limit is reached; it may call again after ``wait_seconds``."""

    code = "too_many_requests"

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many requests; ask again in {wait_seconds:.0f} s.")


class TooMuchAtOnce(Transient):
    """Slow requests are being answered, as many as may be at once; nothing was done."""

    code = "too_much_at_once"
    wait_seconds = 2.0

    def __init__(self, *, is_own: bool) -> None:
        whose = "of this tenant " if is_own else ""
        super().__init__(
            f"Writes, tests, previews and saved mappings {whose}are in progress, as many as may be "
            "at once; try again when one has ended. Writes of many records go as one batch."
        )


class NotFound(UsageError):
    """The address, or the row that it names, does not exist for this caller."""

    code = "not_found"

    def __init__(self, text: str = "Nothing is at this address.") -> None:
        super().__init__(text)


class WebhookRefused(UsageError):
    """An event came to an address, or with a password, that no webhook has."""

    code = "webhook_refused"

    def __init__(self) -> None:
        # One message for all causes: the exact cause would only help a forger.
        super().__init__("No webhook has this address and password. Nothing was stored.")


class PermissionMissing(UsageError):
    """The key is valid, but its role lacks the permission."""

    code = "role_too_low"

    def __init__(self, role: str, permission: str, roles_with_it: Sequence[str]) -> None:
        super().__init__(
            f"This key has the role {role}, which lacks {permission}; "
            f"it takes {' or '.join(roles_with_it)}. "
            "An admin of the tenant, or the operator, makes other keys."
        )


class KeyOfCrmUser(UsageError):
    """The key sees what one user of the CRM may see, and this address shows more than that."""

    code = "key_of_crm_user"

    def __init__(self) -> None:
        super().__init__(
            "This key is bound to a user of the CRM, so it opens /api/crm/ only. An admin of the "
            "tenant, or the operator, makes other keys."
        )


class OtherTenant(UsageError):
    """The key belongs to one tenant, and `X-Tenant` names another."""

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
