"""One make-believe company: its records, fields, users, clock and history, and every edit of them.

Edits through the API and edits by a test call the same methods, so the history is
complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock, instant, stamp
from pipedrive_pipeline.sandbox.kit.history import Action, History
from pipedrive_pipeline.sandbox.kit.world import World
from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.ids import number_of
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES, LINKS
from pipedrive_pipeline.sandbox.pipedrive.world.records import Records
from pipedrive_pipeline.sandbox.pipedrive.world.rules import RULES
from pipedrive_pipeline.sandbox.pipedrive.world.users import Rights, Sight
from pipedrive_pipeline.sandbox.pipedrive.world.v1_rows import v1_time
from pipedrive_pipeline.sandbox.pipedrive.world.v2_rows import View, views

Record = dict[str, Any]
RecordId = int | str  # as the API prints it; inside, records have numbers
PURGED_AFTER = timedelta(days=30)
OWNERS = ("owner_id", "user_id", "creator_user_id", "creator_id", "added_by_user_id")


class CrmAccount(World):
    """A company; ``seeding.seeded`` makes one."""

    def __init__(
        self,
        *,
        records: dict[str, Records],
        fields: dict[str, FieldBook],
        users: Sequence[Record],
        rights: dict[int, Rights],
        clock: ServerClock,
        history: History,
        has_features: bool = True,
        shows_unset: bool = True,
        company_id: int = 7_700_123,
        company_name: str = "ACME Sandbox GmbH",
        company_domain: str = "acme-sandbox",
    ) -> None:
        super().__init__(
            users=users,
            clock=clock,
            history=history,
            company_id=company_id,
            company_name=company_name,
        )
        self.records, self.fields = records, fields
        self.rights = rights
        self.company_domain = company_domain
        self.has_features, self.shows_unset = has_features, shows_unset
        self.deleted_at: dict[tuple[str, int], str] = {}
        self.late: dict[tuple[str, int], str] = {}  # rows that lists show only from a stamp on
        self.conversions: dict[str, Any] = {}  # of leads and deals, by id
        self.walks: dict[Any, list[int]] = {}  # orders of rows, kept between pages of offset lists
        self.views: dict[str, View] = views(self)

    def installers(self) -> Iterable[Record]:
        """The users who have not left the company."""
        return [user for user in self.users if user["active_flag"]]

    def get(self, entity: str, row_id: RecordId) -> Record:
        """One record as stored.

        Raises:
            LookupError: no record has or had that id.
        """
        record = self.records[entity].get(number_of(ENTITIES[entity], row_id))
        if record is None:
            raise LookupError(f"there is no record {row_id} among the {entity}")
        return record

    def create(
        self, entity: str, *, visible_after_seconds: float = 0, by: str = "test", **values: Any
    ) -> Record:
        """Add a record; it gets the next id and, unless given, the server's time.

        With ``visible_after_seconds`` lists show it only that much later, with its early stamp.
        """
        with self.lock:
            now, kind = self.clock.edit_stamp(), ENTITIES[entity]
            record: Record = {
                "id": self.records[entity].last_id + 1,
                **kind.defaults,
                **{key: self.admin_id for key in OWNERS if key in kind.defaults},
                "add_time": now,
                "update_time": now,
                "is_deleted": False,
                **values,
            }
            if kind.fields_of is not None:
                record["custom_fields"] = dict(values.get("custom_fields", {}))
            if visible_after_seconds:
                self.delay(entity, record["id"], visible_after_seconds)
            RULES[entity].settle(self, None, record, values.keys(), now)
            self._put(entity, "create", None, record, by=by)
            RULES[entity].follow(self, None, record, now, by)
            return record

    def edit(self, entity: str, row_id: RecordId, *, by: str = "test", **changes: Any) -> Record:
        """Change a record; custom fields that are not named keep their values."""
        with self.lock:
            return self.change(entity, row_id, self.clock.edit_stamp(), by, changes)

    def edit_many(self, entity: str, ids: Iterable[RecordId], **changes: Any) -> str:
        """Change many records in one second, as a bulk edit does; returns that second."""
        with self.lock:
            now, all_ids = self.clock.edit_stamp(), list(ids)
            for row_id in all_ids:
                self.change(entity, row_id, now, "bulk" if len(all_ids) > 1 else "test", changes)
            return now

    def delete(self, entity: str, row_id: RecordId, *, by: str = "test") -> None:
        """Mark a record deleted; after 30 days it is gone for good."""
        self._flag(entity, row_id, "delete", by)

    def restore(self, entity: str, row_id: RecordId, *, is_touched: bool = True) -> None:
        """Restore a deleted or merged record under its id, with or without a new edit time."""
        self._flag(entity, row_id, "restore", "test", is_touched=is_touched)

    def merge(
        self,
        entity: str,
        loser_id: RecordId,
        survivor_id: RecordId,
        *,
        touches_children: bool = False,
        by: str = "test",
    ) -> Record:
        """Merge one record into another: the survivor wins conflicts and inherits what it lacks.

        Args:
            entity: organizations, persons or deals.
            loser_id: it is gone afterwards.
            survivor_id: it stays and gets a new edit time.
            touches_children: whether what belonged to the loser gets a new edit time.
            by: who did it, for the history.
        """
        kind = ENTITIES[entity]
        if kind.prices.merge is None:
            raise ValueError(f"{entity} cannot be merged")
        with self.lock:
            now = self.clock.edit_stamp()
            loser, survivor = self.get(entity, loser_id), self.get(entity, survivor_id)
            gone = loser | {"is_deleted": True, "update_time": now}
            self._put(entity, "merge", loser, gone, by=by, merged_into=survivor["id"])
            self._adopt(entity, loser["id"], survivor["id"], now if touches_children else None)
            gains = {
                key: loser[key]
                for key, value in survivor.items()
                if value in (None, []) and key in kind.writable and key not in kind.not_inherited
            }
            custom = {k: v for k, v in loser["custom_fields"].items() if v is not None}
            custom |= {k: v for k, v in survivor["custom_fields"].items() if v is not None}
            gains["custom_fields"] = custom
            return self.change(entity, survivor["id"], now, by, gains, merged_from=loser["id"])

    def plant(
        self, entity: str, row_id: RecordId, *, without: Iterable[str] = (), **values: Any
    ) -> Record:
        """Show any values in a record, or omit keys, without a new edit time.

        Answers show them as they are, until an edit of the same key; the sandbox itself goes on
        sorting and filtering by what they hide, so even an ``id`` may be planted. A
        ``msgspec.Raw`` value is sent byte for byte: the way to NaN, 1e400 or doubled keys.
        """
        with self.lock:
            before = self.get(entity, row_id)
            shown, missing = before.get("planted", ({}, ()))
            custom = (shown.get("custom_fields") or {}) | (values.get("custom_fields") or {})
            is_null = "custom_fields" in values and values["custom_fields"] is None
            shown = shown | values | ({"custom_fields": custom} if custom and not is_null else {})
            after = before | {"planted": (shown, (*missing, *without))}
            self._put(entity, "plant", before, after, by="test")
            return after

    def delay(self, entity: str, row_id: RecordId, seconds: float) -> None:
        """Hide a record from lists for some time, as a lagging index does."""
        at = self.clock.now() + timedelta(seconds=seconds)
        self.late[entity, number_of(ENTITIES[entity], row_id)] = stamp(at)

    def set_rights(
        self,
        user_id: int,
        sees: Sight = "all",
        hidden: Iterable[tuple[str, int]] | None = None,
    ) -> None:
        """Change what a user may see; records themselves stay as they are."""
        with self.lock:
            before = self.rights.get(user_id, Rights())
            taken = before.hidden if hidden is None else frozenset(hidden)
            self.rights[user_id] = Rights(sees, taken)
            now, after = self.clock.stamp(), {"sees": sees, "hidden": sorted(taken)}
            shown = {"sees": before.sees, "hidden": sorted(before.hidden)}
            self.history.add(
                "rights", "users", user_id, at=now, before=shown, after=after, by="test"
            )

    def is_purged(self, entity: str, row_id: int) -> bool:
        """Whether a record was deleted so long ago that no call returns it any more."""
        deleted_at = self.deleted_at.get((entity, row_id))
        return deleted_at is not None and self.clock.now() >= instant(deleted_at) + PURGED_AFTER

    def edit_user(self, user_id: int, **changes: Any) -> Record:
        """Change a user, who gets a new ``modified``; a deactivated one has ``active_flag`` false.

        Raises:
            LookupError: there is no such user.
        """
        with self.lock:
            place = next((n for n, user in enumerate(self.users) if user["id"] == user_id), None)
            if place is None:
                raise LookupError(f"there is no user {user_id}")
            before, now = self.users[place], self.clock.edit_stamp()
            self.users[place] = after = before | {"modified": v1_time(now)} | changes
            self._log("users", "change", before, after, by="test")
            return after

    def change(
        self,
        entity: str,
        row_id: RecordId,
        now: str,
        by: str,
        changes: Record,
        *,
        merged_from: int | None = None,
    ) -> Record:
        """Change a record at a given second, for edits of several records. Needs the lock."""
        before = self.get(entity, row_id)
        after = before | changes | {"update_time": changes.get("update_time", now)}
        if "custom_fields" in before:
            after["custom_fields"] = before["custom_fields"] | changes.get("custom_fields", {})
        if "planted" in before:
            shown, missing = before["planted"]
            shown = {key: value for key, value in shown.items() if key not in changes}
            after["planted"] = (shown, tuple(key for key in missing if key not in changes))
        RULES[entity].settle(self, before, after, changes.keys(), now)
        self._put(entity, "change", before, after, by=by, merged_from=merged_from)
        RULES[entity].follow(self, before, after, now, by)
        return after

    def restamp(self, entity: str, row_id: int, now: str, by: str, **changes: Any) -> None:
        """Change a record as a consequence of another edit: no rule applies. Needs the lock."""
        before = self.get(entity, row_id)
        self._put(entity, "change", before, before | changes | {"update_time": now}, by=by)

    def _flag(
        self, entity: str, row_id: RecordId, action: Action, by: str, *, is_touched: bool = True
    ) -> None:
        with self.lock:
            before = self.get(entity, row_id)
            if self.is_purged(entity, before["id"]):
                raise LookupError(f"{entity} {row_id} was deleted more than 30 days ago")
            now, after = self.clock.edit_stamp(), before | {"is_deleted": action == "delete"}
            if is_touched:
                after["update_time"] = now
            self._put(entity, action, before, after, by=by)
            RULES[entity].follow(self, before, after, now, by)

    def _adopt(self, entity: str, loser_id: int, survivor_id: int, now: str | None) -> None:
        """Re-point what belonged to a merged record."""
        for child, key in LINKS[entity]:
            for row_id in self.records[child].children_of(key, loser_id):
                before = self.get(child, row_id)
                after = before | {key: survivor_id}
                if now is not None:
                    after["update_time"] = now
                self._put(child, "change", before, after, by="merge")

    def _put(
        self,
        entity: str,
        action: Action,
        before: Record | None,
        after: Record,
        *,
        by: str,
        **more: Any,
    ) -> None:
        self.records[entity].put(after)
        now, place = self.clock.stamp(), (entity, after["id"])
        if after["is_deleted"]:
            self.deleted_at.setdefault(place, now)
        else:
            self.deleted_at.pop(place, None)
        self._log(entity, action, before, after, by=by, **more)

    def _log(
        self,
        entity: str,
        action: Action,
        before: Record | None,
        after: Record,
        *,
        by: str,
        **more: Any,
    ) -> None:
        self.history.add(
            action,
            entity,
            after["id"],
            at=self.clock.stamp(),
            before=before,
            after=after,
            by=by,
            user_id=self.actor_id,
            **more,
        )
