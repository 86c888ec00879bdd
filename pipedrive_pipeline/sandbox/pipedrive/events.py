"""Tells the webhooks of an account what was edited in it, as version 2 of webhooks does.

Source: https://pipedrive.readme.io/docs/guide-for-webhooks-v2 (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from pipedrive_pipeline.sandbox.kit.answers import encode
from pipedrive_pipeline.sandbox.kit.history import LoggedEdit
from pipedrive_pipeline.sandbox.kit.subscriptions import ChangeEvent, DeliveryRules, Subscription
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.webhook_rows import OBJECTS, WEBHOOK_ROWS

Record = dict[str, Any]
RULES = DeliveryRules(
    retry_seconds=(3.0, 30.0, 150.0),
    ban_after=10,
    ban=timedelta(minutes=30),
    removed_after=timedelta(days=3),
)
ACTIONS = {  # what happened -> the action of the event
    "create": "create",
    "change": "change",
    "restore": "change",
    "delete": "delete",
    "merge": "delete",
}
# The examples of these objects show no edit time among the changed values.
WITHOUT_STAMP = ("deals", "organizations", "persons")


@dataclass(frozen=True)
class _Telling:
    """An edit, and what is the same in each attempt to tell of it."""

    edit: LoggedEdit
    at: datetime
    event_id: str
    correlation_id: str

    @property
    def entity_name(self) -> str:
        """The object, as events name it."""
        return OBJECTS[self.edit.entity]

    @property
    def action(self) -> str:
        """The action of the event."""
        return ACTIONS[self.edit.action]

    @property
    def printed_id(self) -> str:
        """The id of the record."""
        entity, key = self.edit.entity, self.edit.key
        is_number = entity != "users" and isinstance(key, int)
        return str(printed_id(ENTITIES[entity], int(key)) if is_number else key)


class Announcer:
    """Turns each edit of an account into an event for the webhooks that want it."""

    def __init__(self, account: CrmAccount, sender: WebhookSender) -> None:
        self._account, self._sender = account, sender
        account.history.watchers.append(self.tell)

    def close(self) -> None:
        """Tell of no further edit."""
        self._account.history.watchers.remove(self.tell)

    def tell(self, edit: LoggedEdit) -> None:
        """Queue the event of an edit; the body is made when it is sent."""
        webhooks = self._sender.active()
        if not webhooks or edit.entity not in OBJECTS or edit.action not in ACTIONS:
            return
        telling = _Telling(edit, self._account.clock.now(), str(uuid4()), str(uuid4()))
        viewers = [] if _is_moved_along(edit) else self._viewers(edit)
        wanted = [each for each in webhooks if each.user_id in viewers and _wants(each, telling)]
        if wanted:
            name, body = f"{telling.entity_name}.{telling.action}", partial(self._body, telling)
            self._sender.publish(ChangeEvent(name, telling.printed_id, body), wanted)

    def _viewers(self, edit: LoggedEdit) -> list[int]:
        """The users who may see the record."""
        record = edit.after or edit.before
        if edit.entity == "users" or record is None:
            return list(self._account.rights)
        rights = list(self._account.rights.items())  # at once: edits go on meanwhile
        return [user_id for user_id, each in rights if each.admit(user_id, edit.entity, record)]

    def _body(self, telling: _Telling, webhook: Subscription, attempt: int) -> bytes:
        edit, action = telling.edit, telling.action
        row = partial(WEBHOOK_ROWS[edit.entity], self._account)
        before, after = edit.before and row(edit.before), edit.after and row(edit.after)
        if action == "create" and after and ENTITIES[edit.entity].fresh_is_unstamped:
            after["update_time"] = None
        previous = before
        if action == "change" and before and after:
            without = ("update_time",) if edit.entity in WITHOUT_STAMP else ()
            previous = _changed(before, after, without)
        elif action == "delete" and edit.entity == "notes" and before:
            previous = before | {"active_flag": False}
        data = None if action == "delete" else after
        meta = self._meta(telling, webhook) | {"attempt": attempt}
        return encode({"meta": meta, "data": data, "previous": previous})

    def _meta(self, telling: _Telling, webhook: Subscription) -> Record:
        account, edit, at = self._account, telling.edit, telling.at
        is_user = edit.entity == "users"
        merged = {"merged_to_id": edit.merged_into, "merged_from_id": edit.merged_from}
        meta: Record = {
            "action": telling.action,
            "company_id": str(account.company_id),
            "correlation_id": telling.correlation_id,
            "entity": telling.entity_name,
            "entity_id": telling.printed_id,
            "host": f"{account.company_domain}.pipedrive.com",
            "id": telling.printed_id if is_user else telling.event_id,
            "is_bulk_edit": edit.by == "bulk",
            "timestamp": int(at.timestamp()) if is_user else _milliseconds(at),
            "type": "application" if webhook.is_app else "general",
            "user_id": str(edit.user_id or account.admin_id),
            "version": "2.0",
            "webhook_id": str(webhook.id),
            "webhook_owner_id": str(webhook.owner_id),
            "change_source": "api" if edit.by == "api" else "app",
            **{key: str(value) for key, value in merged.items() if value is not None},
        }
        if not is_user:
            meta["permitted_user_ids"] = [str(user_id) for user_id in self._viewers(edit)]
        return meta


def _wants(webhook: Subscription, telling: _Telling) -> bool:
    object_name, action = webhook.facts["event_object"], webhook.facts["event_action"]
    return object_name in {"*", telling.entity_name} and action in {"*", telling.action}


def _is_moved_along(edit: LoggedEdit) -> bool:
    """Whether a merge moved a record along without an edit of its own."""
    before, after = edit.before or {}, edit.after or {}
    return edit.by == "merge" and before.get("update_time") == after.get("update_time")


def _milliseconds(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _changed(before: Record, after: Record, without: Iterable[str]) -> Record:
    """The former values of the keys that changed, custom fields within theirs."""
    keys = after.keys() - {"custom_fields", *without}
    rows = {key: before.get(key) for key in after if key in keys and before.get(key) != after[key]}
    old, new = before.get("custom_fields", {}), after.get("custom_fields", {})
    custom = {code: old.get(code) for code in new if old.get(code) != new[code]}
    return rows | ({"custom_fields": custom} if custom else {})
