"""FastAPI dependencies that every package uses: the app's services, the path's system, the body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Path, Request

from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.event_writer import EventWriter
from pipedrive_pipeline.connect.lending import Lending
from pipedrive_pipeline.connect.received_events import Deliveries
from pipedrive_pipeline.connect.refused_requests import RefusalCounter
from pipedrive_pipeline.connect.slow_work_limit import SlowWork
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse

FORM_FIELDS_MAX = 5_000  # the mapping of a thousand fields; the body's size is limited before


@dataclass(frozen=True)
class Services:
    """The objects that requests share."""

    vault: Vault  # opens connections of its own: it may lock a row while it calls the source
    warehouse: Warehouse  # connections of a pool
    requests_a_minute: int  # of one caller
    crm_requests: int  # of one caller to the CRM API, in ten minutes
    slow_work: SlowWork
    refusals: RefusalCounter
    deliveries: Deliveries
    events: EventWriter
    lending: Lending


@dataclass(frozen=True)
class Body:
    """A form or a JSON object; ``is_form`` is True for a form that a browser sent."""

    fields: Mapping[str, object]
    is_form: bool

    def text(self, name: str) -> str:
        """A field as text; empty if it is absent or has another type."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def texts(self) -> dict[str, str]:
        """Every field that is a text."""
        return {name: value for name, value in self.fields.items() if isinstance(value, str)}


async def app_services(request: Request) -> Services:
    """The app's services. Asynchronous because a thread for it would cost 0.2 ms."""
    services: Services = request.app.state.services
    return services


async def known_system(
    system: Annotated[str, Path(json_schema_extra={"enum": [*registry.system_keys()]})],
) -> str:
    """The system in the path.

    Raises:
        NotFound: no system has this key; the message names those that there are.
    """
    keys = registry.system_keys()
    if system not in keys:
        raise NotFound(f"There is no system of this name; there are {', '.join(keys)}.")
    return system


async def read_body(request: Request) -> Body:
    """The body of the request; an absent one is an empty object.

    Raises:
        BadInput: it is neither a form nor a JSON object.
    """
    content, kind = await request.body(), request.headers.get("content-type", "")
    try:
        if kind.startswith("application/x-www-form-urlencoded"):
            pairs = parse_qsl(
                content.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX
            )
            return Body(dict(pairs), is_form=True)
        fields = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError):
        raise BadInput("The body is neither a form nor JSON.") from None
    if not isinstance(fields, dict):
        raise BadInput("The body is no JSON object.")
    return Body(fields, is_form=False)


AppServices = Annotated[Services, Depends(app_services)]
SystemKey = Annotated[str, Depends(known_system)]
SentBody = Annotated[Body, Depends(read_body)]
