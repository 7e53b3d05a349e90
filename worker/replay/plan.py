"""What a replay would do to each dead letter, decided from what the tables hold. Pure.

What a message means to a worker is decided by worker/domain/claim.py; this foresees it. Should a
job's state change between the plan and the replay, the claim still decides, so that a letter that
is replayed twice, or too late, has no second effect.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from contracts import InvalidRequest
from worker.domain.job import JobRecord, JobState
from worker.replay.case import Case
from worker.replay.letter import Letter


class Action(StrEnum):
    """What becomes of a letter."""

    RUN = "run"
    """It is sent to the job queue, and its job runs."""
    PUBLISH = "publish"
    """It is sent; the job was answered, and its result is only published."""
    ARCHIVE = "archive"
    """Nothing is sent: it is done, and moves to the archive."""
    LEAVE = "leave"
    """It stays where it is."""


_SENDS = frozenset({Action.RUN, Action.PUBLISH})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for the job queue, without its token. `deduplication_id` is the letter copy's own:
    sending it again within SQS's five minutes changes nothing, and a later letter of the job is
    another one.
    """

    body: str
    group_id: str
    attributes: dict[str, str]
    deduplication_id: str


@dataclass(frozen=True, slots=True)
class Step:
    """One letter's part of a plan.

    `cost_usd` is what a turn of its chat costs on average, None when nothing is known.
    `newer_turns` says that its chat has gone on since the letter died.
    """

    case: Case
    action: Action
    why: str
    cost_usd: float | None = None
    newer_turns: bool = False

    @property
    def sends(self) -> bool:
        return self.action in _SENDS


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order of their chats. `skipping`: chats of which an earlier letter stays."""

    steps: tuple[Step, ...]
    skipping: tuple[str, ...] = ()

    @property
    def known_cost_usd(self) -> float:
        return sum(step.cost_usd or 0.0 for step in self.steps)

    @property
    def without_cost(self) -> int:
        """Turns that would run in chats of which no cost is known."""
        return sum(s.action is Action.RUN and s.cost_usd is None for s in self.steps)

    def count(self, action: Action) -> int:
        return sum(step.action is action for step in self.steps)


def plan(chosen: Sequence[Case], everything: Sequence[Case], *, vouch: bool = False) -> Plan:
    """What would become of the chosen letters, among all that there are; both in their order.

    A replay signs what it sends. So a letter whose sender was not authorized stays, unless the
    operator vouches for it.
    """
    steps: list[Step] = []
    attempts = _latest_attempts(everything)
    decisions = [_allowed(case, *_decided(case, attempts), vouch=vouch) for case in chosen]
    goes = _goes(c for c, (action, _) in zip(chosen, decisions, strict=True) if action in _SENDS)
    for case, decision in zip(chosen, decisions, strict=True):
        action, why = _if_it_goes(case.letter, *decision, goes)
        runs = action is Action.RUN
        steps.append(
            Step(
                case,
                action,
                why,
                cost_usd=case.chat.average_usd if runs and case.chat else None,
                newer_turns=runs and _newer_turns(case),
            )
        )
    return Plan(tuple(steps), _skipping(chosen, everything))


def _allowed(case: Case, action: Action, why: str, *, vouch: bool) -> tuple[Action, str]:
    if action is Action.RUN and not (case.letter.origin.authentic or vouch):
        return (
            Action.LEAVE,
            "its sender was not authorized: look at it, then replay it with --vouch",
        )
    return action, why


def _goes(cases: Iterable[Case]) -> dict[str, Letter]:
    """The letter of each job that is sent: the one that came into the queue last. An older one may
    have been sent already by a replay that was killed; SQS would take it for a double, and drop it.
    """
    found: dict[str, Letter] = {}
    for case in cases:
        letter = case.letter
        rival = found.get(letter.job_id)
        if rival is None or letter.sent_at > rival.sent_at:
            found[letter.job_id] = letter
    return found


def _if_it_goes(
    letter: Letter, action: Action, why: str, goes: Mapping[str, Letter]
) -> tuple[Action, str]:
    sent = goes.get(letter.job_id)
    if action not in _SENDS or sent is None or sent is letter:
        return action, why
    if sent.body == letter.body:
        return Action.ARCHIVE, f"a copy of letter {sent.id[:8]}, which is newer and goes"
    return Action.LEAVE, f"the same job as letter {sent.id[:8]}, which is newer and goes"


def attempt_of(case: Case) -> int | None:
    """The attempt that a replay is for. A letter of SQS's own has none: it is the last one that the
    record has, for a new series. A job without a record has no attempts yet.
    """
    if case.record is None:
        return None
    return case.record.attempt if case.letter.attempt is None else case.letter.attempt


def outgoing(letter: Letter, attempt: int | None) -> Outgoing:
    """The message that replays a letter whose body can be read."""
    return Outgoing(
        body=letter.body,
        group_id=letter.chat,
        attributes=letter.outgoing_attributes(letter.job_id, attempt),
        deduplication_id=f"replay-{hashlib.sha256(letter.message_id.encode()).hexdigest()[:40]}",
    )


def _latest_attempts(cases: Sequence[Case]) -> dict[str, int]:
    found: dict[str, int] = {}
    for case in cases:
        letter = case.letter
        found[letter.job_id] = max(found.get(letter.job_id, -1), letter.attempt or 0)
    return found


def _decided(case: Case, attempts: dict[str, int]) -> tuple[Action, str]:
    letter, record = case.letter, case.record
    if isinstance(letter.request, InvalidRequest):
        return Action.LEAVE, f"would be rejected again ({letter.request.code}): edit it first"
    if record is None:
        return Action.RUN, "runs as a new job: the worker has no record of it"
    if record.session_key not in {"", letter.session_key}:
        return Action.LEAVE, (
            f"job id {letter.job_id} belongs to chat {record.session_key}: edit it to another id"
        )
    match record.state:
        case JobState.PUBLISHED:
            return Action.ARCHIVE, "was answered since: nothing runs"
        case JobState.ANSWERED:
            return Action.PUBLISH, "was answered and not published: only published"
        case JobState.CANCELLED:
            return Action.LEAVE, "was cancelled: discard it"
        case JobState.REJECTED:
            return Action.RUN, "runs: it was rejected and has not run yet"
        case JobState.RUNNING:
            return _running(case, record)
        case JobState.FAILED:
            return _failed(letter, record, attempts)


def _running(case: Case, record: JobRecord) -> tuple[Action, str]:
    letter = case.letter
    if case.chat is not None and case.chat.busy_with == letter.job_id:
        return Action.LEAVE, f"runs just now (attempt {record.attempt})"
    if letter.attempt is not None and letter.attempt < record.attempt:
        return Action.LEAVE, f"was sent again already: attempt {record.attempt} waits for another"
    return Action.RUN, f"runs again: attempt {record.attempt} did not end"


def _failed(letter: Letter, record: JobRecord, attempts: dict[str, int]) -> tuple[Action, str]:
    if letter.attempt is None or letter.attempt == record.attempt:
        return Action.RUN, f"runs again, as attempt {record.attempt + 1}"
    if attempts[letter.job_id] == record.attempt:
        return Action.ARCHIVE, f"attempt {record.attempt} failed since and has its own letter"
    return Action.LEAVE, (
        f"is of attempt {letter.attempt}, and attempt {record.attempt} failed since: "
        "it would not run; its newer letter is elsewhere"
    )


def _newer_turns(case: Case) -> bool:
    chat = case.chat
    return (
        chat is not None and chat.last_turn_at is not None and chat.last_turn_at > case.letter.since
    )


def _skipping(chosen: Sequence[Case], everything: Sequence[Case]) -> tuple[str, ...]:
    """Chats of which an earlier letter stays behind while a later one goes."""
    taken = {case.letter.message_id for case in chosen}
    last = {case.letter.chat: case.place for case in chosen}
    return tuple(
        sorted(
            {
                case.letter.chat
                for case in everything
                if case.letter.message_id not in taken
                and case.letter.chat in last
                and case.place < last[case.letter.chat]
            }
        )
    )
