"""The state of a look-alike of Pipedrive: edited records, fields, rights, clock, grants, webhooks.

What waited to be sent to a webhook is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipedrive_pipeline.sandbox.kit.grants import Grants, Pair
from pipedrive_pipeline.sandbox.kit.subscriptions import Subscription
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.users import Rights

Record = dict[str, Any]


@dataclass(frozen=True)
class FieldState:
    """The field definitions of one entity, with the ids that the next ones get."""

    fields: list[FieldDefinition]
    dropped: list[FieldDefinition]
    next_ids: tuple[int, int]


@dataclass(frozen=True)
class SandboxState:
    """The content of a sandbox's file."""

    company: tuple[int, str, str]  # id, name, domain
    clock_shift_seconds: float
    records: dict[str, list[Record]]  # those that differ from the seeded ones, by entity
    deleted_at: list[tuple[str, int, str]]
    late: list[tuple[str, int, str]]
    fields: dict[str, FieldState]
    users: list[Record]
    rights: dict[int, Rights]
    grants: list[Pair]
    api_tokens: dict[str, int]
    webhooks: list[Subscription] = field(default_factory=list)


def state_of(account: CrmAccount, grants: Grants, webhooks: WebhookSender) -> SandboxState:
    """The present state. Called under the account's lock."""
    return SandboxState(
        company=(account.company_id, account.company_name, account.company_domain),
        clock_shift_seconds=account.clock.shift_seconds,
        records={name: records.changed() for name, records in account.records.items()},
        deleted_at=[(*place, at) for place, at in account.deleted_at.items()],
        late=[(*place, at) for place, at in account.late.items()],
        fields={
            name: FieldState([*book], [*book.dropped.values()], book.next_ids)
            for name, book in account.fields.items()
        },
        users=account.users,
        rights=account.rights,
        grants=grants.pairs(),
        api_tokens=grants.api_tokens,
        webhooks=webhooks.all(),
    )


def restore(
    state: SandboxState, account: CrmAccount, grants: Grants, webhooks: WebhookSender
) -> None:
    """Brings an account, its tokens and webhooks to a state. Called under the account's lock."""
    account.company_id, account.company_name, account.company_domain = state.company
    account.clock.advance(state.clock_shift_seconds - account.clock.shift_seconds)
    for name, records in state.records.items():
        for record in records:
            account.records[name].put(record)
    account.deleted_at = {(name, row_id): at for name, row_id, at in state.deleted_at}
    account.late = {(name, row_id): at for name, row_id, at in state.late}
    for name, fields in state.fields.items():
        account.fields[name].restore(fields.fields, fields.dropped, fields.next_ids)
    account.users, account.rights = state.users, state.rights
    grants.restore(state.grants, state.api_tokens)
    webhooks.restore(state.webhooks)
