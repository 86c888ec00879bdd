"""A server that behaves like Orbit, built on the kit of the look-alikes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

import msgspec

from pipedrive_pipeline.sandbox.kit.answers import (
    IncomingRequest,
    RequestRefused,
    SandboxAnswer,
    encode,
)
from pipedrive_pipeline.sandbox.kit.control_messages import (
    ExpireAccessTokens,
    GiveScopes,
    QueueFault,
    SetClock,
    TakeScopes,
)
from pipedrive_pipeline.sandbox.kit.cursors import opened, sealed
from pipedrive_pipeline.sandbox.kit.faults import TRANSMISSION, FaultKinds
from pipedrive_pipeline.sandbox.kit.grants import TokenHolder
from pipedrive_pipeline.sandbox.kit.oauth import OAuthDialect
from pipedrive_pipeline.sandbox.kit.options import ServerOptions
from pipedrive_pipeline.sandbox.kit.running import Interface, RunningSandbox
from pipedrive_pipeline.sandbox.kit.server import serve_in_thread
from pipedrive_pipeline.sandbox.kit.service import AnsweredRequest, ApiEndpoint, Routes, Service
from pipedrive_pipeline.sandbox.kit.world import World
from pipedrive_pipeline_tests.orbit.world import ENTITIES, OrbitWorld, Record

SCOPES = ("crm.read", "people.read", "users.read")
WRITABLE = {
    "accounts": {"title", "town", "owner", "props", "tag"},
    "people": {"given", "family", "mail", "account", "owner", "props", "tag"},
    "meetings": {"title", "day", "account", "tag"},
}
LISTED = tuple(entity for entity in ENTITIES if entity != "notes")


@dataclass(frozen=True)
class OrbitOptions(ServerOptions):
    """Settings of one look-alike."""

    client_id: str = "orbit-app"
    client_secret: str = "orbit-app-secret"
    scopes: tuple[str, ...] = SCOPES
    rotates_refresh_token: bool = True
    refresh_kills_access_token: bool = True
    page_rows: int = 5  # records in a page


class _Cursor(msgspec.Struct):
    entity: str
    start: int  # of the next page
    until: int  # the number of the newest change that the walk covers
    since: int | None  # the number of the newest change that the caller has; None: reads everything


class _Token(msgspec.Struct):
    entity: str
    change: int


@dataclass
class OrbitCall:
    """An admitted request."""

    world: OrbitWorld
    options: OrbitOptions
    caller: TokenHolder
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""


def refused(status: int, problem: str) -> RequestRefused:
    """An error in Orbit's form."""
    return RequestRefused(status, {"problem": problem})


def _me(call: OrbitCall) -> SandboxAnswer:
    world = call.world
    user = next(user for user in world.users if user["id"] == call.caller.user_id)
    company = {"key": world.company_id, "title": world.company_name}
    return SandboxAnswer(200, encode({"user": user, "company": company}))


def _list(entity: str, call: OrbitCall) -> SandboxAnswer:
    if entity in call.world.lacking:
        raise refused(402, f"your plan does not have {entity}")
    cursor = _walk(entity, call)
    if cursor.since is None:
        keys = sorted(call.world.tables[entity])
        gone: dict[str, Record] = {}
    else:
        changes = list(call.world.changes(entity, cursor.since, cursor.until))
        keys = [change.key for change in changes]
        gone = {
            change.key: {"key": change.key, "why": change.reason, "into": change.into}
            for change in changes
            if change.key not in call.world.tables[entity]
        }
    page = keys[cursor.start : cursor.start + call.options.page_rows]
    is_last = cursor.start + call.options.page_rows >= len(keys)
    following = msgspec.structs.replace(cursor, start=cursor.start + call.options.page_rows)
    return SandboxAnswer(
        200,
        encode(
            {
                "items": [call.world.tables[entity][key] for key in page if key not in gone],
                "removed": [gone[key] for key in page if key in gone],
                "next": None if is_last else sealed(following),
                "sync": sealed(_Token(entity, cursor.until)) if is_last else None,
            }
        ),
    )


def _walk(entity: str, call: OrbitCall) -> _Cursor:
    """Where a request goes on: from its cursor, its token, or the beginning."""
    until = len(call.world.log)
    try:
        if "cursor" in call.query:
            return opened(call.query["cursor"], _Cursor)
        if "since" not in call.query:
            return _Cursor(entity, 0, until, None)
        token = opened(call.query["since"], _Token)
    except ValueError as error:
        raise refused(400, "cursor or token cannot be read") from error
    if token.entity != entity:
        raise refused(400, "the token belongs to another list")
    if token.change < call.world.forgotten:
        raise refused(410, "the token has expired")
    return _Cursor(entity, 0, until, token.change)


def _batch(entity: str, call: OrbitCall) -> SandboxAnswer:
    table = call.world.tables[entity]
    if "tag" in call.query:
        tagged = [row for row in table.values() if row.get("tag") == call.query["tag"]]
        return SandboxAnswer(200, encode({"items": tagged}))
    keys = [unquote(key) for key in call.query.get("keys", "").split(",")]
    return SandboxAnswer(200, encode({"items": [table[key] for key in keys if key in table]}))


def _notes(call: OrbitCall) -> SandboxAnswer:
    accounts = {unquote(key) for key in call.query.get("accounts", "").split(",")}
    notes = [note for note in call.world.truth("notes") if note["account"] in accounts]
    return SandboxAnswer(200, encode({"items": notes}))


def _create(entity: str, call: OrbitCall) -> SandboxAnswer:
    return _written(entity, f"N-{len(call.world.log)}", call)


def _update(entity: str, call: OrbitCall) -> SandboxAnswer:
    key = unquote(call.path["key"])
    if key not in call.world.tables[entity]:
        raise refused(404, "no such record")
    return _written(entity, key, call)


def _written(entity: str, key: str, call: OrbitCall) -> SandboxAnswer:
    values = msgspec.json.decode(call.body, type=dict[str, Any])
    is_inviting = values.pop("invite", False)
    unknown = values.keys() - WRITABLE[entity]
    if unknown:
        raise refused(422, f"{entity} have no {min(unknown)}")
    before = call.world.tables[entity].get(key, {})
    if "props" in values:
        values["props"] = {**before.get("props", {}), **values["props"]}
    record = call.world.put(entity, key, **values)
    if is_inviting:
        call.world.invited.append(key)
    return SandboxAnswer(200, encode(record))


def _endpoints() -> Iterator[ApiEndpoint]:
    yield ApiEndpoint("GET", "/v3/me", 1, (), _me)
    yield ApiEndpoint("GET", "/v3/notes", 1, ("crm.read",), _notes)
    for entity in LISTED:
        scope = {"people": "people.read", "users": "users.read"}.get(entity, "crm.read")
        for path, work in ((f"/v3/{entity}", _list), (f"/v3/{entity}/batch", _batch)):
            yield ApiEndpoint("GET", path, 1, (scope,), _bound(work, entity))
        if entity in WRITABLE:
            path = f"/v3/{entity}"
            yield ApiEndpoint("POST", path, 1, (scope,), _bound(_create, entity))
            yield ApiEndpoint("PATCH", f"{path}/{{key}}", 1, (scope,), _bound(_update, entity))


def _bound(
    work: Callable[[str, OrbitCall], SandboxAnswer], entity: str
) -> Callable[[OrbitCall], SandboxAnswer]:
    return lambda call: work(entity, call)


ROUTES = Routes(tuple(_endpoints()))


def _facts(world: World, base_url: str) -> Mapping[str, str]:
    """What a token answer says besides the tokens: where the API is."""
    home = world.home if isinstance(world, OrbitWorld) else None
    return {"home": home or base_url}


class OrbitService(Service):
    """The parts of one running look-alike of Orbit."""

    fault_kinds: ClassVar[FaultKinds] = FaultKinds(
        instead={
            "http_500": lambda: refused(500, "trouble").answer,
            "too_many_429": lambda: refused(429, "slow down").answer,
            "forbidden_403": lambda: refused(403, "not for you").answer,
            "missing_404": lambda: refused(404, "no such list").answer,
        },
        afterwards=TRANSMISSION,
    )
    dialect: ClassVar[OAuthDialect] = OAuthDialect(
        authorize_path="/connect/authorize",
        token_path="/connect/token",
        revoke_path="/connect/revoke",
        client_auth=("body",),
        needs_pkce=True,
        asks_scopes=True,
        facts=_facts,
    )

    def __init__(self, world: OrbitWorld, settings: OrbitOptions) -> None:
        super().__init__(world, settings)
        self.orbit, self.settings = world, settings

    def api_outcome(self, incoming: IncomingRequest) -> AnsweredRequest:
        """Admits a caller with a token and answers."""
        scheme, _, token = incoming.headers.get("authorization", "").partition(" ")
        caller = self.grants.caller(token, is_app=True) if scheme == "Bearer" else None
        if caller is None:
            raise refused(401, "unknown token")
        endpoint, path = ROUTES.find(incoming.method, incoming.path)
        if endpoint is None:
            raise refused(404, "no such address")
        if endpoint.scopes and not caller.scopes & set(endpoint.scopes):
            raise refused(403, f"the token lacks {' or '.join(endpoint.scopes)}")
        query = dict(parse_qsl(incoming.query, keep_blank_values=True))
        call = OrbitCall(self.orbit, self.settings, caller, path, query, incoming.body)
        return AnsweredRequest(endpoint.answer(call), endpoint.cost, "oauth", caller)


class OrbitSandbox(RunningSandbox):
    """A running look-alike of Orbit."""

    service: OrbitService

    @property
    def orbit(self) -> OrbitWorld:
        """The company's data."""
        return self.service.orbit

    def truth(self, entity: str) -> list[Record]:
        """The records of an entity by key."""
        return self.orbit.truth(entity)


def _records(sandbox: OrbitSandbox, entity: str, _: Mapping[str, str]) -> Iterable[Record]:
    if entity not in ENTITIES:
        raise LookupError(f"unknown entity; known: {', '.join(ENTITIES)}")
    return sandbox.truth(entity)


def _page(sandbox: OrbitSandbox, _: Mapping[str, Any]) -> str:
    return f"<h1>{sandbox.orbit.company_name}</h1>"


INTERFACE = Interface(
    page=_page,
    commands={
        "faults": QueueFault,
        "clock": SetClock,
        "grants": ExpireAccessTokens | TakeScopes | GiveScopes,
    },
    records=_records,
)


@contextmanager
def serve_orbit(world: OrbitWorld, **switches: object) -> Iterator[OrbitSandbox]:
    """Run a look-alike in a thread for the length of a ``with`` block.

    Args:
        world: the company that it serves.
        **switches: fields of ``OrbitOptions`` by name.
    """
    service = OrbitService(world, replace(OrbitOptions(), **switches))  # type: ignore[arg-type]
    with serve_in_thread(lambda url: OrbitSandbox(url, service), INTERFACE) as sandbox:
        yield sandbox
