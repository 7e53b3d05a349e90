"""What is written down of a replay while it goes on: its plan, what was sent, how far it is, and
what its watchers wish.

    replays/<id>/plan       who, when, from where, and what is to become of each letter
    replays/<id>/log/...    what was done, some letters each; written before they are deleted
    replays/<id>/state      how far it is; over and over
    replays/<id>/control    what a watcher wishes: run, pause, cancel, at which rate
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from worker.replay.plan import Action, Plan, Step, attempt_of
from worker.replay.ports import DeskPorts

SILENCE_SECONDS = 20.0
"""A replay that has not reported for so long has most likely been killed."""


class Phase(StrEnum):
    """Where a replay is."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    """It ended, and something that was to be done was not; `--resume` tries again."""
    DONE = "done"


class Wish(StrEnum):
    """What a watcher wants of a replay."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Control:
    """The wish that counts. `rate` is in letters per second; None: as fast as it goes."""

    wish: Wish = Wish.RUN
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A step as it was planned. `message_id` is the letter's copy in the queue."""

    message_id: str
    letter: str
    job: str
    chat: str
    reason: str
    action: Action
    why: str
    cost_usd: float | None = None
    attempt: int | None = None

    @classmethod
    def of(cls, step: Step) -> Self:
        letter = step.case.letter
        return cls(
            letter.message_id,
            letter.id,
            letter.job_id,
            letter.chat,
            step.case.reason,
            step.action,
            step.why,
            step.cost_usd,
            attempt_of(step.case),
        )

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "action": Action(row["action"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: "sent" with the id of the message in the job queue, or "archived"."""

    task: Task
    what: str
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is. `total` are the letters to be sent or archived, `left` those that stay
    by plan, `failed` those that could not be done, and with them what waits for them in its chat;
    `error` is what was wrong with the last of them.
    """

    replay: str
    phase: Phase
    total: int
    sent: int = 0
    archived: int = 0
    left: int = 0
    failed: int = 0
    rate: float | None = None
    at: float = 0.0
    error: str | None = None

    @property
    def done(self) -> int:
        return self.sent + self.archived

    def silent(self, now: float) -> bool:
        """Nothing was heard of it: it was most likely killed."""
        going = self.phase in {Phase.RUNNING, Phase.PAUSED}
        return going and now - self.at > SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Written:
    """A replay's plan as it was written. `at` is in epoch seconds."""

    id: str
    by: str
    place: str
    at: float
    selection: str
    tasks: tuple[Task, ...]


class ReplayJournal:
    """Replays, in the documents."""

    def __init__(self, ports: DeskPorts) -> None:
        self._ports = ports

    async def write_plan(self, plan: Plan, selection: str) -> Written:
        operator, now = self._ports.operator, self._ports.clock.now()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
        name = f"r-{stamp}-{uuid.uuid4().hex[:4]}"
        tasks = tuple(map(Task.of, plan.steps))
        written = Written(name, operator.name, operator.place, now, selection, tasks)
        await self._ports.documents.put(f"replays/{name}/plan", asdict(written))
        return written

    async def plan(self, replay: str) -> Written | None:
        document = await self._ports.documents.get(f"replays/{replay}/plan")
        if document is None:
            return None
        return Written(**{**document, "tasks": tuple(map(Task.read, document["tasks"]))})

    async def names(self) -> list[str]:
        """All replays, in the order they were begun."""
        keys = await self._ports.documents.keys("replays/")
        return [key.split("/")[1] for key in keys if key.endswith("/plan")]

    async def log(self, replay: str, outcomes: Sequence[Outcome]) -> None:
        now, operator = self._ports.clock.now(), self._ports.operator
        key = f"replays/{replay}/log/{round(now * 1000):013d}-{uuid.uuid4().hex[:8]}"
        document = {
            "at": now,
            "by": operator.name,
            "from": operator.place,
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }
        await self._ports.documents.put(key, document)

    async def logged(self, replay: str) -> dict[str, str]:
        """What was done to letters, by their copies' message ids."""
        keys = await self._ports.documents.keys(f"replays/{replay}/log/")
        documents = await asyncio.gather(*map(self._ports.documents.get, keys))
        return {
            outcome["task"]["message_id"]: outcome["what"]
            for document in documents
            if document is not None
            for outcome in document["outcomes"]
        }

    async def report(self, progress: Progress) -> None:
        await self._ports.documents.put(f"replays/{progress.replay}/state", asdict(progress))

    async def progress(self, replay: str) -> Progress | None:
        document = await self._ports.documents.get(f"replays/{replay}/state")
        if document is None:
            return None
        return Progress(**{**document, "phase": Phase(document["phase"])})

    async def wish(self, replay: str, control: Control) -> None:
        await self._ports.documents.put(f"replays/{replay}/control", asdict(control))

    async def control(self, replay: str) -> Control:
        document = await self._ports.documents.get(f"replays/{replay}/control")
        if document is None:
            return Control()
        return Control(Wish(document["wish"]), document["rate"])
