"""Runs a system until its queue is empty: when a worker dies or stands still, the next begins."""

import asyncio
from dataclasses import dataclass, field

from tests.faults.model import model
from tests.faults.process import Killed, Process
from tests.faults.system import System
from tests.faults.virtual_time import VirtualTimeLoop
from worker import attempt, pipeline
from worker.domain.policy import Policy

LIMIT_SECONDS = 3600.0

NEVER = 1e9
"""Between two looks at a control record: a call that cannot matter is not a case of its own."""


@dataclass(frozen=True)
class Scenario:
    """Messages to send, as arguments of `System.send`, and where they are processed."""

    name: str
    messages: tuple
    policy: Policy = field(default_factory=lambda: Policy(cancel_poll_seconds=NEVER))
    slots: int = 1
    lambda_seconds: float | None = None
    workers: int = 1
    always: dict = field(default_factory=dict)
    """Faults of every call of a kind, besides those of the single case."""
    cancel_at: float | None = None
    """Seconds after which somebody asks for the end of the first message's job."""


@dataclass
class Course:
    """What happened: the calls, and how long it took until the queue was empty."""

    system: System
    calls: list
    seconds: float = 0.0


async def simulate(scenario, faults):
    """`faults`: by number of the call, counted over all workers."""
    seed_dice()
    system = System()
    for job_id, text, chat, fields in scenario.messages:
        system.send(f"{job_id} {text}".strip(), chat, job_id=job_id, **fields)
    if scenario.cancel_at is not None:
        begun = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_at(
            begun + scenario.cancel_at, system.cancel, scenario.messages[0][0]
        )
    workers = Workers(system, scenario, faults)
    course = Course(system, workers.calls)
    begun = system.clock.now()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await workers.empty_the_queue()
            course.seconds = system.clock.now() - begun
            await workers.fall_silent()
    except TimeoutError:
        system.violated("G5", f"the queue did not empty: {system.inbox.waiting}")
    await workers.stop()
    return course


MANY = 100
"""No course needs so many workers."""


class Workers:
    """The processes of a course."""

    def __init__(self, system, scenario, faults):
        self.calls = []
        self._system, self._scenario, self._faults = system, scenario, faults
        self._processes, self._tasks = [], []
        for _ in range(scenario.workers):
            self._begin()

    def _begin(self):
        assert len(self._processes) < MANY, "workers end as fast as they begin"
        process = Process(
            self._system,
            f"worker-{len(self._processes) + 1}",
            model,
            self._scenario.policy,
            self._fault,
            slots=self._scenario.slots,
            seconds=self._scenario.lambda_seconds,
        )
        self._processes.append(process)
        self._tasks.append(asyncio.create_task(process.run()))

    def _fault(self, process, call):
        self.calls.append(f"{process.name} {call}")
        return self._faults.get(len(self.calls)) or self._scenario.always.get(call)

    async def empty_the_queue(self):
        while self._system.inbox.waiting:
            await self._news()
            newest = self._processes[-1]
            if self._system.inbox.waiting and (newest.ended or newest.frozen):
                self._begin()

    async def fall_silent(self):
        """Those that stood still go on, and those that are busy finish."""
        while any(process.frozen or process.busy for process in self._processes):
            await self._news()

    async def stop(self):
        for process in self._processes:
            process.host.stop()
        await asyncio.gather(*self._tasks)

    async def _news(self):
        await self._system.news.wait()
        self._system.news.clear()


def seed_dice():
    """The jitter of backoffs."""
    for dice in (attempt._DICE, pipeline._DICE):
        dice.seed(0)


def runner():
    """Runs simulations, one after the other, in virtual time."""
    return asyncio.Runner(loop_factory=_loop)


def _loop():
    loop = VirtualTimeLoop()
    loop.set_exception_handler(_ignore_the_dead)
    return loop


def _ignore_the_dead(loop, context):
    """Nobody is left to ask a task of a killed process how it ended."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
