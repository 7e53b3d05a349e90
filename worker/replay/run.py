"""Carrying a replay out, so that it can be killed at any moment and gone on with.

A letter is sent, that is written down, and only then it is deleted. Killed before it was written
down, the letter is sent a second time: with the same deduplication id, which SQS knows for five
minutes, and as the same job and attempt, of which a claim runs one (worker/domain/claim.py).

Each wave takes the next letter of up to ten chats, so that a chat's letters go one after the other.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from worker.domain.errors import WorkerError
from worker.replay.case import Case, Selection
from worker.replay.desk import HOLD_SECONDS, Desk, Held, View
from worker.replay.journal import (
    Control,
    Outcome,
    Phase,
    Progress,
    ReplayJournal,
    Task,
    Wish,
    Written,
)
from worker.replay.letter import Letter
from worker.replay.plan import Action, Plan, Step, outgoing, plan

WIDTH = 10
"""Letters in a wave, each of another chat."""

LOOK_SECONDS = 1.0
"""How often a replay that is paused, or waits for letters, looks again."""

Watcher = Callable[[Progress], None]


class UnknownReplayError(WorkerError):
    """There is no replay of this name."""


def propose(view: View, selection: Selection, now: float, *, vouch: bool = False) -> Plan:
    """What a replay of the selection would do. Raises UnknownLetterError."""
    chosen = selection.of(view.cases, now)
    made = plan(chosen, view.cases, vouch=vouch)
    acted = {s.case.letter.id for s in made.steps if s.action is not Action.LEAVE}
    copies = [
        Step(copy, Action.ARCHIVE, "an older copy of a letter")
        for copy in view.copies
        if copy.letter.id in acted
    ]
    return replace(made, steps=(*made.steps, *copies))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a replay is carried out. Times in seconds: `hold` as in desk.HOLD_SECONDS; `patience` is
    how long it waits for letters that another reader, or a killed replay, still hides.
    """

    vouch: bool = False
    rate: float | None = None
    hold: float = HOLD_SECONDS
    patience: float = 2 * HOLD_SECONDS


class Replayer:
    """Begins replays and goes on with them; `watcher` is told of each wave."""

    def __init__(self, desk: Desk, watcher: Watcher = lambda _: None) -> None:
        self._desk = desk
        self._ports = desk.ports
        self._journal = ReplayJournal(desk.ports)
        self._watcher = watcher

    async def begin(self, selection: Selection, manner: Manner) -> Progress:
        """Plan, write the plan down, and carry it out."""
        async with self._desk.hold(manner.hold) as held:
            now = self._ports.clock.now()
            made = propose(held.view, selection, now, vouch=manner.vouch)
            written = await self._journal.write_plan(made, str(selection))
            if manner.rate is not None:
                await self._journal.wish(written.id, Control(Wish.RUN, manner.rate))
            letters = [step.case.letter for step in made.steps]
            detail = f"{written.selection}: {_told(written)}"
            await self._desk.audit("replay begun", detail, letters, written.id)
            course = _Course(written)
            await self._pass(held, course)
        return await self._finish(course, manner)

    async def resume(self, replay: str, manner: Manner) -> Progress:
        """Go on with a replay that was killed, paused or cancelled. Raises UnknownReplayError."""
        written = await self._journal.plan(replay)
        if written is None:
            names = ", ".join((await self._journal.names())[-3:]) or "none"
            raise UnknownReplayError(f"there is no replay {replay!r}; the latest are: {names}")
        before = await self._journal.control(replay)
        rate = before.rate if manner.rate is None else manner.rate
        await self._journal.wish(replay, Control(Wish.RUN, rate))
        await self._desk.audit("replay resumed", "", replay=replay)
        course = _Course(written, done=await self._journal.logged(replay), again=True)
        async with self._desk.hold(manner.hold) as held:
            await self._pass(held, course)
        return await self._finish(course, manner)

    async def _finish(self, course: "_Course", manner: Manner) -> Progress:
        """Look again for what could not be seen; then say how it ended."""
        until = self._ports.clock.now() + manner.patience
        while course.wish is not Wish.CANCEL and course.waits:
            if self._ports.clock.now() >= until:
                break
            await self._report(course, Phase.RUNNING)
            await self._ports.clock.sleep(LOOK_SECONDS)
            async with self._desk.hold(manner.hold) as held:
                await self._pass(held, course)
        phase = Phase.DONE
        if course.wish is Wish.CANCEL:
            phase = Phase.CANCELLED
        elif course.open:
            phase = Phase.INCOMPLETE
        progress = await self._report(course, phase)
        detail = f"{phase.value}: {progress.sent} sent, {progress.archived} archived"
        if course.open:
            detail += f", {len(course.open)} not done"
        await self._desk.audit("replay ended", detail, replay=course.written.id)
        return progress

    async def _pass(self, held: Held, course: "_Course") -> None:
        """Do what can be done with the letters that are held."""
        present = {c.letter.message_id: c for c in (*held.view.cases, *held.view.copies)}
        ours = [task for task in course.tasks if task.message_id in present]
        await held.keep_only([present[task.message_id] for task in ours])
        course.elsewhere = held.view.elsewhere
        for task in ours:  # done before, and not noted or not deleted before the end came
            if task.message_id in course.done:
                outcome = Outcome(task, course.done[task.message_id])
                await self._clear(held, present[task.message_id].letter, outcome, course.written.id)
        queues = _by_chat(task for task in ours if task.message_id not in course.done)
        course.seen |= {task.message_id for task in ours}
        while queues and await self._may_go_on(course):
            begun = self._ports.clock.now()
            chats = list(queues)[: course.width]
            wave = [(queues[chat][0], present[queues[chat][0].message_id]) for chat in chats]
            failed = await self._wave(held, course, wave)
            for chat in chats:
                # What comes after a letter that could not be sent must not overtake it.
                queues[chat].popleft()
                if chat in failed or not queues[chat]:
                    del queues[chat]
                else:
                    queues[chat] = queues.pop(chat)
            await self._report(course, Phase.RUNNING)
            if course.rate:
                spent = self._ports.clock.now() - begun
                await self._ports.clock.sleep(max(len(wave) / course.rate - spent, 0))

    async def _may_go_on(self, course: "_Course") -> bool:
        """What the watchers wish; returns when it is not a pause."""
        while True:
            control = await self._journal.control(course.written.id)
            course.wish, course.rate = control.wish, control.rate
            if control.wish is not Wish.PAUSE:
                return control.wish is Wish.RUN
            await self._report(course, Phase.PAUSED)
            await self._ports.clock.sleep(LOOK_SECONDS)

    async def _wave(self, held: Held, course: "_Course", wave: list[tuple[Task, Case]]) -> set[str]:
        """Send, write down, delete. Returns the chats whose letter could not be done."""
        found = await asyncio.gather(
            *(self._one(task, case) for task, case in wave), return_exceptions=True
        )
        failed, outcomes = set(), []
        for (task, _), outcome in zip(wave, found, strict=True):
            if isinstance(outcome, Outcome):
                outcomes.append(outcome)
            elif isinstance(outcome, WorkerError):
                failed.add(task.chat)
                course.error = f"letter {task.letter}: {outcome}"
            else:
                raise outcome
        if outcomes:
            await self._journal.log(course.written.id, outcomes)
        course.done |= {outcome.task.message_id: outcome.what for outcome in outcomes}
        letters = {task.message_id: case.letter for task, case in wave}
        await asyncio.gather(
            *(
                self._clear(held, letters[outcome.task.message_id], outcome, course.written.id)
                for outcome in outcomes
            )
        )
        return failed

    async def _clear(self, held: Held, letter: Letter, outcome: Outcome, replay: str) -> None:
        what = "replayed" if outcome.what == "sent" else "archived"
        await self._desk.note(letter, what, f"{replay}: {outcome.task.why}")
        await held.remove(letter)

    async def _one(self, task: Task, case: Case) -> Outcome:
        if task.action is Action.ARCHIVE:
            await self._desk.keep(case, task.why)
            return Outcome(task, "archived")
        return Outcome(
            task, "sent", await self._ports.letters.send(outgoing(case.letter, task.attempt))
        )

    async def _report(self, course: "_Course", phase: Phase) -> Progress:
        progress = course.progress(phase, self._ports.clock.now())
        await self._journal.report(progress)
        self._watcher(progress)
        return progress


@dataclass
class _Course:
    """What a running replay knows."""

    written: Written
    done: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    wish: Wish = Wish.RUN
    rate: float | None = None
    again: bool = False
    """Somebody has carried it out before, and may have been killed."""
    elsewhere: int = 0
    """Letters that others held at the last look."""
    error: str | None = None

    @property
    def tasks(self) -> list[Task]:
        return [task for task in self.written.tasks if task.action is not Action.LEAVE]

    @property
    def open(self) -> list[Task]:
        return [task for task in self.tasks if task.message_id not in self.done]

    @property
    def waits(self) -> bool:
        """Something was not seen yet: to be done, or only to be deleted."""
        unseen = any(task.message_id not in self.seen for task in self.open)
        return unseen or (self.again and self.elsewhere > 0)

    @property
    def width(self) -> int:
        return WIDTH if self.rate is None else min(WIDTH, max(1, int(self.rate)))

    def progress(self, phase: Phase, now: float) -> Progress:
        whats = list(self.done.values())
        ended = phase not in {Phase.RUNNING, Phase.PAUSED}
        return Progress(
            replay=self.written.id,
            phase=phase,
            total=len(self.tasks),
            sent=whats.count("sent"),
            archived=whats.count("archived"),
            left=len(self.written.tasks) - len(self.tasks),
            failed=len(self.open) if ended else 0,
            rate=self.rate,
            at=now,
            error=self.error,
        )


def _by_chat(tasks: Iterable[Task]) -> dict[str, deque[Task]]:
    queues: dict[str, deque[Task]] = {}
    for task in tasks:
        queues.setdefault(task.chat, deque()).append(task)
    return queues


def _told(written: Written) -> str:
    counts = dict.fromkeys(Action, 0)
    for task in written.tasks:
        counts[task.action] += 1
    return ", ".join(f"{number} to {action.value}" for action, number in counts.items() if number)
