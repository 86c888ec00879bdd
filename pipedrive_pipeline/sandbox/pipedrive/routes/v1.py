"""v1 routes: users, field lists and, if switched on, the retired record lists."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, offset_page, success
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.fields import readers
from pipedrive_pipeline.sandbox.pipedrive.routes.records import DEFAULT_LIMIT, known
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import DEALS
from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS, FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES, WITH_FIELDS
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LEADS
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk
from pipedrive_pipeline.sandbox.pipedrive.world.v1_rows import v1_time, v1_value

Record = dict[str, Any]
USERS = ("users:read",)
V1_TYPES = {"int": "double", "picture": "varchar"}  # v1 lacks these types; the nearest ones


def endpoints() -> list[ApiEndpoint]:
    """Users, field lists, retired lists."""
    routes = [
        ApiEndpoint("GET", "/v1/users/me", 2, (), _me),
        ApiEndpoint("GET", "/v1/users", 20, USERS, _users),
        ApiEndpoint("GET", "/v1/users/{id}", 2, USERS, _user),
    ]
    for kind in WITH_FIELDS.values():
        fields = f"/v1/{kind.singular}Fields"
        routes.append(ApiEndpoint("GET", fields, 20, readers(kind), partial(_fields, kind)))
    routes.append(ApiEndpoint("GET", "/v1/leadFields", 20, LEADS.read, partial(_fields, DEALS)))
    for kind in ENTITIES.values():
        if kind.was_in_v1:
            path = f"/v1/{kind.name}"
            routes += [
                ApiEndpoint("GET", path, 20, kind.read, partial(_retired_list, kind)),
                ApiEndpoint("GET", f"{path}/{{id}}", 2, kind.read, partial(_retired_get, kind)),
            ]
    return routes


def _me(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    account = call.account
    return success(
        _printed(call, _by_id(call, call.caller.user_id))
        | {
            "company_id": account.company_id,
            "company_name": account.company_name,
            "company_domain": account.company_domain,
            "company_country": "DE",
            "company_industry": "manufacturing",
            "language": {"language_code": "de", "country_code": "DE"},
        }
    )


def _users(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    return success([_printed(call, user) for user in call.account.users])


def _user(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    return success(_printed(call, _by_id(call, call.id())))


def _by_id(call: AdmittedCall, user_id: int) -> Record:
    for user in call.account.users:
        if user["id"] == user_id:
            return user
    raise by_service(404, "User not found")


def _printed(call: AdmittedCall, user: Record) -> Record:
    return user | {"is_you": user["id"] == call.caller.user_id}


def _paging(call: AdmittedCall, **more: p.Kind) -> Record:
    kinds = {"start": p.count, "limit": p.limit(p.LIST_LIMIT, clamps=True), **more}
    return call.parameters(kinds)


def _fields(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = _paging(call)
    start, limit = values.get("start", 0), values.get("limit", DEFAULT_LIMIT)
    rows = [row for field in call.account.fields[entity.name] for row in _field_rows(field)]
    return offset_page(rows[start : start + limit], start, limit, len(rows))


def _field_rows(field: FieldDefinition) -> Iterator[Record]:
    """A field as v1 lists it, its sub-fields as rows of their own."""
    row = _field_row(field)
    if field.deleted_options:
        row["options_deleted"] = [{"id": o.id, "label": o.label} for o in field.deleted_options]
    parts = SUBFIELDS.get(field.type, ())[1:] if field.is_custom else ()
    subfields = [
        row
        | {
            "id": None,
            "key": f"{field.code}_{part}",
            "name": f"{part} of {field.name}",
            "field_type": "varchar",
            "is_subfield": True,
        }
        for part in parts
        if part != "timezone_name"
    ]
    yield row | ({"subfields": subfields} if subfields else {})
    yield from subfields


def _field_row(field: FieldDefinition) -> Record:
    options = None
    if field.options is not None:
        options = [{"id": option.id, "label": option.label} for option in field.options]
    return {
        "id": field.id,
        "key": field.code,
        "name": field.name,
        "order_nr": field.id,
        "field_type": V1_TYPES.get(field.type, field.type),
        "json_column_flag": field.is_custom,
        "add_time": v1_time(field.add_time),
        "update_time": None if field.update_time is None else v1_time(field.update_time),
        "created_by_user_id": None,
        "last_updated_by_user_id": None,
        "active_flag": True,
        "edit_flag": field.is_custom,
        "index_visible_flag": True,
        "details_visible_flag": True,
        "add_visible_flag": False,
        "important_flag": False,
        "bulk_edit_allowed": True,
        "searchable_flag": field.type in ("varchar", "text", "phone", "double", "address"),
        "filtering_allowed": True,
        "sortable_flag": True,
        "mandatory_flag": field.code == "name",
        "options": options,
    }


def _retired_list(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    _refuse_unless_on(call, entity)
    values = _paging(call, sort=p.text, user_id=p.whole)
    start, limit = values.get("start", 0), values.get("limit", DEFAULT_LIMIT)
    records = list(listed(call.account, entity.name, call.caller.user_id, Walk()))
    rows = [_v1_record(call, entity, record) for record in records[start : start + limit]]
    return offset_page(rows, start, limit, len(records))


def _retired_get(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    _refuse_unless_on(call, entity)
    return success(_v1_record(call, entity, known(call, entity, sees_deleted=True)))


def _refuse_unless_on(call: AdmittedCall, entity: RecordKind) -> None:
    """The v1 form of persons and organizations is known; other retired lists are always gone."""
    if not call.options.has_v1_lists or not entity.search_fields:
        raise by_service(410, "Gone")


def _v1_record(call: AdmittedCall, entity: RecordKind, record: Record) -> Record:
    """A record in the v1 shape: flags, texts instead of numbers, custom keys at the root."""
    row = call.account.views[entity.name].row(record)
    custom = row.pop("custom_fields")
    row["active_flag"] = not row.pop("is_deleted")
    row["visible_to"] = str(row["visible_to"])
    row["label"] = ",".join(map(str, row["label_ids"])) or None
    row["add_time"] = v1_time(row["add_time"])
    row["update_time"] = v1_time(row["update_time"] or row["add_time"])
    row["owner_id"] = {"id": row["owner_id"], "value": row["owner_id"]}
    for new, old in (("emails", "email"), ("phones", "phone")):
        if new in row:
            row[old] = row.pop(new) or [{"value": "", "primary": True}]
    book = call.account.fields[entity.name]
    for code, value in custom.items():
        row.update(v1_value(book, code, value))
    return row
