"""What does not need to wait for each other does not."""

import asyncio
import base64
import contextlib

import pytest

from tests.pipeline.world import World
from worker.domain.disposition import Ack, DeadLetter
from worker.domain.policy import RefusedOptionError

NOTE = {"name": "a.txt", "data": base64.b64encode(b"hello").decode()}


class Slow:
    """Attachments that come only when the session is being restored, which takes until they are
    asked for: one after the other, in either order, would never end.
    """

    def __init__(self, world, *, refused=False):
        self.asked, self.refused, self.ended = asyncio.Event(), refused, False
        self._opened, opened = asyncio.Event(), world.checkouts.open

        @contextlib.asynccontextmanager
        async def opens(claim):
            self._opened.set()
            await self.asked.wait()
            async with opened(claim) as checkout:
                yield checkout

        world.checkouts.open = opens

    async def load(self, _request, _rules):
        self.asked.set()
        try:
            await self._opened.wait()
        finally:
            self.ended = True
        if self.refused:
            raise RefusedOptionError("attachment_unreadable", "it is not what it seems")
        return ({"type": "text", "text": "a"},)


@pytest.fixture
def world():
    return World()


async def test_attachments_are_read_while_the_session_is_restored(world):
    slow = Slow(world)
    world.send("look", attachments=[NOTE])
    async with asyncio.timeout(10):
        assert isinstance(await world.step(world.with_ports(attachments=slow)), Ack)
    assert world.agent.turns[0].attachments == ({"type": "text", "text": "a"},)


async def test_one_that_is_refused_ends_the_job_before_the_agent_is_asked(world):
    slow = Slow(world, refused=True)
    world.send("look", attachments=[NOTE])
    async with asyncio.timeout(10):
        ended = await world.step(world.with_ports(attachments=slow))
    assert isinstance(ended, DeadLetter)
    assert ended.reason == "attachment_unreadable"
    assert world.agent.turns == []


async def test_a_restore_that_fails_leaves_nothing_reading(world):
    slow = Slow(world)

    def fails(_claim):
        raise ConnectionError

    world.checkouts.open = fails
    world.send("look", attachments=[NOTE])
    await world.step(world.with_ports(attachments=slow))
    assert slow.asked.is_set() == slow.ended
    assert world.agent.turns == []
