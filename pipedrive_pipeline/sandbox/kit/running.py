"""The handle of a running look-alike: address, credentials, requests, faults, clock and tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.faults import Faults
from pipedrive_pipeline.sandbox.kit.grants import Grants
from pipedrive_pipeline.sandbox.kit.journal import Journal
from pipedrive_pipeline.sandbox.kit.service import Service
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender

Record = dict[str, Any]


class RunningSandbox:
    """A running look-alike; a system's own class adds what only it has."""

    def __init__(self, url: str, service: Service) -> None:
        self.url = url
        self.service = service

    @property
    def client_id(self) -> str:
        """Of the OAuth app."""
        return self.service.options.client_id

    @property
    def client_secret(self) -> str:
        """Of the OAuth app."""
        return self.service.options.client_secret

    @property
    def requests(self) -> Journal:
        """Every request, with its cost."""
        return self.service.journal

    @property
    def faults(self) -> Faults:
        """The faults that are queued for coming requests."""
        return self.service.faults

    @property
    def clock(self) -> ServerClock:
        """The server's clock."""
        return self.service.world.clock

    @property
    def grants(self) -> Grants:
        """All tokens and who owns them."""
        return self.service.grants

    @property
    def webhooks(self) -> WebhookSender:
        """The webhooks and the delivery of their events.

        Raises:
            LookupError: the system has none.
        """
        if self.service.webhooks is None:
            raise LookupError("this system has no webhooks")
        return self.service.webhooks

    def revoke(self, user_id: Any = None) -> None:
        """End the app's installations (of one user, or all) and replace the API tokens."""
        with self.service.world.lock:
            self.grants.uninstall(user_id)
            for holder in list(self.grants.api_tokens.values()):
                if user_id in (None, holder):
                    self.grants.new_api_token(holder)


@dataclass(frozen=True)
class Interface:
    """What a look-alike shows to people and to tests in other languages, besides its API."""

    page: Callable[[Any, dict[str, str]], str]  # the handle and the query of ``/``; HTML
    commands: Mapping[str, Any]  # messages of ``POST /_sandbox/{name}``, with a method `run`
    records: Callable[[Any, str, Mapping[str, str]], Iterable[Record]]  # of an entity, for a query
