"""Where a name may lead: the address that is connected to is the one that was checked.

The attack: a name that is ours by its letters is made to point into the operator's own network, at
once or between the check and the connection (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from pipedrive_pipeline.connectors.hosts import AllowedHosts, checked_address
from pipedrive_pipeline.connectors.transport import Limits, exchange, in_plain_words, open_client
from pipedrive_pipeline.errors import HostNotAllowed
from pipedrive_pipeline_tests.connectors.scripted import as_json, scripted

PIPEDRIVE = AllowedHosts(("*.pipedrive.com",), "PIPEDRIVE_ALLOWED_HOSTS")
HOST = "acme.pipedrive.com"
PRIVATE = [
    "127.0.0.1",
    "10.0.0.7",
    "172.16.4.4",
    "192.168.1.1",
    "169.254.169.254",  # metadata of a cloud
    "100.64.0.9",
    "0.0.0.0",  # noqa: S104 - the attacker's
    "224.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fd00::7",
    "::ffff:10.0.0.7",
    "64:ff9b::a00:7",
    "2002:a00:7::",
    "::127.0.0.1",
    "::10.0.0.7",
    "64:ff9b:1::a00:7",
    "fec0::7",
    "2001:0:a00:7::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_a_private_network_is_refused(address: str) -> None:
    with pytest.raises(HostNotAllowed, match=f"{HOST} resolves to it"):
        checked_address(HOST, address, PIPEDRIVE)


@pytest.mark.parametrize("address", ["104.18.3.4", "2606:4700::6812:1", "64:ff9b::6812:304"])
def test_a_public_address_is_taken(address: str) -> None:
    assert checked_address(HOST, address, PIPEDRIVE) == address


def test_an_operator_may_list_a_private_address_or_name_one() -> None:
    assert (
        checked_address(HOST, "10.0.0.7", AllowedHosts((*PIPEDRIVE.patterns, "10.0.0.7")))
        == "10.0.0.7"
    )
    assert checked_address("10.0.0.7", "10.0.0.7", AllowedHosts(("10.0.0.7",))) == "10.0.0.7"
    assert checked_address("localhost", "127.0.0.1", AllowedHosts(("localhost",))) == "127.0.0.1"


async def fetched(name: str, allowed: AllowedHosts, *answers: list[str]) -> list[str]:
    """The `Host` of each request that arrived; the resolver gives one answer after the other."""
    remaining = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return remaining.pop(0) if remaining else []

    limits = Limits(connect_seconds=2)
    async with (
        scripted(lambda _: as_json({})) as server,
        open_client(limits, allowed, resolve=resolve) as client,
    ):
        port = httpx.URL(server.url).port
        for _ in range(2):
            request = client.build_request("GET", f"http://{name}:{port}/")
            assert (await exchange(client, request, limits)).status == 200
        return [request.headers["host"].partition(":")[0] for request in server.requests]


def test_the_connection_goes_to_the_checked_address_under_the_hosts_own_name() -> None:
    """The resolver is called once: it cannot answer the check and the connection differently."""
    allowed = AllowedHosts((HOST, "127.0.0.1"))

    assert asyncio.run(fetched(HOST, allowed, ["127.0.0.1"], ["10.0.0.7"])) == [HOST] * 2


def test_a_dead_address_is_passed_by() -> None:
    """Resolvers list IPv6 addresses to a machine without IPv6 too."""
    answers = ["127.0.0.2", "127.0.0.1"]  # nothing listens at the first
    allowed = AllowedHosts(("127.0.0.1", "127.0.0.2"))

    assert asyncio.run(fetched(HOST, allowed, answers)) == [HOST] * 2


def test_nothing_is_sent_where_one_address_of_several_is_private() -> None:
    with pytest.raises(HostNotAllowed, match="PIPEDRIVE_ALLOWED_HOSTS"):
        asyncio.run(fetched(HOST, PIPEDRIVE, ["104.18.3.4", "127.0.0.1"]))


def test_a_name_that_cannot_be_resolved_is_said_to_be_one() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    async def ask() -> None:
        async with open_client(Limits(), PIPEDRIVE, resolve=resolve) as client:
            request = client.build_request("GET", f"https://{HOST}/")
            await exchange(client, request, Limits())

    with pytest.raises(httpx.ConnectError) as refused:
        asyncio.run(ask())

    assert "cannot be resolved" in in_plain_words(refused.value, f"https://{HOST}", Limits())


@pytest.mark.parametrize(("bypassed", "is_resolved"), [("", False), (HOST, True)])
def test_a_proxy_resolves_by_itself_except_for_hosts_that_pass_by_it(
    monkeypatch: pytest.MonkeyPatch, bypassed: str, is_resolved: bool
) -> None:
    """Behind a proxy this machine may have no resolver at all."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens: no proxy is used
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, bypassed)
    resolved_hosts = []

    async def resolve(host: str, _port: int) -> list[str]:
        resolved_hosts.append(host)
        return []

    async def ask() -> None:
        async with open_client(Limits(), PIPEDRIVE, resolve=resolve) as client:
            await exchange(client, client.build_request("GET", f"https://{HOST}/"), Limits())

    with pytest.raises(httpx.ConnectError):
        asyncio.run(ask())

    assert bool(resolved_hosts) is is_resolved
