"""Time that jumps: when everybody waits, it moves to the moment at which somebody goes on.

So a simulated hour takes a millisecond, and the same program takes the same course each time.
"""

import asyncio
import selectors

START = 1_800_000_000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without a wall clock. A wait that nothing can ever end is an error."""

    def __init__(self):
        self._seconds = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self):
        return self._seconds

    def jump(self, seconds):
        self._seconds += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        if timeout is None:
            raise AssertionError("everybody waits and nothing is due: the system is stuck")
        if timeout > 0:
            self._loop.jump(timeout)
        return []


class LoopClock:
    """The port, on the loop's time."""

    def now(self):
        return START + asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)
