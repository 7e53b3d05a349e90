"""One case: a worker process, one fault, another worker that takes over, and what is there then."""

import asyncio
import json
import os
import signal
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import boto3

from tests.faults.real.injector import CRASHES, ERRORS, FREEZES, Fault
from tests.faults.real.workers import PATIENCE_SECONDS
from tests.soak.bot import Bot, dead_letters
from tests.soak.processes import command, of_run
from tests.soak.workload import Chat, Order

ALL = os.environ.get("FAULTS") == "all"
PORTS = ALL or os.environ.get("FAULTS") == "ports"
"""Every fault of each port call. Otherwise each is killed after, as scripts/test has time for."""

SETTINGS = {
    "LEASE_SECONDS": "5",
    "MAX_ATTEMPTS": "20",
    "DRAIN_SECONDS": "0",
    "POLL_SECONDS": "1",
    "MODEL_MAX_RETRIES": "0",
    "AGENT_TOOLS": "Bash",
}
TOOL_FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.FREEZE, Fault.FREEZE_LONG)
_KEPT_ON_DISK = {"bin", ".lock"}

# A tool call waits while its worker is harmed, from outside: its confinement lets it signal nobody.
EFFECT = """\
sleep "$2"
harm() {
  if [ -e "$0.$1" ]; then
    mv "$0.$1" "$0.fired.$1"
    until [ -e "$0.done.$1" ]; do sleep 0.05; done
  fi
}
harm "before.$1"
echo "$1" >> LEDGER
echo "$1" >> log.txt
harm "after.$1"
exit 0
"""


@dataclass(frozen=True)
class Case:
    """`step` "" means that nothing goes wrong."""

    scenario: object
    step: str = ""
    fault: Fault | None = None

    @property
    def asks(self):
        """Whether another message follows, whose request shows the model's view. After an error,
        which ends no process, only the whole matrix asks.
        """
        return ALL or self.fault not in ERRORS

    def __str__(self):
        return f"{self.scenario.name}, {self.fault} {self.step}" if self.step else "no fault"


@dataclass
class Course:
    """What a case has left, for the audit; `problems` in words."""

    case: Case
    chat: Chat
    bot: Bot
    workers: list = field(default_factory=list)
    letters: dict = field(default_factory=dict)
    left_in_queue: int = 0
    reached: bool = False
    problems: list = field(default_factory=list)
    last_request: dict = field(default_factory=dict)
    orphans: list = field(default_factory=list)


class Place:
    """Where cases run: an environment, the model, the listeners of topic and bus."""

    def __init__(self, folder, environ, nursery, model, topic, bus):
        self._folder, self._environ, self._nursery = folder, environ, nursery
        self._model, self._topic, self._bus = model, topic, bus
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._effect = folder / "effect.sh"
        self._effect.write_text(EFFECT.replace("LEDGER", str(self.ledger)))
        self._sqs = boto3.client("sqs")
        self._run, self._numbers = uuid.uuid4().hex[:8], iter(range(1, 100_000))

    async def run(self, case):
        """The job, with its fault, and a second message of the chat that was sent meanwhile."""
        folder = self._folder / uuid.uuid4().hex[:12]
        folder.mkdir()
        queues = await asyncio.to_thread(self._queues)
        environ = {**self._environ, **SETTINGS, **case.scenario.settings, **queues}
        course = Course(case, Chat(uuid.uuid4().hex), Bot(queues["QUEUE_URL"], ""))
        job = await asyncio.to_thread(self._send, course)

        async def start(disk, step="", fault=""):
            worker = await self._nursery.start(
                folder,
                environ,
                folder / disk,
                step=step,
                fault=fault,
                seconds=case.scenario.seconds,
            )
            course.workers.append(worker)
            return worker

        in_tool = case.step.startswith("tool.")
        first = await start("disk-1", *(("", "") if in_tool else (case.step, case.fault or "")))
        if in_tool:
            self._arm_the_tool(case, job)
        try:
            await self._until_the_end(course, job, first, start)
        except TimeoutError:
            ends = [f"{w.trace[-6:]} {w.log[-1500:]}" for w in course.workers]
            course.problems.append(f"it hangs: {'; '.join(ends)}")
        first.signal(signal.SIGCONT)
        for worker in course.workers:
            if worker.alive:
                course.problems += await worker.end()
        await asyncio.to_thread(self._look_around, course, folder, queues["DLQ_URL"])
        return course

    async def _until_the_end(self, course, job, first, start):
        case, sent = course.case, course.bot.sent.keys()

        def over():
            heard = self._topic.heard().keys() & self._bus.heard().keys()
            return sent <= heard and course.bot.waiting() == 0

        async def wait_for(condition):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await asyncio.to_thread(condition):
                    await asyncio.sleep(0.1)

        def harmed():
            return first.harmed or bool(self._fired(job))

        if case.step:
            await wait_for(lambda: harmed() or over())
            course.reached = harmed()
        if self._fired(job):
            first.signal(signal.SIGKILL if case.fault in CRASHES else signal.SIGSTOP)
        if course.reached and case.fault in FREEZES:
            await wait_for(lambda: first.frozen)
            for fired in self._fired(job):  # the tool goes on, its worker does not
                Path(str(fired).replace(".fired.", ".done.")).touch()
            second = await start("disk-2")
            early = case.fault is Fault.FREEZE
            await wait_for(lambda: (early and second.at_work) or over())
            first.signal(signal.SIGCONT)
        elif course.reached and case.fault in CRASHES | {Fault.DRAIN}:
            await wait_for(lambda: not first.alive)
            # The same disk: what the first one left there is for this one to clear.
            await start("disk-1")
        await wait_for(over)

    def _send(self, course):
        """The chat's messages; returns the order that the fault is meant for."""
        scenario, chat = course.case.scenario, course.chat
        job = self._order(chat, scenario)
        before = self._order(chat, text="steps: run {effect} {tag}.1 0", tools=1)
        after = self._order(chat)
        for order in (
            *((before,) if scenario.history else ()),
            job,
            *((after,) if course.case.asks else ()),
        ):
            course.bot.send(order)
        return job

    def _order(self, chat, scenario=None, *, text="hello {tag}", tools=0):
        tag = f"t{next(self._numbers):05d}"
        if scenario is not None:
            text, tools = scenario.text, scenario.tools
        body = {
            "user_message": text.format(tag=tag, effect=f"sh {self._effect}"),
            "chat_id": chat.chat_id,
            "job_id": f"{self._run}-{tag}",
            **(scenario.fields if scenario else {}),
        }
        effects = tuple(f"{tag}.{n}" for n in range(1, tools + 1))
        ends = scenario.ends if scenario else "completed"
        return Order(
            tag,
            chat,
            ends,
            json.dumps(body),
            chat.group,
            body["job_id"],
            effects,
            rejected=ends == "rejected",
        )

    def _arm_the_tool(self, case, job):
        """`tool.N`: the worker of the job's Nth tool call is harmed, before or after its effect."""
        line = f"{job.tag}.{case.step.partition('.')[2]}"
        when = "after" if case.fault is Fault.CRASH_AFTER else "before"
        self._beside(f"{when}.{line}").touch()

    def _fired(self, job):
        """The marks of tool calls that wait for the harm."""
        marks = [
            self._beside(f"fired.{when}.{line}")
            for line in job.effects
            for when in ("before", "after")
        ]
        return [mark for mark in marks if mark.exists()]

    def _beside(self, name):
        return Path(f"{self._effect}.{name}")

    def _queues(self):
        names = {"QUEUE_URL": "queue", "DLQ_URL": "dlq"}
        attributes = {"FifoQueue": "true", "VisibilityTimeout": "15"}
        return {
            variable: self._sqs.create_queue(
                QueueName=f"{name}-{uuid.uuid4().hex}.fifo", Attributes=attributes
            )["QueueUrl"]
            for variable, name in names.items()
        }

    def _look_around(self, course, folder, dlq):
        """Everything that the case's own things hold at the end."""
        say = course.problems
        course.letters = dead_letters(dlq)
        course.left_in_queue = course.bot.waiting()
        course.orphans = [command(process) for process in of_run(folder)]
        say += [f"a traceback: {w.log[-2000:]}" for w in course.workers if "Traceback" in w.log]
        for disk in {worker.disk for worker in course.workers}:
            left = [path.name for path in disk.iterdir() if path.name not in _KEPT_ON_DISK]
            if left:
                say.append(f"left on {disk.name}: {left}")
        if course.case.asks:
            last = list(course.bot.sent.values())[-1].order
            course.last_request = self._request(f"hello {last.tag}")

    def _request(self, text):
        """The latest request that holds this text."""
        asked = self._model.asked(text)
        return asked[-1] if asked else {}
