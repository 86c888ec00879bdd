"""The app answers every request, and never with a 5xx."""

from __future__ import annotations

import http.client
import random
from urllib.parse import urlsplit

import pytest

from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

METHODS = [*["GET"] * 8, *["POST"] * 5, *["DELETE"] * 2, "PUT", "OPTIONS", "HEAD", "TRACE", "X"]
PATHS = [
    "/", "/healthz", "/connect/{}", "/integrations/pipedrive/confirm", "/integrations/{}/confirm",
    "/api/integrations", "/static/{}", "/static/../app.py", "/{}",
    *(f"{ROUTES}/{name}" for name in ("auth", "callback", "confirm", "connect-link", "test",
                                      "status", "disconnect", "{}")),
    "/api/integrations/{}/callback",
]  # fmt: skip
KINDS = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"]
PIECES = [
    "a", "%00", "%ff", "%0d%0a", "..", "%2e%2e%2f", "{{7*7}}", "%3Cscript%3E", "'--", "state=",
    "&code=", "error=", "%E4", "%F0%9F", "0", "-1", "null", "[", "{}", "%22", "acme", "pipedrive",
]  # fmt: skip


def garbage(chance: random.Random, length: int = 6) -> str:
    return "".join(chance.choice(PIECES) for _ in range(chance.randrange(length)))


@pytest.mark.slow
def test_two_thousand_requests_of_garbage_get_an_answer_each(site: ConnectSite) -> None:
    """With and without a key; no 5xx, nothing changed."""
    chance = random.Random(16)  # noqa: S311 - which garbage, not a secret
    site.world.connect_acme()
    before = site.world.row()
    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=20)
    for _ in range(2_000):
        path = chance.choice(PATHS).replace("{}", garbage(chance) or "x")
        query = garbage(chance, 12)
        headers = {
            "content-type": chance.choice(KINDS),
            "cookie": f"connect={garbage(chance)}",
            "accept": chance.choice(["text/html", "*/*", ""]),
            "x-tenant": chance.choice(["acme", "nobody", garbage(chance)]),
        }
        is_operator = chance.random() < 0.3
        if is_operator:
            headers["x-api-key"] = OPERATOR_KEY
        methods = [name for name in METHODS if name != "DELETE"] if is_operator else METHODS
        site.forgive()

        connection.putrequest(chance.choice(methods), f"{path}?{query}")
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        body = garbage(chance, 20).encode("latin-1")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()

        assert answer.status < 500, (path, query, headers, content)
        assert b"Traceback" not in content
        if answer.will_close:
            connection.close()
    connection.close()
    after = site.world.row()
    assert {**after, "updated_at": None} == {**before, "updated_at": None}
