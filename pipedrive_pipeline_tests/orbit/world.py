"""One make-believe company in Orbit: records, users, properties, and a numbered log of changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.history import History
from pipedrive_pipeline.sandbox.kit.world import World

Record = dict[str, Any]
ODD_KEYS = ("0017", "A-9", "9" * 40, "17", "ä b/c?d", "007e1")  # numbers to some, texts to Orbit
ENTITIES = ("users", "properties", "accounts", "people", "notes", "campaigns", "meetings")


@dataclass(frozen=True)
class ChangedKey:
    """One change of one record."""

    entity: str
    key: str
    reason: str | None = None  # why it is gone; None: it was made or changed
    into: str | None = None  # what it was merged into


class OrbitWorld(World):
    """A company in Orbit. Records are made, changed and removed by key."""

    def __init__(self, *, clock: ServerClock | None = None, company: str = "orb-1") -> None:
        admin = {"id": "U-1", "key": "U-1", "name": "Ada Orbit", "mail": "ada@orbit.example"}
        super().__init__(
            users=[admin],
            clock=clock or ServerClock(),
            history=History(),
            company_id=company,
            company_name=f"Orbit of {company}",
        )
        self.tables: dict[str, dict[str, Record]] = {name: {} for name in ENTITIES}
        self.log: list[ChangedKey] = []
        self.forgotten = 0  # changes up to this number can no longer be asked for
        self.invited: list[str] = []  # keys of the meetings whose guests were invited
        self.lacking: set[str] = set()  # entities that the company's plan does not have
        self.home: str | None = None  # the API's address in token answers; None: this server's
        self.put("users", "U-1", name="Ada Orbit", mail="ada@orbit.example", active=True)

    def put(self, entity: str, key: str, **values: Any) -> Record:
        """Makes a record, or changes the given values of one."""
        with self.lock:
            now = self.clock.edit_stamp()
            before = self.tables[entity].get(key)
            id_key = "code" if entity == "properties" else "key"
            record = {id_key: key, "made": now, **(before or {}), **values, "touched": now}
            self.tables[entity][key] = record
            self._log(ChangedKey(entity, key), before, record)
            return record

    def remove(
        self, entity: str, key: str, *, reason: str = "deleted", into: str | None = None
    ) -> None:
        """Removes a record, or merges it into another of its kind."""
        with self.lock:
            self._log(ChangedKey(entity, key, reason, into), self.tables[entity].pop(key), None)

    def forget(self) -> None:
        """Makes every token that was given so far unusable."""
        with self.lock:
            self._log(ChangedKey("users", "U-1"), None, None)
            self.forgotten = len(self.log)

    def truth(self, entity: str) -> list[Record]:
        """The records of an entity by key."""
        return [self.tables[entity][key] for key in sorted(self.tables[entity])]

    def changes(self, entity: str, after: int, until: int) -> Iterator[ChangedKey]:
        """The last change of each record of an entity in a part of the log."""
        changed = [change for change in self.log[after:until] if change.entity == entity]
        yield from {change.key: change for change in changed}.values()

    def _log(self, change: ChangedKey, before: Record | None, after: Record | None) -> None:
        self.log.append(change)
        self.history.add(
            "delete" if change.reason else "change",
            change.entity,
            change.key,
            at=self.clock.stamp(),
            before=before,
            after=after,
            by="test",
        )


def seeded_orbit(*, company: str = "orb-1", clock: ServerClock | None = None) -> OrbitWorld:
    """A small company with odd ids, custom properties, and every kind of record."""
    world = OrbitWorld(company=company, clock=clock)
    world.put("users", "U-2", name="Bo Orbit", mail="bo@orbit.example", active=True)
    world.put("users", "900", name="Same Number", mail="same@orbit.example", active=False)
    colours = {"c1": "Red", "c2": "Blue"}
    world.put("properties", "tone", record="accounts", title="Tone", kind="choice", choices=colours)
    world.put("properties", "score", record="accounts", title="Score", kind="number", choices={})
    world.put("properties", "motto", record="people", title="Motto", kind="text", choices={})
    for place, key in enumerate(ODD_KEYS):
        world.put(
            "accounts",
            key,
            title=f"Orbit account {place}",
            town="Kiel",
            owner="U-1" if place % 2 else "U-2",
            props={"tone": "c1" if place % 2 else "c2", "score": place + 0.5},
        )
        world.put("notes", f"n-{place}", account=key, text=f"About {place}")
    for number in range(1, 13):  # keys that Pipedrive's numbers have, too
        world.put(
            "people",
            str(number),
            given=f"Given {number}",
            family="Orbit",
            mail=f"person{number}@orbit.example",
            account=ODD_KEYS[number % len(ODD_KEYS)],
            owner="900",
            props={"motto": f"Motto {number}"},
        )
    world.put("campaigns", "spring", title="Spring")
    return world
