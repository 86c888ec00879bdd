"""Pydantic models of the CRM API, made from the declared marts: objects, and queries of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, Literal, cast

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, create_model

from pipedrive_pipeline.connect.api.crm import filters
from pipedrive_pipeline.connect.api.crm.ids import ID_MAX_CHARACTERS
from pipedrive_pipeline.connect.api.crm.objects import Kind, fields_of, resource_of
from pipedrive_pipeline.connect.api.crm.reading import included_name
from pipedrive_pipeline.connect.api.cursors import PAGE_ROWS, PAGE_ROWS_MAX
from pipedrive_pipeline.connect.api.models import Instant
from pipedrive_pipeline.connect.auth.signing import SIGNED_MAX_CHARACTERS
from pipedrive_pipeline.marts.declared import Link, Mart, mart

SEARCH_MAX_CHARACTERS: Final = 200
# A text that Postgres can hold and that has a letter or a digit.
TEXT: Final = r"^[^\x00]*$"
WORD: Final = r"^[^\x00]*[^\W_][^\x00]*$"
TYPES: Final[Mapping[Kind, Any]] = {
    "id": str | None,
    "text": str | None,
    "number": float | None,
    "integer": int | None,
    "boolean": bool | None,
    "instant": datetime | None,
    "day": date | None,
    "time": str | None,
    "texts": list[str],
    "entries": list[Any],
    "object": dict[str, str | None],
}


@cache
def object_model(declared: Mart) -> type[BaseModel]:
    """Returns the model of a mart's objects."""
    fields: dict[str, Any] = {
        each.name: (TYPES[each.kind], Field(description=each.comment))
        for each in fields_of(declared)
    }
    fields["id"] = (str, Field(description=fields_of(declared)[0].comment))
    fields["custom_fields"] = (
        dict[str, Any],
        Field(description="Custom fields that are not empty, by readable name."),
    )
    for link in links_of(declared).values():
        fields[included_name(declared, link)] = (
            dict[str, Any] | None,
            Field(default=None, description=f"Only with `include`: the record in {_path(link)}."),
        )
    return create_model(_model_name(declared), __doc__=f"{declared.of}.", **fields)


@cache
def query_model(declared: Mart, without: str = "") -> type[BaseModel]:
    """Returns the model of the query of a mart's list.

    Args:
        declared: the mart.
        without: name of a filter that the list's path contains.
    """
    resource = resource_of(declared)
    fields: dict[str, Any] = {}
    if resource.searched:
        fields["search"] = (
            Annotated[str, Field(min_length=2, max_length=SEARCH_MAX_CHARACTERS, pattern=WORD)]
            | None,
            Field(default=None, description=_search_description(declared)),
        )
    for each in filters.filters_of(declared):
        if each.name == without:
            continue
        fields[each.name] = (_filter_type(each), Field(default=None, description=_about(each)))
    fields["updated_since"] = (
        Instant | None,
        Field(default=None, description="Written in the table at this time or later."),
    )
    sorts = [way + name for name in filters.sorts_of(declared) for way in ("", "-")]
    fields["sort"] = (
        Literal[tuple(sorts)],
        Field(default="id", description="Order; `-` for descending. `id` never changes."),
    )
    fields["include"] = (
        Annotated[str, Field(max_length=200)] | None,
        Field(default=None, description=_include_description(declared)),
    )
    fields["deleted"] = (
        bool,
        Field(default=False, description="The deleted records instead, with their reason."),
    )
    fields["limit"] = (
        Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)],
        Field(default=PAGE_ROWS, description="Records of a page."),
    )
    fields["cursor"] = (
        Annotated[str, Field(max_length=SIGNED_MAX_CHARACTERS)] | None,
        Field(default=None, description="`next_cursor` of the page before."),
    )
    name = f"{_model_name(declared)}Query"
    return cast("type[BaseModel]", create_model(name, **fields))


@cache
def links_of(declared: Mart) -> Mapping[str, Link]:
    """Returns the links whose records `include` may name, by that name."""
    return {included_name(declared, link): link for link in declared.links if mart(link.mart).api}


def included(declared: Mart, text: str | None) -> list[Link]:
    """Returns the links that an `include` names, which is a list with commas.

    Raises:
        RequestValidationError: it names something else.
    """
    known = links_of(declared)
    names = [name.strip() for name in text.split(",") if name.strip()] if text else []
    unknown = [name for name in names if name not in known]
    if unknown:
        issue = f"must name {', '.join(known) or 'nothing, for there are no linked records'}"
        raise RequestValidationError([{"loc": ("query", "include"), "msg": issue}])
    return [known[name] for name in dict.fromkeys(names)]


def _model_name(declared: Mart) -> str:
    return "".join(part.capitalize() for part in resource_of(declared).path.split("-"))


def _path(link: Link) -> str:
    return resource_of(mart(link.mart)).path


def _filter_type(each: filters.Filter) -> Any:
    if each.kind == "link":
        return Annotated[str, Field(max_length=ID_MAX_CHARACTERS)] | None
    if each.kind == "boolean":
        return bool | None
    if each.kind == "text":
        return Annotated[str, Field(max_length=100, pattern=TEXT)] | None
    return Annotated[Decimal, Field(allow_inf_nan=False, max_digits=30)] | None


def _about(each: filters.Filter) -> str:
    if each.link is not None:
        return f"Only records of this one of {_path(each.link)}."
    if each.kind == "minimum":
        return "At least this."
    if each.kind == "maximum":
        return "At most this."
    return "Only records with this value."


def _search_description(declared: Mart) -> str:
    resource = resource_of(declared)
    columns: Sequence[str] = (*resource.searched, *resource.numbers)
    return (
        f"Records with each of these words, or beginnings of words, in {', '.join(columns)}; "
        "telephone numbers by their first or last digits."
    )


def _include_description(declared: Mart) -> str:
    return f"Linked records to contain, with commas: {', '.join(links_of(declared)) or 'none'}."
