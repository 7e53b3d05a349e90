"""Chats as people and scripts read them."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli.words import ago, counted, dollars, instant, iso, size, span

if TYPE_CHECKING:
    from worker.domain.session import SessionHead
    from worker.operations.blocked import Held
    from worker.operations.deletion import Holdings
    from worker.operations.sessions import Chat


def erased(head: "SessionHead") -> bool:
    return head.session_id is None and head.turns == 0 and head.lease is None


def chat_facts(row: "Chat", states: dict[str, int], now: float) -> "list[tuple[str, str | Text]]":
    head = row.head
    session = row.session(now) or Text("none: the next message starts one", style="dim")
    each = f", {dollars(head.cost_usd / head.turns)} a turn" if head.turns else ""
    listed = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    transcript, files = (sum(s.size for s in part) for part in (head.segments, head.files))
    return [
        ("chat", Text(row.key, style="bold")),
        ("session", session),
        ("ends", f"{instant(head.expires_at)} unless there is a turn before"),
        ("turns", f"{head.turns}, the last {ago(row.changed_at, now)}"),
        ("cost", f"{dollars(head.cost_usd)}{each}"),
        ("stored", f"{size(transcript)} of transcript, {size(files)} of files, compressed"),
        ("jobs", listed or "none known"),
        ("lease", _lease(head, now)),
        ("fence", f"generation {head.generation}, version {head.version}"),
    ]


def _lease(head: "SessionHead", now: float) -> str:
    lease = head.lease
    if lease is None:
        return "none: the chat is free"
    left = lease.expires_at - now
    state = f"for another {span(left)}" if left > 0 else f"run out {span(-left)} ago"
    return f"{lease.owner} on job {lease.job_id}, {state}"


def why(item: "Held", now: float) -> str:
    record = item.job.record
    match item.why:
        case "working":
            left = span((item.free_at or now) - now)
            owner = item.lease.owner if item.lease else "?"
            return f"{owner} works on it; free in {left} if it dies, else when it is done"
        case "retrying":
            return f"waits for its next attempt after {record.error_code or 'a pause'}"
        case "cut_off":
            past = span(now - (item.free_at or now))
            return f"its worker died, the lease ran out {past} ago; the next delivery takes over"
        case "moved_on":
            return "the chat has been changed since its last attempt; its message may be gone"


def held_json(item: "Held") -> dict[str, Any]:
    return {
        "chat": item.job.chat,
        "job_id": item.job.job_id,
        "attempt": item.job.record.attempt,
        "why": item.why,
        "since": iso(item.since),
        "owner": item.lease.owner if item.lease else None,
        "free_at": iso(item.free_at),
        "error_code": item.job.record.error_code,
    }


def chat_json(row: "Chat", now: float) -> dict[str, Any]:
    head, lease = row.head, row.head.lease
    return {
        "chat": row.key,
        "tenant_id": row.tenant_id,
        "chat_id": row.chat_id,
        "thread_id": row.thread_id,
        "session_id": row.session(now),
        "turns": head.turns,
        "cost_usd": head.cost_usd,
        "stored_bytes": row.stored_bytes,
        "last_turn_at": iso(row.changed_at),
        "ends_at": iso(head.expires_at),
        "generation": head.generation,
        "version": head.version,
        "lease": lease
        and {
            "owner": lease.owner,
            "job_id": lease.job_id,
            "expires_at": iso(lease.expires_at),
            "live": lease.live(now),
        },
    }


def holdings_json(key: str, held: "Holdings") -> dict[str, Any]:
    return {
        "chat": key,
        "session_id": held.head.session_id if held.head else None,
        "segments": len(held.segments),
        "turn_logs": len(held.turn_logs),
        "results": len(held.results),
        "jobs": len(held.ended),
        "jobs_left": [job.job_id for job in held.open],
    }


def print_holdings(console: Console, key: str, held: "Holdings") -> None:
    turns = held.head.turns if held.head else 0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("chat", Text(key, style="bold"))
    table.add_row("session", f"{counted(turns, 'turn')}, {counted(len(held.segments), 'object')}")
    table.add_row("turn logs", counted(len(held.turn_logs), "object"))
    table.add_row("results", f"of {counted(len(held.ended), 'job')}; {len(held.results)} in S3")
    console.print(table, highlight=False)
    for job in held.open:
        console.print(
            f"[yellow]stays:[/] job {job.job_id} is {job.record.state.value}; it will run, or be "
            "published, and write the chat again",
            highlight=False,
            soft_wrap=True,
        )
    console.print("[dim]messages in the queue, and dead letters, stay as well[/]", highlight=False)
