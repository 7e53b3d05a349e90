"""The delivery loop of the long-running host: takes events, and has a task for each lane with work.

A lane that waits for a slow subscriber is a task that waits; nobody else does. On `stop` nothing is
taken any more, attempts that are running are finished within the grace period, and what is left
stays due in the table for another host.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial

from worker.adapters.aws import RefusedError
from worker.adapters.webhook_queue import QueueMessage
from worker.domain.errors import UnavailableError
from worker.webhook_bootstrap import Webhooks
from worker.webhooks.consumer import accept, sweep
from worker.webhooks.errors import UnreadableMessageError
from worker.webhooks.lane import deliver

SWEEP_SECONDS = 60.0
PAUSE_SECONDS = 5.0


class WebhookHost:
    """Runs until `stop`. Seconds: of a long poll, and of the grace period."""

    def __init__(self, webhooks: Webhooks, poll_seconds: int, drain_seconds: float) -> None:
        self._webhooks = webhooks
        self._ports = webhooks.ports
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._stopping = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll())
                group.create_task(self._sweep())
            if self._lanes:
                await asyncio.wait(self._lanes.values(), timeout=self._drain_seconds)
        finally:
            self._stopping.set()
            lanes = list(self._lanes.values())
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                messages = await self._webhooks.queue.receive(self._poll_seconds)
                await asyncio.gather(*(self._take(message) for message in messages))
            except (UnavailableError, RefusedError) as exc:
                self._ports.journal.note("webhooks_unavailable", error=str(exc))
                await self._pause(PAUSE_SECONDS)
            except Exception as exc:  # noqa: BLE001 - a defect here ends neither this loop nor the jobs
                self._ports.journal.failure("webhooks_broken", exc)
                await self._pause(PAUSE_SECONDS)

    async def _take(self, message: QueueMessage) -> None:
        """A message that could not be taken is seen again: SQS shows it after its timeout."""
        try:
            woken = await accept(message.body, self._ports)
        except UnreadableMessageError as exc:
            await self._ports.queue.bury(message.body, buried(message, exc))
            woken = ()
        await self._webhooks.queue.delete(message)
        self._kick(woken)

    async def _sweep(self) -> None:
        """Every host sweeps, at its start too: the lanes' leases sort out who delivers."""
        while not self._stopping.is_set():
            try:
                self._kick(await sweep(self._ports))
            except (UnavailableError, RefusedError) as exc:
                self._ports.journal.note("webhooks_unavailable", error=str(exc))
            except Exception as exc:  # noqa: BLE001 - the next sweep is in a minute
                self._ports.journal.failure("webhooks_broken", exc)
            await self._pause(SWEEP_SECONDS)

    def _kick(self, subscription_ids: Iterable[str]) -> None:
        for subscription_id in subscription_ids:
            if subscription_id in self._lanes:
                self._again.add(subscription_id)
            elif not self._stopping.is_set():
                lane = asyncio.create_task(self._deliver(subscription_id))
                self._lanes[subscription_id] = lane
                lane.add_done_callback(partial(self._ended, subscription_id))

    def _ended(self, subscription_id: str, _lane: asyncio.Task[None]) -> None:
        del self._lanes[subscription_id]
        if subscription_id in self._again:  # kicked when it may have looked for the last time
            self._again.discard(subscription_id)
            self._kick([subscription_id])

    async def _deliver(self, subscription_id: str) -> None:
        try:
            await deliver(subscription_id, self._ports, lambda: not self._stopping.is_set())
        except (UnavailableError, RefusedError) as exc:
            self._ports.journal.note(
                "webhooks_unavailable", subscription_id=subscription_id, error=str(exc)
            )
        except Exception as exc:  # noqa: BLE001 - a defect in one lane stops no other
            self._ports.journal.failure("webhooks_broken", exc, subscription_id=subscription_id)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def buried(message: QueueMessage, exc: UnreadableMessageError) -> dict[str, str]:
    """The attributes of a dead letter of a message that could not be read."""
    return {
        "dead_letter_reason": exc.reason,
        "dead_letter_error": str(exc),
        "original_message_id": message.message_id,
    }
