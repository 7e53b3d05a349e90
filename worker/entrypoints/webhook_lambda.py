"""The Lambda entry points of webhooks: a batch of the webhook queue, and a sweep every minute.

A batch's events are stored, then delivered, each subscriber's in a lane of its own beside the
others. Once stored they are done with: whatever becomes of the lanes, their messages are deleted,
because the table has them now.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from worker.adapters.aws import RefusedError
from worker.adapters.webhook_queue import QueueMessage
from worker.domain.errors import UnavailableError
from worker.entrypoints.lambda_context import LambdaContext
from worker.entrypoints.webhook_host import buried
from worker.webhook_bootstrap import Webhooks, build_webhooks
from worker.webhooks.consumer import accept, sweep
from worker.webhooks.errors import UnreadableMessageError
from worker.webhooks.lane import deliver

REPLY_MARGIN_SECONDS = 10.0
"""Time kept back from the function's limit, besides that of one attempt."""


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"batchItemFailures": [{"itemIdentifier": message id}, ...]}`."""
    webhooks, runner = _warm()
    messages = [
        QueueMessage(record["messageId"], record["body"], record["receiptHandle"])
        for record in event.get("Records", [])
    ]
    margin = REPLY_MARGIN_SECONDS + webhooks.ports.policy.timeout_seconds
    seconds = max(context.get_remaining_time_in_millis() / 1000 - margin, 0.0)
    failed = runner.run(_batch(messages, webhooks, time.monotonic() + seconds))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def sweeper(_event: Mapping[str, Any], _context: LambdaContext) -> dict[str, int]:
    """The scheduled function: wakes the lanes that have work, whoever forgot it."""
    webhooks, runner = _warm()
    return {"woken": runner.run(_wake(webhooks))}


@cache
def _warm() -> tuple[Webhooks, asyncio.Runner]:
    """Once per sandbox."""
    return build_webhooks(), asyncio.Runner()


async def _wake(webhooks: Webhooks) -> int:
    waiting = await sweep(webhooks.ports)
    for subscription_id in waiting:
        await webhooks.ports.queue.wake(subscription_id, 0)
    return len(waiting)


async def _batch(messages: list[QueueMessage], webhooks: Webhooks, deadline: float) -> list[str]:
    """The messages that could not be stored; SQS hands them out again."""
    taken = await asyncio.gather(*(_take(message, webhooks) for message in messages))
    lanes = {subscription_id for woken in taken if woken is not None for subscription_id in woken}
    await asyncio.gather(*(_deliver(lane, webhooks, deadline) for lane in sorted(lanes)))
    return [m.message_id for m, woken in zip(messages, taken, strict=True) if woken is None]


async def _take(message: QueueMessage, webhooks: Webhooks) -> tuple[str, ...] | None:
    try:
        return await accept(message.body, webhooks.ports)
    except UnreadableMessageError as exc:
        reason = buried(message, exc)
    except (UnavailableError, RefusedError) as exc:
        webhooks.ports.journal.note("webhooks_unavailable", error=str(exc))
        return None
    try:
        await webhooks.ports.queue.bury(message.body, reason)
    except (UnavailableError, RefusedError) as exc:
        webhooks.ports.journal.note("webhooks_unavailable", error=str(exc))
        return None
    return ()


async def _deliver(subscription_id: str, webhooks: Webhooks, deadline: float) -> None:
    try:
        await deliver(subscription_id, webhooks.ports, lambda: time.monotonic() < deadline)
    except (UnavailableError, RefusedError) as exc:
        webhooks.ports.journal.note(
            "webhooks_unavailable", subscription_id=subscription_id, error=str(exc)
        )
    except Exception as exc:  # noqa: BLE001 - a defect in one lane stops no other
        webhooks.ports.journal.failure("webhooks_broken", exc, subscription_id=subscription_id)
