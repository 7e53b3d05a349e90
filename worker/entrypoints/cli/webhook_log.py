"""How deliveries and their attempts are shown."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli.words import instant, iso, shortened, span

if TYPE_CHECKING:
    from worker.webhooks.delivery import Attempt, Delivery

_EVENT_WIDTH = 26


@dataclass(frozen=True, slots=True)
class Line:
    """An attempt, or a delivery that has none yet."""

    delivery: "Delivery"
    attempt: "Attempt | None"

    @property
    def at(self) -> float:
        return self.attempt.at if self.attempt else self.delivery.created_at

    @property
    def is_last(self) -> bool:
        return self.attempt is None or self.attempt.number == self.delivery.attempts

    @property
    def succeeded(self) -> bool:
        status = self.attempt.status if self.attempt else None
        return status is not None and 200 <= status < 300  # noqa: PLR2004 - HTTP 2xx


async def lines_of(
    deliveries: "AsyncIterator[Delivery]", limit: int, *, failed: bool, since: float = 0.0
) -> list[Line]:
    """The latest lines, the newest first. Deliveries come in the order of their last change, so
    once there are enough, the rest can only be older.
    """
    lines: list[Line] = []
    async for delivery in deliveries:
        if len(lines) >= limit and delivery.updated_at < lines[limit - 1].at:
            break
        if delivery.log:
            lines += [Line(delivery, attempt) for attempt in delivery.log]
        else:
            lines.append(Line(delivery, None))
        kept = [line for line in lines if line.at >= since and not (failed and line.succeeded)]
        lines = sorted(kept, key=lambda line: line.at, reverse=True)
    return lines[:limit]


def attempt_table(lines: Sequence[Line], now: float) -> Table:
    """A row for each line, the oldest first, with what was wrong below it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("at", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("try", justify="right")
    table.add_column("answer", overflow="fold")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("then", overflow="fold")
    for line in reversed(lines):
        attempt = line.attempt
        table.add_row(
            instant(line.at)[5:],
            Text(shortened(line.delivery.webhook_id, _EVENT_WIDTH)),
            str(attempt.number) if attempt else "-",
            _answer(line),
            f"{attempt.seconds:.2f} s" if attempt else "-",
            _then(line, now),
        )
    return table


def details(line: Line) -> Text | None:
    """What was wrong, and what the subscriber said."""
    attempt = line.attempt
    if attempt is None or line.succeeded:
        return None
    said = f": {attempt.snippet}" if attempt.snippet else ""
    return Text(f"{attempt.problem or 'failed'}{said}")


def line_json(line: Line) -> dict[str, Any]:
    delivery, attempt = line.delivery, line.attempt
    shown: dict[str, Any] = {
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "type": delivery.type,
        "state": delivery.state.value,
        "due_at": iso(delivery.due_at),
        "created_at": iso(delivery.created_at),
        "attempt": None,
    }
    if attempt is not None:
        shown["attempt"] = {
            "number": attempt.number,
            "at": iso(attempt.at),
            "seconds": round(attempt.seconds, 3),
            "status": attempt.status,
            "error": attempt.error,
            "problem": attempt.problem,
            "snippet": attempt.snippet,
        }
    return shown


def _answer(line: Line) -> Text:
    if line.attempt is None:
        return Text("-", "dim")
    if line.succeeded:
        return Text(str(line.attempt.status), "green")
    return Text(str(line.attempt.status or line.attempt.error), "red")


def _then(line: Line, now: float) -> Text:
    """What came of the delivery, at its last line."""
    delivery = line.delivery
    if not line.is_last:
        return Text("")
    if delivery.due_at is not None:
        left = delivery.due_at - now
        return Text("due now" if left <= 0 else f"in {span(left)}", "yellow")
    return Text(delivery.state.value, "green" if delivery.state.value == "delivered" else "red")
