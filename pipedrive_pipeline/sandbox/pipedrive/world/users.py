"""The users of the company and their rights to see records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Record = dict[str, Any]
Sight = Literal["all", "shared", "own", "none"]

FIRST_USER_ID = 900
_NAMES = (
    ("Anke Förster", "anke.foerster"),
    ("Tobias Weiß", "tobias.weiss"),
    ("Gül Yıldız", "guel.yildiz"),
    ("Ole Claußen", "ole.claussen"),
    ("Früher Hier", "frueher.hier"),
)


@dataclass(frozen=True)
class Rights:
    """Which records one user may see.

    ``all`` shows everything, as to an admin; ``shared`` shows the user's own records and those
    visible to the company; ``own`` only the user's own; ``none`` nothing. ``hidden`` excludes
    single records, as (entity, id), like a visibility group without this user.
    """

    sees: Sight = "all"
    hidden: frozenset[tuple[str, int]] = field(default=frozenset())

    def admit(self, user_id: int, entity: str, record: Record) -> bool:
        """Whether the user may see a record."""
        if self.hidden and (entity, record["id"]) in self.hidden:
            return False
        if self.sees == "all":
            return True
        owner_id = record.get("owner_id", record.get("user_id"))
        if owner_id is None:  # stages, types, labels and lines belong to nobody
            return True
        if owner_id == user_id:
            return self.sees != "none"
        return self.sees == "shared" and record.get("visible_to") != 1


def seeded_users(count: int) -> list[Record]:
    """The users of a seeded account; the first is the admin, the last of five has left."""
    return [_user(FIRST_USER_ID + place, place) for place in range(count)]


def _user(user_id: int, place: int) -> Record:
    name, mailbox = _NAMES[place % len(_NAMES)]
    if place >= len(_NAMES):
        name, mailbox = f"{name} {place + 1}", f"{mailbox}.{place + 1}"
    has_left = place % len(_NAMES) == len(_NAMES) - 1
    return {
        "id": user_id,
        "name": name,
        "email": f"{mailbox}@acme.example",
        "phone": None,
        "default_currency": "EUR",
        "locale": "de_DE",
        "lang": 6,
        "activated": True,
        "active_flag": not has_left,
        "is_deleted": has_left,
        "last_login": "2026-08-30 07:12:00",
        "created": "2021-03-01 08:00:00",
        "modified": None if place == 1 else "2025-11-03 09:30:00",
        "has_created_company": place == 0,
        "access": [{"app": "sales", "admin": place == 0, "permission_set_id": f"set-{place}"}],
        "timezone_name": "Europe/Berlin",
        "timezone_offset": "+01:00",
        "role_id": 1,
        "icon_url": None,
        "is_you": False,
    }
