"""A connection as the JSON API shows it: names in the API's spelling, and never a token.

Belongs here: the outward form of this room's records. Does not belong here: the envelope.
"""

from __future__ import annotations

from datetime import datetime

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.base import Account
from pipedrive_pipeline.vault.connections import Connection
from pipedrive_pipeline.vault.ending import Ended
from pipedrive_pipeline.vault.proving import Proof
from pipedrive_pipeline.vault.states import Reason

Shape = dict[str, object]


def connection(system: str, held: Connection | None) -> Shape:
    """One system's connection; a tenant that never began one has the state `disconnected`."""
    label = registry.connector(system).label
    if held is None:
        return {"system": system, "label": label, "state": "disconnected", "stateReason": None}
    return {
        "system": system,
        "label": label,
        "state": held.state.value,
        "stateReason": held.state_reason,
        "stateSentence": Reason(held.state_reason).sentence if held.state_reason else None,
        "kind": held.kind,
        "company": {
            "id": held.company_id,
            "name": held.company_name,
            "domain": held.company_domain,
        },
        "user": {"name": held.account_user_name, "isAdmin": held.is_account_admin},
        "apiDomain": held.api_domain,
        "scopes": list(held.scopes),
        "connectedBy": held.connected_by,
        "connectedAt": _instant(held.connected_at),
        "tokenExpiresAt": _instant(held.token_expires_at),
        "lastSync": {
            "at": _instant(held.last_sync_at),
            "status": held.last_sync_status,
            "error": held.last_sync_error,
        },
    }


def proof(found: Proof) -> Shape:
    """A connection that works: as whom, and what that user cannot see."""
    return {
        "works": True,
        "company": _company(found.account),
        "user": {
            "id": found.account.user_id,
            "name": found.account.user_name,
            "isAdmin": found.account.is_admin,
        },
        "missingScopes": list(found.missing_scopes),
        "unreadableEntities": list(found.unreadable_entities),
        "limits": list(found.limits),
    }


def ended(end: Ended) -> Shape:
    """A connection that is over."""
    return {
        "system": end.system,
        "state": "disconnected",
        "isRevoked": end.is_revoked,
        "note": end.note or None,
    }


def _company(account: Account) -> Shape:
    return {
        "id": account.company_id,
        "name": account.company_name,
        "domain": account.company_domain,
    }


def _instant(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
