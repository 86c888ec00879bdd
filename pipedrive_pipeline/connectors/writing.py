"""How a system is written to: what each operation on a mart may set, and how it is sent, as data.

A read mapping is not the inverse of a write mapping: many columns are computed, and a body spells
values otherwise than an answer. So each operation declares its own fields. A system whose
``writes`` lack an operation does not support it, and API and pages say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

Verb = Literal["create", "update", "delete", "win", "lose", "reopen"]
Body = dict[str, Any]
"""A request's body, to be sent as JSON."""

FieldForm = Literal[
    "text",
    "number",  # of any digits
    "whole",  # a whole number
    "boolean",
    "day",  # YYYY-MM-DD
    "clock",  # HH:MM or HH:MM:SS
    "instant",  # an instant with its offset
    "currency",  # three letters, ISO 4217
    "address",  # one text
    "points",  # e-mail addresses or phone numbers: texts, or {value, label, primary}
    "prices",  # {currency, price, cost, direct_cost}
    "reference",  # an id of another mart's row
    "option",  # one option, by label or id
    "options",  # several options, by label or id
]


class Operation(NamedTuple):
    """One thing that can be done to the records behind a mart."""

    mart: str
    verb: Verb


@dataclass(frozen=True)
class WriteField:
    """A column of a mart that an operation may set.

    Attributes:
        column: of the mart.
        key: of the body; ``value.amount`` is a key within an object.
        form: what a value must be.
        refers_to: of a reference: the mart.
        options_of: of options: the key of the field whose definition names them.
        named_by: of options that are records of their own: entity, id column, name column.
        choices: the values that are allowed, with what the body says for each.
        range: the least and the greatest number.
        length_max: characters of a text.
        is_nullable: whether null empties it.
        made_from: the column from which this one is computed. A value that the record shows
            already keeps what it was computed from, also where it could not be set.
    """

    column: str
    key: str
    form: FieldForm = "text"
    refers_to: str | None = None
    options_of: str | None = None
    named_by: tuple[str, str, str] | None = None
    choices: Mapping[str, Any] | None = None
    range: tuple[float, float] | None = None
    length_max: int | None = None
    is_nullable: bool = True
    made_from: str | None = None


Row = Mapping[str, Any]
"""A row of a mart by column."""


def unchanged(body: Body, _before: Row) -> Body:
    """The body as it is."""
    return body


def by_key(key: str, _kind: str, value: Any) -> Body:
    """The value of a custom field under its own key."""
    return {key: value}


@dataclass(frozen=True)
class WriteSpec:
    """One operation: what may be set, and the call that does it.

    Attributes:
        entity: the records that are written; they are read again afterwards.
        method: of the call.
        path: of the call, with places for ``{id}`` and ``{parent}``.
        tokens: that the call costs of the day's budget.
        fields: columns that may be set.
        required: columns that a create must have.
        one_of: columns of which a create must have at least one.
        together: an amount and its currency, which the source takes only together.
        fixed: what it always sets, by column.
        custom_values: key of the body with the values of custom fields; empty: they lie at its
            root; None: there are none.
        custom: the entries of a body that set one custom field, from its key, its kind (see
            `contract.FieldKind`) and its checked value.
        shape: gives the body its last form, from the body and the row before; it must be pure.
        shape_reads: columns of the raw record that `shape` finds in the row, too.
        refusal: why a row cannot be written with this body, or None; asked before the call.
        parent: the link to the record in whose list a row is, and that record's entity. Rows are
            then read again by their parent, and the parent with them.
        marker: key of the body of a create that keeps an id of ours, so that a create whose answer
            was lost can be found; None: it is found by all that was sent.
        invites_by: key of the body that says whether the source sends invitations to those who
            take part; None: it sends none.
        scopes: any one of them allows the call.
    """

    entity: str
    method: Literal["POST", "PATCH", "PUT", "DELETE"]
    path: str
    tokens: int
    fields: tuple[WriteField, ...] = ()
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    together: tuple[str, str] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    custom_values: str | None = None
    custom: Callable[[str, str, Any], Body] = by_key
    shape: Callable[[Body, Row], Body] = unchanged
    shape_reads: tuple[str, ...] = ()
    refusal: Callable[[Row, Body], str | None] = lambda _row, _body: None
    parent: tuple[str, str] | None = None
    marker: str | None = None
    invites_by: str | None = None
    scopes: tuple[str, ...] = ()

    @property
    def by_column(self) -> Mapping[str, WriteField]:
        """The fields by the mart's column."""
        return {each.column: each for each in self.fields}


@dataclass(frozen=True)
class WriteTarget:
    """The record that a call concerns; a create has at most a parent."""

    remote_id: str | None = None
    parent_remote_id: str | None = None


class Writer(Protocol):
    """Writes one tenant's records in one system."""

    async def send(self, spec: WriteSpec, target: WriteTarget, body: Body) -> str | None:
        """Makes the call once; returns the id of the record, None if the source names none.

        A delete of a record that is gone already is no error. A create is sent once only; other
        calls are repeated as any call is, since they give the same.

        Raises:
            SourceRefused: the source understood it and says no; nothing was changed. Its
                ``source_text`` is the reason in the source's own words.
            SourceUnavailable, SourceBroke: no usable answer; ``is_undone`` says that the source has
                certainly done nothing.
            BudgetSpent, ScopeMissing, ReauthNeeded, HostNotAllowed: nothing was sent or changed.
        """
        ...

    async def created(
        self, spec: WriteSpec, target: WriteTarget, body: Body, since: datetime
    ) -> list[str]:
        """The ids of records made at or after ``since`` that have all that ``body`` says.

        The oldest comes first. With a marker there is at most one.

        Raises:
            As `send`.
        """
        ...
