"""An agent that a test writes."""

from collections.abc import Awaitable, Callable

from worker.domain.turn import AgentOutcome
from worker.ports import Checkout, Turn

Script = Callable[[Turn, Checkout], Awaitable[AgentOutcome]]


class MemoryAgent:
    """An agent whose turns are a function of the test's; `turns` is what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.turns: list[Turn] = []

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome:
        self.turns.append(turn)
        return await self.script(turn, checkout)
