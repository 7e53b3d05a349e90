"""Worker processes to be harmed, from the outside."""

import asyncio
import contextlib
import json
import signal
import sys
import uuid
from pathlib import Path

from tests.faults.real.injector import trace_of
from tests.integration.conftest import until
from tests.soak.fleet import steps_in
from tests.soak.processes import alive, signal_one
from worker.local.processes import start_time

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 100.0
"""Only ends a case that hangs: a loaded machine may need long for a lease and a turn."""


class Nursery:
    """Starts worker processes; see nursery.py."""

    def __init__(self, process):
        self._process = process
        self._lock = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.real.nursery",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            process.stdin.close()
            await process.wait()

    async def start(self, files, environ, disk, *, step="", fault="", seconds=None):
        """A worker that works on `disk`; its log and its trace are kept in `files`."""
        name = f"worker-{uuid.uuid4().hex[:8]}"
        order = {
            "environ": {**environ, "WORK_DIR": str(disk)},
            "log": str(files / f"{name}.log"),
            "trace": str(files / f"{name}.trace"),
            "step": step,
            "fault": fault,
            "seconds": seconds,
        }
        async with self._lock:
            self._process.stdin.write(f"{json.dumps(order)}\n".encode())
            pid = int(await self._process.stdout.readline())
        return WorkerProcess((pid, start_time(pid) or ""), disk, files / name)


class WorkerProcess:
    def __init__(self, identity, disk, files):
        self.identity, self.disk = identity, disk
        self._log, self._trace = files.with_suffix(".log"), files.with_suffix(".trace")

    @property
    def trace(self):
        return trace_of(self._trace)

    @property
    def log(self):
        return self._log.read_text() if self._log.exists() else ""

    @property
    def logged(self):
        return list(steps_in(self._log)) if self._log.exists() else []

    @property
    def alive(self):
        return alive(self.identity)

    @property
    def frozen(self):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self.identity[0]}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"
        return False

    @property
    def harmed(self):
        return any(what == "FAULT" for _, what in self.trace)

    @property
    def at_work(self):
        """Whether it has taken a message over, or found it finished."""
        return any(
            (name.startswith("ledger.claim#") and what in {"Claim", "Deliver", "Finished"})
            or (name.startswith("ledger.reject#") and what == "JobRecord")
            for name, what in self.trace
        )

    def signal(self, number):
        signal_one(self.identity, number)

    async def end(self):
        """Drain it; returns what was wrong with its end."""
        await until(lambda: '"started"' in self.log or not self.alive, PATIENCE_SECONDS)
        self.signal(signal.SIGTERM)
        await until(lambda: not self.alive, PATIENCE_SECONDS)
        return [] if '"stopped"' in self.log else [f"it did not end well: {self.log[-2000:]}"]
