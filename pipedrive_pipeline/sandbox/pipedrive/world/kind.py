"""One kind of record as data: its paths, prices, scopes, keys and filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SortField = str  # a key of a record
Record = dict[str, Any]
ADMIN_ONLY = ("admin",)


@dataclass(frozen=True)
class BuiltIn:
    """A field that every account has."""

    code: str
    name: str
    type: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prices:
    """The tokens of each call on one kind; None: there is no such call.

    Source:
        ``x-token-cost`` of the vendor's OpenAPI files (read 2026-08)
    """

    list: int | None = 10
    get: int | None = 1
    create: int | None = 5
    update: int | None = 5
    delete: int | None = 3
    merge: int | None = None


V1_PRICES = Prices(list=20, get=2, create=10, update=10, delete=6)


@dataclass(frozen=True)
class RecordKind:
    """One kind of record that the API serves."""

    name: str  # as in control routes: organizations
    singular: str  # as in field paths and search: organization
    path: str  # of its list
    read: tuple[str, ...]  # an app needs one of these scopes
    write: tuple[str, ...]
    defaults: Record  # the keys of a new record; an owner of None is the admin
    prices: Prices = Prices()
    built_ins: tuple[BuiltIn, ...] = ()
    first_field_id: int | None = None  # None: it has no field definitions of its own
    fields_of: str | None = None  # the kind whose definitions its custom fields follow
    field_write: tuple[str, ...] = ()  # scopes that make and delete fields
    field_read: tuple[str, ...] = ()  # scopes that read fields, besides the readers of records
    writable: Mapping[str, str] = field(default_factory=dict)  # body key -> kind of value
    required: tuple[str, ...] = ()  # keys that a create must have
    created_status: int = 200
    fresh_is_unstamped: bool = False  # a create answers without an edit time
    updates_by: Literal["PATCH", "PUT"] = "PATCH"
    optional: tuple[str, ...] = ()  # keys that come only when ``include_fields`` asks
    on_request: tuple[str, ...] = ()  # those of them that a record stores
    null_without_fields: bool = False  # `custom_fields` is null in a company that has none
    featured: tuple[str, ...] = ()  # keys that come only when the account has the feature
    hidden: tuple[str, ...] = ()  # keys that are stored and never shown
    never_null: tuple[str, ...] = ()  # keys that answers leave out while they are unset
    nullable: tuple[str, ...] = ()  # keys that an account may leave out, too, instead of null
    parent: str | None = None  # the key that points at an organization
    belongs_to: tuple[str, str] | None = None  # a kind and a key: it is listed while that lives
    not_inherited: tuple[str, ...] = ()  # keys that the survivor of a merge never takes over
    only_on_create: tuple[str, ...] = ("add_time",)
    filters: Mapping[str, str] = field(default_factory=dict)  # parameter -> key of the record
    indexed_filters: tuple[str, ...] = ()  # keys whose records are found without a search
    windows: tuple[str, ...] = ("updated_since", "updated_until")
    sort_fields: tuple[SortField, ...] = ("id", "update_time", "add_time")
    has_labels: bool = False  # lists know `include_labels` and `include_option_labels`
    has_ids: bool = True  # lists know `ids`
    is_paged: bool = True  # False: the list is always whole
    lists_deleted: bool = False  # its lists show deleted records on request
    search_fields: tuple[str, ...] = ()
    multi_values: tuple[str, ...] = ()  # keys that hold labelled values
    id_form: Literal["number", "uuid"] = "number"
    was_in_v1: bool = False  # v1 once served it; those routes are gone

    @property
    def is_v1(self) -> bool:
        """Whether only v1 serves it."""
        return self.path.startswith("/v1/")

    @property
    def title_key(self) -> str:
        """The key that names a record for people."""
        titles = ("name", "title", "subject", "content")
        return next((key for key in titles if key in self.defaults), "id")
