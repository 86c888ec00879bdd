"""One admitted request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.kit.grants import TokenHolder
from pipedrive_pipeline.sandbox.kit.webhooks import WebhookSender
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid
from pipedrive_pipeline.sandbox.pipedrive.options import Options
from pipedrive_pipeline.sandbox.pipedrive.routes.parameters import Kind, parsed
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount


@dataclass
class AdmittedCall:
    """An admitted request."""

    account: CrmAccount
    options: Options
    caller: TokenHolder
    path: Mapping[str, str]  # the variable parts
    query: list[tuple[str, str]]
    webhooks: WebhookSender
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
