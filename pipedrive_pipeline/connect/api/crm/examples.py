"""Examples of each reading route for the OpenAPI document: curl, Python, JavaScript, n8n."""

from __future__ import annotations

import json
from typing import Any


def code_samples(path: str, query: str = "") -> dict[str, Any]:
    """Returns the part of an operation that has the examples.

    Args:
        path: of the route, with an id in place of its parameter.
        query: of the request, with its question mark.
    """
    address = f"{path}{query}"
    node = {
        "name": "Connect",
        "type": "n8n-nodes-base.httpRequest",
        "typeVersion": 4.2,
        "parameters": {
            "url": f"={{{{ $env.APP_URL }}}}{address}",
            "authentication": "genericCredentialType",
            "genericAuthType": "httpHeaderAuth",
        },
    }
    texts = {
        "curl": f'curl -sS "$APP_URL{address}" -H "Authorization: Bearer $KEY"',
        "Python": (
            "import os\n\nimport httpx\n\n"
            f'answer = httpx.get(\n    os.environ["APP_URL"] + "{address}",\n'
            '    headers={"Authorization": f"Bearer {os.environ[\'KEY\']}"},\n)\n'
            'data = answer.raise_for_status().json()["data"]\n'
        ),
        "JavaScript": (
            f"const answer = await fetch(`${{process.env.APP_URL}}{address}`, {{\n"
            "  headers: { Authorization: `Bearer ${process.env.KEY}` },\n});\n"
            "const { data, meta } = await answer.json();\n"
        ),
        "n8n": json.dumps(node, indent=2),
    }
    return {
        "x-codeSamples": [
            {"lang": "JSON" if label == "n8n" else label, "label": label, "source": source}
            for label, source in texts.items()
        ]
    }
