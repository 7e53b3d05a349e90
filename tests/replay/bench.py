"""A worker and its dead-letter queue in memory, in virtual time, and operators who are killed."""

import asyncio
import json
from dataclasses import replace

from contracts import message_group_id
from tests.faults.virtual_time import LoopClock, VirtualTimeLoop
from tests.pipeline.world import World, echo
from worker.adapters.memory import MemoryDeadLetters, MemoryDocuments, MemoryInbox, MemoryRows
from worker.adapters.queue import dead_letter, message_of
from worker.domain.job import JobRecord, JobState
from worker.replay.desk import Desk
from worker.replay.letter import Letter
from worker.replay.ports import DeskPorts, Operator


class Killed(BaseException):
    """The operator's process is gone: nothing of it runs any more."""


class DeadLetteringInbox(MemoryInbox):
    """A job queue whose dead letters go where the workbench reads them."""

    def __init__(self, clock):
        super().__init__(clock)
        self.letters = MemoryDeadLetters(clock, self)
        self._marks = set()

    async def quarantine(self, message, letter):
        raw = dead_letter("dlq", message, letter)
        mark = raw["MessageGroupId"], raw["MessageDeduplicationId"]
        if mark in self._marks:
            return
        self._marks.add(mark)
        number = f"letter-{len(self._marks)}"
        received = message_of(
            {
                "MessageId": number,
                "ReceiptHandle": "",
                "Body": raw["MessageBody"],
                "MessageAttributes": raw["MessageAttributes"],
                "Attributes": {"MessageGroupId": raw["MessageGroupId"]},
            }
        )
        self.letters.add(Letter.of(received))


class Bench(World):
    """`operator()` is a desk of one process; `kill_at` counts that process's calls of its ports."""

    def __init__(self, script=echo, **policy):
        super().__init__(script, clock=LoopClock(), inbox=DeadLetteringInbox, **policy)
        self.letters = self.inbox.letters
        self.sent = set()  # (job id, deduplication id) of all that went to the job queue
        send = self.letters.send

        async def watched(message):
            self.sent.add((message.attributes["job_id"], message.deduplication_id))
            return await send(message)

        self.letters.send = watched
        self.documents = MemoryDocuments()
        self.rows = MemoryRows(self.ledger)

    def operator(self, *, kill_at=None, after=False):
        life = _Life(kill_at, after)
        return Desk(
            DeskPorts(
                letters=_Mortal(self.letters, life),
                rows=_Mortal(self.rows, life),
                documents=_Mortal(self.documents, life),
                clock=self.clock,
                operator=Operator("ada", "console"),
            )
        )

    def die(self, job, chat="1", *, text=None, attempt=1, reason="model_error", body=None):
        """A letter as the worker's own quarantine makes it."""
        request = {"user_message": text or job, "chat_id": chat, "job_id": job}
        attributes = {
            "job_id": job,
            "dead_letter_reason": reason,
            "dead_letter_error": f"{reason} it was",
            "dead_letter_attempt": str(attempt),
            "original_message_id": f"m-{job}",
            "dead_letter_origin": json.dumps({"group": message_group_id(chat)}),
        }
        number = f"dead-{len(self.letters.letters)}-{job}"
        body = json.dumps(request) if body is None else body
        letter = Letter(number, number, body, attributes, 0.0)
        self.letters.add(letter)
        return letter

    def move(self, job, chat="1"):
        """A letter as SQS's own redrive makes it: no word of why, in its chat's group."""
        request = {"user_message": job, "chat_id": chat, "job_id": job}
        number = f"moved-{len(self.letters.letters)}-{job}"
        letter = Letter(number, message_group_id(chat), json.dumps(request), {}, 0.0)
        self.letters.add(replace(letter, moved=True, token_good=True))

    def know(self, job, state, attempt=1, chat="1", **fields):
        """The job's record."""
        now = self.clock.now()
        event = None if state is JobState.RUNNING else json.dumps({"id": job, "data": {}})
        published = now if state not in {JobState.RUNNING, JobState.ANSWERED} else None
        record = JobRecord(
            job,
            f"default/{chat}",
            state,
            attempt,
            event=event,
            error_code="model_error",
            created_at=now,
            published_at=published,
        )
        self.ledger.jobs[job] = replace(record, **fields)

    def fail(self, job, chat="1", attempt=1):
        """A job that failed, and its letter."""
        self.know(job, JobState.FAILED, attempt, chat)
        return self.die(job, chat, attempt=attempt)

    async def work(self):
        """Let the worker empty its queue."""
        for _ in range(500):
            if not self.inbox.waiting:
                return
            if await self.step() is None:
                await asyncio.sleep(30)
        raise AssertionError(f"the queue did not empty: {self.inbox.waiting}")

    @property
    def told(self):
        """What the agent was asked, in order: one prompt a turn."""
        return [turn.prompt for turn in self.agent.turns]


class _Life:
    def __init__(self, kill_at, after):
        self.kill_at, self.after, self.calls, self.dead = kill_at, after, 0, False


class _Mortal:
    """A port of a process that is killed before or after its n-th call, and then does nothing."""

    def __init__(self, port, life):
        self._port, self._life = port, life

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            life = self._life
            if life.dead:
                raise Killed
            life.calls += 1
            dies = life.calls == life.kill_at
            await asyncio.sleep(0)
            if dies and not life.after:
                life.dead = True
            if life.dead:
                raise Killed
            answer = await getattr(self._port, name)(*args, **kwargs)
            if dies:
                life.dead = True
                raise Killed
            return answer

        return call


def run(work):
    """Run a coroutine in virtual time. Nobody is left to ask a killed process's tasks."""
    loop = VirtualTimeLoop()
    loop.set_exception_handler(lambda *_: None)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)
