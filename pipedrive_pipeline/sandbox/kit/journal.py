"""The log of requests with their cost. Only the newest are stored; all are counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

CAPACITY = 100_000  # requests, about 60 MB at worst


@dataclass(frozen=True)
class LoggedRequest:
    """One request and its answer."""

    number: int  # from 1
    at: str  # the server's clock
    method: str
    path: str
    query: str
    status: int
    cost: int  # tokens charged
    auth: str  # the kind of credential, or none
    user_id: int | str | None
    fault: str | None  # the kind of fault, if any
    bytes: int  # of the body
    seconds: float


class Journal:
    """The requests of one sandbox, oldest first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=capacity)
        self.count = 0
        self.tokens_spent = 0
        self.statuses: Counter[int] = Counter()

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(tuple(self._requests))

    def __len__(self) -> int:
        return self.count

    def add(self, request: LoggedRequest) -> None:
        """Record one request."""
        self._requests.append(request)
        self.tokens_spent += request.cost
        self.statuses[request.status] += 1

    def next_number(self) -> int:
        """The number of the request that is coming in now."""
        self.count += 1
        return self.count

    def last(self, count: int) -> list[LoggedRequest]:
        """The newest requests, newest first."""
        return list(islice(reversed(self._requests), count))

    def since(self, number: int) -> list[LoggedRequest]:
        """The stored requests behind a number."""
        return [request for request in self if request.number > number]

    def of(self, path: str) -> list[LoggedRequest]:
        """The stored requests whose path ends with a text."""
        return [request for request in self if request.path.endswith(path)]
