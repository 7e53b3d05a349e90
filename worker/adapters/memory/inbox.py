"""The job queue and its dead-letter queue, in memory."""

from dataclasses import dataclass, replace

from worker.adapters.memory.clock import ManualClock
from worker.domain.disposition import DeadLetter
from worker.domain.message import InboundMessage


@dataclass
class _Queued:
    message: InboundMessage
    visible_at: float = 0.0
    receives: int = 0


class MemoryInbox:
    """An SQS FIFO queue with its dead-letter queue: one message of a group in flight at a time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._queue: list[_Queued] = []
        self.dead_letters: list[tuple[InboundMessage, DeadLetter]] = []

    def send(self, message: InboundMessage) -> None:
        self._queue.append(_Queued(message))

    def receive(self, lease_seconds: float) -> InboundMessage | None:
        locked: set[str] = set()
        for queued in self._queue:
            if queued.message.group_id in locked:
                continue
            locked.add(queued.message.group_id)
            if queued.visible_at <= self._clock.now():
                queued.visible_at = self._clock.now() + lease_seconds
                queued.receives += 1
                return replace(queued.message, receive_count=queued.receives)
        return None

    @property
    def waiting(self) -> list[str]:
        return [queued.message.message_id for queued in self._queue]

    async def extend(self, message: InboundMessage, seconds: float) -> None:
        for queued in self._queue:
            if queued.message.message_id == message.message_id:
                queued.visible_at = self._clock.now() + seconds

    async def delete(self, message: InboundMessage) -> None:
        self._queue = [q for q in self._queue if q.message.message_id != message.message_id]

    async def quarantine(self, message: InboundMessage, letter: DeadLetter) -> None:
        mark = (message.message_id, letter.attempt)
        if mark not in {(m.message_id, dead.attempt) for m, dead in self.dead_letters}:
            self.dead_letters.append((message, letter))
