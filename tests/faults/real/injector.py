"""What goes wrong with one chosen call of a real worker process: it kills, stops or drains itself,
or the call fails. The product knows nothing of it: the worker's ports are wrapped after `build`.

Each call to the outside is a step with a name: the port's method and its number in this process
(`ledger.commit#1`), and within it each request to AWS (`ledger.commit#1>dynamodb.get_item#1`).
"""

import contextlib
import json
import os
import signal
from collections import Counter
from contextvars import ContextVar
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path

from tests.faults.process import Port
from worker.domain.errors import UnavailableError


class Fault(StrEnum):
    CRASH_BEFORE = "killed before"
    CRASH_AFTER = "killed after"
    ERROR_BEFORE = "failed before"
    ERROR_AFTER = "failed after"  # it was done; the answer is lost
    FREEZE = "frozen at"  # past its lease; goes on while another worker is at work
    FREEZE_LONG = "long frozen at"  # goes on when everything is done
    DRAIN = "drained at"


AFTER = {Fault.CRASH_AFTER, Fault.ERROR_AFTER}
CRASHES = {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}
ERRORS = {Fault.ERROR_BEFORE, Fault.ERROR_AFTER}
FREEZES = {Fault.FREEZE, Fault.FREEZE_LONG}

_NO_PORTS = {"policy", "clock", "journal", "owner", "checkouts"}
_WITHIN: ContextVar[str] = ContextVar("within", default="host")


class Injector:
    """Numbers the calls of this process, writes each to the trace, and harms one of them."""

    def __init__(self, trace: Path, step: str, fault: str) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._step = step
        self._fault = Fault(fault) if fault else None
        self._counts = Counter()

    def into(self, worker):
        """The worker with all its calls led through `call`."""
        self._wrap_aws(worker.aws)
        ports = worker.ports
        wrapped = {
            field.name: Port(self, getattr(ports, field.name), field.name)
            for field in fields(ports)
            if field.name not in _NO_PORTS
        }
        ports = replace(ports, checkouts=_Checkouts(self, ports.checkouts), **wrapped)
        return replace(worker, ports=ports, inbox=_Queue(self, worker.inbox))

    async def call(self, step, action):
        name = self._numbered(step)
        token = _WITHIN.set(name)
        try:
            return await self._called(name, action)
        finally:
            _WITHIN.reset(token)

    async def _called(self, name, action):
        self._note(name, "begins")
        fault = self._fault if name == self._step else None
        if fault is not None and fault not in AFTER:
            self._suffer(name, fault)
        answer = await action()
        self._note(name, type(answer).__name__)
        if fault in AFTER:
            self._suffer(name, fault)
        return answer

    def _wrap_aws(self, aws):
        call = aws.call

        async def counted(service, operation, **arguments):
            if operation == "receive_message":  # an empty answer is no step
                return await call(service, operation, **arguments)
            name = self._numbered(f"{_WITHIN.get()}>{service}.{operation}")
            return await self._called(name, lambda: call(service, operation, **arguments))

        aws.call = counted

    def _numbered(self, step):
        self._counts[step] += 1
        return f"{step}#{self._counts[step]}"

    def _suffer(self, name, fault):
        self._note(name, "FAULT")
        match fault:
            case Fault.CRASH_BEFORE | Fault.CRASH_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.ERROR_BEFORE | Fault.ERROR_AFTER:
                raise UnavailableError("injected", name)
            case Fault.FREEZE | Fault.FREEZE_LONG:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Fault.DRAIN:
                os.kill(os.getpid(), signal.SIGTERM)

    def _note(self, name, what):
        """In one write, which outlives the process."""
        os.write(self._trace, f"{json.dumps([name, what])}\n".encode())


class _Queue(Port):
    """What a host asks of the queue, beside the pipeline's own use of it."""

    def __init__(self, injector, inner):
        super().__init__(injector, inner, "queue")

    async def receive(self, wait_seconds, lease_seconds):
        message = await self._inner.receive(wait_seconds, lease_seconds)
        if message is None:
            return None

        async def answer():
            return message

        return await self._process.call("queue.receive", answer)


class _Checkouts:
    def __init__(self, injector, inner):
        self._injector, self._inner = injector, inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    @contextlib.asynccontextmanager
    async def open(self, claim):
        call = self._injector.call
        async with contextlib.AsyncExitStack() as stack:
            checkout = await call(
                "checkouts.open", lambda: stack.enter_async_context(self._inner.open(claim))
            )
            transcript = checkout.transcript
            for method in ("append", "has_call"):
                _lead_through(call, transcript, method)
            yield Port(self._injector, checkout, "checkout")
            await call("checkouts.close", stack.aclose)


def _lead_through(call, transcript, method):
    if method in vars(transcript):  # a warm chat's, of an earlier turn
        return
    inner = getattr(transcript, method)

    async def called(*arguments):
        return await call(f"transcript.{method}", lambda: inner(*arguments))

    setattr(transcript, method, called)


def trace_of(trace: Path) -> list[tuple[str, str]]:
    """The calls of a process so far, and what became of each: (name, "begins"), (name, type)."""
    if not trace.exists():
        return []
    # What follows the last newline is being written just now.
    return [tuple(json.loads(line)) for line in trace.read_text().split("\n")[:-1]]
