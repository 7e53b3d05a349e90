"""The client of a bot that runs on asyncio.

async with AsyncProducer.from_env(os.environ) as producer:
    sent = await producer.enqueue(user_message="Hello", chat_id="123", progress="text")
    async for event in producer.stream(sent.job_id):
        print(event.type)
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from contracts.client import Enqueued, Producer, collect, poll_intervals
from contracts.errors import FeedClosed, ResultTimeout
from contracts.events import FinalEvent, StreamEvent
from contracts.following import Done, Look, Show, Wait
from contracts.request import JobRequest


class AsyncProducer:
    """`Producer` for asyncio: the same calls, arguments and errors.

    Calls of AWS run in threads for as long as they take; waiting takes none, so thousands of jobs
    can be followed at once.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, signed: bool = False) -> Self:
        """As `Producer.from_env`."""
        return cls(Producer.from_env(environ, signed=signed))

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._producer.__enter__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Producer.close`."""
        await asyncio.to_thread(self._producer.close)

    async def enqueue(self, request: JobRequest | None = None, /, **fields: object) -> Enqueued:
        """As `Producer.enqueue`."""
        return await asyncio.to_thread(self._producer.enqueue, request, **fields)

    async def response(self, event: FinalEvent) -> str:
        """As `Producer.response`."""
        return await asyncio.to_thread(self._producer.response, event)

    async def cancel(self, job_id: str, requested_by: str | None = None) -> None:
        """As `Producer.cancel`."""
        await asyncio.to_thread(self._producer.cancel, job_id, requested_by)

    async def look(self, job_id: str) -> tuple[str | None, FinalEvent | None]:
        """As `Producer.look`."""
        return await asyncio.to_thread(self._producer.look, job_id)

    async def wait(  # the arguments are those of the blocking one
        self,
        job_id: str,
        timeout: float = 300.0,  # noqa: ASYNC109
        poll: float = 0.2,
    ) -> FinalEvent:
        """As `Producer.wait`."""
        deadline = time.monotonic() + timeout
        for pause in poll_intervals(poll):
            state, event = await self.look(job_id)
            if event is not None:
                return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise ResultTimeout(job_id, timeout, state)
            await asyncio.sleep(min(pause, left))
        raise AssertionError("poll_intervals never ends")

    async def stream(
        self,
        job_id: str,
        timeout: float = 300.0,  # noqa: ASYNC109
    ) -> AsyncIterator[StreamEvent]:
        """As `Producer.stream`. Leave it early only with `contextlib.aclosing`, or by the end of
        the task.
        """
        feed = await asyncio.to_thread(self._producer.listen)
        mailbox = feed.follow(job_id)
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its readers with it
                loop.call_soon_threadsafe(news.set)

        mailbox.wake = wake
        try:
            following = self._producer.following(mailbox, timeout)
            while True:
                news.clear()
                collect(mailbox, following)
                match following.step(time.monotonic()):
                    case Show(event):
                        yield event
                    case Look():
                        following.looked(*await self.look(job_id), time.monotonic())
                    case Wait(seconds):
                        if feed.closed:
                            raise FeedClosed(job_id)
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(news.wait(), seconds)
                    case Done():
                        return
        finally:
            feed.release(mailbox)
