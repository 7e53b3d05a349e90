"""`webhooks test`, `log` and `resend`: what is sent to a subscriber."""

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from worker.entrypoints.cli.output import Json, console, errors, fail
from worker.entrypoints.cli.webhook_connection import Id, with_webhooks
from worker.entrypoints.cli.words import Since, read_time

if TYPE_CHECKING:
    from worker.entrypoints.cli.webhook_log import Line
    from worker.webhook_bootstrap import Webhooks
    from worker.webhooks.delivery import Delivery

_NOBODY = 4
_POLL_SECONDS = 0.2

Until = Annotated[str | None, typer.Option(help="Not later than, in the same forms.")]


def send_test(
    subscription_id: Id,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the outcome.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Send a test event to one subscription, the way every event goes, and wait for the answer.

    It is sent once, whatever the subscription's filters are. Exit status: 0 answered with 2xx,
    1 not, 4 nobody has sent it in time.
    """
    from worker.entrypoints.cli.webhook_log import Line, line_json  # noqa: PLC0415
    from worker.webhooks import service  # noqa: PLC0415

    async def work(webhooks: "Webhooks") -> "Delivery | None":
        ports = webhooks.ports
        webhook_id = await service.send_test(subscription_id, ports)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = await ports.store.delivery(subscription_id, webhook_id)
            if found is not None and found.log:
                return found
            await asyncio.sleep(_POLL_SECONDS)
        return None

    sent = with_webhooks(work)
    if sent is None:
        fail(
            f"nobody has sent it within {timeout:g} s: is the delivery function deployed, or "
            "agent-worker run with WEBHOOK_TABLE set? Or a hold is in force: webhooks show",
            code=_NOBODY,
        )
    line = Line(sent, sent.log[-1])
    if as_json:
        sys.stdout.write(json.dumps(line_json(line)) + "\n")
    else:
        _show([line])
    if not line.succeeded:
        raise typer.Exit(1)


def log(
    subscription_id: Id,
    delivery: Annotated[
        str | None, typer.Option(help="Only of this delivery: its webhook-id.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what did not arrive.")] = False,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Attempts to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the attempts: when, what was answered, how long it took, and what comes next."""
    from worker.entrypoints.cli.webhook_log import Line, line_json, lines_of  # noqa: PLC0415
    from worker.webhooks import service  # noqa: PLC0415

    earliest = read_time("--since", since) or 0.0

    async def work(webhooks: "Webhooks") -> "list[Line]":
        store = webhooks.ports.store
        if delivery is not None:
            one = await store.delivery(subscription_id, delivery)
            lines = [Line(one, attempt) for attempt in reversed(one.log)] if one else []
            return lines or ([Line(one, None)] if one else [])
        await service.find(subscription_id, webhooks.ports)
        recent = store.recent(subscription_id, since=earliest)
        return await lines_of(recent, limit, failed=failed, since=earliest)

    lines = with_webhooks(work)
    if as_json:
        sys.stdout.write(json.dumps({"attempts": [line_json(line) for line in lines]}) + "\n")
    elif lines:
        _show(lines)
    else:
        console.print("[dim]nothing was sent[/]", highlight=False)


def resend(
    subscription_id: Id,
    deliveries: Annotated[
        list[str] | None, typer.Argument(help="Deliveries: their webhook-ids.", metavar="[ID]...")
    ] = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --since: what has arrived, too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: Json = False,
) -> None:
    """Send again: deliveries by id, or those of events that came in a time (--since, --until).

    By time, only what has not arrived: failed, skipped or waiting. Each is begun anew, with all its
    attempts and the same webhook-id, by which a receiver recognizes what it has seen.
    """
    from worker.webhooks import service  # noqa: PLC0415
    from worker.webhooks.delivery import DeliveryState  # noqa: PLC0415

    if bool(deliveries) == bool(since):
        fail("give the ids of deliveries, or --since, to say what is sent again", code=2)
    start = read_time("--since", since) or 0.0
    end = read_time("--until", until) or time.time()
    states = frozenset(DeliveryState) if everything else service.UNSENT

    async def work(webhooks: "Webhooks") -> int:
        ports = webhooks.ports
        if deliveries:
            for webhook_id in () if dry_run else deliveries:
                await service.resend(subscription_id, webhook_id, ports)
            return len(deliveries)
        if dry_run:
            await service.find(subscription_id, ports)
            found = service.between(subscription_id, start, end, ports, states)
            return sum([1 async for _ in found])
        return await service.resend_between(subscription_id, start, end, ports, states)

    count = with_webhooks(work)
    if as_json:
        sys.stdout.write(json.dumps({"resent": 0 if dry_run else count, "found": count}) + "\n")
        return
    noun, will = "delivery" if count == 1 else "deliveries", "would" if dry_run else "will"
    console.print(f"{count} {noun} {will} be sent again", highlight=False)
    if not dry_run and count:
        errors.print(f"[dim]follow it: agent-worker webhooks log {subscription_id}[/]")


def _show(lines: "list[Line]") -> None:
    from worker.entrypoints.cli.webhook_log import attempt_table, details  # noqa: PLC0415

    console.print(attempt_table(lines, time.time()), highlight=False)
    reasons = [(line, text) for line in reversed(lines) if (text := details(line))]
    if reasons:
        console.print()
    for line, text in reasons:
        number = line.attempt.number if line.attempt else 0
        console.print(Text(f"{line.delivery.webhook_id} try {number}: ", "dim") + text)
