"""A plain client of a sandbox for tests: it knows HTTP and cursors, and nothing of the package.

What belongs here: sending requests. What does not: expectations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import httpx

from pipedrive_pipeline.sandbox import Sandbox

Row = dict[str, Any]
Query = dict[str, str | int | bool]


class SandboxClient:
    """One caller of one sandbox."""

    def __init__(self, sandbox: Sandbox, headers: dict[str, str] | None = None) -> None:
        self.sandbox = sandbox
        credentials = {"x-api-token": sandbox.api_token} if headers is None else headers
        # Loading certificates takes 40 ms a client, and no answer here is encrypted.
        self.http = httpx.Client(
            base_url=sandbox.url,
            headers=credentials,
            timeout=10,
            verify=False,  # noqa: S501
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **query: str | int | bool) -> httpx.Response:
        """One request; booleans are sent as true and false."""
        return self.http.get(path, params=query)

    def data(self, path: str, **query: str | int | bool) -> Any:
        """The data of one answer, which must be a success."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def refusal(self, path: str, **query: str | int | bool) -> tuple[int, str]:
        """Status and error of an answer that must be a refusal."""
        answer = self.get(path, **query)
        assert answer.json()["success"] is False
        return answer.status_code, answer.json()["error"]

    def pages(self, path: str, **query: str | int | bool) -> Iterator[list[Row]]:
        """Every page of a walk."""
        while True:
            answer = self.get(path, **query)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            yield body["data"]
            cursor = body["additional_data"]["next_cursor"]
            if cursor is None:
                return
            query["cursor"] = cursor

    def rows(self, path: str, **query: str | int | bool) -> list[Row]:
        """Every row of a walk."""
        return [row for page in self.pages(path, **query) for row in page]

    def ids(self, path: str, **query: str | int | bool) -> list[int]:
        """Every id of a walk."""
        return [row["id"] for row in self.rows(path, **query)]

    def token_answer(self, **form: str) -> httpx.Response:
        """An answer of the token route to the app's own credentials."""
        sandbox = self.sandbox
        return self.http.post(
            "/oauth/token", data=form, auth=(sandbox.client_id, sandbox.client_secret)
        )


CALLBACK = "http://127.0.0.1:9/callback"


def installed(sandbox: Sandbox, user_id: int | None = None) -> dict[str, Any]:
    """The token answer of a fresh installation."""
    with sandbox.account.lock:
        code = sandbox.grants.code(user_id or sandbox.account.admin_id, CALLBACK)
    with SandboxClient(sandbox, headers={}) as client:
        answer = client.token_answer(
            grant_type="authorization_code", code=code, redirect_uri=CALLBACK
        )
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def as_app(sandbox: Sandbox, user_id: int | None = None) -> SandboxClient:
    """A client with a fresh access token of a user."""
    token = installed(sandbox, user_id)["access_token"]
    return SandboxClient(sandbox, headers={"authorization": f"Bearer {token}"})


def custom_types(sandbox: Sandbox, entity: str) -> dict[str, str]:
    """The types of an entity's custom fields by code."""
    return {field.code: field.type for field in sandbox.account.fields[entity] if field.is_custom}
