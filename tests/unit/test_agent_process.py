"""Ending the agent's process."""

import asyncio

import pytest

from worker.adapters.agent.process import to_the_end


async def test_a_farewell_is_finished_although_its_caller_is_cancelled_twice():
    going, said = asyncio.Event(), []

    async def farewell():
        await going.wait()
        said.append("ended")

    caller = asyncio.create_task(to_the_end(farewell()))
    for _ in range(2):
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert said == ["ended"]
