"""Opens a tenant's source for a run: with its credential, its allowance and its usage record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import cached_property, partial

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import (
    Access,
    ApiCall,
    Credential,
    Entity,
    Searcher,
    Source,
    WebhookAdmin,
)
from pipedrive_pipeline.connectors.writing import Writer
from pipedrive_pipeline.errors import BudgetSpent, NotConnected
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.budget import daily_budget
from pipedrive_pipeline.sync.budget.pricing import Price, price
from pipedrive_pipeline.sync.budget.usage import UsageRecorder
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.vault.connections import connection
from pipedrive_pipeline.vault.lending import borrow, lender_of
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse


def utc_now() -> datetime:
    """Returns the current time in UTC."""
    return datetime.now(UTC)


class SourceAccess:
    """One run's access to its tenant's source. Opening it does no I/O; the first call does."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        scope: Scope,
        *,
        is_increment: bool = False,
        kept_share: float = 0.0,
        now: daily_budget.Now = utc_now,
        credential: Credential | None = None,
    ) -> None:
        self._warehouse, self._now = warehouse, now
        self._vault = open_vault(warehouse, settings)
        self.scope, self._is_increment = scope, is_increment
        self._kept_share = kept_share
        self._lend = (
            lender_of(scope, credential) if credential else partial(borrow, self._vault, scope)
        )
        self._declaration = registry.system(scope.system)
        self.usage = UsageRecorder(warehouse, scope, now)

    @property
    def entities(self) -> Mapping[str, Entity]:
        """Returns the source's entities by name."""
        return self._declaration.by_name

    @cached_property
    def allowance(self) -> daily_budget.Allowance:
        """Returns this run's allowance; other kinds of run reserve tokens for incremental syncs.

        Raises:
            StillPaused: the budget has not been reset yet.
        """
        daily_budget.require_not_paused(self._warehouse, self.scope, self._now())
        read = entities_read(self._warehouse, self.scope)
        increment = daily_budget.cost_of_increment(read.values())
        return daily_budget.Allowance(
            self._warehouse,
            self.scope,
            self._now,
            reserve_per_tenant=0 if self._is_increment else increment,
            kept_share=self._kept_share,
        )

    def open(self, on_call: Callable[[ApiCall], None]) -> AbstractAsyncContextManager[Source]:
        """Opens the source; ``on_call`` is called after each HTTP call."""
        return self._declaration.open(self._access(on_call))

    def open_writer(self) -> AbstractAsyncContextManager[Writer]:
        """Opens the source for writing, of a system that can be written; `book` books its calls."""
        assert self._declaration.open_writer is not None  # noqa: S101 - it has `writes`
        return self._declaration.open_writer(self._access(self.usage.on_call))

    def open_webhooks(self) -> AbstractAsyncContextManager[WebhookAdmin]:
        """Opens the source's webhooks, of a system that has some; `book` books its calls."""
        assert self._declaration.webhooks is not None  # noqa: S101 - asked before
        return self._declaration.webhooks.open(self._access(self.usage.on_call))

    def open_search(self) -> AbstractAsyncContextManager[Searcher]:
        """Opens the source's search, of a system that has one; `usage` counts its calls."""
        assert self._declaration.search is not None  # noqa: S101 - asked before
        return self._declaration.search.open(self._access(self.usage.on_call))

    def _access(self, on_call: Callable[[ApiCall], None]) -> Access:
        allowance = self.allowance
        self.usage.company_id = self.usage.company_id or allowance.standing.company_id

        def booked(call: ApiCall) -> None:
            allowance.on_call(call)
            on_call(call)

        return Access(
            tenant=self.scope.tenant.slug,
            lend=self._lend,
            allowed_hosts=self._vault.allowed_hosts(self.scope),
            on_call=booked,
            before_call=allowance.before_call,
            now=self._now,
        )

    def price(self, entities: Iterable[Entity]) -> Price:
        """Returns the cost of a full read of these entities.

        Raises:
            PipelineError: an entity was never read completely, and the source cannot be called.
        """
        allowance = self.allowance
        try:
            return price(
                self._warehouse,
                self.scope,
                list(entities),
                open_source=lambda: self.open(self.usage.on_call),
                daily_limit=lambda: allowance.standing.limit,
            )
        finally:
            self.usage.write()

    def assert_connected(self) -> None:
        """Returns unless the tenant was disconnected meanwhile.

        Raises:
            NotConnected: no more rows of the tenant may be written.
        """
        row = connection(self._vault, self.scope)
        if row is None or row.state is ConnectionState.DISCONNECTED:
            raise NotConnected(self.scope.tenant.slug, self.scope.system)

    def book(self) -> None:
        """Books the tokens spent since the last time, and subtracts those of other runs."""
        self.usage.write()
        self.allowance.refresh()

    def note_spent_days(self, errors: Iterable[BaseException]) -> None:
        """Saves for the whole company that the source reported its daily budget as spent."""
        for error in errors:
            is_ours = isinstance(error, daily_budget.AllowanceSpent | daily_budget.StillPaused)
            if isinstance(error, BudgetSpent) and not is_ours:
                self.usage.note_spent(error.resets_at)
