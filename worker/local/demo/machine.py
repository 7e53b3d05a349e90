"""What the demo runs on: the local stack, and one worker that can be killed and replaced."""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3

from contracts import Producer
from worker.adapters.items import record_of
from worker.domain.job import JobRecord
from worker.local.environment_file import read_environment_file
from worker.local.errors import LocalStackError
from worker.local.files import write_private
from worker.local.ministack import Progress, install
from worker.local.processes import Service, launch, log_tail, stop
from worker.local.stack import Options, down, up
from worker.local.template import resources_template

_KEPT = ("PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_WORKER_POLL_SECONDS = 1
_WORKER_SETTINGS = {
    "AGENT_TOOLS": "Bash,Read,Write",
    "LEASE_SECONDS": "6",  # after a crash, a chat is free again this soon
    "POLL_SECONDS": str(_WORKER_POLL_SECONDS),  # how long a drain waits for a poll to end
}
_START_SECONDS = 60.0
_STOP_SECONDS = 3.0
_POLL_SECONDS = 0.02


class Machine:
    """A running stack with its worker.

    `disk` is all of the worker's disk: its HOME and its WORK_DIR.
    """

    worker: Service

    def __init__(self, state_dir: Path, settings: dict[str, str]) -> None:
        self._state_dir = state_dir
        self.settings = settings
        self._workers = 0
        self._quiet_at = 0.0
        self.disk = state_dir / "disk"
        self.producer = Producer.from_env(settings)
        self.topic = settings["RESULT_TOPIC_ARN"]
        self.queue = settings["QUEUE_URL"]
        self.dead_letter_queue = settings["DLQ_URL"]

    def start_worker(self) -> None:
        """Start `agent-worker run` on an empty disk and wait until it takes messages."""
        home, work = self.disk / "home", self.disk / "work"
        for folder in (self.disk, home, work):
            folder.mkdir()  # an existing one is an error: the disk is empty
        self._workers += 1
        self.worker = launch(
            "worker",
            [sys.executable, "-m", "worker", "run"],
            env={
                **self.settings,
                **_WORKER_SETTINGS,
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(home),
                "WORK_DIR": str(work),
            },
            cwd=home,
            log=self._state_dir / f"worker-{self._workers}.log",
            url=self.queue,
        )
        write_private(_record(self._state_dir), json.dumps(asdict(self.worker)))
        self._wait_until_started(time.monotonic() + _START_SECONDS)
        time.sleep(max(0.0, self._quiet_at - time.monotonic()))

    def kill_worker(self) -> None:
        """SIGKILL, as a crash or a power cut: it can save nothing."""
        os.kill(self.worker.pid, signal.SIGKILL)
        while self.worker.is_alive():
            time.sleep(_POLL_SECONDS)
        stop(self.worker)  # takes note of its end
        # A poll of the dead is still open at the queue: a message that it takes would be lost to
        # everybody for a lease. That is safe, and slow.
        self._quiet_at = time.monotonic() + _WORKER_POLL_SECONDS + 0.2

    def wipe_disk(self) -> int:
        """Remove all that the worker had on disk; returns how many files that were."""
        files = sum(path.is_file() for path in self.disk.rglob("*"))
        shutil.rmtree(self.disk)
        return files

    def jobs(self) -> list[JobRecord]:
        """Every row of the job table, oldest first."""
        pages = self.client("dynamodb").get_paginator("scan")
        rows = pages.paginate(TableName=self.settings["JOB_TABLE"], ConsistentRead=True)
        records = [record_of(item) for page in rows for item in page["Items"]]
        return sorted(records, key=lambda record: record.created_at)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes clients at run time
        """An AWS client of the stack."""
        return boto3.client(
            service,
            endpoint_url=self.settings["AWS_ENDPOINT_URL"],
            region_name=self.settings["AWS_REGION"],
            aws_access_key_id=self.settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.settings["AWS_SECRET_ACCESS_KEY"],
        )

    def _wait_until_started(self, deadline: float) -> None:
        while '"started"' not in Path(self.worker.log).read_text():
            if not self.worker.is_alive() or time.monotonic() > deadline:
                raise LocalStackError(f"the worker did not start:\n{log_tail(self.worker)}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def machine(state_dir: Path, emulator_environment: Path, progress: Progress) -> Iterator[Machine]:
    """The machine for the time of a `with` block; at its end, however it ends, all is ended.

    Raises LocalStackError: it cannot start, or another demo or ticketbot runs on `state_dir`.
    """
    state_dir, emulator_environment = state_dir.resolve(), emulator_environment.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    with _alone(state_dir):
        _end(state_dir)  # what a killed demo left
        # With the caller's environment, which knows package indexes, proxies and certificates;
        # after it, with nothing of the caller's.
        install(emulator_environment, progress)
        _forget_the_caller(state_dir)
        try:
            options = Options(
                state_dir=state_dir,
                template=resources_template(),
                env_file=state_dir / "env",
                emulator_environment=emulator_environment,
            )
            up(options, progress=progress)
            running = Machine(state_dir, read_environment_file(options.env_file))
            progress("starting the worker")
            running.start_worker()
            yield running
        finally:
            with _uninterrupted():
                _end(state_dir)


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    with (state_dir / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalStackError(
                f"another demo or ticketbot runs on {state_dir}: end it first, or wait for its end"
            ) from None
        yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C does not stop the cleaning up after the first."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _end(state_dir: Path) -> None:
    record = _record(state_dir)
    if record.exists():
        stop(Service(**json.loads(record.read_text())), grace_seconds=_STOP_SECONDS)
        record.unlink()
    down(state_dir)
    shutil.rmtree(state_dir / "disk", ignore_errors=True)


def _forget_the_caller(state_dir: Path) -> None:
    """No profile, key, endpoint or proxy of the caller's reaches an AWS client of this process."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, HOME=str(state_dir))


def _record(state_dir: Path) -> Path:
    return state_dir / "worker.json"
