"""Generated requests: documented statuses, documented answers, never a 5xx.

Most of what is generated is nearly right, so that it gets past the first check; ids and codes are
mostly of what is there: ``#3`` means the fourth custom field, ``@3`` the fourth record,
``~3`` the fourth option of the field in the path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.service import ROUTES
from pipedrive_pipeline.sandbox.pipedrive.world.fields import CREATABLE_TYPES, TYPES_WITH_OPTIONS
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.sandbox import entity_schemas, schemas
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, custom_types
from pipedrive_pipeline_tests.sandbox.schemas import Schema, check

Route = tuple[str, str]  # method, path
PATHS: list[Route] = [(endpoint.method, endpoint.path) for endpoint in ROUTES.endpoints]
CONTACTS = re.compile(r"/(person|organization|user)")
ids = st.integers(-1, 50)
records = st.integers(0, 1_000).map(lambda place: f"@{place}")
codes = st.integers(0, 20).map(lambda place: f"#{place}")
words = st.text(max_size=8)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)
contacts = st.lists(
    st.fixed_dictionaries({"value": words}, optional={"primary": st.booleans(), "label": words}),
    max_size=3,
)
addresses = st.fixed_dictionaries(
    {"value": words}, optional={"route": words, "country": st.none() | words}
)
clocks, days = st.just("09:30:00"), st.just("2026-01-31")
labels = st.text(min_size=1, max_size=8)
option_ids = st.integers(0, 9).map(lambda place: f"~{place}")
new_options = st.lists(st.fixed_dictionaries({"label": labels}), min_size=1, max_size=3)
options = st.one_of(
    new_options,
    st.lists(st.fixed_dictionaries({"id": option_ids}), min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({"id": option_ids, "label": labels}), min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({}, optional={"label": words, "id": ids}), max_size=3),
)
new_fields = st.sampled_from(CREATABLE_TYPES).flatmap(
    lambda kind: st.fixed_dictionaries(
        {"field_name": labels, "field_type": st.just(kind)}
        | ({"options": new_options} if kind in TYPES_WITH_OPTIONS else {})
    )
)
custom_values = st.one_of(
    st.none(),
    words,
    ids,
    st.floats(allow_nan=False, allow_infinity=False),
    days,
    addresses,
    st.lists(ids, min_size=1, max_size=2, unique=True),
    st.fixed_dictionaries({"value": st.integers(), "currency": st.just("EUR")}),
    st.fixed_dictionaries({"value": days, "until": days}),
    st.fixed_dictionaries({"value": clocks}, optional={"until": clocks}),
)
right: dict[str, st.SearchStrategy[Any]] = {
    "name": words,
    "first_name": words | st.none(),
    "owner_id": st.integers(899, 905),
    "org_id": ids | st.none(),
    "emails": contacts,
    "phones": contacts,
    "im": contacts,
    "label_ids": st.lists(ids, max_size=2),
    "address": addresses | st.none(),
    "postal_address": addresses | st.none(),
    "visible_to": st.sampled_from([1, 3, 5, 7]),
    "custom_fields": st.dictionaries(codes, custom_values, max_size=3),
    "add_time": st.sampled_from(["2026-01-31T10:20:30Z", "0001-01-01T00:00:00+01:00", "gestern"]),
    "birthday": days,
    "notes": words,
    "job_title": words,
    "website": words | st.none(),
    "annual_revenue": st.integers() | st.none(),
    "industry": ids | st.none(),
    "field_name": words,
    "field_type": st.sampled_from(CREATABLE_TYPES),
    "options": options,
    "ui_visibility": st.dictionaries(
        st.sampled_from(["add_visible_flag", "show_in_add_deal_dialog"]), st.booleans()
    ),
}
flags, numbers = st.booleans(), st.integers() | st.floats(allow_nan=False, allow_infinity=False)
by_kind: dict[str, st.SearchStrategy[Any]] = {  # values of sales, by the kind of value of a key
    "text": labels,
    "any_time": st.sampled_from(["2026-01-31 10:20:30", "2026-01-31T10:20:30Z", "gestern"]),
    "time": st.sampled_from(["2026-01-31T10:20:30Z", "2026-01-31T10:20:30.5Z"]),
    "date": days,
    "color": st.sampled_from(["317AE2", "blue"]),
    "clock": st.sampled_from(["09:30", "09:30:00"]),
    "user": st.integers(899, 905),
    "id": ids,
    "int": ids,
    "ids": st.lists(ids, max_size=2),
    "number": numbers,
    "percent": st.integers(-1, 101),
    "flag": flags,
    "bit": st.integers(0, 2),
    "currency": st.sampled_from(["EUR", "CHF", "Euro"]),
    "money": st.fixed_dictionaries({"amount": numbers, "currency": st.just("PLN")}),
    "visibility": st.sampled_from([1, 3, 5, 7]),
    "visibility_text": st.sampled_from(["1", "3", "9"]),
    "custom": st.dictionaries(codes, custom_values, max_size=3),
    "address": addresses,
    "deal_status": st.sampled_from(["open", "won", "lost", "deleted"]),
    "discount_type": st.sampled_from(["percentage", "amount"]),
    "tax_method": st.sampled_from(["exclusive", "inclusive", "none"]),
    "billing_frequency": st.sampled_from(["one-time", "monthly", "daily"]),
    "cycles": st.integers(0, 209),
    "category": st.integers(0, 3),
    "activity_type": st.sampled_from(["call", "lunch", "seance"]),
    "lead_color": st.sampled_from(["red", "mauve"]),
    "lead_label_ids": st.just([]),
    "leads": st.integers(1, 5).map(lambda place: printed_id(ENTITIES["leads"], place)),
    "participants": st.lists(
        st.fixed_dictionaries({"person_id": st.integers(1, 20)}, optional={"primary": flags}),
        max_size=2,
    ),
    "attendees": st.lists(st.fixed_dictionaries({"email": words}), max_size=2),
    "prices": st.lists(
        st.fixed_dictionaries(
            {"currency": st.sampled_from(["EUR", "CHF"])}, optional={"price": numbers}
        ),
        max_size=2,
    ),
}
WEBHOOKS = "/v1/webhooks"
OWN_URL = "$SANDBOX"  # in place of the sandbox's own address
webhooks = st.fixed_dictionaries(
    {
        "subscription_url": st.sampled_from([OWN_URL, f"{OWN_URL}/hook", "http://127.0.0.1:9"]),
        "event_action": st.sampled_from(["*", "create", "added"]),
        "event_object": st.sampled_from(["*", "deal", "project", "deals"]),
        "name": labels,
    },
    optional={
        "version": st.sampled_from(["2.0", "1.0"]),
        "user_id": st.integers(899, 905),
        "http_auth_user": words | st.none(),
        "http_auth_password": words,
    },
)
ONLY_OF_FIELDS = {"field_name", "field_type", "options", "ui_visibility"}


def _bodies(route: Route) -> st.SearchStrategy[Any]:
    """Bodies that suit a route, and such as suit it but for one value, and anything."""
    method, path = route
    if path.endswith("/options"):
        return st.one_of(options, options, options, anything)
    if path.endswith("/merge"):
        return st.one_of(st.fixed_dictionaries({"merge_with_id": records | ids}), anything)
    if path.startswith(WEBHOOKS):
        return st.one_of(webhooks, webhooks, anything)
    if path.endswith("Fields"):
        suited: st.SearchStrategy[Any] = new_fields
    elif "Fields" in path:
        suited = _some_of("field_name", "ui_visibility")
    elif not CONTACTS.search(path):
        suited = _suited(_kind_of(path), is_new=method == "POST")
    else:
        suited = _some_of(*(right.keys() - ONLY_OF_FIELDS - {"add_time"}))
    if method == "POST" and "Fields" not in path:
        suited = st.builds(dict.__or__, suited, st.fixed_dictionaries({"name": labels}))
    odd = st.dictionaries(st.sampled_from(sorted(right)) | words, anything, max_size=1)
    return st.one_of(suited, suited, st.builds(dict.__or__, suited, odd), anything)


def _suited(kind: RecordKind, *, is_new: bool) -> st.SearchStrategy[Any]:
    """Some of the keys that a kind takes, and those that a new record needs."""
    values = {
        key: by_kind.get(form.rstrip("?"), st.integers(1, 21))
        | (st.none() if "?" in form else st.nothing())
        for key, form in kind.writable.items()
    }
    if not values:
        return st.just({})
    needed = st.fixed_dictionaries({key: values[key] for key in kind.required} if is_new else {})
    chosen = st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True)
    more = chosen.flatmap(lambda keys: st.fixed_dictionaries({key: values[key] for key in keys}))
    return st.builds(dict.__or__, needed, more)


def _kind_of(path: str) -> RecordKind:
    """The kind whose records a route serves or writes."""
    kinds = [kind for kind in ENTITIES.values() if f"{path}/".startswith(f"{kind.path}/")]
    if path.startswith("/v1/deals/{id}/p"):
        return ENTITIES["deal_participants"]
    return max(kinds, key=lambda kind: len(kind.path), default=ENTITIES["deals"])


def _some_of(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: right[name] for name in chosen})
    )


queries = st.dictionaries(
    st.sampled_from(
        ["limit", "cursor", "ids", "sort_by", "updated_since", "custom_fields", "term", "start"]
    )
    | words,
    st.one_of(st.text(max_size=12), ids.map(str), st.sampled_from(["id", "true", "", "er"])),
    max_size=2,
)


def _query(path: str) -> dict[str, str]:
    if path == "/api/v2/deals/products":
        return {"deal_ids": "1,2,4"}
    return {"term": "er"} if path.endswith("/search") else {}


def _parts(path: str) -> st.SearchStrategy[str]:
    """A value for the variable of a path, mostly of an existing record."""
    there = codes if "{field_code}" in path else records
    return st.one_of(there, there, there, ids.map(str), st.text("ab%0", min_size=1, max_size=5))


def _requests(route: Route) -> st.SearchStrategy[Any]:
    """Route, part, query and body."""
    query, path = st.just(_query(route[1])), route[1]
    return st.tuples(st.just(route), _parts(path), st.one_of(query, query, queries), _bodies(route))


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[SandboxClient]:
    account = seeded(20, 20, organization_fields=16, person_fields=16)
    with serve(account, has_limits=False) as sandbox, SandboxClient(sandbox) as client:
        yield client


GENEROUS = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@settings(GENEROUS, max_examples=120)
@given(st.sampled_from(PATHS).flatmap(_requests))
def test_some_requests_of_every_kind(fuzzed: SandboxClient, request: Any) -> None:
    _send(fuzzed, *request)


@pytest.mark.long
@pytest.mark.parametrize("route", PATHS, ids=" ".join)
def test_a_hundred_requests_of_each_route(fuzzed: SandboxClient, route: Route) -> None:
    @settings(GENEROUS, max_examples=100)
    @given(_requests(route))
    def send(request: Any) -> None:
        _send(fuzzed, *request)

    send()


def _send(client: SandboxClient, route: Route, part: str, query: dict[str, str], body: Any) -> None:
    method, template = route
    entity = _entity_of(template)
    path = template.replace("{id}", part).replace("{field_code}", part)
    has_body = method in ("POST", "PATCH", "PUT") or path.endswith("/options")
    text = json.dumps(body)  # NaN as Python writes it, which is not JSON
    path = _real(client, entity, path)
    path = _with_row(client, _kind_of(template), path)
    text = _real(client, entity, text, of_field=path.split("/")[-2])
    text = text.replace(OWN_URL, client.sandbox.url)

    answer = client.http.request(method, path, params=query, content=text if has_body else None)

    of_webhooks = template.startswith(WEBHOOKS)
    statuses = {200, 201, 400, 403, 404, 405, 410} | ({422} if of_webhooks else set())
    assert answer.status_code in statuses, answer.text
    assert ("allow" in answer.headers) == (answer.status_code == 405)
    if answer.status_code > 201:
        check(answer.json(), schemas.WEBHOOK_ERROR if of_webhooks else schemas.SERVICE_ERROR)
    elif "custom_fields" not in query:  # it leaves out keys that are otherwise always there
        check(answer.json(), _documented(client, entity, route))


def _entity_of(template: str) -> str:
    """The kind of the record, or of the fields, that a path addresses."""
    if "person" in template:
        return "persons"
    if "organization" in template or "user" in template:
        return "organizations"
    match = re.search(r"/(deal|product|activity|lead)Fields", template)
    if match:
        return {"activity": "activities", "lead": "deals"}.get(match[1], f"{match[1]}s")
    kind = _kind_of(template)
    return kind.belongs_to[0] if kind.belongs_to and "{id}" in template else kind.name


def _with_row(client: SandboxClient, kind: RecordKind, path: str) -> str:
    """A path with a record of the one before it, and with a conversion, if there are any."""
    account = client.sandbox.account
    numbers = re.findall(r"/(\d+)/", path)
    children = [4_711]
    if "{row_id}" in path and kind.belongs_to and numbers:
        children = account.records[kind.name].children_of(kind.belongs_to[1], int(numbers[0]))
    job = next(iter(account.conversions), "none")
    return path.replace("{row_id}", str((children or [4_711])[0])).replace("{conversion_id}", job)


def _real(client: SandboxClient, entity: str, text: str, *, of_field: str = "") -> str:
    """A text with codes and ids of what is there now."""
    account, kind = client.sandbox.account, ENTITIES[entity]
    types = custom_types(client.sandbox, kind.fields_of) if kind.fields_of else {}
    with_options = [code for code, form in types.items() if form in TYPES_WITH_OPTIONS]
    field = account.fields[entity].get(of_field) if entity in account.fields else None
    option_ids = [option.id for option in (field and field.options) or ()]
    there = [printed_id(kind, number) for number in range(1, account.records[entity].last_id + 1)]
    for pattern, choices in (
        (r"users/@(\d+)", [f"users/{user['id']}" for user in account.users]),
        (r'"@(\d+)"', there),
        (r"@(\d+)", there),
        (r"#(\d+)(?=/options)", with_options or ["gone"]),
        (r"#(\d+)", list(types) or ["gone"]),
        (r'"~(\d+)"', option_ids or [0]),
    ):
        text = re.sub(pattern, partial(_one_of, choices), text)
    return text


def _one_of(there: Sequence[object], place: re.Match[str]) -> str:
    return str(there[int(place[1]) % len(there)])


def _documented(client: SandboxClient, entity: str, route: Route) -> Schema:
    """What a success of a route must look like, with the custom fields of now."""
    method, path = route
    for pattern, schema in SPECIAL:
        if re.search(pattern, path):
            return schema(route)
    if path.endswith("/search"):
        return schemas.search_page(entity)
    kind = _kind_of(path)
    if method in ("DELETE", "PUT") and (method == "DELETE" or path.endswith("/merge")):
        key = entity_schemas.UUID if kind.id_form == "uuid" else schemas.ID
        is_note = kind.name == "notes"
        return schemas.single({"const": True} if is_note else schemas.thing({"id": key}))
    types = custom_types(client.sandbox, kind.fields_of) if kind.fields_of else {}
    of_contact = kind.name in schemas.SEARCH_ITEMS
    record = (schemas if of_contact else entity_schemas).record(kind.name, types)
    if method != "GET" or (path.endswith("{id}") and not kind.belongs_to):
        return schemas.single(record)
    if not kind.is_paged:
        return schemas.single(schemas.listed(record))
    return schemas.v1_page(record) if kind.is_v1 else schemas.v2_page(record)


def _of_fields(route: Route) -> Schema:
    if route[1].startswith("/v1/"):
        return schemas.v1_page(schemas.V1_FIELD)
    if route[0] == "GET" and route[1].endswith("Fields"):
        return schemas.v2_page(schemas.V2_FIELD)
    return schemas.single(schemas.V2_FIELD)


def _of_lines(method: str) -> Schema:
    if method == "GET":
        return schemas.v2_page(entity_schemas.DEAL_PRODUCT)
    if method == "DELETE":
        ids = schemas.thing({"ids": schemas.listed(schemas.ID)})
        more = schemas.thing({"more_items_in_collection": schemas.FLAG})
        return schemas.single(ids, {"additional_data": more})
    return schemas.single(entity_schemas.DEAL_PRODUCT)


def _of_webhooks(method: str) -> Schema:
    of_method = {"GET": schemas.WEBHOOK_LIST, "POST": schemas.WEBHOOK_MADE}
    return of_method.get(method, schemas.WEBHOOK_DELETED)


def _of_users(path: str) -> Schema:
    user = schemas.thing(schemas.USER_KEYS)
    if path.endswith("/me"):
        return schemas.single(schemas.ME)
    return schemas.single(user if "{id}" in path else schemas.listed(user))


SPECIAL: tuple[tuple[str, Callable[[Route], Schema]], ...] = (  # paths that serve no plain record
    ("/options$", lambda _: schemas.TOUCHED_OPTIONS),
    ("Fields", _of_fields),
    ("^/v1/users", lambda route: _of_users(route[1])),
    ("^/v1/webhooks", lambda route: _of_webhooks(route[0])),
    ("/changelog$", lambda _: schemas.v2_page(entity_schemas.CHANGE)),
    ("/convert/", lambda _: schemas.single(entity_schemas.CONVERSION)),
    ("/products/bulk$", lambda _: schemas.single(schemas.listed(entity_schemas.DEAL_PRODUCT))),
    (r"^/api/v2/deals/\{id\}/products$", lambda route: _of_lines(route[0])),
    ("^/api/v2/deals/products$", lambda _: schemas.v2_page(entity_schemas.DEAL_PRODUCT)),
)
