"""Keeps a claim alive while its turn runs."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from worker.domain.claim import Claim
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.message import InboundMessage
from worker.ports import Ports

T = TypeVar("T")


async def kept(
    claim: Claim, message: InboundMessage, ports: Ports, work: Coroutine[object, object, T]
) -> T:
    """Run `work` with a heartbeat on its lease; when the lease is lost, cancel it and raise
    LeaseLostError. A heartbeat that cannot reach AWS gives up only when the lease has run out.
    """
    running = asyncio.ensure_future(work)
    beating = asyncio.create_task(_beat(claim, message, ports))
    try:
        await asyncio.wait({running, beating}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            beating.result()
        return await running
    finally:
        for task in (running, beating):
            task.cancel()
        await asyncio.wait({running, beating})


async def _beat(claim: Claim, message: InboundMessage, ports: Ports) -> None:
    seconds = ports.policy.lease_seconds
    expires_at = ports.clock.now() + seconds
    while True:
        await ports.clock.sleep(seconds / 3)
        try:
            until = ports.clock.now() + seconds
            await ports.ledger.extend(claim, until)
            expires_at = until
            await ports.inbox.extend(message, seconds)
        except UnavailableError as exc:
            ports.journal.note("heartbeat_failed", job_id=claim.job.job_id, error=str(exc))
            if ports.clock.now() >= expires_at:
                raise LeaseLostError(claim.job.session_key, claim.generation) from exc
