"""Reads declarations of sinks from the JSON that people write.

By name of the sink:

{"customers": {"mart": "customers", "table": "app.customers",
"tenant": {"column": "tenant_id", "value": "0b6c…"},
"columns": {"company": "name", "mail": {"from": "email", "as": "lower"},
"source": {"value": "crm"}},
"link_column": "pipedrive_id", "synced_at_column": "pipedrive_synced_at",
"on_delete": {"mark": "status", "value": "archived", "restored": "active"},
"match_by": ["vat_id", "email", "name_and_town"]}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.form import (
    APP,
    CONVERSIONS,
    CRM,
    LEAVE,
    MARK,
    UNLINK,
    Mark,
    MatchRule,
    Sink,
    Value,
)

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
TABLE_PATTERN: Final = re.compile(r"([^.]{1,63})\.([^.]{1,63})")
SETTING_PATTERN: Final = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)+")
SETTINGS: Final = frozenset(
    {
        "mart",
        "table",
        "key",
        "tenant",
        "columns",
        "link_column",
        "synced_at_column",
        "on_delete",
        "on_conflict",
        "inserts",
        "reinserts",
        "match_by",
        "settings",
        "paused",
    }
)


def parsed(text: Any) -> tuple[dict[str, Sink], list[Issue]]:
    """Returns the sinks of decoded JSON by name, and an issue for each part that is malformed."""
    if not isinstance(text, dict):
        return {}, [Issue("sinks", "must be an object of sinks by name")]
    sinks: dict[str, Sink] = {}
    issues: list[Issue] = []
    for name, facts in text.items():
        parser = _Parser(str(name))
        sink = parser.sink(facts)
        issues += parser.issues
        if sink:
            sinks[sink.name] = sink
    return sinks, issues


class _Parser:
    """Reads one declaration and collects what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.issues: list[Issue] = []

    def sink(self, facts: Any) -> Sink | None:
        if not NAME_PATTERN.fullmatch(self.name):
            self._refuse("", "a name has lower-case letters, digits and _, at most 40")
            return None
        if not isinstance(facts, dict):
            self._refuse("", "must be an object")
            return None
        if unknown := sorted(map(str, facts.keys() - SETTINGS)):
            self._refuse("", f"has no setting {', '.join(unknown)}; {', '.join(sorted(SETTINGS))}")
        tenant = self._object(facts, "tenant")
        if tenant and (tenant.keys() != {"column", "value"} or tenant["value"] is None):
            self._refuse("tenant", "needs column and value, and nothing else")
        on_delete, mark = self._on_delete(facts.get("on_delete", LEAVE))
        table = TABLE_PATTERN.fullmatch(self._text(facts, "table") or "")
        if table is None:
            self._refuse("table", "needs schema and table, such as app.customers")
        sink = Sink(
            name=self.name,
            mart=self._text(facts, "mart") or "",
            table=(table[1], table[2]) if table else ("", ""),
            columns=self._columns(self._object(facts, "columns")),
            key=self._names(facts, "key"),
            tenant_column=_as_text(tenant.get("column")),
            tenant_value=_as_text(tenant.get("value")),
            link_column=self._text(facts, "link_column"),
            synced_at_column=self._text(facts, "synced_at_column"),
            on_delete=on_delete,
            mark=mark,
            on_conflict=self._choice(facts, "on_conflict", CRM, (CRM, APP)),
            inserts=self._flag(facts, "inserts", default=True),
            reinserts=self._flag(facts, "reinserts", default=True),
            match_by=self._match_by(facts.get("match_by")),
            settings=self._settings(self._object(facts, "settings")),
            is_paused=self._flag(facts, "paused", default=False),
        )
        if not sink.columns:
            self._refuse("columns", "names no column; a sink fills at least one")
        return None if self.issues else sink

    def _columns(self, facts: Mapping[str, Any]) -> dict[str, Value]:
        columns: dict[str, Value] = {}
        for column, written in facts.items():
            value = {"from": written} if isinstance(written, str) else written
            if not isinstance(value, dict) or not value.keys() <= {"from", "as", "value", "sink"}:
                self._refuse(column, "needs a column of the mart, or an object of from, as, sink")
            elif ("from" in value) == ("value" in value):
                self._refuse(column, "needs either from or value")
            elif value.get("as") not in (None, *CONVERSIONS):
                self._refuse(column, f"as must be one of {', '.join(CONVERSIONS)}")
            else:
                columns[str(column)] = Value(
                    _as_text(value.get("from")),
                    value.get("as"),
                    _as_text(value.get("value")),
                    _as_text(value.get("sink")),
                )
        return columns

    def _on_delete(self, written: Any) -> tuple[str, Mark | None]:
        if written in (LEAVE, UNLINK):
            return written, None
        if isinstance(written, dict) and {"mark", "value"} <= written.keys() <= {
            "mark",
            "value",
            "restored",
        }:
            values = (_as_text(written.get(name)) for name in ("value", "restored"))
            return MARK, Mark(str(written["mark"]), *values)
        self._refuse("on_delete", f"must be {LEAVE}, {UNLINK} or an object of mark and value")
        return LEAVE, None

    def _match_by(self, written: Any) -> tuple[MatchRule, ...] | None:
        if written is None:
            return None
        rules = []
        for entry in written if isinstance(written, list) else [None]:
            facts = {"rule": entry} if isinstance(entry, str) else entry
            if not isinstance(facts, dict) or not isinstance(facts.get("rule"), str):
                self._refuse("match_by", "must be a list of rules")
            else:
                rules.append(MatchRule(facts["rule"], self._names(facts, "columns")))
        return tuple(rules)

    def _settings(self, facts: Mapping[str, Any]) -> dict[str, str]:
        for name in facts:
            if not SETTING_PATTERN.fullmatch(name) or name.startswith("pipeline."):
                self._refuse("settings", f"{name} is no setting of an app, such as app.tenant")
        return {name: str(value) for name, value in facts.items()}

    def _object(self, facts: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = facts.get(name, {})
        if not isinstance(value, dict):
            self._refuse(name, "must be an object")
            return {}
        return value

    def _names(self, facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
        value = facts.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self._refuse(name, "must be a list of columns")
            return ()
        return tuple(value)

    def _text(self, facts: Mapping[str, Any], name: str) -> str | None:
        value = facts.get(name)
        if value is not None and not isinstance(value, str):
            self._refuse(name, "must be text")
            return None
        return value

    def _choice(
        self, facts: Mapping[str, Any], name: str, default: str, choices: tuple[str, ...]
    ) -> str:
        value = facts.get(name, default)
        if value not in choices:
            self._refuse(name, f"must be {' or '.join(choices)}")
            return default
        return str(value)

    def _flag(self, facts: Mapping[str, Any], name: str, *, default: bool) -> bool:
        value = facts.get(name, default)
        if not isinstance(value, bool):
            self._refuse(name, "must be true or false")
        return value is True

    def _refuse(self, setting: str, issue: str) -> None:
        self.issues.append(Issue(f"{self.name}.{setting}".rstrip("."), issue))


def _as_text(value: Any) -> str | None:
    """Returns a constant as Postgres reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
