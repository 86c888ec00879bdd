"""Owners, tags, storage and code references that every asset shows in the UI."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg

from pipedrive_pipeline.connectors.contract import Entity, System
from pipedrive_pipeline.defs.defaults import settings_of_definitions
from pipedrive_pipeline.marts import declared
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.sources import marts_folder
from pipedrive_pipeline.marts.views import view_ddl
from pipedrive_pipeline.warehouse.sql_files import SQL_ROOT, SqlFile

CODE_REFERENCES: Final = "dagster/code_references"
TABLE_NAME: Final = "dagster/table_name"
ROW_COUNT: Final = "dagster/row_count"
STORAGE_TAG: Final = "dagster/storage_kind"
SYSTEM_TAG: Final = "pipeline/system"  # of a raw asset: the system that it is read from
PERSONAL_TAG: Final = "pipeline/personal"  # "true": it has columns with personal data


def owners() -> list[str]:
    """Returns the owners of every asset, from the setting `ASSET_OWNERS`."""
    return list(settings_of_definitions().asset_owners)


def tags(*, is_personal: bool, system: str | None = None) -> dict[str, str]:
    """Returns the tags of an asset: storage, system, and whether it has personal data."""
    return {
        STORAGE_TAG: "postgres",
        **({SYSTEM_TAG: system} if system else {}),
        **({PERSONAL_TAG: "true"} if is_personal else {}),
    }


def entity_metadata(system: System, entity: Entity) -> dict[str, Any]:
    """Returns the table of a raw asset, and the code that declares and reads it."""
    reader = _module_of(system)
    declared_name = rf'name="{entity.name}"'
    files = [path for path in sorted(reader.parent.glob("*.py")) if declared_name in _text(path)]
    references = [
        _reference(path, declared_name, f"declaration of {entity.name}") for path in files[:1]
    ]
    return {
        TABLE_NAME: f"raw_{system.key}_<tenant>.{entity.name}",
        CODE_REFERENCES: _code(*references, _reference(reader, "", f"reads {system.label}")),
    }


def mart_metadata(mart: Mart, systems: Iterable[System]) -> dict[str, Any]:
    """Returns the table of a mart, its select in each system, and its declaration."""
    selects = {
        system.key: path
        for system in systems
        if (path := marts_folder(system.key) / f"{mart.name}.sql").exists()
    }
    return {
        TABLE_NAME: ".".join(mart.table),
        CODE_REFERENCES: _code(
            *(_reference(path, "", f"select of {key}") for key, path in selects.items()),
            _declaration(mart),
        ),
    }


def view_metadata(mart: Mart) -> dict[str, Any]:
    """Returns the name of a mart's view, the code that makes it, and the mart's declaration."""
    return {
        TABLE_NAME: f"analytics_<tenant>.{mart.name}",
        CODE_REFERENCES: _code(
            _reference(Path(str(view_ddl.__file__)), "", "makes the views"), _declaration(mart)
        ),
    }


def report_metadata(file: SqlFile) -> dict[str, Any]:
    """Returns the name of a view of `sql/views`, and its file."""
    path = SQL_ROOT / "views" / f"{file.name}.sql"
    return {
        TABLE_NAME: f"analytics_<tenant>.{file.name}",
        CODE_REFERENCES: _code(_reference(path, "", "makes the view")),
    }


@dataclass(frozen=True)
class _Reference:
    """A line of a file of this installation."""

    path: Path
    line_number: int
    label: str


def _code(*references: _Reference) -> dg.CodeReferencesMetadataValue:
    with warnings.catch_warnings():
        # Code references are in beta in Dagster 1.13; the warning would appear at each start.
        warnings.filterwarnings("ignore", r".*CodeReference", dg.BetaWarning)
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(
                    file_path=str(reference.path),
                    line_number=reference.line_number,
                    label=reference.label,
                )
                for reference in references
            ]
        )


def _declaration(mart: Mart) -> _Reference:
    path = Path(str(declared.__file__))
    return _reference(path, f'Mart(\n    "{mart.name}",', f"declaration of {mart.name}")


def _reference(path: Path, text: str, label: str) -> _Reference:
    """Returns a reference to the first place of a text in a file; to its first line if none is."""
    place = max(_text(path).find(text), 0)
    return _Reference(path, _text(path).count("\n", 0, place) + 1, label)


def _module_of(system: System) -> Path:
    return Path(str(inspect.getsourcefile(inspect.unwrap(system.open))))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
