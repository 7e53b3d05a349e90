"""A worker process that can fail at each of its calls to the outside.

The host, the pipeline, the heartbeat and the sweeper are the real ones; only their ports lead
through `Process.call`, where a call may be the process's last, be refused, lose its answer, or
take place long after it was sent.
"""

import asyncio
import contextlib
from enum import Enum, auto
from types import SimpleNamespace

from tests.faults.model import Resident
from worker.adapters.memory import MemoryAttachments, MemoryJournal, MemoryRules
from worker.domain.errors import UnavailableError
from worker.entrypoints.host import Host
from worker.entrypoints.lambda_handler import _batch
from worker.ports import Ports

LATENCY = 0.01
"""Seconds that a call takes; others go on meanwhile."""

THAW_SECONDS = 1.0
"""How much later than the first one the other tasks of a frozen process go on."""


async def _at_once(work):
    return work()


class Killed(BaseException):
    """Nothing of this process runs any more: its ports are dead, so no cleanup has an effect."""


class Fault(Enum):
    CRASH_BEFORE = auto()
    CRASH_AFTER = auto()
    ERROR_BEFORE = auto()
    ERROR_AFTER = auto()  # it was done; the answer is lost
    FREEZE = auto()  # the process stands still; wakes while another one is at work
    FREEZE_HEARTBEAT_FIRST = auto()  # the same; its heartbeat goes on before the call does
    FREEZE_LONG = auto()  # wakes when the others have finished
    DRAIN_BEFORE = auto()  # SIGTERM
    DRAIN_AFTER = auto()


AFTER = {Fault.CRASH_AFTER, Fault.ERROR_AFTER, Fault.DRAIN_AFTER}
ERRORS = {Fault.ERROR_BEFORE, Fault.ERROR_AFTER}


class Process:
    """One worker process on a system. `chaos(process, step)` names the fault of a call, if any."""

    def __init__(
        self,
        system,
        name,
        model,
        policy,
        chaos,
        *,
        slots=1,
        seconds=None,
        pace=None,
        poll_seconds=20,
    ):
        self.system = system
        self.name = name
        self.dead = self.ended = False
        self.busy = set()  # tasks that handle a message
        self.residents = set()  # CLIs that run
        self.calling = None  # a tool call between its record and its effect
        self.denied = None  # one that did not run, which is not yet on record
        self._model = model
        self.starts = lambda _spec: Resident(self, ahead=True)
        self._chaos = chaos
        self._pace = pace
        self._frozen_until = 0.0
        self._others_late = 0.0
        self.ports = Ports(
            policy=policy,
            clock=_Clock(self),
            inbox=Port(self, system.inbox, "inbox"),
            ledger=_Ledger(self, system.ledger, "ledger"),
            checkouts=_Checkouts(self),
            agent=_Agent(self),
            usage=Port(self, system.usage, "usage"),
            rules=MemoryRules(policy),
            attachments=MemoryAttachments(),
            results=Port(self, system.results, "results"),
            publisher=Port(self, system.publisher, "publisher"),
            journal=MemoryJournal(),
            owner=name,
        )
        worker = SimpleNamespace(
            ports=self.ports,
            inbox=_Queue(self),
            checkouts=SimpleNamespace(
                clear=lambda: None,
                close=self.ports.checkouts.close,
                expect=self.ports.checkouts.expect,
            ),
            settings=SimpleNamespace(poll_seconds=poll_seconds, drain_seconds=0),
            aws=SimpleNamespace(run=_at_once, prepare=lambda *_: None),
        )
        self.host = Host(worker, slots) if seconds is None else LambdaService(worker, seconds)

    @property
    def frozen(self):
        return self._frozen_until > self.system.clock.now()

    async def run(self):
        try:
            # A process that dies takes all its tasks with it.
            with contextlib.suppress(Killed, BaseExceptionGroup):
                await self.host.run()
        finally:
            await self.ports.checkouts.close()  # the CLIs of a process that died end with it
            self.busy.clear()
            self.ended = True
            self.system.news.set()
        if not self.dead and not self.host._stopping.is_set():
            self.system.violated("G5", f"{self.name} stopped by itself")
        if not self.dead and self.residents:
            self.system.violated("G6", f"{self.name} left {len(self.residents)} CLIs running")

    async def call(self, step, action):
        """One call to the outside, with what goes wrong with it."""
        await self.running()
        if self._pace is not None:
            await self._pace.step()
        await asyncio.sleep(LATENCY)
        await self.running()
        fault = self._chaos(self, step)
        if fault is not None and fault not in AFTER:
            await self._suffer(fault, step)
        answer = await action()
        if fault in AFTER:
            await self._suffer(fault, step)
        return answer

    def kill(self):
        """It ends at this instant."""
        self._leave_in_doubt()
        self.dead = True
        if self._pace is not None:
            self._pace.allow(1000)  # so that its tasks notice

    def _leave_in_doubt(self):
        self.system.in_doubt |= {self.calling, self.denied} - {None}

    async def running(self, late=0.0):
        """Returns while the process lives, and only when it is not frozen."""
        while not self.dead and (left := self._frozen_until - self.system.clock.now()) > 0:
            await asyncio.sleep(left + late)
        if self.dead:
            raise Killed

    async def _suffer(self, fault, step):
        if fault in ERRORS:
            self.system.in_doubt |= {self.denied} - {None}
        else:
            self._leave_in_doubt()
        match fault:
            case Fault.CRASH_BEFORE | Fault.CRASH_AFTER:
                self.kill()
                raise Killed
            case Fault.ERROR_BEFORE | Fault.ERROR_AFTER:
                raise UnavailableError(step.partition(".")[0], "injected")
            case Fault.FREEZE | Fault.FREEZE_LONG | Fault.FREEZE_HEARTBEAT_FIRST:
                lease = self.ports.policy.lease_seconds
                seconds = 4 * lease if fault is Fault.FREEZE_LONG else 1.25 * lease
                self._frozen_until = self.system.clock.now() + seconds
                self.system.news.set()
                heartbeat_first = fault is Fault.FREEZE_HEARTBEAT_FIRST
                self._others_late = 0.0 if heartbeat_first else THAW_SECONDS
                await self.running(late=THAW_SECONDS if heartbeat_first else 0.0)
            case Fault.DRAIN_BEFORE | Fault.DRAIN_AFTER:
                self.host.stop()
                await asyncio.sleep(LATENCY)


class Pace:
    """How many calls a process may make, for a test that leads it step by step."""

    def __init__(self):
        self.left = 0
        self._more = asyncio.Event()

    def allow(self, calls):
        self.left += calls
        self._more.set()

    async def step(self):
        while not self.left:
            self._more.clear()
            await self._more.wait()
        self.left -= 1


class LambdaService:
    """Lambda's event source mapping: one message an invocation, deleted by Lambda itself."""

    VISIBILITY_SECONDS = 900

    def __init__(self, worker, seconds):
        self._worker = worker
        self._seconds = seconds
        self._stopping = asyncio.Event()

    def stop(self):
        self._stopping.set()

    async def run(self):
        inbox = self._worker.inbox
        while not self._stopping.is_set():
            with contextlib.suppress(UnavailableError):  # the invocation failed; nothing is deleted
                message = await inbox.receive(20, self.VISIBILITY_SECONDS)
                if message is None:
                    continue
                failed = await _batch([message], self._worker, self._seconds)
                if message.message_id not in failed:
                    await inbox.delete(message)
        await self._worker.checkouts.close()  # the sandbox's end


class Port:
    """A port, each of whose methods is a call."""

    def __init__(self, process, inner, name):
        self._process, self._inner, self._name = process, inner, name

    def __getattr__(self, method):
        found = getattr(self._inner, method)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*arguments, **options):
            return await self._process.call(
                f"{self._name}.{method}", lambda: found(*arguments, **options)
            )

        return call


class _Ledger(Port):
    """Watches that a claim which was taken over changes nothing."""

    def __getattr__(self, method):
        call = super().__getattr__(method)
        if method not in {"extend", "commit", "release", "fail", "cancel"}:
            return call
        system, inner = self._process.system, getattr(self._inner, method)

        async def watched(claim, *arguments):
            async def fenced():
                before = system.changes(claim)
                try:
                    return await inner(claim, *arguments)
                finally:
                    if before[0].generation > claim.generation and before != system.changes(claim):
                        system.violated(
                            "G4", f"generation {claim.generation} could {method} after its takeover"
                        )

            return await self._process.call(f"ledger.{method}", fenced)

        return watched


class _Queue(Port):
    """What a host needs of the queue besides: to receive."""

    def __init__(self, process):
        super().__init__(process, process.system.inbox, "inbox")

    async def receive(self, wait_seconds, visible_after):
        process = self._process
        slot = asyncio.current_task()
        process.busy.discard(slot)
        process.system.news.set()
        await process.running()
        held = process._pace is not None and not process._pace.left
        message = None if held else self._inner.receive(visible_after)
        if message is None:  # a long poll: it returns as soon as there is one
            await asyncio.sleep(min(wait_seconds, self._inner.quiet_seconds()))
            return None
        process.busy.add(slot)

        async def answer():
            return message

        # An empty answer is no step. One that holds a message has already hidden it.
        return await process.call("inbox.receive", answer)


class _Checkouts:
    def __init__(self, process):
        self._process = process
        self._inner = process.system.checkouts.of_another_process(process.starts)

    def expect(self, spec):
        self._inner.expect(spec)

    async def close(self):
        await self._inner.close()

    @contextlib.asynccontextmanager
    async def open(self, claim):
        process = self._process
        async with contextlib.AsyncExitStack() as stack:
            checkout = await process.call(
                "checkouts.open",
                lambda: stack.enter_async_context(self._inner.open(claim)),
            )
            yield _Checkout(process, checkout, "checkout")
            await process.call("checkouts.close", stack.aclose)


class _Checkout(Port):
    """Attributes are the checkout's own; `record` and `seal` are calls."""


class _Agent:
    def __init__(self, process):
        self._process = process

    async def run(self, turn, checkout):
        process = self._process
        return await process.call("agent.run", lambda: process._model(process, turn, checkout))


class _Clock:
    """The process's clock: it goes on when the process does."""

    def __init__(self, process):
        self._process = process

    def now(self):
        return self._process.system.clock.now()

    async def sleep(self, seconds):
        await self._process.system.clock.sleep(seconds)
        await self._process.running(late=self._process._others_late)
