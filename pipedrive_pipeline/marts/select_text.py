"""Reads from the text of a mart's select which columns of raw tables an output is made of.

No SQL parser: brackets, the list of a select, and names of the form ``table.column`` are enough for
the project's own files, whose style `sql/` has in common. A sub-select, a `with` query or a table
function in between is followed; a name that no bracket of the text gives is passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pipedrive_pipeline.connectors.contract import System

_COMMENT: Final = re.compile(r"--[^\n]*")
_NAME: Final = re.compile(r"\b([a-z_]\w*)\.(\w+|\*)")
_ALIAS: Final = re.compile(r"\s+(?:with ordinality\s+)?as\s+(\w+)")
_QUERY_NAME: Final = re.compile(r"(\w+) as (?:not )?(?:materialized )?$")
_FROM: Final = re.compile(r"\b(?:from|join)\s+(\w+)(?:\s+as\s+(\w+))?")
_OUTPUT: Final = re.compile(r"(.*\S)\s+as\s+(\w+)", re.DOTALL)
_SELECT: Final = re.compile(r"\bselect\b|(?<!distinct )\bfrom\b|\bunion\b|\boffset\b")


@dataclass(frozen=True)
class SourceColumn:
    """A column of a raw table or a mart; ``table`` is its asset's key."""

    table: tuple[str, str]  # system and entity, or `crm` and mart
    column: str


@dataclass(frozen=True)
class _Table:
    """A raw table: an entity's records, or the history of some of their columns."""

    entity: str
    columns: frozenset[str]


@dataclass
class _Relation:
    """What a bracket with a name gives: outputs by name, relations with `*`, or one expression."""

    outputs: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    stars: list[str] = field(default_factory=list)
    expression: str = ""  # of a table function or a list of values: any column may come from it


class Select:
    """One select and the raw columns behind its outputs."""

    def __init__(self, text: str, system: System) -> None:
        self._system = system.key
        text = _COMMENT.sub("", text)
        self._tables: dict[str, _Table] = {}  # by alias
        for entity in system.entities:
            of_table = [(entity.name, (entity.key, *entity.columns))]
            if entity.history:
                of_table.append((entity.history_table, entity.history_columns))
            for table, columns in of_table:
                names = frozenset(column.name for column in columns)
                self._tables[table] = _Table(entity.name, names)
        for table, alias in _FROM.findall(text):
            if alias and table in self._tables:
                self._tables[alias] = self._tables[table]
        self._relations: dict[str, list[_Relation]] = defaultdict(list)
        for name, body in _named_brackets(text):
            self._relations[name].append(_relation(body))
        self._whole = _relation(text)

    def sources(self, output: str) -> tuple[SourceColumn, ...]:
        """Returns the raw columns that an output is made of, in the order of the text."""
        found: dict[SourceColumn, None] = {}
        for expression in self._whole.outputs.get(output, []):
            self._follow(expression, found, set())
        return tuple(found)

    def _follow(
        self,
        expression: str,
        found: dict[SourceColumn, None],
        followed: set[tuple[str, str]],
    ) -> None:
        for table, column in _NAME.findall(expression):
            if (table, column) in followed:
                continue
            followed.add((table, column))
            raw_table = self._tables.get(table)
            if raw_table and column in raw_table.columns:
                found[SourceColumn((self._system, raw_table.entity), column)] = None
            for relation in self._relations.get(table, ()):
                for inner in relation.outputs.get(column, ()):
                    self._follow(inner, found, followed)
                for star in relation.stars:
                    self._follow(f"{star}.{column}", found, followed)
                self._follow(relation.expression, found, followed)


def _named_brackets(text: str) -> Iterator[tuple[str, str]]:
    """Yields the text in each bracket that has a name before or after it, with the name."""
    opened: list[int] = []
    for place, character in enumerate(text):
        if character == "(":
            opened.append(place)
        elif character == ")" and opened:
            begin = opened.pop()
            line = text.rfind("\n", 0, begin) + 1  # all the text before it would take 130 ms
            name = _QUERY_NAME.search(text, line, begin) or _ALIAS.match(text, place + 1)
            if name:
                yield name[1], text[begin + 1 : place]


def _relation(body: str) -> _Relation:
    relation = _Relation()
    lists = list(_lists_of_selects(body))
    if not lists:
        relation.expression = body
    for part in (part.strip() for each in lists for part in _split(each)):
        name = _NAME.fullmatch(part)
        if name and name[2] == "*":
            relation.stars.append(name[1])
        elif name:
            relation.outputs[name[2]].append(part)
        elif output := _OUTPUT.fullmatch(part):
            relation.outputs[output[2]].append(output[1])
    return relation


def _lists_of_selects(body: str) -> Iterator[str]:
    """Yields the list of each select of the body that is in no further bracket."""
    begin = None
    for word in _SELECT.finditer(body):
        if _depth(body, word.start()):
            continue
        if word[0].startswith("select"):
            begin = word.end()
        elif begin is not None:
            yield body[begin : word.start()]
            begin = None
    if begin is not None:
        yield body[begin:]


def _split(text: str) -> Iterator[str]:
    """Yields the parts between commas that are in no bracket."""
    begin = depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _depth(text: str, place: int) -> int:
    return text.count("(", 0, place) - text.count(")", 0, place)
