"""Handles each request: admission, answer, price, faults, journal.

The order is the gateway's: credentials, block and burst, budget, scope, path, then the work.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import parse_qsl

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web import (
    field_routes,
    merge_routes,
    option_routes,
    record_routes,
    search_routes,
    v1_routes,
    write_routes,
)
from pipedrive_pipeline.sandbox.web.answers import Answer, Refusal, by_gateway, by_service
from pipedrive_pipeline.sandbox.web.calls import Call, Caller, Endpoint
from pipedrive_pipeline.sandbox.web.faults import AFTERWARDS, INSTEAD, Fault, Faults, unauthorized
from pipedrive_pipeline.sandbox.web.grants import Grants
from pipedrive_pipeline.sandbox.web.journal import Journal, Request
from pipedrive_pipeline.sandbox.web.limits import Budget, BurstWindow
from pipedrive_pipeline.sandbox.web.oauth import OAuth
from pipedrive_pipeline.sandbox.world.account import Account
from pipedrive_pipeline.sandbox.world.clock import stamp

ENDPOINTS: tuple[Endpoint, ...] = (
    *search_routes.endpoints(),
    *record_routes.endpoints(),
    *write_routes.endpoints(),
    *field_routes.endpoints(),
    *option_routes.endpoints(),
    *merge_routes.endpoints(),
    *v1_routes.endpoints(),
)


@dataclass(frozen=True)
class Incoming:
    """A request as it came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    base_url: str


@dataclass
class _Outcome:
    answer: Answer
    cost: int = 0
    auth: str = "none"
    caller: Caller | None = None


class Service:
    """The parts of one running sandbox."""

    def __init__(self, account: Account, options: Options) -> None:
        self.account, self.options = account, options
        self.grants = Grants(account, options)
        self.burst = BurstWindow(options)
        self.budget = Budget(options, account.clock)
        self.faults = Faults()
        self.journal = Journal()
        self.oauth = OAuth(account, options, self.grants)

    def answer(self, incoming: Incoming) -> Answer:
        """The answer to a request, changed by any fault that is due."""
        started = time.perf_counter()
        number = self.journal.next_number()
        faults = self.faults.due(f"{incoming.path}?{incoming.query}")
        for fault in faults:
            if fault.action is not None:
                fault.action()
        with self.account.lock:
            outcome = self._outcome(incoming, faults)
        now = self.account.clock.now()
        outcome.answer.headers["date"] = format_datetime(now.replace(microsecond=0), usegmt=True)
        outcome.answer = self._spoiled(outcome.answer, incoming, faults)
        self.journal.add(
            Request(
                number=number,
                at=stamp(now),
                method=incoming.method,
                path=incoming.path,
                query=_without_secrets(incoming.query),
                status=outcome.answer.status,
                cost=outcome.cost,
                auth=outcome.auth,
                user_id=None if outcome.caller is None else outcome.caller.user_id,
                fault=",".join(fault.kind for fault in faults) or None,
                bytes=len(outcome.answer.body),
                seconds=time.perf_counter() - started,
            )
        )
        return outcome.answer

    def _spoiled(self, answer: Answer, incoming: Incoming, faults: list[Fault]) -> Answer:
        for fault in faults:
            if fault.kind in AFTERWARDS and (answer.status < 300 or fault.kind == "slow"):
                answer = AFTERWARDS[fault.kind](answer, incoming.query)
            answer.delay_seconds += fault.seconds
        answer.delay_seconds += self.options.latency_seconds
        return answer

    def _outcome(self, incoming: Incoming, faults: list[Fault]) -> _Outcome:
        for fault in faults:
            if fault.kind in INSTEAD:
                return _Outcome(INSTEAD[fault.kind]())
        if incoming.path.startswith("/oauth/"):
            return _Outcome(self._oauth_answer(incoming))
        try:
            return self._api_outcome(incoming)
        except Refusal as refusal:
            return _Outcome(refusal.answer)

    def _oauth_answer(self, incoming: Incoming) -> Answer:
        route = (incoming.method, incoming.path)
        if route == ("GET", "/oauth/authorize"):
            return self.oauth.authorize(dict(parse_qsl(incoming.query)))
        if route == ("POST", "/oauth/authorize"):
            decision = dict(parse_qsl(incoming.body.decode("utf-8", "replace")))
            return self.oauth.authorize(dict(parse_qsl(incoming.query)), decision)
        if route == ("POST", "/oauth/token"):
            return self.oauth.token(incoming.headers, incoming.body, incoming.base_url)
        if route == ("POST", "/oauth/revoke"):
            return self.oauth.revoke(incoming.headers, incoming.body)
        if incoming.path == "/oauth/token/":
            return Answer(301, b"", headers={"location": "/oauth/token"})
        return by_service(404, "Not found").answer

    def _api_outcome(self, incoming: Incoming) -> _Outcome:
        query = parse_qsl(incoming.query, keep_blank_values=True)
        caller, auth = self._caller(incoming.headers, query)
        if caller is None:
            return _Outcome(unauthorized(), auth=auth)
        endpoint, path = _endpoint(incoming.method, incoming.path)
        window = self.burst.admit(caller, is_search=bool(endpoint and endpoint.is_search))
        if isinstance(window, Answer):
            return _Outcome(window, 0, auth, caller)
        outcome = _Outcome(self._worked(endpoint, path, caller, query, incoming), 0, auth, caller)
        status = outcome.answer.status
        if endpoint is not None and (status < 300 or status == 404 or self._charges(status)):
            outcome.cost = endpoint.cost
            self.budget.spend(endpoint.cost)
        outcome.answer.headers = {
            **window.headers(),
            **self.budget.headers(),
            **outcome.answer.headers,
        }
        return outcome

    def _charges(self, status: int) -> bool:
        return self.options.charges_refused and status < 500 and status != 429

    def _worked(
        self,
        endpoint: Endpoint | None,
        path: Mapping[str, str],
        caller: Caller,
        query: list[tuple[str, str]],
        incoming: Incoming,
    ) -> Answer:
        if endpoint is None:
            return _without_endpoint(incoming.path)
        refusal = self.budget.refusal(endpoint.cost)
        if refusal is not None:
            return refusal
        if caller.is_app and endpoint.scopes and not caller.scopes & set(endpoint.scopes):
            return by_gateway(403, "Scope and URL mismatch").answer
        call = Call(self.account, self.options, caller, path, query, incoming.body)
        try:
            return endpoint.answer(call)
        except Refusal as refused:
            return refused.answer

    def _caller(
        self, headers: Mapping[str, str], query: list[tuple[str, str]]
    ) -> tuple[Caller | None, str]:
        """The caller and the kind of credential; removes an accepted token from the query."""
        if "authorization" in headers:
            scheme, _, token = headers["authorization"].partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise by_gateway(400, "Invalid request: malformed authorization header")
            return self.grants.caller(token.strip(), is_app=True), "oauth"
        if "x-api-token" in headers:
            return self.grants.caller(headers["x-api-token"], is_app=False), "api_token"
        if self.options.takes_token_in_query:
            for pair in [pair for pair in query if pair[0] == "api_token"]:
                query.remove(pair)
                return self.grants.caller(pair[1], is_app=False), "query"
        return None, "none"


_PATTERNS = {
    endpoint: re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", endpoint.path))
    for endpoint in ENDPOINTS
}


def _match(endpoint: Endpoint, path: str) -> Mapping[str, str] | None:
    path = path.removeprefix("/api") if path.startswith("/api/v1/") else path
    match = _PATTERNS[endpoint].fullmatch(path)
    return None if match is None else match.groupdict()


def _at(path: str) -> list[Endpoint]:
    """The endpoints of a path; a literal path (``/search``) wins over a pattern (``/{id}``)."""
    matching = [endpoint for endpoint in ENDPOINTS if _match(endpoint, path) is not None]
    return [endpoint for endpoint in matching if endpoint.path == matching[0].path]


def _endpoint(method: str, path: str) -> tuple[Endpoint | None, Mapping[str, str]]:
    for endpoint in _at(path):
        if endpoint.method == method:
            return endpoint, _match(endpoint, path) or {}
    return None, {}


def _without_endpoint(path: str) -> Answer:
    methods = sorted(endpoint.method for endpoint in _at(path))
    if not methods:
        return by_service(404, "Unknown method .").answer
    answer = by_service(405, "Method not allowed").answer
    answer.headers["allow"] = ", ".join(methods)
    return answer


def _without_secrets(query: str) -> str:
    return re.sub(r"(api_token|code|state)=[^&]+", r"\1=…", query)
