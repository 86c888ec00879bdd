"""Admits and answers requests in the order of Pipedrive's gateway.

The order: credentials, block and burst, budget, scope, path, then the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from pipedrive_pipeline.sandbox.kit.answers import IncomingRequest, RequestRefused, SandboxAnswer
from pipedrive_pipeline.sandbox.kit.grants import TokenHolder
from pipedrive_pipeline.sandbox.kit.oauth import OAuthDialect
from pipedrive_pipeline.sandbox.kit.service import AnsweredRequest, ApiEndpoint, Routes, Service
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender
from pipedrive_pipeline.sandbox.pipedrive import faults
from pipedrive_pipeline.sandbox.pipedrive.answers import (
    by_gateway,
    by_service,
    token_refusal,
    unauthorized,
)
from pipedrive_pipeline.sandbox.pipedrive.events import RULES, Announcer
from pipedrive_pipeline.sandbox.pipedrive.limits import BurstLimit, TokenBudget, burst_headers
from pipedrive_pipeline.sandbox.pipedrive.options import Options
from pipedrive_pipeline.sandbox.pipedrive.routes import (
    deal_history,
    deals,
    fields,
    options,
    records,
    search,
    v1,
    v1_records,
    webhooks,
    writes,
)
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.state import SandboxState, restore, state_of
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount

ROUTES = Routes(
    (
        *search.endpoints(),
        *deals.endpoints(),
        *deal_history.endpoints(),
        *records.endpoints(),
        *writes.endpoints(),
        *fields.endpoints(),
        *options.endpoints(),
        *v1.endpoints(),
        *v1_records.endpoints(),
        *webhooks.endpoints(),
    )
)
# https://pipedrive.readme.io/docs/marketplace-oauth-authorization (read 2026-09)
DIALECT = OAuthDialect(
    scope_separator=",",
    denied="user_denied",
    refusal=token_refusal,
    facts=lambda _, base_url: {"api_domain": base_url},
)


class PipedriveService(Service):
    """The parts of one running look-alike of Pipedrive."""

    fault_kinds = faults.KINDS
    dialect = DIALECT
    state_type = SandboxState
    webhooks: WebhookSender

    def __init__(self, account: CrmAccount, settings: Options) -> None:
        super().__init__(account, settings)
        self.account, self.settings = account, settings
        self.grants.scopes |= {"base"}  # every app has it
        self.burst = BurstLimit(settings)
        self.budget = TokenBudget(settings, account.clock)
        self.webhooks = WebhookSender(
            account.clock,
            self.faults,
            RULES,
            threads=settings.webhook_threads,
            timeout_seconds=settings.webhook_timeout_seconds,
        )
        self._announcer = Announcer(account, self.webhooks)
        self.grants.on_end = lambda grant: self.webhooks.remove_of(grant.user_id, "uninstalled")

    def close(self) -> None:
        """End the delivery of webhooks."""
        self._announcer.close()
        super().close()

    def state(self) -> SandboxState:
        """What a restart must bring back."""
        return state_of(self.account, self.grants, self.webhooks)

    def restore(self, state: SandboxState) -> None:
        """Brings back a state."""
        restore(state, self.account, self.grants, self.webhooks)

    def api_outcome(self, incoming: IncomingRequest) -> AnsweredRequest:
        """Admits and answers a request of the API."""
        if incoming.path == f"{DIALECT.token_path}/":
            return AnsweredRequest(
                SandboxAnswer(301, b"", headers={"location": DIALECT.token_path})
            )
        if incoming.path.startswith("/oauth/"):
            return AnsweredRequest(by_service(404, "Not found").answer)
        query = parse_qsl(incoming.query, keep_blank_values=True)
        caller, auth = self._caller(incoming.headers, query)
        if caller is None:
            return AnsweredRequest(unauthorized(), auth=auth)
        endpoint, path = ROUTES.find(incoming.method, _canonical(incoming.path))
        window = self.burst.admit(caller, is_search=bool(endpoint and endpoint.is_search))
        if isinstance(window, SandboxAnswer):
            return AnsweredRequest(window, 0, auth, caller)
        outcome = AnsweredRequest(
            self._worked(endpoint, path, caller, query, incoming), 0, auth, caller
        )
        status = outcome.answer.status
        if endpoint is not None and (status < 300 or status == 404 or self._charges(status)):
            outcome.cost = endpoint.cost
            self.budget.spend(endpoint.cost)
        outcome.answer.headers = {
            **burst_headers(window),
            **self.budget.headers(),
            **outcome.answer.headers,
        }
        return outcome

    def _charges(self, status: int) -> bool:
        return self.settings.charges_refused and status < 500 and status != 429

    def _worked(
        self,
        endpoint: ApiEndpoint | None,
        path: Mapping[str, str],
        caller: TokenHolder,
        query: list[tuple[str, str]],
        incoming: IncomingRequest,
    ) -> SandboxAnswer:
        if endpoint is None:
            return _without_endpoint(incoming.path)
        refusal = self.budget.refusal(endpoint.cost)
        if refusal is not None:
            return refusal
        if caller.is_app and endpoint.scopes and not caller.scopes & set(endpoint.scopes):
            return by_gateway(403, "Scope and URL mismatch").answer
        call = AdmittedCall(
            self.account, self.settings, caller, path, query, self.webhooks, incoming.body
        )
        try:
            with self.account.acting(caller.user_id):
                return endpoint.answer(call)
        except RequestRefused as refused:
            return refused.answer

    def _caller(
        self, headers: Mapping[str, str], query: list[tuple[str, str]]
    ) -> tuple[TokenHolder | None, str]:
        """The caller and the kind of credential; removes an accepted token from the query."""
        if "authorization" in headers:
            scheme, _, token = headers["authorization"].partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise by_gateway(400, "Invalid request: malformed authorization header")
            return self.grants.caller(token.strip(), is_app=True), "oauth"
        if "x-api-token" in headers:
            return self.grants.caller(headers["x-api-token"], is_app=False), "api_token"
        if self.settings.takes_token_in_query:
            for pair in [pair for pair in query if pair[0] == "api_token"]:
                query.remove(pair)
                return self.grants.caller(pair[1], is_app=False), "query"
        return None, "none"


def _canonical(path: str) -> str:
    """A path of v1 in its short form; v1 is served under both."""
    return path.removeprefix("/api") if path.startswith("/api/v1/") else path


def _without_endpoint(path: str) -> SandboxAnswer:
    methods = sorted(endpoint.method for endpoint in ROUTES.at(_canonical(path)))
    if not methods:
        return by_service(404, "Unknown method .").answer
    answer = by_service(405, "Method not allowed").answer
    answer.headers["allow"] = ", ".join(methods)
    return answer
