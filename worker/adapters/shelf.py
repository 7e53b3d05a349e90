"""What a worker keeps between the turns of recently used chats, within bounds."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from worker.domain.warm import Warmth
from worker.ports import Clock


class Keepable(Protocol):
    """What is kept of one chat."""

    @property
    def memory(self) -> int:
        """Bytes that its processes take."""
        ...

    async def close(self) -> None:
        """End its processes, then remove its files."""
        ...


T = TypeVar("T", bound=Keepable)

TIMER_SLACK_SECONDS = 1.0


@dataclass
class _Place(Generic[T]):
    item: T
    memory: int
    since: float


class Shelf(Generic[T]):
    """One thing a chat, the least recently used one first to go.

    A thing is taken off before it is used, so that no two turns ever share one. One that does not
    fit is closed, and is gone when `take` returns.
    """

    def __init__(self, warmth: Warmth, clock: Clock) -> None:
        self._warmth = warmth
        self._clock = clock
        self._places: OrderedDict[str, _Place[T]] = OrderedDict()
        self._reserved = 0
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    async def take(self, chat: str, fits: Callable[[T], bool]) -> T | None:
        """The chat's thing, if it fits and has not been idle for too long."""
        place = self._places.pop(chat, None)
        if place is not None:
            if self._fresh(place) and fits(place.item):
                return place.item
            self._close(chat, place.item)
        if chat in self._closing:
            await asyncio.wait({self._closing[chat]})
        return None

    def put(self, chat: str, item: T) -> None:
        """Keep it, and close what is too much then."""
        self._places[chat] = _Place(item, item.memory, self._clock.now())
        self._trim()

    def reserve(self, memory: int) -> bool:
        """So many bytes are taken by others, and what is too much then is closed; False: there are
        not so many.
        """
        self._reserved = memory
        self._trim()
        return memory <= self._warmth.memory

    async def clear(self) -> None:
        """Close everything; returns when it is closed."""
        while self._places:
            chat, place = self._places.popitem()
            self._close(chat, place.item)
        self._watch()
        if self._closing:
            await asyncio.wait(list(self._closing.values()))

    def _trim(self) -> None:
        while self._places and self._over():
            oldest, place = self._places.popitem(last=False)
            self._close(oldest, place.item)
        self._watch()

    def _over(self) -> bool:
        taken = self._reserved + sum(place.memory for place in self._places.values())
        return len(self._places) > self._warmth.chats or taken > self._warmth.memory

    def _fresh(self, place: _Place[T]) -> bool:
        # By the wall clock: a frozen Lambda sandbox ages, too.
        return self._clock.now() - place.since <= self._warmth.idle_seconds

    def _watch(self) -> None:
        """One timer, for the one that is idle for the longest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._places:
            oldest = next(iter(self._places.values()))
            left = oldest.since + self._warmth.idle_seconds - self._clock.now()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(left, 0) + TIMER_SLACK_SECONDS, self._expire)

    def _expire(self) -> None:
        for chat, place in list(self._places.items()):
            if not self._fresh(place):
                del self._places[chat]
                self._close(chat, place.item)
        self._watch()

    def _close(self, chat: str, item: T) -> None:
        """In the background: nobody but the chat's next turn waits for it."""
        earlier = self._closing.get(chat)

        async def close() -> None:
            if earlier is not None:
                await asyncio.wait({earlier})
            await item.close()

        task = asyncio.get_running_loop().create_task(close())
        self._closing[chat] = task
        task.add_done_callback(lambda done: self._closed(chat, done))

    def _closed(self, chat: str, done: asyncio.Task[None]) -> None:
        if self._closing.get(chat) is done:
            del self._closing[chat]
