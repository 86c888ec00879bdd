"""Where events may be sent: no address leads into the operator's network."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.transport import open_client
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.events.addresses import CALL_LIMITS, checked_url
from pipedrive_pipeline.sync.events.queue import Attempt
from pipedrive_pipeline.sync.events.sending import send
from pipedrive_pipeline.sync.events.signatures import new_secret, signed_headers

ATTACKS = (
    "http://app.example.com/x",
    "https://127.0.0.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://127.1/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1/x",
    "https://localhost/x",
    "https://ip6-loopback/x",
    "https://postgres/x",
    "https://user:password@app.example.com/x",
    "https://app.example.com@127.0.0.1/x",
    "https://app.example.com\\@127.0.0.1/x",
    "https://app.example.com\t.evil/x",
    "https://app.example.com/a b",
    "https://app.example.com/\r\nx-header: 1",
    "https://app.example.com/x#fragment",
    "https://exämple.com/x",
    "https://app.example.com:99999/x",
    "https:///x",
    "ftp://app.example.com/x",
    "file:///etc/passwd",
    "gopher://app.example.com/x",
    "https://app.example.com/" + "x" * 2_000,
)


@pytest.mark.parametrize("url", ATTACKS)
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"^url: "):
        checked_url(url, Settings())


def test_a_public_address_and_an_allowed_one_are_taken() -> None:
    """The operator allows hosts by their letters; plain http only to this machine."""
    allowing = Settings().model_copy(
        update={"event_allowed_hosts": ("127.0.0.1", "hooks.internal", "10.0.0.5")}
    )

    assert checked_url("https://app.example.com:8443/x?y=z", Settings())
    assert checked_url("http://127.0.0.1:9000/x", allowing)
    assert checked_url("https://hooks.internal/x", allowing)
    for refused in ("http://hooks.internal/x", "http://10.0.0.5/x", "https://10.0.0.6/x"):
        with pytest.raises(BadInput, match="EVENT_ALLOWED_HOSTS"):
            checked_url(refused, allowing)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1"])
def test_a_public_name_that_leads_to_a_private_address_is_not_connected_to(address: str) -> None:
    """The answer of the DNS is checked when the connection is made, and it is the one used."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return [address]

    async def attempt() -> Attempt:
        async with open_client(CALL_LIMITS, AllowedHosts(), resolve=resolve) as client:
            return await send(
                client,
                "https://app.example.com/x",
                b"{}",
                message_id="evt_1",
                secrets=[new_secret()],
            )

    outcome = asyncio.run(attempt())

    assert not outcome.is_delivered
    assert outcome.error == (
        "the address may not be used: app.example.com resolves to it, and it is not public"
    )


def test_a_public_library_accepts_the_signature_and_no_other() -> None:
    """Of a body, a time and a secret; with two secrets in a rotation, either one."""
    now, body = datetime.now(UTC), '{"type":"deal.won","name":"Müller"}'.encode()
    former, new, strange = new_secret(), new_secret(), new_secret()
    headers = signed_headers("evt_1", now, body, [new, former])

    def is_accepted(secret: SecretStr, body: bytes, **changed: str) -> bool:
        sent = headers | {name.replace("_", "-"): value for name, value in changed.items()}
        try:
            Webhook(secret.get_secret_value()).verify(body, sent)
        except WebhookVerificationError:
            return False
        return True

    assert is_accepted(new, body)
    assert is_accepted(former, body)
    assert not is_accepted(strange, body)
    assert not is_accepted(new, body + b" ")
    assert not is_accepted(new, body, webhook_id="evt_2")
    assert not is_accepted(new, body, webhook_timestamp=str(int(now.timestamp()) - 1))
