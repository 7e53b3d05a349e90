"""What the guarantees ask for, compared with what is there when all has ended."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak import state
from tests.soak.bot import Heard, Sent
from tests.soak.stalls import longest_stall
from tests.soak.workload import Chat
from worker.domain.job import JobRecord, JobState

COST_TOLERANCE = 1e-6
"""Dollars; sums of floats in another order."""

_KEPT = frozenset({"bin", ".lock"})
"""What a worker's disk may hold: nothing of a chat."""

_COUNTED = re.compile(r"message (\d+) of our conversation")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a soak has seen. `on_topic`, `on_bus`: events by job; `letters`: dead letters by job;
    `ledger`: the lines that tool calls wrote; `steps`: the workers' log lines.
    """

    seconds: float
    messages: int
    sent: Mapping[str, Sent]
    chats: tuple[Chat, ...]
    on_topic: Mapping[str, Sequence[Heard]]
    on_bus: Mapping[str, Sequence[Heard]]
    letters: Mapping[str, Sequence[Mapping[str, str]]]
    left_in_queue: int
    ledger: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    chaos: Mapping[str, int]
    harm: Sequence[tuple[float, str]]
    orphans: Sequence[str]
    unwell: Sequence[str]
    disks: Sequence[Path]


VIOLATIONS = (
    "unfinished",
    "lost",
    "duplicated",
    "out of order",
    "torn",
    "orphans",
    "unwell workers",
)
"""A soak fails when one of these is not empty."""


@dataclass(slots=True)
class Findings:
    """`figures` by name, in the order of the table; `violations` by kind, each told in words."""

    figures: dict[str, str] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in VIOLATIONS}
    )

    @property
    def good(self) -> bool:
        return not any(self.violations.values())


def audit(
    evidence: Evidence, rows: Mapping[str, JobRecord], chats: Mapping[str, state.ChatState]
) -> Findings:
    """Everything at once, against the job table's rows and the restored chats."""
    findings = Findings()
    say = findings.violations
    if evidence.left_in_queue:
        say["unfinished"].append(f"{evidence.left_in_queue} messages are still in the queue")
    for job_id, sent in evidence.sent.items():
        for kind, text in _of_job(sent, evidence, rows.get(job_id)):
            say[kind].append(f"{job_id} ({sent.order.kind}): {text}")
    for job_id in (evidence.on_topic.keys() | rows.keys()) - evidence.sent.keys():
        say["duplicated"].append(f"{job_id}: nobody sent this job")
    say["duplicated"] += [
        f"the tool call {line} ran {count} times"
        for line, count in Counter(evidence.ledger).items()
        if count > 1
    ]
    for chat in evidence.chats:
        for kind, text in _of_chat(chat, chats[chat.key], evidence):
            say[kind].append(f"chat {chat.key}: {text}")
    say["orphans"] += evidence.orphans
    say["unwell workers"] += evidence.unwell
    say["unwell workers"] += [
        f"a defect: {step}" for step in evidence.steps if step["message"] == "internal_error"
    ]
    findings.figures = _figures(evidence, rows)
    return findings


def _of_job(sent: Sent, evidence: Evidence, row: JobRecord | None) -> Iterator[tuple[str, str]]:
    """One job: its events on both ways, its row, its dead letter, what its tools did."""
    job_id, order = sent.job_id, sent.order
    events = evidence.on_topic.get(job_id, ())
    if row is None or (row.published_at is None and not events):
        where = "unfinished" if evidence.left_in_queue else "lost"
        yield where, f"it has no outcome; its row: {row}"
        return
    for way, heard in (("topic", events), ("bus", evidence.on_bus.get(job_id, ()))):
        bodies = [event.body for event in heard]
        if not bodies:
            yield "lost", f"its event has not arrived on the {way}"
        if any(body != bodies[0] for body in bodies):
            ids = [body["id"] for body in bodies]
            yield "duplicated", f"its events on the {way} differ: {ids}"
    if row.published_at is None or row.state in {JobState.ANSWERED, JobState.RUNNING}:
        yield "torn", f"its row says {row.state.value} although its event was published"
    kind = outcome(events)
    letters = evidence.letters.get(job_id, ())
    if kind in {"failed", "rejected"} and not any(_has_reason(letter) for letter in letters):
        yield "lost", f"it was {kind}, and no dead letter says why: {list(letters)}"
    if kind == "completed" and letters:
        yield "duplicated", "it was answered and dead-lettered"
    if order.rejected != (kind == "rejected"):
        yield "lost", f"it should {'' if order.rejected else 'not '}have been rejected: {kind}"
    if kind == "completed":
        yield from _of_answer(sent, events[0].body["data"], evidence)


def _of_answer(
    sent: Sent, data: Mapping[str, Any], evidence: Evidence
) -> Iterator[tuple[str, str]]:
    if data["session_status"] == "reset":
        yield "torn", f"its session was reset: {data['session_note']}"
    if data["is_error"]:
        yield "lost", f"it was answered with an error: {data['error_message']}"
    missing = set(sent.order.effects) - set(evidence.ledger)
    if missing and data["attempt"] == 1:
        yield "lost", f"its tool calls {sorted(missing)} did not run, and nothing cut it off"


def _of_chat(chat: Chat, now: state.ChatState, evidence: Evidence) -> Iterator[tuple[str, str]]:
    """A chat's transcript, workspace and head against its answers, in the order sent."""
    own = [sent for sent in evidence.sent.values() if sent.order.chat == chat]
    answers = {
        sent.order.tag: evidence.on_topic[sent.job_id][0].body["data"]
        for sent in own
        if outcome(evidence.on_topic.get(sent.job_id, ())) == "completed"
    }
    if now.damage:
        yield "torn", now.damage
        return
    yield from in_sequence("the transcript", "the prompt", list(answers), now.prompts, whole=True)
    effects = [line for sent in own if sent.order.tag in answers for line in sent.order.effects]
    yield from in_sequence("the workspace", "the line", effects, now.log, whole=False)
    whole = {tag for tag, data in answers.items() if data["attempt"] == 1}
    for line in effects:
        if line.partition(".")[0] in whole and line not in now.log:
            yield "torn", f"the workspace lacks {line}, and nothing cut its turn off"
    for position, (tag, data) in enumerate(answers.items(), 1):
        counted = _COUNTED.search(data["response"])
        if counted and int(counted[1]) != position:
            yield "out of order", f"{tag} is message {position}, but the model saw {counted[0]}"
    cost = sum(data["cost_usd"] for data in answers.values())
    head = now.head
    if abs(head.cost_usd - cost) > COST_TOLERANCE:
        yield "torn", f"its head says {head.cost_usd} dollars, its results {cost}"
    if (head.turns, head.version) != (len(answers), len(answers)):
        yield "torn", f"its head says {head.turns} turns, its results {len(answers)}"
    if head.lease is not None:
        yield "torn", f"a lease was left: {head.lease}"


def in_sequence(
    where: str, what: str, expected: list[str], found: Sequence[str], *, whole: bool
) -> Iterator[tuple[str, str]]:
    for name, count in Counter(found).items():
        if count > 1:
            yield "duplicated", f"{what} {name} is {count} times in {where}"
    for name in dict.fromkeys(found):
        if name not in expected:
            yield "torn", f"{what} {name} is in {where}, but its job was not answered"
    if whole:
        for name in expected:
            if name not in found:
                yield "torn", f"{what} {name} is not in {where}, but its job was answered"
    place = {name: position for position, name in enumerate(expected)}
    known = [name for name in dict.fromkeys(found) if name in place]
    for one, other in itertools.pairwise(known):
        if place[one] > place[other]:
            yield "out of order", f"{what} {other} comes after {one} in {where}"


def outcome(events: Sequence[Heard]) -> str | None:
    """completed, failed or rejected; None without an event."""
    return events[0].body["type"].rpartition(".")[2] if events else None


def _has_reason(letter: Mapping[str, str]) -> bool:
    return bool(letter.get("dead_letter_reason") and letter.get("dead_letter_error"))


def _figures(evidence: Evidence, rows: Mapping[str, JobRecord]) -> dict[str, str]:
    """The table's figures besides the violations."""
    outcomes = Counter(outcome(evidence.on_topic.get(job_id, ())) for job_id in evidence.sent)
    reasons = Counter(row.error_code for row in rows.values() if row.state is JobState.FAILED)
    answers = [
        (evidence.sent[job_id], heard[0].body["data"])
        for job_id, heard in evidence.on_topic.items()
        if job_id in evidence.sent and outcome(heard) == "completed"
    ]
    attempts = Counter(f"{data['attempt']}" for _, data in answers)
    effects = {line for sent, _ in answers for line in sent.order.effects}
    steps = Counter(step["message"] for step in evidence.steps)
    continued = sum(bool(step.get("cut_off")) for step in evidence.steps)
    left = [path for disk in evidence.disks for path in disk.iterdir() if path.name not in _KEPT]
    stall = longest_stall(evidence.sent, evidence.on_topic, evidence.steps, evidence.harm)
    pace = len(evidence.sent) / evidence.seconds * 60
    return {
        "sent": f"{len(evidence.sent)} jobs in {evidence.messages} messages",
        "answered": f"{outcomes['completed']}, at attempt {_counted(attempts)}",
        "rejected": f"{outcomes['rejected']}",
        "failed": f"{outcomes['failed']}" + (f": {_counted(reasons)}" if reasons else ""),
        "harm done": _counted(evidence.chaos) or "none",
        "turns continued": f"{continued}",
        "leases lost": f"{steps['lease_lost']}",
        "tool calls": f"{len(effects)}, of which unknown: {len(effects - set(evidence.ledger))}",
        "events repeated": f"{sum(len(heard) - 1 for heard in evidence.on_topic.values())}",
        "longest stall": f"{stall.seconds:.1f} s, with {stall.harms} workers harmed meanwhile",
        "left on disk": f"{len(left)}",
        "throughput": f"{pace:.0f} jobs a minute, over {evidence.seconds:.0f} s",
    }


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
