"""A job's history as people and scripts read it: shared by `jobs show` and `dlq show`."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from worker.domain.timeline import JobDetails, timeline
from worker.entrypoints.cli.words import counted, dollars, instant, iso, span, state_text


def facts(job: JobDetails, event_id: str | None = None) -> Table:
    """What the job's row says, a line each."""
    record = job.record
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("job", Text(job.job_id, style="bold"))
    table.add_row("chat", job.chat or "(the message could not be read)")
    table.add_row("state", _state(job))
    table.add_row("attempts", _attempts(job))
    table.add_row("cost", f"{dollars(job.cost_usd)} in {counted(job.num_turns, 'model call')}")
    if job.session_id:
        table.add_row("session", job.session_id)
    if event_id:
        table.add_row("event", event_id)
    if record.error_code:
        table.add_row("last error", Text(record.error_code, style="red"))
        table.add_row("", Text(record.error_message or ""))
    if job.dead_letter:
        table.add_row("dead letter", "yes: its message is, or was, in the dead-letter queue")
    return table


def time_line(job: JobDetails) -> Table:
    """What happened, in order, with the time since the step before."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    before: float | None = None
    for moment in timeline(job):
        what = Text(moment.what)
        if moment.error:
            what.append(f" ({moment.error})", style="red")
        if moment.text:
            what.append(f"\n{moment.text}", style="dim")
        passed = "" if before is None else f"+{span(moment.at - before)}"
        table.add_row(instant(moment.at), passed, what)
        before = moment.at
    return table


def job_json(job: JobDetails) -> dict[str, Any]:
    """A job for scripts: times as ISO 8601, no event."""
    record = job.record
    return {
        "job_id": job.job_id,
        "state": record.state.value,
        "outcome": job.outcome,
        "chat": job.chat or None,
        "tenant_id": job.tenant_id,
        "chat_id": job.chat_id,
        "thread_id": job.thread_id,
        "session_id": job.session_id,
        "attempt": record.attempt,
        "first_attempt": record.first_attempt,
        "slices": record.slices,
        "cost_usd": job.cost_usd,
        "num_turns": job.num_turns,
        "error_code": record.error_code,
        "error_message": record.error_message,
        "dead_letter": job.dead_letter,
        "created_at": iso(record.created_at),
        "claimed_at": iso(record.claimed_at),
        "updated_at": iso(record.updated_at),
        "ended_at": iso(job.ended_at),
        "published_at": iso(record.published_at),
    }


def time_line_json(job: JobDetails) -> list[dict[str, Any]]:
    return [asdict(moment) | {"at": iso(moment.at)} for moment in timeline(job)]


def _state(job: JobDetails) -> Text:
    text = state_text(job.record.state.value)
    if job.record.state.value == "answered":
        text.append(" (committed, its event is not published yet)", style="dim")
    elif job.outcome in {"failed", "rejected"} and job.record.published_at is None:
        text.append(" (its event is not published yet)", style="dim")
    return text


def _attempts(job: JobDetails) -> str:
    record = job.record
    if record.attempt == 0:
        return "none: it was refused before it ran"
    text = str(record.attempt)
    if record.first_attempt > 1:
        text += f", {record.attempts_used} of them counted"
    return f"{text}, {counted(record.slices, 'slice')}" if record.slices else text
