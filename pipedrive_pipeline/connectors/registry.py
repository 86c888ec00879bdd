"""The registered systems.

A system is registered by one line: `register(SYSTEM)` below for a system of this package, an entry
point of the group ``pipedrive_pipeline.systems`` for one of an installed package
(``hubspot = "their_package:HUBSPOT"``), or a module that calls `register` and that the environment
variable ``SYSTEM_MODULES`` names (comma-separated; child processes inherit it).
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from pipedrive_pipeline.connectors.contract import Children, ColumnType, Entity, System
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.errors import SettingsError, UsageError
from pipedrive_pipeline.scope import SYSTEM_PATTERN, are_alike
from pipedrive_pipeline.settings import Settings

ENTRY_POINT_GROUP = "pipedrive_pipeline.systems"
MODULES_VARIABLE = "SYSTEM_MODULES"

# Systems to come: pages name them, so that nobody waits for them in vain or looks for a button.
PLANNED: Final = ("HubSpot", "Salesforce", "Zoho CRM")

_registered: dict[str, System] = {}


def systems() -> tuple[System, ...]:
    """Every registered system, in the order of registration."""
    _load()
    return tuple(_registered.values())


def system_keys() -> tuple[str, ...]:
    """The key of every registered system, in the order of registration."""
    return tuple(each.key for each in systems())


def system(key: str) -> System:
    """The system with this key.

    Raises:
        UsageError: there is none.
    """
    _load()
    if key not in _registered:
        known = ", ".join(sorted(_registered))
        raise UsageError(f"no system is called {key[:64]!r}; known: {known}.")
    return _registered[key]


def register(new: System) -> System:
    """Makes a system known to every package, and returns it; a second time changes nothing.

    Raises:
        UsageError: the key is malformed or taken, it and another key with ``_`` begin alike (their
            schemas could collide: ``raw_zoho_crm_x``), or the declaration contradicts itself.
    """
    if _registered.get(new.key) == new:
        return new
    for problem in _problems(new):
        raise UsageError(f"the system {new.key[:64]!r} cannot be registered: {problem}.")
    _registered[new.key] = new
    return new


def check_settings(settings: Settings) -> None:
    """Returns if the settings of every system are well-formed.

    Raises:
        SettingsError: one is empty or malformed; the message names it.
    """
    for key in system_keys():
        settings.system(key)


def _problems(new: System) -> list[str]:
    problems = []
    if not SYSTEM_PATTERN.fullmatch(new.key):
        problems.append(
            "its key must be lower-case words joined by _, in all at most 22 characters"
        )
    for key in _registered:
        if key == new.key:
            problems.append("another system has this key")
        elif are_alike(key, new.key):
            problems.append(f"its key and {key!r} begin alike, so that schema names could collide")
    if not new.auth or len({scheme.kind for scheme in new.auth}) < len(new.auth):
        problems.append("it needs one scheme of authentication, and at most one of each kind")
    earlier: dict[str, Entity] = {}
    for entity in new.entities:
        problems += [f"{entity.name}: {problem}" for problem in _entity_problems(entity, earlier)]
        earlier[entity.name] = entity
    unknown = set(new.webhooks.entities if new.webhooks else ()) - earlier.keys()
    problems += [f"its webhooks name {name}, which is no entity" for name in sorted(unknown)]
    problems += [
        f"{entity.name}: no entity {entity.defined_by} defines its fields"
        for entity in new.entities
        if entity.defined_by not in {None, *earlier}
    ]
    return problems


def _entity_problems(entity: Entity, earlier: dict[str, Entity]) -> list[str]:
    columns = {column.name for column in (entity.key, *entity.columns)}
    wanted = {*entity.personal, *entity.history} | ({entity.version_column} - {None})
    wanted |= {entity.custom_values} if entity.defined_by in earlier else set()
    wanted |= {entity.gone_column} - {None}
    problems = []
    if entity.name in earlier:
        problems.append("two entities have this name")
    if any(other.history and other.history_table == entity.name for other in earlier.values()):
        problems.append("the history of another entity has this name")
    if kept := sorted(set(entity.history) & set(entity.personal)):
        problems.append(f"an erasure would not find {', '.join(kept)} in its history")
    if entity.is_required and not entity.is_on_by_default:
        problems.append("it is required, so it cannot be off by default")
    if entity.key.type is ColumnType.JSON:
        problems.append("its key cannot be jsonb")
    if isinstance(entity.read, Children):
        wanted.add(entity.read.column)
        if entity.read.of not in earlier:
            problems.append(f"its parent {entity.read.of} must come before it")
        else:
            problems += _parent_problems(entity.read, earlier[entity.read.of])
    if missing := sorted(wanted - columns):  # type: ignore[type-var]
        problems.append(f"it declares no column {', '.join(map(str, missing))}")
    return problems


def _parent_problems(read: Children, parent: Entity) -> list[str]:
    columns = {column.name for column in parent.columns}
    named = {read.due_by, read.first[0] if read.first else None} - {None}
    missing = sorted(str(name) for name in named - columns)
    return [f"its parent {parent.name} declares no column {name}" for name in missing]


def _loaded(entry_point: EntryPoint) -> System:
    """The system that an installed package declares.

    Raises:
        SettingsError: the package must be corrected or removed.
    """
    package = entry_point.dist.name if entry_point.dist else "a package"
    where = f"the entry point {entry_point.name} = {entry_point.value} of {package}"
    try:
        declared = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{where} cannot be loaded ({error}); correct or uninstall {package}."
        ) from error
    if not isinstance(declared, System):
        raise SettingsError(
            f"{where} is no System (connectors/contract.py); correct or uninstall {package}."
        )
    return declared


@cache
def _load() -> None:
    """Registers the systems of installed packages and of `SYSTEM_MODULES`, once a process."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        register(_loaded(entry_point))
    for name in filter(None, os.environ.get(MODULES_VARIABLE, "").split(",")):
        try:
            import_module(name.strip())
        except ImportError as error:
            raise SettingsError(
                f"{MODULES_VARIABLE}: {name} cannot be imported ({error})."
            ) from error


register(PIPEDRIVE)
