"""One request as it came in, and one answer with the way it is transmitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
encode = msgspec.json.Encoder().encode

Delivery = Literal["whole", "lost", "cut", "drip", "flood"]


@dataclass(frozen=True)
class IncomingRequest:
    """A request as it came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    base_url: str


@dataclass
class SandboxAnswer:
    """One HTTP answer, and how it is transmitted."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    delay_seconds: float = 0.0
    flood_bytes: int = 0


class RequestRefused(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer = SandboxAnswer(status, encode(body), headers=dict(headers or {}))
        super().__init__(status)


def html(status: int, text: str) -> SandboxAnswer:
    """A page instead of JSON."""
    return SandboxAnswer(status, text.encode(), HTML)
