"""Users of the company, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, Cost, Entity, Snapshot
from pipedrive_pipeline.connectors.pipedrive.columns import BIGINT, BOOLEAN, JSON, TEXT, TIMESTAMP
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    UNPAGED_RECORDS,
    V1_LIST_TOKENS,
    endpoint,
)

USERS = Entity(
    name="users",
    label="Users",
    description="Users of the company, deactivated ones included, as Pipedrive sent them.",
    key=Column("id", BIGINT, "Pipedrive's number of the user; owner_id points here."),
    columns=(
        Column("name", TEXT, "Name of the user."),
        Column("email", TEXT, "E-mail address of the user."),
        Column("phone", TEXT, "Phone number of the user."),
        Column("default_currency", TEXT, "Currency the user works in, ISO 4217."),
        Column("locale", TEXT, "Locale of the user, such as de_DE."),
        Column("lang", BIGINT, "Pipedrive's number of the user's language."),
        Column("activated", BOOLEAN, "Whether the user has accepted the invitation."),
        Column("active_flag", BOOLEAN, "Whether the user may sign in."),
        Column("is_deleted", BOOLEAN, "Whether the user was deleted."),
        Column("last_login", TIMESTAMP, "Last sign-in, UTC."),
        Column("created", TIMESTAMP, "When the user was made, UTC."),
        Column("modified", TIMESTAMP, "When the user was last edited, UTC."),
        Column("has_created_company", BOOLEAN, "Whether the user founded the account."),
        Column("access", JSON, "Apps the user may use, and whether as administrator."),
        Column("timezone_name", TEXT, "Time zone of the user."),
        Column("timezone_offset", TEXT, "Offset of that time zone when sent."),
        Column("role_id", BIGINT, "Role that decides what the user sees."),
        Column("icon_url", TEXT, "Picture of the user."),
        Column("is_you", BOOLEAN, "Whether this is the user who connected."),
    ),
    read=Snapshot(),
    cost=Cost(V1_LIST_TOKENS, UNPAGED_RECORDS),
    personal=("name", "email", "phone"),
    scopes=("users:read",),
)

USER_ENDPOINT = endpoint(USERS, "/v1/users", "whole", event="user")
