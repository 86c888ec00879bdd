"""What the tables must hold, worked out from the source alone.

Belongs here: the source's rows as raw and the marts must show them, and the comparison that names
each difference. Does not belong here: anything of `ingest/` or `sql/`; the two readings must be
able to disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ColumnType, Entity
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World
from pipedrive_pipeline_tests.trust import TLS

Row = dict[str, Any]
Difference = tuple[str, Any, str, str, str]  # entity, key, column, expected, stored
LISTS = {
    "users": "/v1/users",
    "organization_fields": "/api/v2/organizationFields",
    "person_fields": "/api/v2/personFields",
    "deal_fields": "/api/v2/dealFields",
    "product_fields": "/api/v2/productFields",
    "activity_fields": "/api/v2/activityFields",
    "activity_types": "/v1/activityTypes",
    "lead_labels": "/v1/leadLabels",
    "lead_sources": "/v1/leadSources",
}
FIELDS_OF = {
    "organizations": "organization_fields",
    "persons": "person_fields",
    "deals": "deal_fields",
    "products": "product_fields",
}
ASKED_FOR = {"deals": ("first_won_time", "source_lead_id")}  # sent only where they are asked for
# Names of other records in a record, as they were when it was edited last.
NAMES_OF_OTHERS = {
    "notes": ("deal", "lead", "person", "organization", "project", "task", "user"),
    "deal_participants": ("related_item_data",),
}
# What a list of children says of the parent, and where; the parent's id is in the address.
ADDED = {"deal_participants": ("deal_id", "related_item_id")}
LISTED_NOWHERE = ("deal_changes",)  # read by each deal's changelog, see `changes_at_source`
NOT_AT_SOURCE = "unexpected"
SHOWN_DIFFERENCES = 10
SHOWN_CHARACTERS = 200


def read_by(world: World, tenant: Tenant = ACME) -> dict[str, Entity]:
    """The entities that the tenant reads, but those that no list of the source holds."""
    entities = entities_read(world.warehouse, Scope(tenant, SYSTEM))
    return {name: spec for name, spec in entities.items() if name not in LISTED_NOWHERE}


def source_rows(sandbox: Sandbox, entity: str) -> list[Row]:
    """Every row of one entity, as the source holds it now."""
    if entity not in LISTS:
        return list(sandbox.truth(entity, include_fields=ASKED_FOR.get(entity, ())))
    rows: list[Row] = []
    parameters: dict[str, str] = {}
    while True:
        answer = httpx.get(
            sandbox.url + LISTS[entity],
            params=parameters,
            headers={"x-api-token": sandbox.api_token},
            verify=TLS,
        ).json()
        rows += answer["data"]
        cursor = (answer.get("additional_data") or {}).get("next_cursor")
        if not cursor:
            return rows
        parameters = {"cursor": cursor}


def raw_row(spec: Entity, record: Row) -> Row:
    """One source record as raw must store it; what no column can store is in `extra`."""
    columns = {column.name: column.type for column in (spec.key, *spec.columns)}
    fitting = {
        name: value
        for name, kind in columns.items()
        if name in record and _fits(kind, value := _read(kind, record[name]))
    }
    row = {name: _stored(kind, fitting.get(name)) for name, kind in columns.items()}
    for name, kind in columns.items():
        sent = record.get(name)
        if kind is ColumnType.BIGINT and isinstance(sent, dict):
            row[name] = sent.get("value")  # the object stays whole in `extra`
    if spec.name in ADDED:
        added, sent_as = ADDED[spec.name]
        row[added] = record[sent_as]
    row["extra"] = {key: value for key, value in record.items() if key not in fitting} or None
    return row


def assert_raw_equals_source(world: World, sandbox: Sandbox, tenant: Tenant = ACME) -> None:
    """Fails with the first differences, by entity, key and column."""
    differences = raw_differences(world, sandbox, tenant)

    assert not differences, differences[:SHOWN_DIFFERENCES]


def assert_marts_equal_source(world: World, sandbox: Sandbox, tenant: Tenant = ACME) -> None:
    """Fails with the first differences between the marts and the source's live rows."""
    differences = mart_differences(world, sandbox, tenant)

    assert not differences, differences[:SHOWN_DIFFERENCES]


def assert_edits_arrived(
    world: World,
    sandbox: Sandbox,
    tenant: Tenant,
    *,
    unseen: Collection[tuple[str, int | str]],
    with_marts: bool,
) -> None:
    """As after an incremental run: equal but for deletions, and for edits that no window shows.

    Custom fields that were added or dropped change records without an edit of them; of these only
    the values of fields that exist are compared.
    """
    found = raw_differences(world, sandbox, tenant, has_fields_of_all_times=False)
    if with_marts:
        found += mart_differences(world, sandbox, tenant)
    differences = [
        difference
        for difference in found
        if difference[:2] not in unseen and difference[3] != NOT_AT_SOURCE
    ]

    assert not differences, differences[:SHOWN_DIFFERENCES]


def raw_differences(
    world: World,
    sandbox: Sandbox,
    tenant: Tenant,
    *,
    has_fields_of_all_times: bool = True,
) -> list[Difference]:
    """Of raw rows that are not marked as gone."""
    differences: list[Difference] = []
    for name, spec in read_by(world, tenant).items():
        expected = {
            row[spec.key.name]: row
            for row in (raw_row(spec, record) for record in source_rows(sandbox, name))
        }
        gone = unlisted(world, spec, expected.values(), tenant)
        stored = {
            row[spec.key.name]: _ours(row)
            for row in world.raw(tenant, name)
            if str(row[spec.key.name]) not in gone
        }
        for row in (*expected.values(), *stored.values()):
            for column in NAMES_OF_OTHERS.get(name, ()):
                del row[column]
        if not has_fields_of_all_times and name in FIELDS_OF:
            codes = options(sandbox, FIELDS_OF[name]).keys()
            for row in (*expected.values(), *stored.values()):
                row["custom_fields"] = _values_of(row["custom_fields"], codes)
        differences += _of_entity(name, _differences(expected, stored))
    return differences


def mart_differences(world: World, sandbox: Sandbox, tenant: Tenant) -> list[Difference]:
    """Of live rows, named by the entity that they are made of."""
    users, customers, contacts = (
        {row["pipedrive_id"]: row for row in mart(world, name, tenant)}
        for name in ("users", "customers", "contacts")
    )
    organization_labels = options(sandbox, "organization_fields")
    person_labels = options(sandbox, "person_fields")
    expected_users = {
        record["id"]: user(record)
        for record in fitting_rows(sandbox, "users")
        if not record.get("is_deleted")
    }
    expected_customers = {
        record["id"]: customer(record, users, organization_labels)
        for record in fitting_rows(sandbox, "organizations")
    }
    expected_contacts = {
        record["id"]: contact(record, users, person_labels, customers)
        for record in fitting_rows(sandbox, "persons")
    }
    compared = {
        "users": (expected_users, users),
        "organizations": (expected_customers, customers),
        "persons": (expected_contacts, contacts),
    }
    return [
        difference
        for name in compared.keys() & read_by(world, tenant).keys()
        for difference in _of_entity(
            name, _differences(compared[name][0], _live(compared[name][1]))
        )
    ]


def assert_all_equals_source(world: World, sandbox: Sandbox, tenant: Tenant = ACME) -> None:
    """Raw and marts, value by value; rows that are marked as gone are none of the source's."""
    assert_raw_equals_source(world, sandbox, tenant)
    assert_marts_equal_source(world, sandbox, tenant)


def assert_nothing_became_null(world: World, sandbox: Sandbox, tenant: Tenant = ACME) -> None:
    """Fails where a column of raw holds fewer values than the source, less those set aside."""
    for name, spec in read_by(world, tenant).items():
        sent = source_rows(sandbox, name)
        gone = unlisted(world, spec, sent, tenant)
        stored = [row for row in world.raw(tenant, name) if str(row[spec.key.name]) not in gone]
        for column in spec.columns:
            if column.name in NAMES_OF_OTHERS.get(name, ()):
                continue
            filled = sum(row.get(column.name) is not None for row in sent)
            kept = sum(row[column.name] is not None for row in stored)
            aside = sum(column.name in (row["extra"] or {}) for row in stored)
            assert filled == kept + aside, (name, column.name, filled, kept, aside)


def marked(world: World, entity: str, tenant: Tenant = ACME) -> dict[str, str]:
    """Keys that raw marks as gone, each with the reason."""
    rows = world.rows(Scope(tenant, SYSTEM).raw_schema, "deletions")
    return {row["id"]: row["reason"] for row in rows if row["entity"] == entity}


def unlisted(
    world: World, spec: Entity, source: Iterable[Row], tenant: Tenant = ACME
) -> dict[str, str]:
    """Marks, but those of merged records that the source goes on listing as deleted ones."""
    flag = spec.gone_column
    listed = {str(row[spec.key.name]) for row in source if flag and row[flag]}
    marks = marked(world, spec.name, tenant)
    return {key: why for key, why in marks.items() if why != "merged" or key not in listed}


def fitting_rows(sandbox: Sandbox, entity: str) -> list[Row]:
    """The source's rows as marts can know them: what no column of raw can hold is null there."""
    columns = {
        column.name: column.type for column in registry.system(SYSTEM).entity(entity).columns
    }
    return [
        {
            name: value
            if name not in columns
            else _read(columns[name], value)
            if _fits(columns[name], _read(columns[name], value))
            else None
            for name, value in record.items()
        }
        for record in source_rows(sandbox, entity)
    ]


def mart(world: World, name: str, tenant: Tenant = ACME) -> list[Row]:
    """One tenant's rows of a mart."""
    return world.rows("crm", name, tenant=tenant)


def options(sandbox: Sandbox, fields: str) -> dict[str, dict[str, str]]:
    """Labels of options by field code and id, ids as text."""
    return {
        field["field_code"]: {str(one["id"]): one["label"] for one in field.get("options") or []}
        for field in source_rows(sandbox, fields)
    }


def user(record: Row) -> Row:
    """A user as `crm.users` must show it."""
    return {
        **_identity(record),
        "name": record["name"],
        "email": record.get("email"),
        "is_active": record.get("active_flag"),
        "time_zone": record.get("timezone_name"),
        "changed_at": _instant(record.get("modified")),
        "remote_created_at": _instant(record.get("created")),
    }


def customer(record: Row, users: Mapping[int, Row], labels: Mapping[str, Any]) -> Row:
    """An organization as `crm.customers` must show it."""
    address = _address(record["address"])
    street = " ".join(part for part in (address.get("route"), address.get("street_number")) if part)
    industry = record.get("industry")
    revenue = record.get("annual_revenue")
    return {
        "name": record["name"],
        "street": street or None,
        "city": address.get("locality"),
        "postal_code": address.get("postal_code"),
        "region": address.get("admin_area_level_1"),
        "country": address.get("country"),
        "address": address.get("value"),
        "website": record.get("website"),
        "industry": None
        if industry is None
        else labels.get("industry", {}).get(str(industry), str(industry)),
        "annual_revenue": None if revenue is None else Decimal(str(revenue)),
        "employee_count": record.get("employee_count"),
        **_common(record, users, labels),
    }


def contact(
    record: Row,
    users: Mapping[int, Row],
    labels: Mapping[str, Any],
    customers: Mapping[int, Row],
) -> Row:
    """A person as `crm.contacts` must show it."""
    parent = record.get("org_id")
    known = None if parent is None else customers.get(parent)
    return {
        "customer_id": known["id"] if known else None,
        "customer_remote_id": None if parent is None else str(parent),
        "name": record["name"],
        "first_name": record.get("first_name"),
        "last_name": record.get("last_name"),
        "email": _primary(_entries(record["emails"])),
        "phone": _primary(_entries(record["phones"])),
        "emails": _entries(record["emails"]),
        "phones": _entries(record["phones"]),
        "job_title": record.get("job_title"),
        **_common(record, users, labels),
    }


def _common(record: Row, users: Mapping[int, Row], labels: Mapping[str, Any]) -> Row:
    names = labels.get("label_ids", {})
    owner, created_at = users.get(record["owner_id"]), _instant(record["add_time"])
    return {
        **_identity(record),
        "owner_id": owner["id"] if owner else None,
        "owner_remote_id": None if record["owner_id"] is None else str(record["owner_id"]),
        "owner_name": owner["name"] if owner else None,
        "labels": [names.get(label, label) for label in _labels(record["label_ids"])],
        "changed_at": _instant(record["update_time"]),
        "remote_created_at": created_at,
        "pipedrive_created_at": created_at,
    }


def _identity(record: Row) -> Row:
    """The keys of a live row."""
    return {
        "system": SYSTEM,
        "remote_id": str(record["id"]),
        "former_remote_id": None,
        "deleted_at": None,
        "deletion_reason": None,
        "merged_into_remote_id": None,
    }


def _address(value: Any) -> Row:
    """The parts of an address; a text alone is the address as it was typed."""
    if isinstance(value, str):
        return {"value": value}
    return value if isinstance(value, dict) else {}


def _entries(value: Any) -> list[Row]:
    """E-mail addresses or phone numbers that hold something; a text alone is such an entry."""
    entries = value if isinstance(value, list) else [value]
    objects = [{"value": entry} if isinstance(entry, str) else entry for entry in entries]
    return [
        entry | {"value": str(entry["value"])}
        for entry in objects
        if isinstance(entry, dict) and str(entry["value"]).strip()
    ]


def _labels(value: Any) -> list[str]:
    """Ids of labels, also of a text that lists them."""
    entries = value.split(",") if isinstance(value, str) else value
    return [str(entry) for entry in entries if entry not in (None, "")]


def _primary(entries: Iterable[Row]) -> str | None:
    """The first one marked primary, else the first one."""
    in_order = sorted(entries, key=lambda entry: not entry.get("primary"))
    return next((entry["value"] for entry in in_order), None)


def _live(rows: Mapping[int, Row]) -> dict[int, Row]:
    return {key: row for key, row in rows.items() if row["deleted_at"] is None}


def _read(kind: ColumnType, value: Any) -> Any:
    """A whole number that came as text."""
    is_text_of_number = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(value) if kind is ColumnType.BIGINT and is_text_of_number else value


def _fits(kind: ColumnType, value: Any) -> bool:
    """Whether a column of this type can hold a value; enough for what the scenarios plant."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (
        value is None
        or {
            ColumnType.BIGINT: is_number and value == int(value),
            ColumnType.NUMERIC: is_number,
            ColumnType.TEXT: isinstance(value, str),
            ColumnType.BOOLEAN: isinstance(value, bool),
            ColumnType.TIMESTAMP: isinstance(value, str),
            ColumnType.JSON: True,
        }[kind]
    )


def _stored(kind: ColumnType, value: Any) -> Any:
    if value is None:
        return None
    if kind is ColumnType.TIMESTAMP:
        return _instant(value)
    return Decimal(str(value)) if kind is ColumnType.NUMERIC else value


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _ours(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "xmin" and not key.startswith("_")}


def _of_entity(entity: str, differences: Iterable[tuple[Any, str, str, str]]) -> list[Difference]:
    return [(entity, *difference) for difference in differences]


def _values_of(custom_fields: Row | None, codes: Collection[str]) -> Row:
    """Values of the fields that exist; a field without a value may be absent or null."""
    return {
        code: value
        for code, value in (custom_fields or {}).items()
        if code in codes and value is not None
    }


def _differences(
    expected: Mapping[Any, Row], stored: Mapping[Any, Row]
) -> list[tuple[Any, str, str, str]]:
    """Key, column, expected and stored value of everything that differs, types included."""
    missing = [(key, "row", "expected", "missing") for key in expected.keys() - stored.keys()]
    surplus = [(key, "row", NOT_AT_SOURCE, "stored") for key in stored.keys() - expected.keys()]
    values = [
        (key, column, *_shortened(value, stored[key][column]))
        for key, row in expected.items()
        if key in stored
        for column, value in row.items()
        if _distinct_text(value) != _distinct_text(stored[key][column])
    ]
    return missing + surplus + values


def _shortened(expected: Any, stored: Any) -> tuple[str, str]:
    """Both values as text; of two objects only the keys that differ."""
    if isinstance(expected, dict) and isinstance(stored, dict):
        differing = {
            key
            for key in expected.keys() | stored.keys()
            if _distinct_text(expected.get(key, ...)) != _distinct_text(stored.get(key, ...))
        }
        expected = {key: expected.get(key, ...) for key in differing}
        stored = {key: stored.get(key, ...) for key in differing}
    return repr(expected)[:SHOWN_CHARACTERS], repr(stored)[:SHOWN_CHARACTERS]


def _distinct_text(value: Any) -> str:
    """A text in which 1, true and "1" differ, and the order of an object's keys does not."""
    if isinstance(value, dict):
        return repr(sorted((key, _distinct_text(item)) for key, item in value.items()))
    if isinstance(value, list):
        return repr([_distinct_text(item) for item in value])
    if isinstance(value, Decimal):
        return f"decimal {value.normalize():f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return repr(value)
