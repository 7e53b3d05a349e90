"""`status`, `jobs show` and `sessions transcript`, of a small stack in the afternoon."""

from rich.console import Console

from worker.domain.dialogue import Remark, Turn
from worker.domain.history import AttemptEnd
from worker.domain.job import JobRecord, JobState
from worker.domain.session import Lease
from worker.domain.timeline import JobDetails
from worker.entrypoints.cli.history import facts, time_line
from worker.entrypoints.cli.status_screen import screen
from worker.entrypoints.cli.transcript import print_turns
from worker.operations.blocked import Held
from worker.operations.status import Depth, Failures, Status, Today, Webhooks

NOW = 1_800_000_000.0


def status(console: Console) -> None:
    today = Today(
        outcomes={"completed": 1204, "failed": 7, "rejected": 2},
        cost_usd=18.4127,
        failures=(
            Failures("failed", "model_unavailable", 5, 4, NOW - 1860),
            Failures("failed", "timeout", 2, 1, NOW - 7300),
            Failures("rejected", "invalid_request", 2, 2, NOW - 410),
        ),
        complete=True,
    )
    held = (
        _held("default/-1001234567890:17", "update-8812", "working", 312, 1),
        _held("acme/C024BE91L:1700000000.123456", "update-8790", "retrying", 96, 3),
        _held("default/4711", "update-8814", "working", 4, 1),
    )
    last = (
        _ended("default/4712", "update-8813", 6, 0.0152),
        _ended("acme/C024BE91L", "update-8811", 19, 0.0047),
        _ended("default/4711", "update-8810", 31, 0.2210, "failed", "timeout"),
        _ended("default/4713", "update-8809", 58, 0.0098),
        _ended("", "sqs-8eadbf7e-40ab-4d05", 410, 0.0, "rejected", "invalid_request"),
        _ended("default/4711", "update-8807", 433, 0.0106),
    )
    queue = Depth(waiting=3, in_flight=3, oldest_seconds=95, oldest_at=NOW - 40)
    webhooks = Webhooks(4, 1, (), ("wh_tickets",), Depth(2, 1), Depth(0, 0))
    seen = Status(NOW, queue, Depth(9, 0), held, 0, last, today, webhooks)
    console.print(screen(seen), highlight=False)


def show(console: Console) -> None:
    overloaded = "the model did not answer: API Error: 529 Overloaded"
    history = (
        AttemptEnd(1, NOW, NOW + 4, "model_unavailable", overloaded),
        AttemptEnd(
            2,
            NOW + 7,
            NOW + 127,
            "cut_off",
            "nothing was heard of worker-2 until its lease ran out",
        ),
    )
    record = JobRecord(
        "update-8811",
        "acme/C024BE91L",
        JobState.PUBLISHED,
        attempt=3,
        created_at=NOW,
        claimed_at=NOW + 128,
        published_at=NOW + 141,
        history=history,
    )
    job = JobDetails(
        record,
        session_id="81476e9c-731e-5354-b96c-bfed6e527604",
        outcome="completed",
        ended_at=NOW + 141,
        cost_usd=0.0147,
        num_turns=4,
    )
    console.print(facts(job, "update-8811/completed"), highlight=False)
    console.print()
    console.print(time_line(job), highlight=False)


def transcript(console: Console) -> None:
    turns = (
        Turn(
            7,
            "2027-01-15T08:00:02.113Z",
            "How many tickets are open?",
            (
                Remark("text", "I look."),
                Remark("call", name="Bash", input={"command": "grep -c open tickets.csv"}),
                Remark("result", "42"),
                Remark("text", "There are 42 open tickets."),
            ),
        ),
        Turn(
            8,
            "2027-01-15T08:00:41.902Z",
            "And who has most of them?",
            (Remark("text", "Eve: 17 of the 42."),),
        ),
    )
    print_turns(console, turns, full=False)


def _held(chat: str, job_id: str, why: str, seconds: float, attempt: int) -> Held:
    code = "model_unavailable" if why == "retrying" else None
    record = JobRecord(job_id, chat, JobState.RUNNING, attempt=attempt, error_code=code)
    lease = Lease("worker-1", job_id, NOW + 80) if why == "working" else None
    return Held(JobDetails(record), why, NOW - seconds, lease)  # type: ignore[arg-type]


def _ended(
    chat: str, job_id: str, seconds: float, cost: float, outcome: str = "published", code: str = ""
) -> JobDetails:
    record = JobRecord(job_id, chat, JobState(outcome), error_code=code or None)
    return JobDetails(record, outcome=outcome, ended_at=NOW - seconds, cost_usd=cost)
