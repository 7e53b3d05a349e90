"""The long-running host: N slots, each of which takes one message at a time.

A slot polls, processes, and carries out the disposition. SQS locks a message group while one of
its messages is in flight, so slots work on different chats. On SIGTERM no slot polls again; a turn
that is running is finished within the grace period, or interrupted and its message returned.
"""

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from worker.adapters.aws import RefusedError
from worker.bootstrap import SERVICES, Worker
from worker.domain.disposition import Ack, DeadLetter, Disposition, Retry
from worker.domain.errors import UnavailableError
from worker.domain.message import InboundMessage
from worker.domain.policy import usual_turn
from worker.pipeline import process
from worker.sweeper import sweep

if TYPE_CHECKING:
    from worker.webhook_bootstrap import Webhooks

POLL_FAILURE_SECONDS = 5.0
SWEEP_SECONDS = 60.0


class Host:
    """Runs until `stop` is set."""

    def __init__(self, worker: Worker, concurrency: int) -> None:
        self._worker = worker
        self._concurrency = concurrency
        self._stopping = asyncio.Event()
        self._turns: set[asyncio.Task[Disposition]] = set()

    def stop(self) -> None:
        """Begin the drain."""
        self._stopping.set()

    async def run(self) -> None:
        self._worker.checkouts.clear()
        journal = self._worker.ports.journal
        self._worker.checkouts.expect(usual_turn(self._worker.ports.policy))
        journal.note("started", owner=self._worker.ports.owner, slots=self._concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._slot())
            group.create_task(self._prepare())
            group.create_task(self._drain())
            group.create_task(self._sweep())
        await self._worker.checkouts.close()
        journal.note("stopped", owner=self._worker.ports.owner)

    async def _prepare(self) -> None:
        """The clients that the first turn needs, while its message is on its way."""
        await self._worker.aws.run(lambda: self._worker.aws.prepare(*SERVICES))

    async def _slot(self) -> None:
        policy, settings = self._worker.ports.policy, self._worker.settings
        while not self._stopping.is_set():
            try:
                # Not cancelled by a drain: a message that SQS has handed out would stay hidden.
                message = await self._worker.inbox.receive(
                    settings.poll_seconds, policy.lease_seconds
                )
                if message is not None:
                    await self._handle(message)
            except UnavailableError as exc:
                self._worker.ports.journal.note("unavailable", error=str(exc))
                await self._pause()
            except RefusedError as exc:
                # A permission or a queue that is missing: said, and tried again until it is there.
                self._worker.ports.journal.failure("refused", exc, code=exc.code)
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), POLL_FAILURE_SECONDS)

    async def _handle(self, message: InboundMessage) -> None:
        if self._stopping.is_set():
            await self._worker.inbox.extend(message, 0)
            return
        turn = asyncio.create_task(process(message, self._worker.ports))
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)
        try:
            disposition = await turn
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            # Interrupted by the drain: the claim was released, the message goes back at once.
            disposition = Retry(0, "drained")
        await self._carry_out(message, disposition)

    async def _carry_out(self, message: InboundMessage, disposition: Disposition) -> None:
        inbox = self._worker.inbox
        match disposition:
            case Ack():
                await inbox.delete(message)
            case Retry(after):
                if after is not None:
                    await inbox.extend(message, after)
            case DeadLetter() as letter:
                await inbox.quarantine(message, letter)
                await inbox.delete(message)

    async def _sweep(self) -> None:
        """Every host sweeps: what two of them find is published twice, as the same event."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SWEEP_SECONDS)
                return
            try:
                await sweep(self._worker.ports)
            except (UnavailableError, RefusedError) as exc:
                self._worker.ports.journal.note("sweep_failed", error=str(exc))
            except Exception as exc:  # noqa: BLE001 - the slots go on
                self._worker.ports.journal.failure("sweep_failed", exc)

    async def _drain(self) -> None:
        await self._stopping.wait()
        self._worker.ports.journal.note("draining", running=len(self._turns))
        if self._turns:
            await asyncio.wait(self._turns, timeout=self._worker.settings.drain_seconds)
        for turn in list(self._turns):
            turn.cancel()


async def serve(worker: Worker, concurrency: int, webhooks: "Webhooks | None" = None) -> None:
    """Run a host, and deliver webhooks if they are given, until SIGTERM or SIGINT."""
    host, beside = Host(worker, concurrency), None
    worker.ports.journal.note("confinement", **worker.confinement)
    if webhooks:
        from worker.entrypoints.webhook_host import WebhookHost  # noqa: PLC0415 - few hosts do both

        settings = worker.settings
        beside = WebhookHost(webhooks, settings.poll_seconds, settings.drain_seconds)

    def stop() -> None:
        host.stop()
        if beside:
            beside.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.run())
        if beside:
            group.create_task(beside.run())
    if webhooks:
        await webhooks.close()
    worker.aws.close()
