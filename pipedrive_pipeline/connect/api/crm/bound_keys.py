"""The user of the CRM that a new key is bound to."""

from __future__ import annotations

from uuid import UUID

import psycopg

from pipedrive_pipeline.connect.api.crm.ids import parsed
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.reading import row_of
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import USERS
from pipedrive_pipeline.tenants import Tenant


def user_id(connection: psycopg.Connection, tenant: Tenant, id_text: str | None) -> UUID | None:
    """Returns the id of a user's row; None if no user is named.

    Args:
        connection: as the app.
        tenant: whose.
        id_text: as the CRM API shows it, or `<system>:<id in that system>`.

    Raises:
        BadInput: the tenant has no such user.
    """
    if id_text is None:
        return None
    try:
        row = row_of(connection, tenant, USERS, parsed(id_text, resource_of(USERS)))
    except NotFound:
        row = None
    if row is None:
        raise BadInput(
            f"{tenant} has no user of the CRM with this id; GET /api/crm/v1/users lists them."
        )
    found: UUID = row["id"]
    return found
