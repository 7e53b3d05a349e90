"""What a turn tells while it runs: its steps, and the queue in which they wait to be told."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

MAX_BACKLOG = 50
"""Steps that wait to be told, at most: what is told late is worth little."""

BATCH = 10
"""Entries of one PutEvents or PublishBatch request (Amazon EventBridge and SNS quotas)."""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has taken the job."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The agent calls a tool. `num_turns` and `tool_calls` count those of the attempt so far."""

    name: str
    summary: str
    num_turns: int
    tool_calls: int


@dataclass(frozen=True, slots=True)
class TextSoFar:
    """What the agent has written in its model call number `num_turns` until now, as a whole."""

    text: str = field(repr=False)
    num_turns: int
    tool_calls: int


Step = Started | ToolCall | TextSoFar


@dataclass(frozen=True, slots=True)
class Numbered:
    """A step with its place among those of its attempt, counted from 1."""

    number: int
    step: Step


class Backlog:
    """Steps that wait to be told. Bounded: of a text only the latest is kept, and of too many steps
    the oldest is left out.
    """

    def __init__(self, wanted: Literal["steps", "text"]) -> None:
        self._wanted = wanted
        self._steps: deque[Step] = deque(maxlen=MAX_BACKLOG)
        self._told = 0

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, step: Step) -> bool:
        """Whether there is something new to tell."""
        if isinstance(step, TextSoFar):
            if self._wanted != "text":
                return False
            last = self._steps[-1] if self._steps else None
            if isinstance(last, TextSoFar) and last.num_turns == step.num_turns:
                self._steps.pop()
        self._steps.append(step)
        return True

    def take(self) -> list[Numbered]:
        """The next steps to tell at once, in order: a batch, with one text at most."""
        taken: list[Step] = []
        while self._steps and len(taken) < BATCH:
            if isinstance(self._steps[0], TextSoFar) and any(
                isinstance(step, TextSoFar) for step in taken
            ):
                break
            taken.append(self._steps.popleft())
        first = self._told + 1
        self._told += len(taken)
        return [Numbered(first + n, step) for n, step in enumerate(taken)]

    def drop_texts(self) -> None:
        """The turn is over: its result says what was still to be told of its text."""
        self._steps = deque(
            (step for step in self._steps if not isinstance(step, TextSoFar)), MAX_BACKLOG
        )
