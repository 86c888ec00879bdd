"""Handles each request: OAuth, the system's own routes, faults, the log of requests."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import format_datetime
from functools import cache
from typing import Any, ClassVar

from pipedrive_pipeline.sandbox.kit.answers import IncomingRequest, RequestRefused, SandboxAnswer
from pipedrive_pipeline.sandbox.kit.clock import stamp
from pipedrive_pipeline.sandbox.kit.faults import Fault, FaultKinds, Faults
from pipedrive_pipeline.sandbox.kit.grants import Grants, TokenHolder
from pipedrive_pipeline.sandbox.kit.journal import Journal, LoggedRequest
from pipedrive_pipeline.sandbox.kit.oauth import OAuth, OAuthDialect
from pipedrive_pipeline.sandbox.kit.options import ServerOptions
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender
from pipedrive_pipeline.sandbox.kit.world import World


@dataclass(frozen=True)
class ApiEndpoint:
    """One method of one path, its price and who may call it."""

    method: str
    path: str  # with the variable parts in braces
    cost: int  # tokens
    scopes: tuple[str, ...]  # an app needs one of these; empty: every app may call
    answer: Callable[[Any], SandboxAnswer] = field(repr=False)  # of the system's own kind of call
    is_search: bool = False

    def match(self, path: str) -> Mapping[str, str] | None:
        """The variable parts of a path that is this one's; None for any other path."""
        match = _pattern(self.path).fullmatch(path)
        return None if match is None else match.groupdict()


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


class Routes:
    """The endpoints of one system."""

    def __init__(self, endpoints: Sequence[ApiEndpoint]) -> None:
        self.endpoints = tuple(endpoints)

    def at(self, path: str) -> list[ApiEndpoint]:
        """The endpoints of a path; a literal path (``/search``) wins over a pattern (``/{id}``)."""
        matching = [endpoint for endpoint in self.endpoints if endpoint.match(path) is not None]
        if not matching:
            return []
        closest = min(matching, key=lambda endpoint: endpoint.path.count("{")).path
        return [endpoint for endpoint in matching if endpoint.path == closest]

    def find(self, method: str, path: str) -> tuple[ApiEndpoint | None, Mapping[str, str]]:
        """The endpoint of a request with the variable parts of its path."""
        for endpoint in self.at(path):
            if endpoint.method == method:
                return endpoint, endpoint.match(path) or {}
        return None, {}


@dataclass
class AnsweredRequest:
    """An answer, and what the log says about it."""

    answer: SandboxAnswer
    cost: int = 0
    auth: str = "none"
    caller: TokenHolder | None = None


class Service(ABC):
    """The parts of one running look-alike."""

    fault_kinds: ClassVar[FaultKinds]
    dialect: ClassVar[OAuthDialect]
    state_type: ClassVar[Any] = None  # a type that msgspec reads; None: its state is not kept

    webhooks: WebhookSender | None = None  # None: the system has none

    def __init__(self, world: World, options: ServerOptions) -> None:
        self.world, self.options = world, options
        self.grants = Grants(world, options)
        self.faults = Faults(self.fault_kinds)
        self.journal = Journal()
        self.oauth = OAuth(world, options, self.grants, self.dialect)

    @abstractmethod
    def api_outcome(self, incoming: IncomingRequest) -> AnsweredRequest:
        """Admits and answers a request that is none of OAuth's.

        Raises:
            RequestRefused: with the error that is the answer.
        """

    def state(self) -> Any:
        """What a restart must bring back, as `state_type`. Called under the world's lock."""
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Brings back a state. Called under the world's lock."""
        raise NotImplementedError

    def version(self) -> object:
        """Another value whenever `state` may differ."""
        webhooks = self.webhooks.change_count if self.webhooks else 0
        return (len(self.world.history), self.grants.pairs(), self.grants.api_tokens, webhooks)

    def close(self) -> None:
        """End what goes on besides answering: the delivery of webhooks."""
        if self.webhooks:
            self.webhooks.close()

    def answer(self, incoming: IncomingRequest) -> SandboxAnswer:
        """The answer to a request, changed by any fault that is due."""
        started = time.perf_counter()
        number = self.journal.next_number()
        faults = self.faults.due(f"{incoming.path}?{incoming.query}")
        for fault in faults:
            if fault.action is not None:
                fault.action()
        with self.world.lock:
            outcome = self._outcome(incoming, faults)
        now = self.world.clock.now()
        outcome.answer.headers["date"] = format_datetime(now.replace(microsecond=0), usegmt=True)
        outcome.answer = self._spoiled(outcome.answer, incoming, faults)
        self.journal.add(
            LoggedRequest(
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

    def _spoiled(
        self, answer: SandboxAnswer, incoming: IncomingRequest, faults: list[Fault]
    ) -> SandboxAnswer:
        for fault in faults:
            change = self.fault_kinds.afterwards.get(fault.kind)
            if change is not None and (answer.status < 300 or fault.kind == "slow"):
                answer = change(answer, incoming.query)
            answer.delay_seconds += fault.seconds
        answer.delay_seconds += self.options.latency_seconds
        return answer

    def _outcome(self, incoming: IncomingRequest, faults: list[Fault]) -> AnsweredRequest:
        for fault in faults:
            if fault.kind in self.fault_kinds.instead:
                return AnsweredRequest(self.fault_kinds.instead[fault.kind]())
        answer = self.oauth.answer(incoming)
        if answer is not None:
            return AnsweredRequest(answer)
        try:
            return self.api_outcome(incoming)
        except RequestRefused as refusal:
            return AnsweredRequest(refusal.answer)


def _without_secrets(query: str) -> str:
    return re.sub(r"(api_token|code|state)=[^&]+", r"\1=…", query)
