"""The workers: `agent-worker run` as processes, each with a disk of its own."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.soak.processes import Identity, below, signal_one
from worker.local.processes import Service, launch, stop

_ROOT = Path(__file__).parents[2]
_DRAIN_SECONDS = 60.0
_POLL_SECONDS = 0.05


class Seat:
    """A place for one worker at a time: its disk stays, its process comes and goes."""

    service: Service

    def __init__(self, number: int, folder: Path, environ: Mapping[str, str], slots: int) -> None:
        self.name = f"worker-{number}"
        self.disk = folder / f"disk-{number}"
        self._folder = folder
        self._environ = {**environ, "WORK_DIR": str(self.disk)}
        self._slots = slots
        self._incarnation = 0

    def start(self) -> None:
        self._incarnation += 1
        self.service = launch(
            self.name,
            [sys.executable, "-m", "worker", "run", "--concurrency", str(self._slots)],
            env=self._environ,
            cwd=_ROOT,
            log=self._folder / f"{self.name}.{self._incarnation}.log",
            url="",
        )

    @property
    def log(self) -> str:
        return Path(self.service.log).name

    @property
    def process(self) -> Identity:
        return self.service.pid, self.service.started

    @property
    def alive(self) -> bool:
        return self.service.is_alive()

    @property
    def ready(self) -> bool:
        """It has begun its work, and handles SIGTERM."""
        return self.alive and '"started"' in Path(self.service.log).read_text()

    @property
    def stopped(self) -> bool:
        """It has ended as it should."""
        return not self.alive and '"stopped"' in Path(self.service.log).read_text()

    def family(self) -> list[Identity]:
        """The worker and every process below it."""
        return [self.process, *below(self.process[0])]


class Fleet:
    """All seats."""

    def __init__(self, workers: int, folder: Path, environ: Mapping[str, str], slots: int) -> None:
        self._folder = folder
        self.seats = [Seat(number, folder, environ, slots) for number in range(workers)]

    def start(self) -> None:
        for seat in self.seats:
            seat.start()

    def drain(self) -> None:
        """SIGTERM to all; returns when they have ended, or should have."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while any(seat.alive and not seat.ready for seat in self.seats):
            time.sleep(_POLL_SECONDS)
        for seat in self.seats:
            signal_one(seat.process, signal.SIGTERM)
        while any(seat.alive for seat in self.seats) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL to what is left of them."""
        for seat in self.seats:
            if hasattr(seat, "service"):
                for process in reversed(seat.family()):
                    signal_one(process, signal.SIGKILL)
                stop(seat.service, grace_seconds=0)  # takes note of its end

    def steps(self) -> list[dict[str, Any]]:
        """What all workers have logged, oldest first: `at` in epoch seconds, `worker` the log."""
        logs = self._folder.glob("worker-*.log")
        return sorted((step for log in logs for step in steps_in(log)), key=lambda step: step["at"])

    def complaints(self) -> list[str]:
        """What is wrong with the workers themselves, after `drain`."""
        logs = sorted(self._folder.glob("worker-*.log"))
        return [
            *(f"{seat.name} did not end well" for seat in self.seats if not seat.stopped),
            *(f"{log.name} holds a traceback" for log in logs if "Traceback" in log.read_text()),
        ]


def steps_in(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        if line.startswith("{") and line.endswith("}"):
            step = json.loads(line)
            at = datetime.fromisoformat(step["timestamp"]).timestamp()
            yield {**step, "at": at, "worker": log.name}
