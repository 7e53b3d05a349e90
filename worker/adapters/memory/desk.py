"""The workbench's ports in memory: a dead-letter queue as SQS FIFO has it, rows, documents."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.adapters.memory.inbox import MemoryInbox
from worker.adapters.memory.ledger import MemoryLedger
from worker.domain.job import JobRecord
from worker.domain.message import InboundMessage
from worker.ports import Clock
from worker.replay.case import ChatView
from worker.replay.letter import Letter
from worker.replay.plan import Outgoing
from worker.replay.ports import Reading

DEDUPLICATION_SECONDS = 300.0


@dataclass
class _Stored:
    letter: Letter
    visible_at: float = 0.0
    receipts: int = 0


class MemoryDeadLetters:
    """Letters of one message group: ten of them at most, and none while one is held."""

    def __init__(self, clock: Clock, inbox: MemoryInbox) -> None:
        self._clock = clock
        self._inbox = inbox
        self._stored: list[_Stored] = []
        self._numbers = itertools.count(1)
        self._marks: dict[str, tuple[float, str]] = {}

    def add(self, letter: Letter) -> None:
        """A letter that arrives."""
        self._stored.append(_Stored(replace(letter, sent_at=self._clock.now())))

    @property
    def letters(self) -> list[Letter]:
        """All that there are, held or not."""
        return [stored.letter for stored in self._stored]

    @property
    def hidden(self) -> int:
        return sum(stored.visible_at > self._clock.now() for stored in self._stored)

    async def read(self, hold_seconds: float) -> Reading:
        now = self._clock.now()
        elsewhere = [s for s in self._stored if s.visible_at > now]
        locked = {stored.letter.group_id for stored in elsewhere}
        found: list[Letter] = []
        behind = 0
        of_group: dict[str, int] = {}
        for stored in self._stored:
            group = stored.letter.group_id
            if stored in elsewhere:
                continue
            if group in locked or of_group.get(group, 0) == 10:  # noqa: PLR2004 - SQS's most
                behind += 1
                continue
            of_group[group] = of_group.get(group, 0) + 1
            stored.receipts += 1
            stored.visible_at = now + hold_seconds
            handle = f"{stored.letter.message_id}.{stored.receipts}"
            found.append(replace(stored.letter, receipt_handle=handle))
        return Reading(tuple(found), behind, len(elsewhere))

    async def hold(self, letters: Sequence[Letter], seconds: float) -> None:
        for letter in letters:
            stored = self._held(letter)
            if stored is not None:
                stored.visible_at = self._clock.now() + seconds

    async def delete(self, letter: Letter) -> bool:
        stored = self._held(letter)
        if stored is None:
            return False
        self._stored.remove(stored)
        return True

    async def put(self, letter: Letter, mark: str) -> None:
        if self._repeated(f"put {letter.id} {mark}") is None:
            number = self._remember(f"put {letter.id} {mark}")
            copy = letter.stamped()
            self.add(replace(copy, message_id=number, group_id=letter.id, moved=False))

    async def send(self, message: Outgoing) -> str:
        key = f"send {message.group_id} {message.deduplication_id}"
        sent = self._repeated(key)
        if sent is None:
            sent = self._remember(key)
            self._inbox.send(
                InboundMessage(
                    sent,
                    message.group_id,
                    message.body,
                    dict(message.attributes),
                    receipt_handle=sent,
                )
            )
        return sent

    def _held(self, letter: Letter) -> _Stored | None:
        for stored in self._stored:
            handle = f"{stored.letter.message_id}.{stored.receipts}"
            if handle == letter.receipt_handle and stored.visible_at > self._clock.now():
                return stored
        return None

    def _repeated(self, key: str) -> str | None:
        at, number = self._marks.get(key, (float("-inf"), ""))
        return number if at > self._clock.now() - DEDUPLICATION_SECONDS else None

    def _remember(self, key: str) -> str:
        number = f"put-{next(self._numbers)}"
        self._marks[key] = (self._clock.now(), number)
        return number


class MemoryRows:
    """The workbench's view of a MemoryLedger. `turned_at`: when a chat last committed a turn."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self.turned_at: dict[str, float] = {}
        self._notes: dict[str, list[dict[str, Any]]] = {}

    async def jobs(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        known = self._ledger.jobs
        return {job_id: known[job_id] for job_id in job_ids if job_id in known}

    async def chats(self, session_keys: Iterable[str], now: float) -> dict[str, ChatView]:
        heads = self._ledger.heads
        return {key: self._view(key, now) for key in session_keys if key in heads}

    def _view(self, key: str, now: float) -> ChatView:
        head = self._ledger.heads[key]
        return ChatView(
            key,
            head.turns,
            head.cost_usd,
            self.turned_at.get(key),
            head.lease.job_id if head.lease and head.lease.live(now) else None,
        )

    async def note(self, job_id: str, note: Mapping[str, Any]) -> None:
        if job_id in self._ledger.jobs:
            self._notes.setdefault(job_id, []).append(dict(note))

    async def notes(self, job_id: str) -> list[dict[str, Any]]:
        return list(self._notes.get(job_id, []))


@dataclass
class MemoryDocuments:
    """Documents as JSON texts, so that nothing is shared by reference."""

    texts: dict[str, str] = field(default_factory=dict)

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        self.texts[key] = json.dumps(document)

    async def get(self, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(self.texts[key]) if key in self.texts else None
        return found

    async def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.texts if key.startswith(prefix))

    async def remove(self, key: str) -> None:
        self.texts.pop(key, None)
