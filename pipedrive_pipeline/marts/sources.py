"""The source of a mart in one system: the select that gives its rows, and what it gives.

`sql/marts/<system>/<mart>.sql` selects over the system's raw tables only. It gives `remote_id` in
the type of raw's key, any of the mart's columns, `changed_at`, `remote_created_at`, `is_deleted`
where the system marks records itself, and for each link the other record's id as text. A select
that gives several rows per record gives the record's key as `record_id`, in the type of raw's key,
and as `remote_id` a text of its own that stays the same for the same part of the record.

Its header names the raw table of the records (`-- Entity: persons`), and where there are any:

* `-- Page: https://{company_domain}.crm.example/deal/{id}`: the address of a record's page;
* `-- Options of labels: label, label_ids`: the fields whose options name the ids of a column; a
  later field wins;
* `-- Names of labels: lead_labels (name)`: the raw table whose records name the ids of a column;
* `-- Also reads: activity_types (key_string, icon_key)`: a small raw table that the select reads;
  when these columns change in any of its records, every row may change;
* `-- Also changed by: deals (source_lead_id)`: a large one; when one of its records changes, so
  may the rows of the record that it names.

A select may give `deletion_reason`: why a record is gone whose system says only that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import HISTORY_SUFFIX, ColumnType, System
from pipedrive_pipeline.errors import UsageError
from pipedrive_pipeline.marts.declared import MARTS, DeclaredColumn, Link, Mart
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.warehouse.sql_files import SQL_ROOT, SqlFile, read_sql

TENANT: Final = sql.SQL("current_setting('pipeline.tenant_id')")
KEY: Final = "remote_id"
RECORD: Final = "record_id"
IS_DELETED: Final = "is_deleted"
REASON: Final = "deletion_reason"
FIELDS: Final = "fields"  # of the file that gives the definitions of custom fields
TIMES: Final = ("changed_at", "remote_created_at")
MARKS: Final = ("deleted_at", "deletion_reason", "merged_into_remote_id")
WRITTEN_AT: Final = ("synced_at", "updated_at")
_ENTITY: Final = re.compile(r"^-- Entity: (\w+)$", re.MULTILINE)
_PAGE: Final = re.compile(r"^-- Page: (\S+)$", re.MULTILINE)
_OPTIONS: Final = re.compile(r"^-- Options of (\w+): (.+)$", re.MULTILINE)
_NAMES: Final = re.compile(r"^-- Names of (\w+): (\w+) \((\w+)\)$", re.MULTILINE)
_ALSO_READS: Final = re.compile(r"^-- Also reads: (\w+) \((.+)\)$", re.MULTILINE)
_CHANGED_BY: Final = re.compile(r"^-- Also changed by: (\w+) \((\w+)\)$", re.MULTILINE)
# Each column of a file's select is one line or ends one, four spaces from the margin.
_OUTPUT: Final = re.compile(r"^    \S.* as (\w+),?$", re.MULTILINE)


@dataclass(frozen=True)
class Filling:
    """One source of a mapped column: its value, and the value converted to the column's type."""

    field_key: str
    source: str  # the key, and the part if one is named
    target: str  # column, or attributes.<name>
    value: sql.Composable
    converted: sql.Composable
    refusal: str | None  # why a value may not convert; None if each converts


@dataclass(frozen=True)
class RawColumns:
    """Columns of another raw table that a mart's rows depend on."""

    entity: str
    columns: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The raw table, quoted."""
        return sql.Identifier(self.entity)


@dataclass(frozen=True)
class MartSource:
    """A mart's rows of one system.

    A mapped expression may name the entity's raw table (``organizations.custom_fields``) and has
    the type of its column; it takes precedence over the select's own column of that name.
    """

    mart: Mart
    system: str
    entity: str  # the raw table of the same grain
    key: str  # its key column
    key_type: ColumnType
    defined_by: str | None  # the entity that defines its fields; None: it has no custom fields
    select: SqlFile
    outputs: tuple[str, ...]  # names of the select's columns
    page: str | None = None  # address of a record's page, with {company_domain} and {id}
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # column -> field keys
    names: Mapping[str, RawColumns] = field(default_factory=dict)  # column -> key, name
    also_read: tuple[RawColumns, ...] = ()  # small tables, `names` included
    changed_by: tuple[RawColumns, ...] = ()  # large tables: the column that names the record
    mapped: Mapping[str, sql.Composable] = field(default_factory=dict)  # column -> value
    fillings: tuple[Filling, ...] = ()  # the sources of `mapped`
    unpacked: RawFields | None = None  # the raw fields that `mapped` reads

    @property
    def name(self) -> str:
        """The mart's name."""
        return self.mart.name

    @property
    def identifier(self) -> sql.Identifier:
        """The mart's table, quoted."""
        return sql.Identifier(*self.mart.table)

    @property
    def records(self) -> sql.Identifier:
        """The raw table, quoted; its schema is first on the search_path."""
        return sql.Identifier(self.entity)

    @property
    def is_of_parts(self) -> bool:
        """True if the select gives several rows per record, each with an id of its own."""
        return RECORD in self.outputs

    @property
    def record_id(self) -> str:
        """The select's column with the key of the record that a row is made from."""
        return RECORD if self.is_of_parts else KEY

    @property
    def record_column(self) -> str:
        """The mart's column with the remote id of that record."""
        return (self.mart.part_of_column if self.is_of_parts else None) or KEY

    @property
    def links(self) -> tuple[Link, ...]:
        """The mart's links that this system has."""
        return tuple(link for link in self.mart.links if link.remote_column in self.outputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the select fills, apart from keys, links and deletion marks."""
        links = {link.remote_column for link in self.mart.links}
        unwritten = {KEY, RECORD, IS_DELETED, REASON, *links}
        return tuple(name for name in self.outputs if name not in unwritten)

    @property
    def written(self) -> tuple[str, ...]:
        """Every column that a build compares and writes, apart from the keys and `WRITTEN_AT`."""
        linked = (column.name for link in self.links for column in link.columns)
        return (*dict.fromkeys((*self.columns, *self.mapped)), *linked, *MARKS)

    @property
    def joins(self) -> sql.Composable:
        """The joins that `mapped` needs after the raw table in a `from` clause."""
        return self.unpacked.joins() if self.unpacked else sql.SQL("")

    @property
    def is_deleted(self) -> sql.Composable:
        """A condition on the select's row ``mart``: the system itself calls the record deleted."""
        if IS_DELETED not in self.outputs:
            return sql.SQL("false")
        return sql.SQL("coalesce(mart.is_deleted, false)")

    def value(self, column: str) -> sql.Composable:
        """Returns the value of a column that the select fills; ``mart`` is the select's row."""
        selected: sql.Composable = sql.Identifier("mart", column)
        declared = {known.name: known for known in self.mart.columns}.get(column)
        if column in self.options or column in self.names:
            labels = sql.Identifier(f"{column}_by_id", "labels")
            return sql.SQL(_LABELS if _is_list(declared) else _LABEL).format(
                ids=selected, labels=labels
            )
        if declared and declared.default:
            return sql.SQL("coalesce({}, {})").format(selected, sql.SQL(declared.default))
        return selected

    def of_tenant(self, alias: str) -> sql.Composed:
        """Returns a condition: the row of a mart belongs to the build's tenant and system."""
        return sql.SQL("{0}.tenant_id = {1} and {0}.system = {2}").format(
            sql.Identifier(alias), TENANT, sql.Literal(self.system)
        )

    def as_key(self, text: sql.Composable) -> sql.Composable:
        """Returns an id in the type of raw's key, or null if it cannot be one."""
        return sql.SQL(_KEY_OF_TEXT[self.key_type]).format(text)

    def with_mapped(
        self,
        expressions: Mapping[str, sql.Composable],
        fillings: tuple[Filling, ...] = (),
        unpacked: RawFields | None = None,
    ) -> MartSource:
        """Returns the same source with columns that a field mapping fills."""
        mapped = MappingProxyType(dict(expressions))
        return replace(self, mapped=mapped, fillings=fillings, unpacked=unpacked)


@dataclass(frozen=True)
class BuiltFrom:
    """What a build made the marts from: their sources with the mapping of that time."""

    sources: tuple[MartSource, ...]
    fingerprint: str  # as in `integration.mart_state`


def marts_folder(system: str) -> Path:
    """Returns the folder that holds a system's selects."""
    return registry.system(system).marts_folder or SQL_ROOT / "marts" / system


def mart_sources(system: str) -> tuple[MartSource, ...]:
    """Returns the source of each mart that the system has, in the order of building.

    Raises:
        UsageError: a file of the system's folder is no mart's, or not as a mart needs it.
    """
    folder = marts_folder(system)
    _require_marts(folder)
    found = (_source(mart, system, folder / f"{mart.name}.sql") for mart in MARTS)
    sources = tuple(source for source in found if source is not None)
    definitions = folder / f"{FIELDS}.sql"
    if any(source.defined_by for source in sources) and not definitions.exists():
        raise UsageError(
            f"{definitions} is missing: entities of {system} have custom fields (`defined_by`), "
            "and this select gives their definitions."
        )
    return sources


def mart_source(mart: Mart, system: str) -> MartSource:
    """Returns the source of one mart in a system.

    Raises:
        KeyError: the system has none.
    """
    return {source.mart: source for source in mart_sources(system)}[mart]


def record_pages(mart: Mart) -> dict[str, str]:
    """Returns the address of a record's page in each system that has one, by the system's key."""
    return {
        source.system: source.page
        for system in registry.system_keys()
        for source in mart_sources(system)
        if source.mart == mart and source.page
    }


@cache
def _source(mart: Mart, system: str, path: Path) -> MartSource | None:
    if not path.exists():
        return None
    file = read_sql(path)
    page = _PAGE.search(file.text)
    outputs = tuple(_OUTPUT.findall(file.text.partition("\nselect\n")[2].partition("\nfrom ")[0]))
    entities = registry.system(system)
    for problem in _problems(mart, entities, file.text, outputs):
        raise UsageError(f"{path}: {problem}.")
    record = entities.entity(_ENTITY.findall(file.text)[0])
    names = {
        column: RawColumns(table, (entities.entity(table).key.name, name))
        for column, table, name in _NAMES.findall(file.text)
    }
    also_read = [
        RawColumns(table, tuple(columns.split(", ")))
        for table, columns in _ALSO_READS.findall(file.text)
    ]
    return MartSource(
        mart=mart,
        system=system,
        entity=record.name,
        key=record.key.name,
        key_type=record.key.type,
        # The record's custom fields are columns of its own mart.
        defined_by=None if RECORD in outputs else record.defined_by,
        select=file,
        outputs=outputs,
        page=page[1] if page else None,
        options=MappingProxyType(
            {column: tuple(keys.split(", ")) for column, keys in _OPTIONS.findall(file.text)}
        ),
        names=MappingProxyType(names),
        also_read=(*names.values(), *also_read),
        changed_by=tuple(
            RawColumns(table, (column,)) for table, column in _CHANGED_BY.findall(file.text)
        ),
    )


@cache
def _require_marts(folder: Path) -> None:
    """Returns if each select of the folder is a mart's: another one would never be run.

    Raises:
        UsageError: a file has no mart's name.
    """
    names = {FIELDS, *(mart.name for mart in MARTS)}
    for path in sorted(folder.glob("*.sql")):
        if path.stem not in names:
            raise UsageError(
                f"{path}: no mart is called {path.stem}. Declare it in marts/declared.py, or name "
                f"the file after one of {', '.join(sorted(names))}."
            )


def _problems(mart: Mart, system: System, text: str, outputs: tuple[str, ...]) -> Iterator[str]:
    """What keeps a file from being a mart's select, first what the rest depends on."""
    entity = _ENTITY.search(text)
    if entity is None:
        yield "it needs a line `-- Entity: <raw table>`"
    elif entity[1] not in system.by_name:
        yield f"{system.label} has no entity {entity[1]}; there are {', '.join(system.by_name)}"
    if KEY not in outputs:
        yield (
            f"it gives no column {KEY}; each column is a line `    … as name` after `select`, and "
            f"it gives {', '.join(outputs) or 'none'}"
        )
    columns = (
        *(column.name for column in mart.columns),
        *(each.remote_column for each in mart.links),
    )
    known = {KEY, RECORD, IS_DELETED, REASON, *TIMES, *columns}
    if unknown := [name for name in outputs if name not in known]:
        yield (
            f"marts/declared.py has no column {', '.join(unknown)} for {mart.name}; a select may "
            f"give {', '.join(sorted(known))}"
        )
    if RECORD in outputs and (mart.personal or mart.part_of_column not in outputs):
        yield (
            f"it gives {RECORD}, so it must give the column of {mart.name}'s `part_of`, and the "
            "mart can have no personal columns: an erasure finds them in the record"
        )
    yield from _header_problems(system, text, outputs)


def _header_problems(system: System, text: str, outputs: tuple[str, ...]) -> Iterator[str]:
    """Names of the header that nothing has: what they stand for would silently stay as it is."""
    named = [column for column, _ in _OPTIONS.findall(text)]
    named += [column for column, _, _ in _NAMES.findall(text)]
    if unknown := [column for column in named if column not in outputs]:
        yield f"its header names {', '.join(unknown)}, which it does not give"
    tables = [(table, names) for _, table, names in _NAMES.findall(text)]
    tables += [*_ALSO_READS.findall(text), *_CHANGED_BY.findall(text)]
    for table, names in tables:
        entity = system.by_name.get(table.removesuffix(HISTORY_SUFFIX))
        if entity is None:
            yield f"its header names {table}, which is no entity of {system.label}"
            continue
        columns = {column.name for column in (entity.key, *entity.columns)}
        if absent := [name for name in names.split(", ") if name not in columns]:
            yield f"its header names {', '.join(absent)}, which {table} does not declare"


def _is_list(column: DeclaredColumn | None) -> bool:
    return column is not None and column.type.endswith("[]")


_KEY_OF_TEXT: Final = {
    ColumnType.TEXT: "{0}",
    ColumnType.BIGINT: "case when {0} ~ '^[0-9]{{1,18}}$' then {0}::bigint"
    " else pipeline.as_bigint(to_jsonb({0})) end",
    ColumnType.NUMERIC: "pipeline.as_numeric(to_jsonb({0}))",
}
_LABEL = "coalesce({labels} ->> {ids}, {ids})"
_LABELS = """
    case
        when {ids} = '[]' then '{{}}'
        else array(
            select coalesce({labels} ->> entry.id, entry.id)
            from jsonb_array_elements_text({ids}) with ordinality as entry (id, position)
            order by entry.position asc
        )
    end"""
