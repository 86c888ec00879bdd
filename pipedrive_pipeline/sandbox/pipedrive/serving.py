"""Serves a make-believe Pipedrive company."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from pipedrive_pipeline.sandbox.kit import server
from pipedrive_pipeline.sandbox.kit.control import number
from pipedrive_pipeline.sandbox.kit.control_messages import SetClock, WebhookCommand
from pipedrive_pipeline.sandbox.kit.running import Interface
from pipedrive_pipeline.sandbox.pipedrive.control_messages import GrantCommand, QueueFaultOrEdit
from pipedrive_pipeline.sandbox.pipedrive.edits import EditCommand
from pipedrive_pipeline.sandbox.pipedrive.options import Options
from pipedrive_pipeline.sandbox.pipedrive.pages import account_page
from pipedrive_pipeline.sandbox.pipedrive.running import Record, Sandbox
from pipedrive_pipeline.sandbox.pipedrive.service import PipedriveService
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES


def _records(sandbox: Sandbox, entity: str, query: Mapping[str, str]) -> Iterable[Record]:
    """The expected rows of an entity for the control route.

    Raises:
        LookupError: there is no such entity or user.
    """
    if entity not in ENTITIES:
        raise LookupError(f"unknown entity; known: {', '.join(ENTITIES)}")
    user_id = number(query.get("user_id", ""))
    if user_id is not None and user_id not in sandbox.account.rights:
        raise LookupError(f"unknown user {user_id}")
    return sandbox.truth(entity, user_id=user_id, as_of=number(query.get("as_of", "")))


INTERFACE = Interface(
    page=account_page,
    commands={
        "edit": EditCommand,
        "faults": QueueFaultOrEdit,
        "clock": SetClock,
        "grants": GrantCommand,
        "webhooks": WebhookCommand,
    },
    records=_records,
)


@contextmanager
def serve(
    account: CrmAccount, options: Options | None = None, *, port: int = 0, **switches: object
) -> Iterator[Sandbox]:
    """Run a sandbox in a thread for the length of a ``with`` block.

    Args:
        account: the company that it serves.
        options: its settings; ``switches`` override single ones.
        port: 0 takes any free one.
        **switches: fields of ``Options`` by name.
    """
    options = replace(options or Options(), **switches)  # type: ignore[arg-type]
    service = PipedriveService(account, options)
    with server.serve_in_thread(lambda url: Sandbox(url, service), INTERFACE, port=port) as sandbox:
        yield sandbox


def run(service: PipedriveService, port: int, *, announce: Callable[[str], None]) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; see `kit.server.serve_in_foreground`."""
    server.serve_in_foreground(
        lambda url: Sandbox(url, service), INTERFACE, port, announce=announce
    )
