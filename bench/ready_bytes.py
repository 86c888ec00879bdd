"""A Pipedrive that answers at once: prepared bytes, so that a measured floor is a floor.

The records are those of the sandbox, written once as JSON and sorted by time; an answer is a slice
of them. Everything else (definitions, users, other lists) is the sandbox's own answer, read once.
It takes an answer's delay and a burst limit, and counts calls and those that passed the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from bisect import bisect_left
from collections import deque
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.world.reading import truth

STAMP = "%Y-%m-%dT%H:%M:%SZ"
WINDOW_SECONDS = 2.0
DAY_TOKENS = 100_000_000
ENTITIES = ("organizations", "persons")


class Records:
    """One kind of record as JSON, by time of change and id."""

    def __init__(self, rows: list[tuple[str, int, bytes]], page_rows: int) -> None:
        self.rows, self.page_rows = sorted(rows), page_rows
        self.last_by_id = max(rows, key=lambda row: row[1])[2] if rows else b""

    def page(self, query: dict[str, str]) -> bytes:
        """One page in the requested order; a cursor is a place in the list."""
        if query.get("sort_by") == "id":
            return _listed([self.last_by_id], None)
        limit = min(self.page_rows, int(query.get("limit", 100)))
        is_descending = query.get("sort_direction") == "desc"
        until = query.get("updated_until")
        end = bisect_left(self.rows, (until,)) if until else len(self.rows)
        if is_descending:
            return _listed([row[2] for row in reversed(self.rows[max(0, end - limit) : end])], None)
        since = query.get("updated_since", "")
        start = int(query["cursor"]) if "cursor" in query else bisect_left(self.rows, (since,))
        following = start + limit if start + limit < end else None
        return _listed([row[2] for row in self.rows[start : min(start + limit, end)]], following)

    def touch(self, share: float) -> int:
        """Changes so many of the records now; returns their number."""
        step = max(1, round(1 / share))
        now = datetime.now(UTC).strftime(STAMP)
        for place in range(0, len(self.rows), step):
            _, record_id, text = self.rows[place]
            record = json.loads(text) | {"update_time": now, "name": f"neu {now} {record_id}"}
            self.rows[place] = (now, record_id, msgspec.json.encode(record))
        self.rows.sort()
        return len(range(0, len(self.rows), step))


def _listed(records: list[bytes], following: int | None) -> bytes:
    cursor = b"null" if following is None else b'"%d"' % following
    body = b'{"success":true,"data":[%b],"additional_data":{"next_cursor":%b}}'
    return body % (b",".join(records), cursor)


class Server:
    """The answers, their delay, and the burst window."""

    def __init__(self, sandbox: Sandbox, page_rows: int) -> None:
        account = sandbox.account
        self.lists = {
            f"/api/v2/{entity}": Records(
                [
                    (row["update_time"] or "", row["id"], msgspec.json.encode(row))
                    for row in truth(account, entity)
                ],
                page_rows,
            )
            for entity in ENTITIES
        }
        self._client = httpx.Client(
            base_url=sandbox.url, headers={"x-api-token": sandbox.api_token}, timeout=60
        )
        self._others: dict[str, bytes] = {}
        self._arrived: deque[float] = deque()
        self.delay_seconds, self.burst = 0.0, 0
        self.calls = self.refused = 0
        self.counted_at = self.first_at = self.last_at = 0.0

    def answer(self, target: str) -> bytes:
        """A whole HTTP answer."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/bench":
            return _http(200, json.dumps(self._controlled(query)).encode(), b"")
        self.last_at = monotonic()
        if not self.calls:
            self.first_at = self.last_at
        self.calls += 1
        limits = self._counted()
        if limits is None:
            self.refused += 1
            return _http(429, b'{"success":false,"error":"Request over limit"}', b"")
        records = self.lists.get(parts.path)
        if records and "ids" not in query:
            return _http(200, records.page(query), limits)
        if target not in self._others:
            self._others[target] = self._client.get(target).content
        return _http(200, self._others[target], limits)

    def _counted(self) -> bytes | None:
        """The headers of a call that the window holds; None for one call too many."""
        now = monotonic()
        while self._arrived and self._arrived[0] <= now - WINDOW_SECONDS:
            self._arrived.popleft()
        daily = b"x-daily-ratelimit-token-limit: %d\r\nx-daily-ratelimit-token-remaining: %d\r\n"
        headers = daily % (DAY_TOKENS, DAY_TOKENS - 20 * self.calls)
        if not self.burst:
            return headers
        if len(self._arrived) >= self.burst:
            return None
        self._arrived.append(now)
        burst = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: 2\r\n"
        return headers + burst % (self.burst, self.burst - len(self._arrived))

    def _controlled(self, query: dict[str, str]) -> dict[str, float]:
        """Sets what the query names; returns what was counted since the last time."""
        self.delay_seconds = float(query.get("delay_seconds", self.delay_seconds))
        self.burst = int(query.get("burst", self.burst))
        if share := float(query.get("touch", 0)):
            for records in self.lists.values():
                records.touch(share)
        counted = {
            "calls": self.calls,
            "refused": self.refused,
            "start_seconds": self.first_at - self.counted_at,  # until the first call
            "seconds": self.last_at - self.first_at,  # from the first call to the last one
        }
        self.counted_at = monotonic()
        self.calls = self.refused = 0
        self._arrived.clear()
        return counted


def _http(status: int, body: bytes, headers: bytes) -> bytes:
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
    head = b"HTTP/1.1 %d Ready\r\ncontent-type: application/json\r\ndate: %b\r\n%b"
    return (head % (status, date, headers)) + b"content-length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One client's connection; its requests have no body."""

    def __init__(self, server: Server) -> None:
        self._server, self._received = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each complete request, after the delay."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            answer = self._server.answer(target)
            delay = 0.0 if target.startswith("/bench") else self._server.delay_seconds
            asyncio.get_running_loop().call_later(delay, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)  # type: ignore[attr-defined]


async def run(server: Server) -> None:
    """Serves until the process ends; prints the address."""
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", 0
    )
    port = listening.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await listening.serve_forever()


def main() -> None:
    """Prepares the answers and serves them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, required=True)
    parser.add_argument("--persons", type=int, required=True)
    parser.add_argument("--page-rows", type=int, default=500, help="at most; Pipedrive's 500")
    asked = parser.parse_args()
    account = seeded(asked.organizations, asked.persons, deals=0)
    with serve(account, has_limits=False) as sandbox:
        asyncio.run(run(Server(sandbox, asked.page_rows)))


if __name__ == "__main__":
    main()
