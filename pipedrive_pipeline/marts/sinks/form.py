"""Declarations of sinks: which mart fills which columns of which table of an app, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.tenants import Tenant

CONVERSIONS: Final = ("text", "lower", "number", "date", "join")
CRM, APP = "crm", "app"
LEAVE, UNLINK, MARK = "leave", "unlink", "mark"


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
    is_paused: bool = False  # it writes nothing until somebody says otherwise

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
            "paused": self.is_paused or None,
        }
        if self.mark:
            del facts["on_delete"]["column"]
        return {name: value for name, value in facts.items() if value not in (None, [], {})} | (
            {"match_by": []} if self.match_by == () else {}
        )
