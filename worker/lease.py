"""Keeps a claim alive while its turn runs, and knows whether it still is."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from worker.domain.claim import Claim
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.message import InboundMessage
from worker.ports import Ports

T = TypeVar("T")


class HeldLease:
    """The lease of one claim, as this worker knows it."""

    def __init__(self, claim: Claim, message: InboundMessage, ports: Ports) -> None:
        self._claim = claim
        self._message = message
        self._ports = ports
        self._seconds = ports.policy.lease_seconds
        self._expires_at = claim.claimed_at + self._seconds

    async def ensure(self) -> None:
        """Return only while nobody else can have taken the chat over; LeaseLostError otherwise.

        Asked before what cannot be undone. By the clock alone while the lease is good for a while;
        a worker that was frozen finds it run out, and asks the ledger.
        """
        if self._ports.clock.now() >= self._expires_at - self._seconds / 3:
            await self._renew()

    async def keep(self) -> None:
        """Renew every third of the lease until cancelled. Raises LeaseLostError when it is lost; a
        ledger that is out of reach means that only when the lease has run out.
        """
        while True:
            await self._ports.clock.sleep(self._seconds / 3)
            try:
                await self._renew()
                await self._ports.inbox.extend(self._message, self._seconds)
            except UnavailableError as exc:
                job_id = self._claim.job.job_id
                self._ports.journal.note("heartbeat_failed", job_id=job_id, error=str(exc))
                if self._ports.clock.now() >= self._expires_at:
                    raise LeaseLostError(
                        self._claim.job.session_key, self._claim.generation
                    ) from exc

    async def _renew(self) -> None:
        until = self._ports.clock.now() + self._seconds
        await self._ports.ledger.extend(self._claim, until)
        self._expires_at = until


async def kept(lease: HeldLease, work: Coroutine[object, object, T]) -> T:
    """Run `work` while the lease is kept; when it is lost, cancel the work and raise
    LeaseLostError.
    """
    running = asyncio.ensure_future(work)
    keeping = asyncio.create_task(lease.keep())
    try:
        await asyncio.wait({running, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            keeping.result()
        return await running
    finally:
        for task in (running, keeping):
            task.cancel()
        await asyncio.wait({running, keeping})
