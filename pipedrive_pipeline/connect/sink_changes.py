"""Changes of sinks, as the API and the pages make them: by the operator only, and a few at once.

A sink reads and writes a table of the app with a tenant's value that its declaration names: only
the operator may say which, since a tenant's admin could name another tenant's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import OperatorOnly
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.requests import request_sync


class SinkChanges:
    """The sinks of one tenant and system, for the operator.

    Each method raises what the function of `marts.sinks` raises, and `TooMuchAtOnce`.
    """

    def __init__(self, services: Services, caller: Caller, system: str) -> None:
        """Raises `OperatorOnly` for a tenant's key."""
        if not caller.is_operator:
            raise OperatorOnly
        self._services, self._who = services, caller.name
        self.scope = Scope(caller.tenant, system)

    def preview(self, declarations: Any) -> list[sinks.SinkPreview]:
        """Returns what sinks would write; nothing is kept."""
        with self._services.slow_work.slot(self.scope.tenant):
            return sinks.preview(self._services.warehouse, self.scope, declarations)

    def save(
        self, declarations: Any, *, based_on: int, is_adding_columns: bool = False
    ) -> sinks.SinksVersion:
        """Saves sinks as the active version, and requests a remap, which feeds them."""
        with self._services.slow_work.slot(self.scope.tenant):
            version = sinks.save(
                self._services.warehouse,
                self.scope,
                declarations,
                who=self._who,
                based_on=based_on,
                is_adding_columns=is_adding_columns,
            )
        self._request_remap()
        return version

    def match(self, name: str) -> sinks.MatchReport:
        """Returns which rows of the app are which records; nothing of the app is written."""
        with self._services.slow_work.slot(self.scope.tenant):
            return sinks.match(self._services.warehouse, self.scope, name)

    def match_report(self, name: str) -> sinks.MatchReport:
        """Returns the report of the last match, as of now."""
        with self._services.slow_work.slot(self.scope.tenant):
            return sinks.match_report(self._services.warehouse, self.scope, name)

    def confirm(self, name: str, choices: Mapping[str, str | None]) -> sinks.Confirmed:
        """Links what was matched and chosen, and requests a remap, which writes it."""
        with self._services.slow_work.slot(self.scope.tenant):
            confirmed = sinks.confirm(
                self._services.warehouse, self.scope, name, who=self._who, choices=choices
            )
        self._request_remap()
        return confirmed

    def undo(self, name: str) -> sinks.Undone:
        """Gives adopted rows their values back, and stops the sink."""
        with self._services.slow_work.slot(self.scope.tenant):
            return sinks.undo(self._services.warehouse, self.scope, name, who=self._who)

    def _request_remap(self) -> None:
        with self._services.warehouse.as_app(self.scope.tenant) as connection:
            request_sync(connection, self.scope, "remap", who=self._who, is_for_change=True)
