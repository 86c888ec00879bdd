"""A company made from a seed: the same arguments give the same company, byte for byte."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.history import History
from pipedrive_pipeline.sandbox.pipedrive.world import more_seeds, tables
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.custom import (
    NUMBER_PREFIX,
    SEEDED_AT,
    CustomValues,
    ReferenceRange,
    seeded_fields,
)
from pipedrive_pipeline.sandbox.pipedrive.world.deal_seeds import LINES_A_DEAL, SeededDeals
from pipedrive_pipeline.sandbox.pipedrive.world.fields import (
    FieldBook,
    FieldDefinition,
    FieldOption,
)
from pipedrive_pipeline.sandbox.pipedrive.world.kind import BuiltIn, RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import WITH_FIELDS
from pipedrive_pipeline.sandbox.pipedrive.world.line_seeds import (
    PLACES_A_DEAL,
    SeededLines,
    SeededParticipants,
)
from pipedrive_pipeline.sandbox.pipedrive.world.order import SeededOrder
from pipedrive_pipeline.sandbox.pipedrive.world.records import Records
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import (
    SeededOrganizations,
    SeededPersons,
    SeededRows,
    SeededTable,
)
from pipedrive_pipeline.sandbox.pipedrive.world.users import Rights, seeded_users

Record = dict[str, Any]


def seeded(
    organizations: int = 1_200,
    persons: int = 3_500,
    *,
    deals: int | None = None,
    seed: int = 7,
    organization_fields: int = 40,
    person_fields: int = 20,
    deal_fields: int = 12,
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
        deals: how many the admin sees, archived ones included, as many as organizations unless
            given; one more is deleted, one invisible. The number of products, lines, activities,
            notes and leads follows from it.
        seed: another seed gives other names and values under the same ids.
        organization_fields: custom fields; the first 40 have names and all 16 types.
        person_fields: custom fields; the first 20 have names.
        deal_fields: custom fields; the first 12 have names.
        users: the first is the admin, every fifth has left the company.
        same_second: how many rows of each entity share one ``update_time``.
        has_features: whether rows carry the keys that depend on features, such as ``website``
            and ``job_title``.
        shows_unset: whether persons without an organization or without parts of a name carry
            null there; otherwise they lack those keys.
        clock: the server's clock; without one it runs with the machine's.
    """
    clock, history, people = clock or ServerClock(), History(), seeded_users(users)
    counts = {
        "organizations": organization_fields,
        "persons": person_fields,
        "deals": deal_fields,
        "products": 4,
    }
    books = {
        name: _book(kind, seed, counts.get(name, 0), clock, history)
        for name, kind in WITH_FIELDS.items()
    }
    owners = [user["id"] for user in people]
    reach = ReferenceRange(owners, organizations, persons)
    companies = _organizations(
        books["organizations"], SeededOrder(organizations, seed, same_second), seed, reach
    )
    contacts = _persons(books["persons"], SeededOrder(persons, seed, same_second), seed, reach)
    sales = _Sales(
        organizations if deals is None else deals,
        seed=seed,
        same_second=same_second,
        books=books,
        reach=reach,
        contacts=contacts,
    )
    rows: dict[str, SeededRows] = {
        "organizations": companies,
        "persons": contacts,
        **sales.rows(),
    }
    invisible = organizations + 1
    hidden = {("organizations", invisible)}
    if sales.count:
        hidden.add(("deals", sales.count + 2))
    account = CrmAccount(
        records={name: Records(seeds) for name, seeds in rows.items()},
        fields=books,
        users=people,
        rights={owners[0]: Rights("all", frozenset(hidden))}
        | {user_id: Rights("shared") for user_id in owners[1:]},
        clock=clock,
        history=history,
        has_features=has_features,
        shows_unset=shows_unset,
    )
    _put_odd_organizations(account, companies, invisible, organizations + 2)
    if sales.count:
        _put_odd_deals(account, sales)
    for name, seeds in rows.items():
        account.deleted_at |= {
            (name, row_id): seeds.row(row_id)["update_time"] for row_id in seeds.deleted_ids
        }
    return account


class _Sales:
    """Everything that follows from the number of deals."""

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        same_second: int,
        books: dict[str, FieldBook],
        reach: ReferenceRange,
        contacts: SeededPersons,
    ) -> None:
        self._seed, self.count, self._same_second = seed, count, same_second
        self._books, self._reach = books, reach
        self._leads = count // 4
        self._custom = _custom(books["deals"], reach)  # of deals and leads
        self.products = more_seeds.SeededProducts(
            self._order(10 + count // 20 if count else 0),
            seed,
            owners=reach.users,
            categories=_option_ids(books["products"], "category"),
            custom=_custom(books["products"], reach),
        )
        self.deals = SeededDeals(
            self._order(count),
            seed,
            organizations=reach.organizations,
            odd_parents=_odd_parents(reach),
            persons=contacts,
            owners=reach.users,
            labels=_option_ids(books["deals"], "label_ids"),
            channels=_option_ids(books["deals"], "channel"),
            products=self.products.order.size,
            custom=self._custom,
        )

    def rows(self) -> dict[str, SeededRows]:
        """The seeded rows of each kind."""
        seed, reach, deals = self._seed, self._reach, self.deals
        return {
            "pipelines": SeededTable([*tables.pipelines()]),
            "stages": SeededTable([*tables.stages()]),
            "deals": deals,
            "products": self.products,
            "product_variations": more_seeds.SeededVariations(
                self._order(self.products.order.size // 4 * more_seeds.VARIATIONS_A_PRODUCT), seed
            ),
            "deal_products": SeededLines(
                self._order(self.count // 2 * LINES_A_DEAL), seed, deals, self.products
            ),
            "deal_participants": SeededParticipants(
                self._order(self.count * PLACES_A_DEAL if reach.persons else 0),
                deals,
                reach.persons,
                reach.users,
            ),
            "activity_types": SeededTable([*tables.activity_types()]),
            "activities": more_seeds.SeededActivities(
                self._order(self.count * more_seeds.ACTIVITIES_A_DEAL),
                seed,
                deals=deals,
                leads=self._leads,
                owners=reach.users,
                outcomes=_option_ids(self._books["activities"], "outcome"),
            ),
            "notes": more_seeds.SeededNotes(
                self._order(self.count),
                seed,
                deals=deals,
                persons=reach.persons,
                leads=self._leads,
                owners=reach.users,
            ),
            "lead_labels": SeededTable([*tables.lead_labels()]),
            "lead_sources": SeededTable([*tables.lead_sources()]),
            "leads": more_seeds.SeededLeads(
                self._order(self._leads),
                seed,
                organizations=reach.organizations,
                persons=reach.persons,
                owners=reach.users,
                custom=self._custom,
            ),
        }

    def _order(self, size: int) -> SeededOrder:
        return SeededOrder(size, self._seed, self._same_second)


def _odd_parents(reach: ReferenceRange) -> dict[str, int]:
    """Organizations that a list does not show, for rows that point at them."""
    return {
        "invisible_organization": reach.organizations + 1,
        "deleted_organization": reach.organizations + 2,
    }


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
        odd_parents=_odd_parents(reach),
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


def _put_odd_deals(account: CrmAccount, sales: _Sales) -> None:
    """One deal that was deleted as the sandbox started, and one that the admin cannot see."""
    gone = sales.deals.row(sales.count + 1) | {"title": "Gelöschter Auftrag", "is_deleted": True}
    secret = sales.deals.row(sales.count + 2) | {"title": "Geheimer Auftrag", "visible_to": 1}
    for record in (gone, secret):
        account.records["deals"].put(record)
    account.deleted_at["deals", gone["id"]] = account.clock.stamp()


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
    book.seed(_built_in(book, field) for field in entity.built_ins)
    book.seed(seeded_fields(book, count))
    return book


def _built_in(book: FieldBook, built_in: BuiltIn) -> FieldDefinition:
    """A field that every account has; the choices of a status have words as ids."""
    labels = None if built_in.type == "status" else built_in.options or None
    field = book.new(built_in.name, built_in.type, labels, code=built_in.code, at=SEEDED_AT)
    if labels is not None or not built_in.options:
        return field
    words = tuple(FieldOption(word, word.capitalize(), SEEDED_AT) for word in built_in.options)
    return replace(field, options=words)


def _option_ids(book: FieldBook, code: str) -> list[int]:
    field = book.get(code)
    return [int(option.id) for option in (field and field.options) or ()]


def _custom(book: FieldBook, reach: ReferenceRange) -> CustomValues:
    fields = [field for field in book if field.is_custom]
    return CustomValues(fields, NUMBER_PREFIX[book.entity.name], reach)
