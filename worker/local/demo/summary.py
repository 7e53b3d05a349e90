"""The job table, as a table."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from contracts import message_group_id, parse_event
from contracts.envelope import JobData
from worker.domain.job import JobRecord, JobState

_JOB_CHARACTERS = 20


def summary_table(records: Sequence[JobRecord]) -> Table:
    """A row for each job, and their sums.

    Time is from the first claim to the publication of the result.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False, header_style="bold")
    rows = [(record, _cost(record)) for record in records]
    table.add_column("job", f"{len(rows)} jobs", no_wrap=True)
    table.add_column("chat", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("attempts", justify="right")
    table.add_column("time", f"{sum(map(_seconds, records)):.1f} s", justify="right")
    table.add_column("cost", f"${sum(cost for _, cost in rows):.4f}", justify="right")
    for record, cost in rows:
        table.add_row(
            _shortened(record.job_id),
            _chat(record),
            Text(record.state.value, "green" if record.state is JobState.PUBLISHED else "yellow"),
            str(record.attempt),
            f"{_seconds(record):.1f} s",
            f"${cost:.4f}",
        )
    return table


def _seconds(record: JobRecord) -> float:
    return (record.published_at or record.updated_at) - record.created_at


def _cost(record: JobRecord) -> float:
    data = parse_event(record.event).data if record.event else None
    return float(getattr(data, "cost_usd", 0.0))


def _chat(record: JobRecord) -> str:
    """Chat and thread; those of a message that could not be read are not known."""
    data = parse_event(record.event).data if record.event else None
    if not isinstance(data, JobData) or data.chat_id is None:
        return "-"
    return message_group_id(data.chat_id, data.thread_id)


def _shortened(text: str) -> str:
    return text if len(text) <= _JOB_CHARACTERS else f"{text[: _JOB_CHARACTERS - 1]}…"
