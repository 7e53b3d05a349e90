"""Processes that were started ahead, for chats that are still to come."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker.adapters.shelf import Keepable
from worker.domain.policy import TurnSpec
from worker.ports import Clock

T = TypeVar("T", bound=Keepable)

QUIET_SECONDS = 1.0
"""How long after a new chat's beginning the next process is started: a short turn has ended by
then, and a longer one waits for its model and not for this machine."""


@dataclass(frozen=True, eq=False)
class _Spare(Generic[T]):
    item: T
    spec: TurnSpec
    memory: int
    since: float


class Spares(Generic[T]):
    """Up to `count` things, made by `start`, that have served nobody; each serves one chat at most.

    They are made in the background, as the last new chat's turn would have needed them, and anew
    when they have waited for `idle_seconds`. One that cannot be made (`failed` is told why) is
    tried again with the next new chat. `reserve` is told the bytes that they take together; False
    says that it is too much, and then there will be fewer.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[TurnSpec], Awaitable[T]],
        idle_seconds: float,
        clock: Clock,
        failed: Callable[[Exception], None],
        reserve: Callable[[int], bool],
    ) -> None:
        self._count = count
        self._start = start
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._failed = failed
        self._reserve = reserve
        self._waiting: list[_Spare[T]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, spec: TurnSpec) -> T | None:
        """One that was made for such a turn, the caller's from now on. The next is made like it."""
        fits = (s for s in self._waiting if s.spec == spec and self._fresh(s))
        found = next(fits, None)
        if found is not None:
            self._leaves(found)
        self.expect(spec)
        return None if found is None else found.item

    def expect(self, spec: TurnSpec) -> None:
        """Be ready for such a turn, soon."""
        if not self._count:
            return
        self._spec = spec
        self._news.set()
        if self._keeping is None or self._keeping.done():
            # Nobody's turn: what this logs belongs to no job.
            self._keeping = asyncio.get_running_loop().create_task(
                self._keep(), context=contextvars.Context()
            )

    async def close(self) -> None:
        """None is left when this returns, and none is being made."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        while self._waiting:
            self._drop(self._waiting[0])
        if self._closing:
            await asyncio.wait(self._closing)

    async def _keep(self) -> None:
        while True:
            self._news.clear()
            await self._clock.sleep(QUIET_SECONDS)
            await self._refill()
            await self._wait()

    async def _refill(self) -> None:
        for spare in [s for s in self._waiting if not self._fresh(s)]:
            self._drop(spare)
        while len(self._waiting) < self._count:
            spec = self._spec
            try:
                item = await self._start(spec)
            except Exception as exc:  # noqa: BLE001 - a chat that starts its own says what is wrong
                self._failed(exc)
                return
            spare = _Spare(item, spec, item.memory, self._clock.now())
            self._waiting.append(spare)
            if not self._reserve(self._memory()):
                self._count -= 1
                self._drop(spare)

    async def _wait(self) -> None:
        """Until a new chat comes, or the oldest has waited for too long."""
        tasks: set[asyncio.Future[object]] = {asyncio.ensure_future(self._news.wait())}
        if self._waiting:
            until = min(s.since for s in self._waiting) + self._idle_seconds
            left = max(until - self._clock.now(), 0.0)
            tasks.add(asyncio.ensure_future(self._clock.sleep(left)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _fresh(self, spare: _Spare[T]) -> bool:
        # By the wall clock: a frozen Lambda sandbox ages, too.
        return self._clock.now() - spare.since < self._idle_seconds

    def _memory(self) -> int:
        return sum(spare.memory for spare in self._waiting)

    def _leaves(self, spare: _Spare[T]) -> None:
        self._waiting.remove(spare)
        self._reserve(self._memory())

    def _drop(self, spare: _Spare[T]) -> None:
        self._leaves(spare)
        task = asyncio.get_running_loop().create_task(spare.item.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
