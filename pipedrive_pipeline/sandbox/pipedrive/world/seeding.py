"""A company made from a seed: the same arguments give the same company, byte for byte."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.history import History
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.custom import (
    NUMBER_PREFIX,
    SEEDED_AT,
    CustomValues,
    ReferenceRange,
    seeded_fields,
)
from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook, FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES, RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.order import SeededOrder
from pipedrive_pipeline.sandbox.pipedrive.world.records import Records
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import SeededOrganizations, SeededPersons
from pipedrive_pipeline.sandbox.pipedrive.world.users import Rights, seeded_users

Record = dict[str, Any]


def seeded(
    organizations: int = 1_200,
    persons: int = 3_500,
    *,
    seed: int = 7,
    organization_fields: int = 40,
    person_fields: int = 20,
    users: int = 5,
    same_second: int = 0,
    has_features: bool = True,
    shows_unset: bool = True,
    clock: ServerClock | None = None,
) -> CrmAccount:
    """A company before any edit.

    Args:
        organizations: how many the admin sees; one more is invisible to the admin, one deleted.
        persons: how many there are.
        seed: another seed gives other names and values under the same ids.
        organization_fields: custom fields; the first 40 have names and all 16 types.
        person_fields: custom fields; the first 20 have names.
        users: the first is the admin, every fifth has left the company.
        same_second: how many rows of each entity share one ``update_time``.
        has_features: whether rows carry the keys that depend on features, such as ``website``
            and ``job_title``.
        shows_unset: whether persons without an organization or without parts of a name carry
            null there; otherwise they lack those keys.
        clock: the server's clock; without one it runs with the machine's.
    """
    clock, history, people = clock or ServerClock(), History(), seeded_users(users)
    books = {
        entity.name: _book(entity, seed, count, clock, history)
        for entity, count in zip(
            ENTITIES.values(), (organization_fields, person_fields), strict=True
        )
    }
    owners = [user["id"] for user in people]
    reach = ReferenceRange(owners, organizations, persons)
    companies = _organizations(
        books["organizations"], SeededOrder(organizations, seed, same_second), seed, reach
    )
    contacts = _persons(books["persons"], SeededOrder(persons, seed, same_second), seed, reach)
    invisible = organizations + 1
    account = CrmAccount(
        records={"organizations": Records(companies), "persons": Records(contacts)},
        fields=books,
        users=people,
        rights={owners[0]: Rights("all", frozenset({("organizations", invisible)}))}
        | {user_id: Rights("shared") for user_id in owners[1:]},
        clock=clock,
        history=history,
        has_features=has_features,
        shows_unset=shows_unset,
    )
    _put_odd_organizations(account, companies, invisible, organizations + 2)
    return account


def _organizations(
    book: FieldBook, order: SeededOrder, seed: int, reach: ReferenceRange
) -> SeededOrganizations:
    return SeededOrganizations(
        order,
        seed,
        owners=reach.users,
        labels=_option_ids(book, "label_ids"),
        industries=_option_ids(book, "industry"),
        custom=_custom(book, reach),
    )


def _persons(
    book: FieldBook, order: SeededOrder, seed: int, reach: ReferenceRange
) -> SeededPersons:
    return SeededPersons(
        order,
        seed,
        organizations=reach.organizations,
        odd_parents={
            "invisible_organization": reach.organizations + 1,
            "deleted_organization": reach.organizations + 2,
        },
        owners=reach.users,
        labels=_option_ids(book, "label_ids"),
        custom=_custom(book, reach),
    )


def _put_odd_organizations(
    account: CrmAccount, companies: SeededOrganizations, invisible: int, deleted: int
) -> None:
    """Two more organizations, for persons that point at what a list does not show."""
    secret = companies.row(invisible) | {"name": "Geheimsache AG", "visible_to": 1}
    gone = companies.row(deleted) | {"name": "Längst gelöscht KG", "is_deleted": True}
    for record in (secret, gone):
        account.records["organizations"].put(record)
    account.deleted_at["organizations", deleted] = gone["update_time"]


def _book(
    entity: RecordKind, seed: int, count: int, clock: ServerClock, history: History
) -> FieldBook:
    def log(before: FieldDefinition | None, after: FieldDefinition | None, by: str) -> None:
        either = after or before
        history.add(
            "create" if before is None else "delete" if after is None else "change",
            f"{entity.singular}_fields",
            either.code if either else "",
            at=clock.stamp(),
            before=None if before is None else asdict(before),
            after=None if after is None else asdict(after),
            by=by,
        )

    book = FieldBook(entity, seed, clock, log)
    book.seed(
        book.new(field.name, field.type, field.options or None, code=field.code, at=SEEDED_AT)
        for field in entity.built_ins
    )
    book.seed(seeded_fields(book, count))
    return book


def _option_ids(book: FieldBook, code: str) -> list[int]:
    field = book.get(code)
    return [option.id for option in (field and field.options) or ()]


def _custom(book: FieldBook, reach: ReferenceRange) -> CustomValues:
    fields = [field for field in book if field.is_custom]
    return CustomValues(fields, NUMBER_PREFIX[book.entity.name], reach)
