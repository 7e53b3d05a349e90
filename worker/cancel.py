"""Watching for the wish that a running job be cancelled.

The request cannot come through the queue: it would wait behind its own job. It is a row of the job
table (contracts/control.py), read with the claim and, while a turn runs, about once a second. What
it leads to is decided by the commit alone: until then the turn may still end by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from contracts.control import CancelRequest
from worker.domain.errors import WorkerError
from worker.ports import Ports


class CancelWatch:
    """One job's control record. `seen` is set, and `request` there, once somebody has asked."""

    def __init__(self, job_id: str, ports: Ports) -> None:
        self._job_id = job_id
        self._ports = ports
        self.seen = asyncio.Event()
        self.request: CancelRequest | None = None

    async def look(self) -> None:
        """Until it is seen. A turn shorter than the interval costs no request."""
        ports = self._ports
        while self.request is None:
            await ports.clock.sleep(ports.policy.cancel_poll_seconds)
            try:
                self.request = await ports.ledger.cancel_request(self._job_id, ports.clock.now())
            except WorkerError as exc:  # the turn goes on; the next look, or the next claim, sees
                ports.journal.note("cancel_unknown", job_id=self._job_id, error=str(exc))
        ports.journal.note("cancel_seen", job_id=self._job_id)
        self.seen.set()


@contextlib.asynccontextmanager
async def watched(job_id: str, ports: Ports) -> AsyncIterator[CancelWatch]:
    """Watch while the block runs."""
    watch = CancelWatch(job_id, ports)
    looking = asyncio.create_task(watch.look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait({looking})
