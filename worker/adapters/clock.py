"""The system's clock."""

import asyncio
import time


class SystemClock:
    """The clock port on the machine's time."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
