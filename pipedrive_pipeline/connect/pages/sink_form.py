"""The form of one sink: its fields of a declaration, and the declaration that a sent form means.

The form has `from:<column>` and `as:<column>` for each column of the app's table, `rule:<rule>`
(its place in the order) and `columns:<rule>` for each rule, and a field for each other setting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.scope import Scope

# Ways to fill a column besides the conversions of a declaration, and `sink:<name>`.
CONSTANT: Final = "constant"
NOTHING: Final = "nothing"
OF_SINK: Final = "sink:"
# Settings with a field of their own, in the order of the form.
SETTINGS: Final = (
    "table", "mart", "columns", "tenant", "key", "link_column", "synced_at_column", "on_delete",
    "on_conflict", "match_by", "settings",
)  # fmt: skip


@dataclass(frozen=True)
class SinkSheet:
    """What the form of one sink is made from.

    Attributes:
        version: the version that is edited.
        table: the app's table as the catalogue has it now.
    """

    scope: Scope
    name: str
    mart: Mart
    table: sinks.AppTable
    version: sinks.SinksVersion

    @property
    def sink(self) -> sinks.Sink | None:
        """The sink as that version declares it; None if it is new."""
        return self.version.sinks.get(self.name)

    @cached_property
    def linkable(self) -> list[str]:
        """The other sinks whose keys may fill a column: those of marts that this one links to."""
        marts = {link.mart for link in self.mart.links}
        others = self.version.sinks.values()
        return [sink.name for sink in others if sink.mart in marts and sink.name != self.name]

    @property
    def rules(self) -> list[str]:
        """The rules by which rows of this mart are recognized."""
        return list(sinks.rules_of(self.mart))

    def with_sink(self, declaration: Mapping[str, Any] | None) -> dict[str, Any]:
        """The declarations of all sinks with this one; without it if it is None."""
        others = {name: each for name, each in self.version.written().items() if name != self.name}
        return others if declaration is None else {**others, self.name: dict(declaration)}


def values_of(sheet: SinkSheet) -> dict[str, str]:
    """The fields of the form as the sink is declared; of a new one, columns of the same name."""
    sink = sheet.sink
    if sink is None:
        names = {column.name for column in sheet.mart.columns}
        key = sheet.table.keys[0] if sheet.table.keys else ()
        same = [name for name in sheet.table.columns if name in names and name not in key]
        system = sheet.scope.system
        return {
            **{f"from:{name}": name for name in same},
            "link_column": f"{system}_id",
            "synced_at_column": f"{system}_synced_at",
            "add_columns": "1",
            "on_delete": "leave",
            "on_conflict": "crm",
            "inserts": "1",
            "reinserts": "1",
        }
    values = {
        "tenant_column": sink.tenant_column or "",
        "tenant_value": sink.tenant_value or "",
        "key": ",".join(sink.key),
        "link_column": sink.link_column or "",
        "synced_at_column": sink.synced_at_column or "",
        "on_delete": sink.on_delete,
        "on_conflict": sink.on_conflict,
        "inserts": "1" if sink.inserts else "",
        "reinserts": "1" if sink.reinserts else "",
        "has_no_rules": "1" if sink.match_by == () else "",
        "settings": "\n".join(f"{name} = {value}" for name, value in sink.settings.items()),
    }
    for name, value in sink.columns.items():
        values |= _fields_of_value(name, value)
    for place, rule in enumerate(sink.match_by or (), 1):
        values |= {f"rule:{rule.rule}": str(place), f"columns:{rule.rule}": ", ".join(rule.columns)}
    if sink.mark:
        values |= {
            "mark_column": sink.mark.column,
            "mark_value": sink.mark.value or "",
            "mark_restored": sink.mark.restored or "",
        }
    return values


def declaration_of(sheet: SinkSheet, sent: Mapping[str, str]) -> dict[str, Any]:
    """The declaration that a sent form means, as JSON that `marts.sinks` reads and checks."""
    rules = _rules(sheet, sent)
    facts: dict[str, Any] = {
        "mart": sheet.mart.name,
        "table": sheet.table.full_name,
        "key": _names(sent.get("key", "")),
        "columns": {
            name: value
            for name in sheet.table.columns
            if (value := _value(sent.get(f"from:{name}", ""), sent.get(f"as:{name}", "")))
        },
        "link_column": sent.get("link_column", "").strip() or None,
        "synced_at_column": sent.get("synced_at_column", "").strip() or None,
        "on_delete": _on_delete(sent),
        "on_conflict": sent.get("on_conflict", ""),
        "inserts": bool(sent.get("inserts")),
        "reinserts": bool(sent.get("reinserts")),
        "match_by": rules if rules or sent.get("has_no_rules") else None,
        "settings": _settings(sent.get("settings", "")),
    }
    if sent.get("tenant_column") or sent.get("tenant_value"):
        facts["tenant"] = {
            "column": sent.get("tenant_column") or None,
            "value": sent.get("tenant_value", ""),
        }
    if sheet.sink and sheet.sink.is_paused:
        facts["paused"] = True
    return facts


@dataclass(frozen=True)
class Issues:
    """What is wrong with a sent form.

    Attributes:
        columns: the issues of each column of the app's table.
        settings: the issues of each other setting of the form.
        elsewhere: issues of other sinks, and of what has no field, with their names.
    """

    columns: Mapping[str, Sequence[str]]
    settings: Mapping[str, Sequence[str]]
    elsewhere: Sequence[tuple[str, str]]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, (*self.columns.values(), *self.settings.values(), self.elsewhere)))


def issues_of(sheet: SinkSheet, issues: Iterable[sinks.Issue] = ()) -> Issues:
    """The issues by the place in the form that they belong to."""
    columns: dict[str, list[str]] = defaultdict(list)
    settings: dict[str, list[str]] = defaultdict(list)
    elsewhere: list[tuple[str, str]] = []
    for issue in issues:
        sink, _, setting = issue.field.partition(".")
        if sink != sheet.name:
            elsewhere.append((issue.field, issue.issue))
        elif setting in SETTINGS:
            settings[setting].append(issue.issue)
        elif setting in sheet.table.columns:
            columns[setting].append(issue.issue)
        else:
            elsewhere.append((setting, issue.issue))
    return Issues(columns, settings, elsewhere)


def _fields_of_value(name: str, value: sinks.Value) -> dict[str, str]:
    if value.source is None:
        way = NOTHING if value.constant is None else CONSTANT
        return {f"from:{name}": value.constant or "", f"as:{name}": way}
    way = f"{OF_SINK}{value.sink}" if value.sink else value.conversion or ""
    return {f"from:{name}": value.source, f"as:{name}": way}


def _value(source: str, way: str) -> dict[str, Any] | None:
    """The value of a column in a declaration; None if nothing fills it."""
    if way == CONSTANT:
        return {"value": source}
    if way == NOTHING:
        return {"value": None}
    name = source.strip()
    if not name:
        return None
    if way.startswith(OF_SINK):
        return {"from": name, "sink": way.removeprefix(OF_SINK)}
    return {"from": name, "as": way} if way else {"from": name}


def _on_delete(sent: Mapping[str, str]) -> Any:
    if sent.get("on_delete") != "mark":
        return sent.get("on_delete", "")
    mark = {"mark": sent.get("mark_column", ""), "value": sent.get("mark_value", "")}
    return mark | ({"restored": sent["mark_restored"]} if sent.get("mark_restored") else {})


def _rules(sheet: SinkSheet, sent: Mapping[str, str]) -> list[Any]:
    """The chosen rules, by the numbers that a person gave them; the same number: as listed."""
    chosen = [
        (int(place), rule)
        for rule in sheet.rules
        if (place := sent.get(f"rule:{rule}", "").strip()).isdecimal() and place.isascii()
    ]
    rules: list[Any] = []
    for _place, rule in sorted(chosen, key=lambda entry: entry[0]):
        columns = _names(sent.get(f"columns:{rule}", ""))
        rules.append({"rule": rule, "columns": columns} if columns else rule)
    return rules


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _settings(text: str) -> dict[str, str]:
    """Lines of `name = value`; a line without `=` is a name with an empty value."""
    lines = (line.partition("=") for line in text.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in lines}
