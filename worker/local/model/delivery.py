"""Sending a reply at the pace, and with the faults, that it asks for."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from starlette.types import Receive, Scope, Send

from worker.local.model.directives import Fault, FaultKind
from worker.local.model.script import Reply

_REMEMBERED_FAULTS = 10_000
_BEGINNING = 5  # pieces sent before a stall or a disconnect


class FaultCounters:
    """How often each fault of each message has happened; the oldest are forgotten."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, Fault], int] = OrderedDict()

    def next_fault(self, reply: Reply) -> Fault | None:
        """The fault that happens to this request, counted; None when it goes well."""
        for fault in reply.faults:
            key = (reply.message, fault)
            count = self._counts.get(key, 0)
            if fault.times is None or count < fault.times:
                self._counts[key] = count + 1
                if len(self._counts) > _REMEMBERED_FAULTS:
                    self._counts.popitem(last=False)
                return fault
        return None


class PacedResponse:
    """An ASGI response in pieces, which ends early when the client leaves."""

    def __init__(
        self,
        pieces: Iterable[bytes],
        headers: Mapping[str, str],
        reply: Reply,
        fault: FaultKind | None,
        status: int = 200,
    ) -> None:
        self._pieces = pieces
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._reply = reply
        self._fault = fault
        self._status = status

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await self._deliver(gone, send)
        finally:
            gone.cancel()

    async def _deliver(self, gone: asyncio.Future[None], send: Send) -> None:
        if self._fault is FaultKind.HANG:
            await gone
        if await _left(gone, self._reply.delay):
            return
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        broken = self._fault in {FaultKind.STALL, FaultKind.DISCONNECT}
        for index, piece in enumerate(self._pieces):
            if broken and index == _BEGINNING:
                break
            if await _left(gone, self._reply.slow):
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._fault is FaultKind.STALL:
            await gone
        if not broken:
            await send({"type": "http.response.body", "body": b""})
        # A broken response returns unfinished: the server closes its connection.


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left(gone: asyncio.Future[None], seconds: float) -> bool:
    """Wait, unless the client leaves first."""
    if seconds:
        await asyncio.wait({gone}, timeout=seconds)
    return gone.done()
