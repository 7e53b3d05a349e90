"""Processes that are started ahead: how many, when, and for how long they wait."""

import asyncio
from dataclasses import replace

import pytest

from worker.adapters.memory import ManualClock
from worker.adapters.shelf import Shelf
from worker.adapters.spares import Spares
from worker.domain.policy import Policy, usual_turn
from worker.domain.warm import Warmth

USUAL = usual_turn(Policy())
OTHER = replace(USUAL, model="haiku")
IDLE = 100.0


class Process:
    def __init__(self, spec, memory=10):
        self.spec, self.memory, self.closed = spec, memory, False

    async def close(self):
        self.closed = True


class Nursery:
    """Makes processes, or fails; `made` are all, `failed` what was told."""

    def __init__(self, count=1, reserve=lambda _: True):
        self.clock = ManualClock()
        self.made, self.failed, self.broken, self.tries = [], [], False, 0
        self.spares = Spares(count, self._start, IDLE, self.clock, self.failed.append, reserve)

    async def _start(self, spec):
        self.tries += 1
        if self.broken:
            raise OSError("no room")
        self.made.append(Process(spec))
        return self.made[-1]

    async def passes(self, seconds=1.0):
        await self.settled()
        self.clock.advance(seconds)
        await self.settled()

    async def settled(self):
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def nursery():
    nursery = Nursery()
    yield nursery
    await nursery.spares.close()


async def test_none_is_started_before_a_moment_of_quiet(nursery):
    nursery.spares.expect(USUAL)
    await nursery.settled()
    assert nursery.made == []
    await nursery.passes()
    assert [p.spec for p in nursery.made] == [USUAL]


async def test_one_that_was_taken_is_replaced_with_the_options_of_the_last_new_chat(nursery):
    nursery.spares.expect(USUAL)
    await nursery.passes()
    assert nursery.spares.take(USUAL) is nursery.made[0]
    assert nursery.spares.take(OTHER) is None
    await nursery.passes()
    assert [p.spec for p in nursery.made] == [USUAL, OTHER]
    assert not nursery.made[0].closed


async def test_one_for_other_options_stays_until_its_time_is_over(nursery):
    nursery.spares.expect(USUAL)
    await nursery.passes()
    assert nursery.spares.take(OTHER) is None
    await nursery.passes()
    assert (len(nursery.made), nursery.made[0].closed) == (1, False)
    await nursery.passes(IDLE)
    await nursery.passes()
    assert nursery.made[0].closed
    assert nursery.made[1].spec == OTHER


async def test_one_that_has_waited_for_too_long_is_replaced_by_a_new_one(nursery):
    nursery.spares.expect(USUAL)
    await nursery.passes()
    await nursery.passes(IDLE)
    await nursery.passes()
    assert [p.closed for p in nursery.made] == [True, False]
    assert nursery.spares.take(USUAL) is nursery.made[1]


async def test_one_that_slept_through_its_time_is_not_given_away(nursery):
    nursery.spares.expect(USUAL)
    await nursery.passes()
    nursery.clock.advance(IDLE)  # and no timer has run: the sandbox was frozen
    assert nursery.spares.take(USUAL) is None


async def test_one_that_cannot_be_started_is_not_tried_again_until_the_next_new_chat(nursery):
    nursery.broken = True
    nursery.spares.expect(USUAL)
    for _ in range(10):
        await nursery.passes(IDLE)
    assert (nursery.tries, len(nursery.failed)) == (1, 1)
    nursery.broken = False
    assert nursery.spares.take(USUAL) is None
    await nursery.passes()
    assert len(nursery.spares) == 1


async def test_as_many_wait_as_are_wanted():
    nursery = Nursery(count=3)
    nursery.spares.expect(USUAL)
    await nursery.passes()
    assert len(nursery.spares) == 3
    await nursery.spares.close()
    assert [p.closed for p in nursery.made] == [True] * 3


async def test_none_is_made_when_it_is_switched_off():
    nursery = Nursery(count=0)
    nursery.spares.expect(USUAL)
    assert nursery.spares.take(USUAL) is None
    await nursery.passes()
    assert nursery.made == []
    assert nursery.clock.sleepers == 0


async def test_its_memory_is_part_of_what_warm_chats_may_take():
    shelf = Shelf(Warmth(memory=25), ManualClock())
    chats = [Process(None), Process(None)]
    for name, chat in zip("ab", chats, strict=True):
        shelf.put(name, chat)
    nursery = Nursery(reserve=shelf.reserve)
    nursery.spares.expect(USUAL)
    await nursery.passes()
    assert [chat.closed for chat in chats] == [True, False]  # the one that was used least recently
    shelf.put("c", Process(None))
    await nursery.settled()
    assert chats[1].closed
    assert nursery.spares.take(USUAL) is not None
    shelf.put("d", Process(None))
    assert len(shelf) == 2
    await nursery.spares.close()
    await shelf.clear()


async def test_one_that_alone_takes_too_much_is_not_tried_for_ever():
    nursery = Nursery(reserve=lambda taken: taken < 10)
    nursery.spares.expect(USUAL)
    for _ in range(5):
        await nursery.passes(IDLE)
        nursery.spares.take(USUAL)
    assert [p.closed for p in nursery.made] == [True]
