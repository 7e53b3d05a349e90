"""What is outside of the workers, and outlives them: queue, tables, bucket, subscribers, tools.

It watches what is done to it. What breaks a guarantee at the moment it is done is kept in
`violations`; what shows only at the end is in guarantees.py.
"""

import asyncio
import json
from collections import Counter

from contracts import message_group_id
from contracts.control import CancelRequest
from tests.faults.virtual_time import LoopClock
from worker.adapters.memory import (
    MemoryCheckouts,
    MemoryInbox,
    MemoryLedger,
    MemoryPublisher,
    MemoryResults,
    MemoryUsage,
)
from worker.domain.disposition import DeadLetter
from worker.domain.job import JobState
from worker.domain.message import InboundMessage


class System:
    def __init__(self, ledger=None):
        self.clock = LoopClock()
        self.ledger = ledger or MemoryLedger()
        self.inbox = WatchedInbox(self)
        self.publisher = WatchedPublisher(self)
        self.checkouts = MemoryCheckouts(self.clock)
        self.results = MemoryResults()
        self.usage = MemoryUsage()
        self.effects = Counter()  # what tools did, by call
        self.in_doubt = set()  # calls whose worker was cut off between record and effect
        self.reported = Counter()  # dollars that the agent told to its worker, by job
        self.cancelled_unbegun = set()  # jobs whose end was asked for before anybody had them
        self.requests = Counter()  # how often the model was asked, by job
        self.sent = []  # (chat, job id, text, message) in the order sent
        self.steps = []  # the calls of all workers, by name
        self.violations = []
        self.ahead = 0  # turns that found a CLI which was started ahead
        self.healthy = False  # whether a poisonous prompt is one no more
        self.news = asyncio.Event()  # a worker ended, froze, or has nothing to do

    def send(self, text, chat="1", *, job_id, body=None, attributes=None, **fields):
        request = {"user_message": text, "chat_id": chat, "job_id": job_id, **fields}
        number = len(self.sent) + 1
        message = InboundMessage(
            message_id=f"m-{number}",
            group_id=message_group_id(chat),
            body=body or json.dumps(request),
            attributes=attributes or {},
            receipt_handle=f"r-{number}",
            # Looks as if SQS had dead-lettered it, so that the ledger is asked for an earlier job.
            deduplication_id=f"0f8fad5b-d9cb-469f-a165-{number:012d}",
        )
        self.sent.append((chat, job_id, text, message))
        self.inbox.send(message)
        return message

    def cancel(self, job_id):
        """Somebody asks for the end of a job."""
        if job_id not in self.ledger.jobs:
            self.cancelled_unbegun.add(job_id)
        self.ledger.controls[job_id] = CancelRequest(self.clock.now(), "ada")

    def events_of(self, job_id):
        return [event for event in self.publisher.seen if event["data"]["job_id"] == job_id]

    def changes(self, claim):
        """What a write under this claim may change."""
        return (
            self.ledger.heads.get(claim.job.session_key),
            self.ledger.jobs.get(claim.job.job_id),
        )

    def violated(self, guarantee, what):
        self.violations.append(f"{guarantee}: {what}")


class WatchedInbox(MemoryInbox):
    """A message may go only when its outcome was published, and its dead letter sent."""

    def __init__(self, system):
        super().__init__(system.clock)
        self._system = system

    def quiet_seconds(self):
        """How long no message can become visible, but for one that is sent or returned."""
        now = self._system.clock.now()
        due = [q.visible_at - now for q in self._queue if q.visible_at > now]
        return min(due, default=float("inf"))

    async def delete(self, message):
        job_id = json.loads(message.body)["job_id"]
        kinds = {event["type"] for event in self._system.events_of(job_id)}
        letters = {m.message_id for m, _ in self.dead_letters}
        if (
            not kinds & {"agent.job.completed", "agent.job.cancelled"}
            and message.message_id not in letters
        ):
            self._system.violated("G3", f"{message.message_id} ({job_id}) was deleted unfinished")
        await super().delete(message)

    async def quarantine(self, message, letter: DeadLetter):
        if not self._system.events_of(letter.job_id):
            self._system.violated("G3", f"{letter.job_id} was dead-lettered before its event")
        await super().quarantine(message, letter)


class WatchedPublisher(MemoryPublisher):
    """An event may go only when its outcome is committed; each repeat must be the same."""

    def __init__(self, system):
        super().__init__()
        self._system = system
        self.seen, self.steps = [], []
        self._by_id = {}

    async def tell(self, events):
        await super().tell(events)
        self.steps += map(json.loads, events)

    async def publish(self, event):
        await super().publish(event)
        decoded = json.loads(event)
        self.seen.append(decoded)
        job_id, attempt = decoded["data"]["job_id"], decoded["data"].get("attempt", 0)
        record = self._system.ledger.jobs.get(job_id)
        key = (decoded["id"], attempt)
        if key not in self._by_id and (
            record is None or record.state is JobState.RUNNING or record.event != event
        ):
            self._system.violated("G4", f"{decoded['id']} was published before it was committed")
        if self._by_id.setdefault(key, event) != event:
            self._system.violated("G2", f"{decoded['id']} was published with two contents")
