"""Examples of each route for the OpenAPI document: curl, Python, JavaScript, n8n."""

from __future__ import annotations

import json
import pprint
import shlex
from typing import Any

from pydantic import BaseModel

METHODS = {False: "GET", True: "POST"}  # whether the request has a body


def code_samples(
    path: str, query: str = "", body: type[BaseModel] | dict[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the part of an operation that has the examples.

    Args:
        path: of the route, with an id in place of its parameter.
        query: of the request, with its question mark.
        body: of a POST, or its model, whose first example is shown; None: the request is a GET.
    """
    address, sent = f"{path}{query}", _example(body)
    texts = {
        "curl": _curl(address, sent),
        "Python": _python(address, sent),
        "JavaScript": _javascript(address, sent),
        "n8n": json.dumps(_node(address, sent), indent=2),
    }
    return {
        "x-codeSamples": [
            {"lang": "JSON" if label == "n8n" else label, "label": label, "source": source}
            for label, source in texts.items()
        ]
    }


def _example(body: type[BaseModel] | dict[str, Any] | None) -> dict[str, Any] | None:
    if body is None or isinstance(body, dict):
        return body
    example: dict[str, Any] = body.model_json_schema()["examples"][0]
    return example


def _curl(address: str, body: dict[str, Any] | None) -> str:
    request = f'curl -sS "$APP_URL{address}" -H "Authorization: Bearer $KEY"'
    if body is None:
        return request
    sent = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f'{request} \\\n  -H "Content-Type: application/json" \\\n  -d {sent}'


def _python(address: str, body: dict[str, Any] | None) -> str:
    call = METHODS[body is not None].lower()
    sent = ""
    if body is not None:
        shown = pprint.pformat(body, width=80, sort_dicts=False).replace("\n", "\n    ")
        sent = f"    json={shown},\n"
    return (
        "import os\n\nimport httpx\n\n"
        f'answer = httpx.{call}(\n    os.environ["APP_URL"] + "{address}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'KEY\']}"},\n'
        f"{sent}"
        ')\ndata = answer.raise_for_status().json()["data"]\n'
    )


def _javascript(address: str, body: dict[str, Any] | None) -> str:
    headers, more = "{ Authorization: `Bearer ${process.env.KEY}` }", ""
    if body is not None:
        headers = headers.replace(" }", ', "Content-Type": "application/json" }')
        shown = json.dumps(body, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        more = f'  method: "POST",\n  body: JSON.stringify({shown}),\n'
    return (
        f"const answer = await fetch(`${{process.env.APP_URL}}{address}`, {{\n"
        f"  headers: {headers},\n{more}"
        "});\nconst { data, meta } = await answer.json();\n"
    )


def _node(address: str, body: dict[str, Any] | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "url": f"={{{{ $env.APP_URL }}}}{address}",
        "authentication": "genericCredentialType",
        "genericAuthType": "httpHeaderAuth",
    }
    if body is not None:
        parameters |= {
            "method": "POST",
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": json.dumps(body, ensure_ascii=False),
        }
    return {
        "name": "Connect",
        "type": "n8n-nodes-base.httpRequest",
        "typeVersion": 4.2,
        "parameters": parameters,
    }
