"""One admitted request, and the endpoints as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web.answers import Answer, invalid
from pipedrive_pipeline.sandbox.web.parameters import Kind, parsed
from pipedrive_pipeline.sandbox.world.account import Account


@dataclass(frozen=True)
class Caller:
    """The authenticated caller: a user, through a personal token or an app."""

    token: str
    user_id: int
    is_app: bool
    scopes: frozenset[str]


@dataclass
class Call:
    """An admitted request."""

    account: Account
    options: Options
    caller: Caller
    path: Mapping[str, str]  # the variable parts
    query: list[tuple[str, str]]
    raw_body: bytes = b""

    def id(self, name: str = "id") -> int:
        """The id in the path.

        Raises:
            Refusal: 400, it is not a positive number.
        """
        text = self.path[name]
        if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < 2**31):
            raise invalid(f"Parameter '{name}' must be a positive integer")
        return int(text)

    def parameters(self, kinds: dict[str, Kind]) -> dict[str, Any]:
        """The values of the query by name; parameters that were not sent are missing.

        Raises:
            Refusal: 400 for an unknown, repeated or ill-typed parameter.
        """
        return parsed(self.query, kinds, ignores_unknown=self.options.ignores_unknown_parameters)

    def json(self) -> Any:
        """The body.

        Raises:
            Refusal: 400, it is not JSON.
        """
        try:
            return msgspec.json.decode(self.raw_body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid("Request body is not valid JSON") from error

    def json_object(self) -> dict[str, Any]:
        """The body, which must be an object.

        Raises:
            Refusal: 400, it is something else.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise invalid("Request body must be an object")
        return body


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, its price and who may call it."""

    method: str
    path: str
    cost: int  # tokens
    scopes: tuple[str, ...]  # an app needs one of these; empty: every app may call
    answer: Callable[[Call], Answer] = field(repr=False)
    is_search: bool = False
