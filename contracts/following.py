"""Following one job: what to show, when to look into the job table, when to give up.

Pure decisions, so that a blocking and an asyncio reader can share them. Events arrive through a
queue: in any order, some twice, some never. What is shown is in order, each event once, and ends
with the final event, which the job's record holds even when the queue has lost it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contracts.envelope import LAST_NUMBER
from contracts.errors import ResultTimeout
from contracts.events import FinalEvent, StreamEvent
from contracts.progress import JobProgressEvent

GAP_SECONDS: Final = 0.5
"""How long a later event waits for one that is missing before it."""

SILENCE_SECONDS: Final = 5.0
"""After so long without an event the job's record is looked at, and again after as long."""


_ATTEMPT: Final = 10 ** len(str(LAST_NUMBER))
"""What one attempt adds to the sequence."""


@dataclass(frozen=True, slots=True)
class Show:
    """Give this event to whoever follows the job."""

    event: StreamEvent


@dataclass(frozen=True, slots=True)
class Look:
    """Read the job's record, then call `looked`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for an event, at most so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The final event was shown."""


Step = Show | Look | Wait | Done


class Following:
    """One job's events as they are to be shown. Times are seconds of one monotonic clock.

    Args:
        timeout: seconds after which `step` raises ResultTimeout.
        look: whether the job's record can be read.
        late: events may have passed before this began, so the record is looked at first.
    """

    def __init__(
        self, job_id: str, now: float, timeout: float, *, look: bool = True, late: bool = False
    ) -> None:
        self._job_id = job_id
        self._timeout = timeout
        self._deadline = now + timeout
        self._can_look = look
        self._look_at = now if late else now + SILENCE_SECONDS
        self._looked_at = now - 1.0
        self._state: str | None = None
        self._held: dict[int, StreamEvent] = {}  # by sequence
        self._held_until = 0.0
        self._shown = 0
        self._final: FinalEvent | None = None
        self._done = False

    def arrived(self, event: StreamEvent, now: float) -> None:
        """An event of this job came through the queue."""
        self._look_at = now + SILENCE_SECONDS
        if isinstance(event, FinalEvent):
            self._final = self._final or event
        elif (place := int(event.sequence or 0)) > self._shown:
            if not self._held:
                self._held_until = now + GAP_SECONDS
            self._held.setdefault(place, event)

    def looked(self, state: str | None, final: FinalEvent | None, now: float) -> None:
        """What the job's record says: its state if there is one, its event if it has ended."""
        self._state = state
        self._final = self._final or final
        self._look_at = now + SILENCE_SECONDS
        self._looked_at = now

    def step(self, now: float) -> Step:
        """What to do now. Raises ResultTimeout when the time is over and no result was found."""
        if self._done:
            return Done()
        while self._held and self._is_ready(min(self._held), now):
            event = self._release(now)
            if not self._is_superseded(event):
                return Show(event)
        if self._final is not None:
            self._done = True
            return Show(self._final)
        over = now >= self._deadline
        if self._can_look and (now >= self._look_at or (over and self._looked_at < self._deadline)):
            return Look()
        if over:
            raise ResultTimeout(self._job_id, self._timeout, self._state)
        return Wait(min(self._moments()) - now)

    def _is_ready(self, place: int, now: float) -> bool:
        """Whether nothing is missing before it, or nothing more is waited for."""
        first_of_attempt = place % _ATTEMPT == 1
        follows = place == self._shown + 1 or first_of_attempt
        return follows or now >= self._held_until or self._final is not None

    def _release(self, now: float) -> StreamEvent:
        self._shown = min(self._held)
        self._held_until = now + GAP_SECONDS
        return self._held.pop(self._shown)

    def _is_superseded(self, event: StreamEvent) -> bool:
        """Whether a later one says all that it says: who reads slowly is not shown each text."""
        if not isinstance(event, JobProgressEvent) or event.data.kind != "text":
            return False
        call = (event.data.attempt, event.data.num_turns)
        return self._final is not None or any(
            isinstance(later, JobProgressEvent)
            and later.data.kind == "text"
            and (later.data.attempt, later.data.num_turns) == call
            for later in self._held.values()
        )

    def _moments(self) -> Iterator[float]:
        yield self._deadline
        if self._can_look:
            yield self._look_at
        if self._held:
            yield self._held_until
