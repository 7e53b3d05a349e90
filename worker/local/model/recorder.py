"""What the scripted model was asked, for tests to look at."""

import threading
from collections import deque

from starlette.requests import Request

_MOST_REQUESTS = 1000
_MOST_BYTES = 16 * 1024 * 1024  # of raw requests; decoded they take several times as much
_SECRET_HEADERS = {"authorization", "cookie", "x-api-key", "x-amz-security-token"}


class Recorder:
    """The latest requests, within a bound of number and memory; secrets are left out.

    An entry has `number` (counted from 1), `method`, `path`, `headers` and `body` (decoded JSON).
    """

    def __init__(self) -> None:
        self.total = 0
        self._kept: deque[tuple[int, dict[str, object]]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()  # tests read from a thread of their own

    def record(self, request: Request, raw: bytes, body: object) -> None:
        headers = {
            name: "<redacted>" if name in _SECRET_HEADERS else value
            for name, value in request.headers.items()
        }
        with self._lock:
            self.total += 1
            entry: dict[str, object] = {
                "number": self.total,
                "method": request.method,
                "path": request.url.path,
                "headers": headers,
                "body": body,
            }
            self._kept.append((len(raw), entry))
            self._bytes += len(raw)
            while len(self._kept) > _MOST_REQUESTS or self._bytes > _MOST_BYTES:
                self._bytes -= self._kept.popleft()[0]

    def latest(self, limit: int = _MOST_REQUESTS) -> list[dict[str, object]]:
        """The latest `limit` requests, oldest first."""
        with self._lock:
            entries = [entry for _, entry in self._kept]
        return entries[max(0, len(entries) - limit) :]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0
