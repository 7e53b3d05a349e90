"""Telling how a turn goes, while it goes: in the background, and never at its cost.

The turn only puts steps into a bounded queue. A task of its own tells them, at most one batch in
PROGRESS_SECONDS. What cannot be told is dropped: nothing but the final event is owed to anybody.
That one has the last place in the job's sequence, wherever it arrives among the others.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from contracts.envelope import LAST_NUMBER
from worker.domain.claim import Claim
from worker.domain.errors import UnavailableError
from worker.domain.events import step_event
from worker.domain.progress import Backlog, Started, Step
from worker.ports import Ports


class Reporter:
    """The steps of one attempt, on their way out."""

    def __init__(self, claim: Claim, backlog: Backlog, ports: Ports) -> None:
        self._claim = claim
        self._backlog = backlog
        self._ports = ports
        self._news = asyncio.Event()
        self._over = asyncio.Event()

    def report(self, step: Step) -> None:
        """Tell a step, some time soon. Never waits, never raises."""
        if self._backlog.add(step):
            self._news.set()

    def finish(self) -> None:
        """The turn is over: what is left is told at once, or not at all."""
        self._backlog.drop_texts()
        self._over.set()
        self._news.set()

    async def tell(self) -> None:
        """Until it is finished."""
        while not self._over.is_set() or self._backlog:
            await self._news.wait()
            self._news.clear()
            while self._backlog:
                await self._publish()
                await self._pause()

    async def _publish(self) -> None:
        now, ports, job_id = self._ports.clock.now(), self._ports, self._claim.job.job_id
        events = [
            step_event(self._claim, numbered, now)
            for numbered in self._backlog.take()
            if numbered.number < LAST_NUMBER
        ]
        try:
            await ports.publisher.tell(events)
        except UnavailableError as exc:
            ports.journal.note("progress_lost", job_id=job_id, count=len(events), error=str(exc))
        except Exception as exc:  # noqa: BLE001 - a defect in telling is none of the turn's
            ports.journal.failure("internal_error", exc, job_id=job_id)

    async def _pause(self) -> None:
        seconds = self._ports.policy.progress_seconds
        sleeping = asyncio.ensure_future(self._ports.clock.sleep(seconds))
        ending = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({sleeping, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            ending.cancel()


@contextlib.asynccontextmanager
async def reporting(claim: Claim, ports: Ports) -> AsyncIterator[Reporter | None]:
    """Tell the block's steps, if the request asks for it. Leaving the block waits for nobody."""
    wanted = claim.job.request.progress
    if wanted == "none":
        yield None
        return
    reporter = Reporter(claim, Backlog(wanted), ports)
    reporter.report(Started())
    telling = asyncio.create_task(reporter.tell())
    try:
        yield reporter
    finally:
        telling.cancel()
        await asyncio.wait({telling})
