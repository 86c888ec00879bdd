"""The form of a tenant's settings: its controls as settings of the API, and their problems."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from pipedrive_pipeline.connect.api.sync_models import Config
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.sync.tenancy.configuration import (
    ALL_MARTS,
    SyncConfig,
    writable_marts,
)

FLAGS: Final = ("auto_sync", "incremental_sync", "sync_custom_fields", "near_real_time")
NUMBERS: Final = (
    "every_hours",
    "sweep_every_hours",
    "daily_token_budget",
    "erase_deleted_after_days",
)
EVERY_HOURS: Final = (1, 2, 3, 4, 6, 8, 12)  # choices of a sync, and of a cycle
SWEEP_HOURS: Final = (24, 168)
CYCLE_HOURS: Final = (0, 6, 24, 168)
ERASE_DAYS: Final = (0, 30, 90, 365)


@dataclass(frozen=True)
class SentSettings:
    """What a form means: the settings, or the fields that need a correction."""

    changes: Mapping[str, Any] = field(default_factory=dict)  # by the names of `SyncConfig`
    problems: Sequence[str] = ()  # names of settings


def values_of(config: SyncConfig, system: str) -> dict[str, str]:
    """Returns the controls' values for saved settings; an absent flag is off."""
    facts = config.facts()
    values = {name: "1" for name in FLAGS if facts.get(name)}
    values |= {name: str(facts[name]) for name in NUMBERS if facts[name] is not None}
    for entity in choosable(system):
        if entity.name not in config.entities_off:
            values[f"read:{entity.name}"] = "1"
        values[f"cycle:{entity.name}"] = str(config.entity_cycles.get(entity.name, 0))
    values |= {f"write:{mart}": "1" for mart in config.writes_allowed}
    return values | {
        "sync_time": facts["sync_time"],
        "time_zone": config.time_zone or "",
        "budget_share": f"{100 * config.budget_share:g}",
        "alert_urls": "\n".join(facts["alert_urls"]),
    }


def sent_settings(sent: Mapping[str, str], config: SyncConfig, system: str) -> SentSettings:
    """Returns the settings that a sent form means, on top of the saved ones."""
    known = config.facts()
    wanted: dict[str, Any] = {name: name in sent for name in FLAGS if name in known}
    wanted |= {name: sent.get(name, "").strip() or None for name in NUMBERS}
    wanted |= {
        "sync_time": sent.get("sync_time", ""),
        "time_zone": sent.get("time_zone", "").strip() or None,
        "budget_share": _share(sent.get("budget_share", "")),
        "alert_urls": sent.get("alert_urls", "").split(),
    }
    marts = (ALL_MARTS, *writable_marts(system))
    wanted["writes_allowed"] = [mart for mart in marts if f"write:{mart}" in sent]
    off, cycles = _off(sent, config, system), _cycles(sent, config, system)
    if off != set(config.entities_off):  # else the defaults of later releases apply
        wanted["entities_off"] = sorted(off)
    if cycles:
        wanted["entity_cycles"] = {**config.entity_cycles, **cycles}
    try:
        checked = Config.model_validate(wanted)
    except ValidationError as error:
        names = [str(issue["loc"][0]) for issue in error.errors()]
        fields = {each.alias: name for name, each in Config.model_fields.items()}
        return SentSettings(problems=[*dict.fromkeys(fields.get(name, name) for name in names)])
    return SentSettings(changes=checked.changed())


def choosable(system: str) -> list[Entity]:
    """Returns the kinds of records that a person may choose, children after their parent.

    Definitions of fields follow their records.
    """
    entities = registry.system(system).entities
    defining = {entity.defined_by for entity in entities}
    chosen = [entity for entity in entities if entity.name not in defining]
    names = [entity.name for entity in chosen]
    return sorted(chosen, key=lambda entity: names.index(parent_of(entity) or entity.name))


def parent_of(entity: Entity) -> str | None:
    """Returns the kind of records that these are parts of."""
    return entity.read.of if isinstance(entity.read, Children) else None


def fingerprint(config: SyncConfig) -> str:
    """Returns a text that differs if anybody saved other settings."""
    text = json.dumps(config.facts(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _share(text: str) -> float | None:
    """Returns a percentage as a share; None if it is none."""
    try:
        return float(text.strip().rstrip("%").replace(",", ".")) / 100
    except ValueError:
        return None


def _off(sent: Mapping[str, str], config: SyncConfig, system: str) -> set[str]:
    """Returns the kinds that are not read; definitions of fields are, if their records are."""
    off = {entity.name for entity in choosable(system) if f"read:{entity.name}" not in sent}
    chosen = {entity.name for entity in choosable(system)}
    for entity in registry.system(system).entities:
        if entity.name in chosen or entity.name not in config.entities_off:
            continue
        defined = {each.name for each in choosable(system) if each.defined_by == entity.name}
        if defined <= off:
            off.add(entity.name)
    return off


def _cycles(sent: Mapping[str, str], config: SyncConfig, system: str) -> dict[str, str]:
    """Returns the hours of those kinds whose cycle the form changes."""
    former = {entity.name: config.entity_cycles.get(entity.name, 0) for entity in choosable(system)}
    chosen = {name: sent.get(f"cycle:{name}", "") for name in former}
    return {name: hours for name, hours in chosen.items() if hours not in {"", str(former[name])}}
