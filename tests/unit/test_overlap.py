"""Work that is begun before its outcome is needed, and what becomes of it when it is not."""

import asyncio

import pytest

from worker.overlap import under_way


async def test_it_goes_on_while_the_block_does_something_else():
    begun = asyncio.Event()

    async def work():
        begun.set()
        return 7

    async with under_way(work()) as task:
        await begun.wait()
        assert await task == 7
        assert await task == 7


async def test_its_error_is_that_of_who_waits_for_it():
    async def work():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        async with under_way(work()) as task:
            await task


async def test_an_error_that_nobody_waits_for_is_nobody_s(caplog):
    async def work():
        raise ConnectionError

    async with under_way(work()):
        await asyncio.sleep(0)
    assert caplog.records == []


@pytest.mark.parametrize("error", [None, ValueError, asyncio.CancelledError])
async def test_what_is_not_waited_for_has_ended_when_the_block_is_left(error):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def block():
        async with under_way(work()):
            await asyncio.sleep(0)
            if error is not None:
                raise error

    if error is None:
        await block()
    else:
        with pytest.raises(error):
            await block()
    assert ended == [True]
