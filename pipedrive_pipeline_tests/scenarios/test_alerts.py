"""A person is told once, and again when it is over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.errors import ReauthNeeded
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address for alerts, and what arrives there."""
    arrived: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            arrived.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"json://127.0.0.1:{server.server_port}/", arrived
        server.shutdown()
        thread.join()


def test_a_revoked_tenant_is_told_once_and_again_when_it_works(
    world: World, sandbox: Sandbox
) -> None:
    """An alert a night for the same cause is an alert that nobody reads."""
    with receiver() as (address, arrived):
        alerted = replace(
            world, settings=world.settings.model_copy(update={"alert_urls": (SecretStr(address),)})
        )
        sandbox.revoke()
        for _ in range(2):
            with pytest.raises(ReauthNeeded):
                alerted.sync()
        alerted.connect(ACME, sandbox)
        alerted.sync()
        alerted.sync()

    assert [alert["title"] for alert in arrived] == [
        "acme: needs_reauth, a person must act",
        "acme: works again",
    ]
    assert "connect --tenant acme" in arrived[0]["message"]
