"""Where a token may go."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.connectors.hosts import AllowedHosts, checked_base_url
from pipedrive_pipeline.errors import HostNotAllowed

PIPEDRIVE = ("*.pipedrive.com",)
LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


@pytest.mark.parametrize(
    ("url", "allowed", "origin"),
    [
        ("https://acme.pipedrive.com", PIPEDRIVE, "https://acme.pipedrive.com"),
        ("https://ACME.Pipedrive.com/", PIPEDRIVE, "https://acme.pipedrive.com"),
        ("https://acme.pipedrive.com/api/v2?x=1#y", PIPEDRIVE, "https://acme.pipedrive.com"),
        ("https://a.b.pipedrive.com:8443", PIPEDRIVE, "https://a.b.pipedrive.com:8443"),
        ("https://crm.acme.de", ("crm.acme.de",), "https://crm.acme.de"),
        ("https://CRM.acme.de", ("crm.ACME.de",), "https://crm.acme.de"),
        ("http://127.0.0.1:8100", LOOPBACK, "http://127.0.0.1:8100"),
        ("http://[::1]:8100", LOOPBACK, "http://[::1]:8100"),
        ("http://localhost:8100/", LOOPBACK, "http://localhost:8100"),
        ("https://10.0.0.7", ("10.0.0.7",), "https://10.0.0.7"),
    ],
)
def test_a_listed_host_is_taken_as_an_origin(
    url: str, allowed: tuple[str, ...], origin: str
) -> None:
    """Callers put a path behind it: a slash or a path left on would double it."""
    assert checked_base_url(url, AllowedHosts(allowed)) == origin


@pytest.mark.parametrize(
    "url",
    [
        "https://pipedrive.com",
        "https://evilpipedrive.com",
        "https://acme.pipedrive.com.evil.org",
        "https://acme.pipedrive.com.",
        "https://.pipedrive.com",
        "https://a..pipedrive.com",
        "https://-.pipedrive.com",
        "https://user@acme.pipedrive.com",
        "https://acme.pipedrive.com@evil.org",
        "https://acme.pipedrive.com:@evil.org",
        "https://evil.org\\@acme.pipedrive.com",
        "https://evil.org#.pipedrive.com",
        "https://evil.org?.pipedrive.com",
        "https://evil.org/.pipedrive.com",
        "https://evil.org%2f.pipedrive.com",
        "https://evil.org\t.pipedrive.com",
        "https://acme.pipedrive.com\n",
        " https://acme.pipedrive.com",
        "https://аcme.pipedrive.com",  # a Cyrillic letter
        "https://acme。pipedrive.com",
        "http://acme.pipedrive.com",
        "ftp://acme.pipedrive.com",
        "//acme.pipedrive.com",
        "acme.pipedrive.com",
        "https://",
        "https:///x",
        "",
        "https://acme.pipedrive.com:99999",
        "https://acme.pipedrive.com:8o",
        "https://[::1",
        "https://" + "a" * 300 + ".pipedrive.com",
        "https://1.2.3.4",
        "https://[2001:db8::1]",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    """Each of these once reached another host in somebody's program."""
    with pytest.raises(HostNotAllowed) as refused:
        checked_base_url(url, AllowedHosts(PIPEDRIVE, "PIPEDRIVE_ALLOWED_HOSTS"))

    assert "PIPEDRIVE_ALLOWED_HOSTS" in str(refused.value)
    assert "user@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://127.1", LOOPBACK),
        ("http://2130706433", LOOPBACK),
        ("http://0x7f.0.0.1", LOOPBACK),
        ("http://0177.0.0.1", LOOPBACK),
        ("https://x.0.0.1", ("*.0.0.1",)),
        ("http://[::ffff:127.0.0.1]", LOOPBACK),
    ],
)
def test_an_address_counts_only_as_it_is_listed(url: str, allowed: tuple[str, ...]) -> None:
    """Resolvers read many spellings of one address; a list names one."""
    with pytest.raises(HostNotAllowed):
        checked_base_url(url, AllowedHosts(allowed))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://crm.acme.de", ("crm.acme.de",)),
        ("http://10.0.0.7", ("10.0.0.7",)),
        ("http://a.localhost", ("*.localhost",)),
        ("http://127.0.0.1", ("localhost",)),
    ],
)
def test_plain_http_goes_to_a_listed_loopback_host_only(url: str, allowed: tuple[str, ...]) -> None:
    """Elsewhere the token would cross a network in the clear."""
    with pytest.raises(HostNotAllowed):
        checked_base_url(url, AllowedHosts(allowed))


def test_the_message_names_host_and_setting() -> None:
    """An operator must see at once what to list, and where."""
    with pytest.raises(HostNotAllowed) as refused:
        checked_base_url("https://crm.acme.de/x?token=abc", AllowedHosts(PIPEDRIVE, "OTHER_HOSTS"))

    assert refused.value.host == "crm.acme.de"
    assert "OTHER_HOSTS" in str(refused.value)
    assert "abc" not in str(refused.value)
