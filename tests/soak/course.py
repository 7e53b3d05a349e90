"""One soak: the stack, the workers, sending under chaos, the end of all work, the audit."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.soak import state
from tests.soak.audit import Evidence, Findings, audit
from tests.soak.bot import Bot, Listener, bus_listener, dead_letters, topic_listener, waiting
from tests.soak.chaos import Chaos
from tests.soak.fleet import Fleet
from tests.soak.processes import Identity, command, of_run, signal_one
from tests.soak.workload import Workload
from worker.local.ministack import install
from worker.local.stack import Options, Stack, down, up
from worker.local.template import resources_template

ROOT = Path(__file__).parents[2]
EMULATOR_ENVIRONMENT = ROOT / ".agent-worker" / "ministack-env"

WORKER_SETTINGS = {
    "AGENT_TOOLS": "Bash,Read,Write",
    "POLL_SECONDS": "1",
    "MODEL_MAX_RETRIES": "0",
    "MODEL_SILENCE_SECONDS": "4",
    "DRAIN_SECONDS": "2",
}
BACKLOG_PER_CHAT = 2
ENDING_SECONDS = 300.0
"""For what is open when nothing is sent and nobody harmed any more; a backoff takes 32 of them, and
a busy machine its time. Only what is open then counts as unfinished.
"""

_KEPT = ("PATH", "TERM", "LANG", "LC_ALL", "TZ")
_TICK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `minutes` bounds sending and harm; other times are in seconds."""

    jobs: int = 60
    chats: int = 8
    workers: int = 2
    kill_every: float = 5.0
    minutes: float = 4.0
    lease: float = 5.0
    seed: int = 1


def run(plan: Plan, folder: Path) -> Findings:
    """`folder` is the run's own. Raises LocalStackError when the stack cannot be started."""
    ledger, effect = folder / "ledger", folder / "effect.sh"
    ledger.touch()
    # What a tool call does: a line in a file that all chats share, and one in the chat's own.
    effect.write_text(f'sleep "$2"; echo "$1" >> {ledger}; echo "$1" >> log.txt\n')
    with _stack(folder) as (stack, environ):
        settings = {
            **environ,
            **WORKER_SETTINGS,
            "LEASE_SECONDS": f"{plan.lease:g}",
            "AGENT_WRITABLE": str(folder),  # the ledger that all chats share
        }
        # As many slots as chats: one worker alone can go on, and no chat waits for a slot.
        fleet = Fleet(plan.workers, folder, settings, slots=plan.chats)
        chaos = Chaos(fleet, random.Random(plan.seed), plan.kill_every, plan.lease)
        bot = Bot(environ["QUEUE_URL"], environ["SDK_CLIENT_AUTH_TOKEN"])
        workload = Workload(plan.seed, plan.chats, effect)
        topic = topic_listener("soak", environ["RESULT_TOPIC_ARN"])
        bus = bus_listener("soak", environ["EVENT_BUS_NAME"])
        ours = {(service.pid, service.started) for service in stack.services}
        try:
            with topic, bus:
                fleet.start()
                work = Work(plan, bot, topic, chaos)
                work.do(workload)
                chaos.settle()
                fleet.drain()
                _hear_the_last(topic, bus)
            orphans = [process for process in of_run(folder) if process not in ours]
            evidence = Evidence(
                seconds=work.seconds,
                messages=bot.messages,
                sent=bot.sent,
                chats=workload.chats,
                on_topic=topic.heard(),
                on_bus=bus.heard(),
                letters=dead_letters(environ["DLQ_URL"]),
                left_in_queue=waiting(environ["QUEUE_URL"]),
                ledger=ledger.read_text().split(),
                steps=fleet.steps(),
                chaos=dict(chaos.done),
                harm=chaos.harm,
                orphans=[*chaos.orphans, *(f"still there: {command(each)}" for each in orphans)],
                unwell=[*chaos.crashes, *fleet.complaints()],
                disks=[seat.disk for seat in fleet.seats],
            )
            (folder / "evidence.json").write_text(json.dumps(asdict(evidence), default=str))
            chats = state.chats(workload.chats, environ, folder)
            return audit(evidence, state.records(environ), chats)
        finally:
            chaos.thaw_all()
            fleet.kill()
            _end(process for process in of_run(folder) if process not in ours)


class Work:
    """Sends while not too much is open, under chaos, until everything has its result."""

    def __init__(self, plan: Plan, bot: Bot, topic: Listener, chaos: Chaos) -> None:
        self._plan = plan
        self._bot = bot
        self._topic = topic
        self._chaos = chaos
        self._dice = random.Random(plan.seed)
        self._began = time.monotonic()
        self._calm_at = self._began + plan.minutes * 60
        self._told = 0.0
        self.seconds = 0.0

    def do(self, workload: Workload) -> None:
        for order in workload.orders(self._plan.jobs):
            send_at = time.monotonic() + self._dice.uniform(0, 0.3)
            while not self._calm and (not self._room() or time.monotonic() < send_at):
                self._tick()
            if self._calm:
                break
            self._bot.send(order)
        for order in workload.last_questions():
            self._bot.send(order)
        while (self._open() or self._bot.waiting()) and not self._over:
            self._tick()
        self.seconds = time.monotonic() - self._began
        self._tell()
        if sys.stderr.isatty():
            sys.stderr.write("\n")

    @property
    def _calm(self) -> bool:
        """From then on nothing is sent and nobody harmed; somebody has been by then."""
        return time.monotonic() > self._calm_at and (self._harmed or self._over)

    @property
    def _harmed(self) -> bool:
        return bool(self._chaos.done)

    @property
    def _over(self) -> bool:
        return time.monotonic() > self._calm_at + ENDING_SECONDS

    def _room(self) -> bool:
        return self._open() < BACKLOG_PER_CHAT * self._plan.chats

    def _open(self) -> int:
        return len(self._bot.sent.keys() - self._topic.heard().keys())

    def _tick(self) -> None:
        self._chaos.step(calm=self._calm)
        if time.monotonic() - self._told > (1 if sys.stderr.isatty() else 15):
            self._tell()
        time.sleep(_TICK_SECONDS)

    def _tell(self) -> None:
        self._told = time.monotonic()
        harm = "".join(f"  {name} {count}" for name, count in sorted(self._chaos.done.items()))
        line = (
            f"{self._told - self._began:4.0f} s  messages {self._bot.messages}"
            f"  jobs {len(self._bot.sent)}  open {self._open()}{harm}"
        )
        sys.stderr.write(f"\r{line}\033[K" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()


@contextmanager
def _stack(folder: Path) -> Iterator[tuple[Stack, dict[str, str]]]:
    """The emulator with the deployed resources and the scripted model, and a worker's environment
    for it. Nothing of the caller's own AWS settings is left meanwhile.
    """
    install(EMULATOR_ENVIRONMENT, _say)
    before = dict(os.environ)
    kept = {name: before[name] for name in _KEPT if name in before} | {"HOME": str(folder)}
    os.environ.clear()
    os.environ.update(kept)
    options = Options(
        state_dir=folder,
        template=resources_template(),
        env_file=folder / "env",
        auth=True,
        emulator_environment=EMULATOR_ENVIRONMENT,
    )
    try:
        stack = up(options)
        aws = {name: item for name, item in stack.environment.items() if name.startswith("AWS_")}
        os.environ.update(aws)
        yield stack, {**kept, **stack.environment}
    finally:
        down(folder)
        os.environ.clear()
        os.environ.update(before)


def _hear_the_last(*listeners: Listener) -> None:
    """Until a while has brought nothing new: a repeat may come after the result."""
    before, now = -1, 0
    while before != now:
        time.sleep(1.5)
        before, now = now, sum(len(e) for each in listeners for e in each.heard().values())


def _end(processes: Iterator[Identity]) -> None:
    for process in processes:
        signal_one(process, signal.SIGKILL)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
