"""A dead letter with what is known about it; selections and groups of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from worker.domain.errors import WorkerError
from worker.domain.job import JobRecord
from worker.replay.letter import Letter, fingerprint

MIN_PREFIX = 4
"""Characters of a letter's id that name it."""


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat's row, as far as a replay is concerned. `cost_usd` is of all its `turns`; times are
    epoch seconds; `busy_with` is the job that holds its lease.
    """

    session_key: str
    turns: int = 0
    cost_usd: float = 0.0
    last_turn_at: float | None = None
    busy_with: str | None = None

    @property
    def average_usd(self) -> float | None:
        """Dollars per turn; None for a chat without one."""
        return self.cost_usd / self.turns if self.turns else None


@dataclass(frozen=True)
class Case:
    """One dead letter, its job's record and its chat, as they were read."""

    letter: Letter
    record: JobRecord | None = None
    chat: ChatView | None = None

    @property
    def reason(self) -> str:
        return self.letter.reason

    @property
    def error(self) -> str:
        """What went wrong; for a letter without a word of it, the job's last error."""
        if self.letter.redriven and self.record is not None and self.record.error_code:
            return f"too many deliveries; last error: {self.record.error_code}"
        return self.letter.error

    @cached_property
    def group(self) -> str:
        return fingerprint(self.reason, self.error)

    @property
    def place(self) -> tuple[float, float, str]:
        """Its place in the order of its chat: jobs were first taken in the order sent."""
        letter = self.letter
        first = self.record.created_at if self.record is not None else letter.since
        return (first, letter.since, letter.id)


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that failed in the same way."""

    name: str
    reason: str
    error: str
    letters: int
    chats: int
    first: float
    last: float


class UnknownLetterError(WorkerError):
    """An id names no letter, or several. The text says which."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: all that fit each given condition. Ages are in seconds.

    `ids` are letters' ids or their beginnings, or job ids.
    """

    ids: tuple[str, ...] = ()
    group: str | None = None
    reason: str | None = None
    chat: str | None = None
    tenant: str | None = None
    older: float | None = None
    newer: float | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def of(self, cases: Sequence[Case], now: float) -> list[Case]:
        """The cases that are meant, in their order. Raises UnknownLetterError."""
        named = {case.letter.message_id for name in self.ids for case in _named(name, cases)}
        return [
            case
            for case in cases
            if (not self.ids or case.letter.message_id in named) and self._fits(case, now)
        ]

    def _fits(self, case: Case, now: float) -> bool:
        letter, age = case.letter, now - case.letter.since
        return (
            (self.group is None or case.group == self.group)
            and (self.reason is None or case.reason == self.reason)
            and (self.chat is None or letter.chat == self.chat)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.older is None or age >= self.older)
            and (self.newer is None or age <= self.newer)
        )

    def __str__(self) -> str:
        conditions = [
            f"{name} {given}"
            for name in ("group", "reason", "chat", "tenant")
            if (given := getattr(self, name)) is not None
        ]
        conditions += [f"older than {self.older:g} s"] if self.older is not None else []
        conditions += [f"newer than {self.newer:g} s"] if self.newer is not None else []
        return ", ".join([*self.ids, *conditions]) or "all letters"


def _named(name: str, cases: Sequence[Case]) -> list[Case]:
    exact = [case for case in cases if name in case.letter.names]
    if exact:
        return exact
    begun = [c for c in cases if len(name) >= MIN_PREFIX and c.letter.id.startswith(name)]
    if len({case.letter.id for case in begun}) == 1:
        return begun
    if begun:
        some = ", ".join(sorted(case.letter.id for case in begun)[:3])
        raise UnknownLetterError(f"{name!r} is how several letters begin ({some}); give more of it")
    raise UnknownLetterError(
        f"there is no letter {name!r} (a letter's id, its first {MIN_PREFIX} characters or more, "
        "or a job id); `agent-worker dlq list --letters` lists them. One that another reader "
        "holds just now is back in a minute"
    )


def grouped(cases: Iterable[Case]) -> list[Group]:
    """By kind of failure, the largest first."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found[case.group].append(case)
    groups = [
        Group(
            name=name,
            reason=members[0].reason,
            error=members[-1].error,
            letters=len(members),
            chats=len({case.letter.chat for case in members}),
            first=min(case.letter.since for case in members),
            last=max(case.letter.since for case in members),
        )
        for name, members in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.letters, group.first))


def joined(
    letters: Iterable[Letter],
    records: dict[str, JobRecord],
    chats: dict[str, ChatView],
) -> list[Case]:
    """Each letter with its job and chat, in the order of the chats' turns."""
    cases = [_case(letter, records, chats) for letter in letters]
    return sorted(cases, key=lambda case: case.place)


def _case(letter: Letter, records: dict[str, JobRecord], chats: dict[str, ChatView]) -> Case:
    known = next((job_id for job_id in letter.job_ids if job_id in records), letter.job_id)
    letter = letter.as_job(known)
    record = records.get(known)
    key = letter.session_key or (record.session_key if record else "")
    return Case(letter, record, chats.get(key))


def latest(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Each letter once, and the copies beside it: an edit or a repair that was cut off leaves two
    of one letter, of which the latest version counts.
    """
    best: dict[str, Case] = {}
    for case in cases:
        rival = best.get(case.letter.id)
        if rival is None or _newer(case, rival):
            best[case.letter.id] = case
    chosen = {case.letter.message_id for case in best.values()}
    return (
        [case for case in cases if case.letter.message_id in chosen],
        [case for case in cases if case.letter.message_id not in chosen],
    )


def _newer(case: Case, rival: Case) -> bool:
    mine, other = case.letter, rival.letter
    return (mine.origin.version, mine.sent_at) > (other.origin.version, other.sent_at)
