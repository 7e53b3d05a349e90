"""The screen of `status`, at 80 columns, and the same for scripts."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli.history import job_json
from worker.entrypoints.cli.session_views import held_json
from worker.entrypoints.cli.words import (
    ago,
    counted,
    dollars,
    instant,
    iso,
    shortened,
    span,
    state_text,
)

if TYPE_CHECKING:
    from worker.operations.blocked import Held
    from worker.operations.status import Depth, Status, Today, Webhooks

# So that a row fits into 80 columns: an age of 9, figures of 3 or 9, and 8 between the columns.
CHAT, JOB, STATE = 18, 20, 22
RUNNING_ROWS = 8
FAILURE_ROWS = 6

_WHY = {
    "working": "works",
    "retrying": "retry",
    "cut_off": "worker died",
    "moved_on": "left behind",
}


def screen(status: "Status") -> RenderableType:
    """All of it."""
    parts: list[RenderableType] = [_overview(status), _running(status), _last(status)]
    if status.today.failures:
        parts.append(_failures(status))
    return Group(*(part for block in parts for part in (block, Text())))


def status_json(status: "Status") -> dict[str, Any]:
    """The status for scripts. What is an estimate is below `approximate`."""
    today, webhooks = status.today, status.webhooks
    return {
        "at": iso(status.at),
        "approximate": {
            "queue": _depth_json(status.queue),
            "dead_letters": _depth_json(status.dead),
        },
        "running": [held_json(item) for item in status.held],
        "unpublished": status.unpublished,
        "last": [job_json(job) for job in status.last],
        "today": {
            "outcomes": dict(today.outcomes),
            "cost_usd": today.cost_usd,
            "complete": today.complete,
            "failures": [
                asdict(group) | {"last_at": iso(group.last_at)} for group in today.failures
            ],
        },
        "webhooks": webhooks
        and {
            "subscriptions": webhooks.subscriptions,
            "paused": webhooks.paused,
            "disabled": list(webhooks.disabled),
            "failing": list(webhooks.failing),
            "approximate": {
                "queue": _depth_json(webhooks.queue),
                "dead_letters": _depth_json(webhooks.dead),
            },
        },
    }


def _overview(status: "Status") -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("status", Text(instant(status.at), style="dim"))
    table.add_row("queue", _depth(status.queue, status.at))
    table.add_row("dead letters", _dead(status.dead))
    table.add_row("today", _today(status.today))
    if status.unpublished:
        late = f"{counted(status.unpublished, 'result')} committed, not published yet"
        table.add_row("", Text(late, style="yellow"))
    table.add_row("webhooks", _webhooks(status.webhooks))
    return table


def _depth(depth: "Depth", now: float) -> Text:
    text = Text(f"~{depth.waiting} waiting, ~{depth.in_flight} in flight")
    if depth.oldest_seconds is not None and depth.oldest_at is not None:
        text.append(f", oldest ~{span(depth.oldest_seconds)}")
        text.append(f" (as of {ago(depth.oldest_at, now)})", style="dim")
    elif depth.waiting or depth.in_flight:
        text.append(", age of the oldest not known", style="dim")
    return text


def _dead(depth: "Depth") -> Text:
    number = depth.waiting + depth.in_flight
    if not number:
        return Text("~0")
    text = Text()
    text.append(f"~{number}", style="bold red")
    text.append("  agent-worker dlq", style="dim")
    return text


def _today(today: "Today") -> Text:
    text = Text()
    for outcome, word in (
        ("completed", "answered"),
        ("failed", "failed"),
        ("rejected", "rejected"),
        ("cancelled", "cancelled"),
    ):
        number = today.outcomes.get(outcome, 0)
        if number or outcome == "completed":
            least = "" if today.complete else "at least "
            style = "red" if outcome in {"failed", "rejected"} else ""
            text.append(f"{least}{number} {word}", style=style)
            text.append(", ")
    text.append("" if today.complete else "at least ")
    text.append(dollars(today.cost_usd), style="bold")
    text.append("  (since 00:00 UTC)", style="dim")
    return text


def _webhooks(webhooks: "Webhooks | None") -> Text:
    if webhooks is None:
        return Text("not configured", style="dim")
    text = Text(counted(webhooks.subscriptions, "subscription"))
    if webhooks.paused:
        text.append(f", {webhooks.paused} paused")
    text.append(f"; events: ~{webhooks.queue.waiting + webhooks.queue.in_flight} to deliver")
    if dead := webhooks.dead.waiting + webhooks.dead.in_flight:
        text.append(f", ~{dead} given up", style="red")
    for word, names in (("disabled", webhooks.disabled), ("failing", webhooks.failing)):
        if names:
            text.append(f"\n{word}: {', '.join(names[:3])}", style="red")
            if len(names) > 3:  # noqa: PLR2004 - as many as are shown
                text.append(f" and {len(names) - 3} more", style="red")
    return text


def _running(status: "Status") -> Table:
    held = status.held
    table = _block(f"running ({len(held)})", "for", "chat", "job", "try", "")
    for item in held[:RUNNING_ROWS]:
        table.add_row(
            span(status.at - item.since),
            shortened(item.job.chat, CHAT),
            shortened(item.job.job_id, JOB),
            str(item.job.record.attempt),
            _why(item),
        )
    if len(held) > RUNNING_ROWS:
        table.add_row("", f"and {len(held) - RUNNING_ROWS} more")
    return table


def _why(item: "Held") -> Text:
    text = Text(_WHY[item.why], style="cyan" if item.why == "working" else "yellow")
    if item.why == "retrying" and item.job.record.error_code:
        text.append(f": {shortened(item.job.record.error_code, STATE - 7)}")
    return text


def _last(status: "Status") -> Table:
    table = _block("last results", "ago", "chat", "job", "cost", "")
    for job in status.last:
        state = state_text(job.record.state.value)
        if job.record.error_code:  # its colour tells the state
            state = Text(shortened(job.record.error_code, STATE - 6), style=state.style)
        table.add_row(
            span(status.at - job.changed_at),
            shortened(job.chat or "-", CHAT),
            shortened(job.job_id, JOB),
            dollars(job.cost_usd),
            state,
        )
    return table


def _failures(status: "Status") -> Table:
    groups = status.today.failures
    table = _block("failures today", "jobs", "chats", "last", "error", "")
    for group in groups[:FAILURE_ROWS]:
        table.add_row(
            str(group.count),
            str(group.chats),
            ago(group.last_at, status.at),
            group.code,
            state_text(group.outcome),
        )
    if len(groups) > FAILURE_ROWS:
        table.add_row("", "", "", f"and {len(groups) - FAILURE_ROWS} more codes")
    return table


def _block(title: str, *names: str) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        title=Text(title, style="bold"),
        title_justify="left",
    )
    for name in names:
        right = name in {"for", "ago", "try", "cost", "jobs", "chats", "last"}
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    return table


def _depth_json(depth: "Depth") -> dict[str, Any]:
    return {
        "waiting": depth.waiting,
        "in_flight": depth.in_flight,
        "delayed": depth.delayed,
        "oldest_seconds": depth.oldest_seconds,
        "oldest_at": iso(depth.oldest_at),
    }
