"""The form of sinks: the JSON that people write, and its parsed declarations.

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.tenants import Tenant

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
TABLE_PATTERN: Final = re.compile(r"([^.]{1,63})\.([^.]{1,63})")
SETTING_PATTERN: Final = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)+")
CONVERSIONS: Final = ("text", "lower", "number", "date", "join")
CRM, APP = "crm", "app"
LEAVE, UNLINK, MARK = "leave", "unlink", "mark"
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
    }
)


class BadSink(PersonMustAct):
    """A declaration cannot be used; the version before it stays active."""

    code = "bad_sink"

    def __init__(self, tenant: Tenant, issues: Iterable[Issue]) -> None:
        self.tenant, self.issues = tenant, tuple(issues)
        summary = "; ".join(f"{issue.field}: {issue.issue}" for issue in self.issues)
        super().__init__(f"{tenant}: the sinks were not saved ({summary}).")


@dataclass(frozen=True)
class Value:
    """What fills a column of the app.

    Attributes:
        source: a column of the mart, or `attributes.<name>`; None for a constant.
        conversion: one of `CONVERSIONS`.
        constant: the same text in each row.
        sink: another sink of the same system: the source is a link of the mart, and the value is
            the key of the app's row that the other sink has for it.
    """

    source: str | None = None
    conversion: str | None = None
    constant: str | None = None
    sink: str | None = None

    def written(self) -> Any:
        """Returns the value as JSON: a string if it is a column without a conversion."""
        if self.source is None:
            return {"value": self.constant}
        facts = {"from": self.source, "as": self.conversion, "sink": self.sink}
        given = {name: value for name, value in facts.items() if value is not None}
        return self.source if len(given) == 1 else given


@dataclass(frozen=True)
class Mark:
    """A value that says in the app's row that its record is gone."""

    column: str
    value: str | None
    restored: str | None = None  # for a record that comes back


@dataclass(frozen=True)
class MatchRule:
    """How app rows are recognized: by a rule, over the columns of the app that have its key."""

    rule: str
    columns: tuple[str, ...] = ()  # empty: those that the mart's columns of the rule fill


@dataclass(frozen=True)
class Sink:
    """One declaration; the defaults are those of the form."""

    name: str
    mart: str
    table: tuple[str, str]
    columns: Mapping[str, Value]
    key: tuple[str, ...] = ()  # empty: the primary key
    tenant_column: str | None = None
    tenant_value: str | None = None
    link_column: str | None = None
    synced_at_column: str | None = None
    on_delete: str = LEAVE
    mark: Mark | None = None
    on_conflict: str = CRM
    inserts: bool = True
    reinserts: bool = True
    match_by: tuple[MatchRule, ...] | None = None  # None: not said
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def table_name(self) -> str:
        """Schema and table as people write them."""
        return ".".join(self.table)

    @property
    def filled(self) -> tuple[str, ...]:
        """The columns that rows of the mart fill, without those that marks and times fill."""
        return (*self.columns, *((self.link_column,) if self.link_column else ()))

    @property
    def written_columns(self) -> tuple[str, ...]:
        """Every column of the app that a run may write, each once."""
        more = (self.synced_at_column, self.mark.column if self.mark else None)
        return tuple(dict.fromkeys((*self.filled, *(name for name in more if name))))

    @property
    def needs(self) -> frozenset[str]:
        """The sinks whose rows this one refers to, which are fed first."""
        return frozenset(value.sink for value in self.columns.values() if value.sink)

    def written(self) -> dict[str, Any]:
        """Returns the declaration as JSON, without what is as by default."""
        facts: dict[str, Any] = {
            "mart": self.mart,
            "table": self.table_name,
            "key": list(self.key),
            "tenant": self.tenant_column
            and {"column": self.tenant_column, "value": self.tenant_value},
            "columns": {name: value.written() for name, value in self.columns.items()},
            "link_column": self.link_column,
            "synced_at_column": self.synced_at_column,
            "on_delete": vars(self.mark) | {"mark": self.mark.column}
            if self.mark
            else self.on_delete,
            "on_conflict": self.on_conflict,
            "inserts": self.inserts,
            "reinserts": self.reinserts,
            "match_by": None
            if self.match_by is None
            else [
                {"rule": rule.rule, "columns": list(rule.columns)} if rule.columns else rule.rule
                for rule in self.match_by
            ],
            "settings": dict(self.settings),
        }
        if self.mark:
            del facts["on_delete"]["column"]
        return {name: value for name, value in facts.items() if value not in (None, [], {})} | (
            {"match_by": []} if self.match_by == () else {}
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
            inserts=self._flag(facts, "inserts"),
            reinserts=self._flag(facts, "reinserts"),
            match_by=self._match_by(facts.get("match_by")),
            settings=self._settings(self._object(facts, "settings")),
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

    def _flag(self, facts: Mapping[str, Any], name: str) -> bool:
        value = facts.get(name, True)
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
