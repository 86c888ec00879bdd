"""The rule that decides where a token may go; checked before each secret leaves this machine.

The rule: https, to a listed host. Plain http only to a loopback host that is listed by its own
name. A pattern ``*.pipedrive.com`` means one or more whole labels before ``.pipedrive.com``.
No user info. An address literal, in any notation, only if it is listed letter by letter. What a
name resolves to is public (RFC 6890), or listed letter by letter too: a name that is right by its
letters may point into the operator's own network.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pipedrive_pipeline.errors import HostNotAllowed

HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
HOST_MAX_CHARACTERS = 253  # RFC 1035
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: holds an IPv4 address
NEVER_PUBLIC = (
    ipaddress.ip_network("::/96"),  # IPv4-compatible, deprecated by RFC 4291: ::127.0.0.1
    ipaddress.ip_network("64:ff9b:1::/48"),  # local NAT64, RFC 8215
    ipaddress.ip_network("fec0::/10"),  # site-local, deprecated by RFC 3879
    ipaddress.ip_network("2001::/32"),  # Teredo, RFC 4380: holds an IPv4 address
)
NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*")  # a last label that resolvers read as an address


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts that one system's tokens may go to, and the setting in which the operator says so.

    ``patterns`` are host names and ``*.`` patterns, without scheme and port.
    """

    patterns: tuple[str, ...] = ()
    setting: str = "ALLOWED_HOSTS"

    def has(self, host: str, *, literal: bool) -> bool:
        """True if a pattern names the host; ``literal``: letter by letter."""
        return any(_matches(host, pattern, literal=literal) for pattern in self.patterns)

    def refusal(self, host: str, reason: str) -> HostNotAllowed:
        """The error for a host that is refused."""
        return HostNotAllowed(host, reason, self.setting, self.patterns)


def checked_base_url(url: str, allowed_hosts: AllowedHosts) -> str:
    """The origin of ``url``, such as ``https://acme.pipedrive.com``, if a token may go there.

    Raises:
        HostNotAllowed: it may not; the operator decides whether to list the host.
    """
    parts, port = _split(url, allowed_hosts)
    host = parts.hostname or ""
    reason = _refusal(parts, host, allowed_hosts)
    if reason:
        raise allowed_hosts.refusal(host, reason)
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}" + (f":{port}" if port is not None else "")


def checked_address(host: str, address: str, allowed_hosts: AllowedHosts) -> str:
    """The address that ``host`` was resolved to, if a token may go there.

    A host that is an address itself, or localhost, was listed by its own letters already.

    Raises:
        HostNotAllowed: a name leads into a private network; the operator decides.
    """
    is_listed = allowed_hosts.has(address, literal=True)
    if host == "localhost" or _is_address_literal(host) or is_listed or _is_public(address):
        return address
    raise allowed_hosts.refusal(address, f"{host} resolves to it, and it is not public")


def refusal_of_public_url(url: str) -> str | None:
    """Why ``url`` is no https address with a public name; None if it is one.

    By its letters only: what the name resolves to is checked when it is connected to.
    """
    try:
        parts, _ = _split(url, AllowedHosts())
    except HostNotAllowed as error:
        return error.reason
    host = parts.hostname or ""
    if parts.scheme != "https" or not host:
        return "an address starts with https:// and a host name"
    if "@" in parts.netloc:
        return "it carries user info"
    if _is_address_literal(host) or "." not in host.rstrip("."):
        return "it is an address or a local name"
    return None if HOST_NAME.fullmatch(host) else "it is no host name"


def _is_public(address: str) -> bool:
    """True for an address of the public internet; IPv6 forms that hold an IPv4 one count as it."""
    ip_address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip_address, ipaddress.IPv6Address):
        if any(ip_address in network for network in NEVER_PUBLIC):
            return False
        if ip_address in NAT64:
            ip_address = ipaddress.IPv4Address(int(ip_address) & 0xFFFF_FFFF)
        else:
            ip_address = ip_address.ipv4_mapped or ip_address.sixtofour or ip_address
    return ip_address.is_global and not ip_address.is_multicast


def _split(url: str, allowed_hosts: AllowedHosts) -> tuple[SplitResult, int | None]:
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise allowed_hosts.refusal("", "the address holds a character that no address has")
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise allowed_hosts.refusal("", "the address cannot be read") from None


def _refusal(parts: SplitResult, host: str, allowed_hosts: AllowedHosts) -> str | None:
    """Why this address is refused; None if it is not."""
    if parts.scheme not in {"https", "http"} or not host:
        return "an address starts with https:// and a host name"
    if "@" in parts.netloc:
        return "it carries user info"
    literal = _is_address_literal(host)
    if not literal and (len(host) > HOST_MAX_CHARACTERS or not HOST_NAME.fullmatch(host)):
        return "it is no host name"
    if not allowed_hosts.has(host, literal=literal):
        return "it is an address, not a listed name" if literal else "it is not listed"
    if parts.scheme == "http" and not _is_loopback(host, allowed_hosts):
        return "plain http goes to a listed loopback host only; use https"
    return None


def _is_address_literal(host: str) -> bool:
    return ":" in host or bool(NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]))


def _matches(host: str, pattern: str, *, literal: bool) -> bool:
    wanted = pattern.lower().strip("[]")
    if wanted.startswith("*."):
        return not literal and host.endswith(wanted[1:]) and host != wanted[1:]
    return host == wanted


def _is_loopback(host: str, allowed_hosts: AllowedHosts) -> bool:
    if not allowed_hosts.has(host, literal=True):
        return False  # listed by a pattern only
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
