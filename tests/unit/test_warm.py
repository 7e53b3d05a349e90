"""What may be kept between turns, for how long, and when it may be used again."""

import asyncio
from dataclasses import replace

import pytest

from contracts import JobRequest, session_key
from worker.adapters.memory import ManualClock
from worker.adapters.shelf import Shelf
from worker.domain.claim import Claim
from worker.domain.job import Job
from worker.domain.policy import Policy, narrow
from worker.domain.session import Lease, Segment, SessionHead, plan_session
from worker.domain.warm import CommittedState, Warmth, still_current

SEGMENT = Segment("k", 1, "0" * 64, 1.5)
KEY = session_key("1", None, "default")
HEAD = SessionHead(
    KEY, 7, 3, "11111111-1111-4111-8111-111111111111", (SEGMENT,), (), turns=3, expires_at=1e9
)
STATE = CommittedState(7, 3, str(HEAD.session_id), HEAD.segments, HEAD.files)


def a_claim(head=HEAD, session="continue", attempt=1):
    request = JobRequest(user_message="hi", chat_id="1", session=session)
    job = Job("j", KEY, request, narrow(Policy(), request))
    plan = plan_session(head, "j", session, 0.0)
    return Claim(job, "a", attempt, 1, head.generation + 1, False, head, plan, 0.0)


def test_a_chat_that_nobody_has_touched_since_is_used_again():
    assert still_current(STATE, a_claim())


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (a_claim(replace(HEAD, generation=8)), "another worker has tried, and committed nothing"),
        (a_claim(replace(HEAD, generation=8, version=4)), "another worker has run it"),
        (a_claim(replace(HEAD, version=4)), "another version"),
        (a_claim(replace(HEAD, session_id="other")), "another session"),
        (a_claim(replace(HEAD, segments=(SEGMENT, SEGMENT))), "another transcript"),
        (a_claim(replace(HEAD, files=(SEGMENT,))), "other files"),
        (a_claim(replace(HEAD, lease=Lease("b", "j", 1.0), generation=8)), "a takeover"),
        (a_claim(session="new"), "a new session is asked for"),
        (a_claim(replace(HEAD, expires_at=-1.0)), "the session has expired"),
        (a_claim(attempt=2), "an earlier attempt may have recorded something"),
    ],
)
def test_in_doubt_a_chat_is_restored(claim, why):
    assert not still_current(STATE, claim), why


class Thing:
    def __init__(self, closed, name, memory=1):
        self.name, self.memory, self._closed = name, memory, closed
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def close(self):
        await self.may_close.wait()
        self._closed.append(self.name)


async def a_shelf(closed, names, memory=1, **limits):
    clock = ManualClock()
    shelf = Shelf(Warmth(**{"chats": 3, "memory": 100, "idle_seconds": 10.0} | limits), clock)
    for name in names:
        shelf.put(name, Thing(closed, name, memory))
    await asyncio.sleep(0)
    return shelf, clock


def always(_thing):
    return True


async def test_what_is_taken_is_nobody_else_s():
    shelf, _ = await a_shelf([], "a")
    assert (await shelf.take("a", always)).name == "a"
    assert await shelf.take("a", always) is None


async def test_the_least_recently_used_one_goes_first():
    closed = []
    shelf, _ = await a_shelf(closed, "abc")
    shelf.put("a", await shelf.take("a", always))
    shelf.put("d", Thing(closed, "d"))
    await shelf.take("b", always)
    assert closed == ["b"]


async def test_memory_is_bounded_over_all_of_them():
    closed = []
    await a_shelf(closed, "ab", memory=60)
    await asyncio.sleep(0)
    assert closed == ["a"]


async def test_with_no_room_nothing_is_kept():
    closed = []
    shelf, _ = await a_shelf(closed, "a", chats=0)
    assert await shelf.take("a", always) is None
    assert closed == ["a"]


async def test_what_does_not_fit_is_gone_when_its_chat_goes_on():
    closed = []
    shelf, _ = await a_shelf(closed, "a")
    assert await shelf.take("a", lambda _thing: False) is None
    assert closed == ["a"]


async def test_a_turn_waits_for_the_end_of_what_was_evicted():
    closed = []
    shelf, _ = await a_shelf(closed, "")
    evicted = Thing(closed, "a")
    evicted.may_close.clear()
    for name in "abcd":
        shelf.put(name, evicted if name == "a" else Thing(closed, name))
    taking = asyncio.create_task(shelf.take("a", always))
    await asyncio.sleep(0)
    assert not taking.done()
    evicted.may_close.set()
    assert await taking is None
    assert closed == ["a"]


async def test_what_was_idle_for_too_long_is_not_used_though_no_timer_ran():
    closed = []
    shelf, clock = await a_shelf(closed, "a")
    clock.advance(11)
    assert await shelf.take("a", always) is None
    assert closed == ["a"]


async def test_a_timer_ends_what_stays_idle():
    closed = []
    shelf = Shelf(Warmth(3, 100, -0.9), ManualClock())
    shelf.put("a", Thing(closed, "a"))
    async with asyncio.timeout(10):
        while not closed:
            await asyncio.sleep(0.01)


async def test_clearing_returns_when_everything_has_ended():
    closed = []
    shelf, _ = await a_shelf(closed, "abc")
    await shelf.clear()
    assert sorted(closed) == ["a", "b", "c"]
