"""The Lambda entry point: SQS FIFO batches in, partial batch response out.

ReportBatchItemFailures with FIFO asks that, after a failure, no later message of the same message
group is processed and that it is returned too (AWS Lambda guide, "Using Lambda with Amazon SQS",
FIFO queues). Groups are independent of each other and run side by side.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from itertools import groupby
from typing import Any

from worker.adapters.aws import RefusedError
from worker.adapters.queue import message_of
from worker.bootstrap import SERVICES, Worker, build, harden
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError
from worker.domain.message import InboundMessage
from worker.entrypoints.lambda_context import LambdaContext
from worker.pipeline import process
from worker.sweeper import sweep

REPLY_MARGIN_SECONDS = 20.0
"""Time kept back from the function's limit for commit, publish and reply."""


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"batchItemFailures": [{"itemIdentifier": message id}, ...]}`, in the order received."""
    worker, runner = _warm()
    messages = [message_of(_api_names(record)) for record in event.get("Records", [])]
    seconds = context.get_remaining_time_in_millis() / 1000 - REPLY_MARGIN_SECONDS
    failed = runner.run(_batch(messages, worker, max(seconds, 1.0)))
    return {
        "batchItemFailures": [
            {"itemIdentifier": m.message_id} for m in messages if m.message_id in failed
        ]
    }


def sweeper(_event: Mapping[str, Any], _context: LambdaContext) -> dict[str, int]:
    """The scheduled function: publishes what a dead worker left, counts what is stuck."""
    worker, runner = _warm()
    return asdict(runner.run(sweep(worker.ports)))


@cache
def _warm() -> tuple[Worker, asyncio.Runner]:
    """Once per sandbox: the worker and one event loop for all its invocations."""
    # A process that is started ahead would be frozen half-way, or be waited and paid for.
    worker = build({"SPARE_AGENTS": "0", **os.environ})
    worker.aws.prepare(*SERVICES)
    harden()
    worker.ports.journal.note("confinement", **worker.confinement)
    worker.checkouts.clear()
    return worker, asyncio.Runner()


async def _batch(messages: list[InboundMessage], worker: Worker, seconds: float) -> set[str]:
    # The queue's visibility timeout must cover the function's 15 minutes; a lease is enough for
    # us, so that a crash frees the chat in a lease (the heartbeat extends it).
    lease = worker.ports.policy.lease_seconds
    await asyncio.gather(*(_show_after(message, lease, worker) for message in messages))
    in_groups = sorted(messages, key=lambda message: message.group_id)  # stable: order is kept
    failures = await asyncio.gather(
        *(
            _group(list(members), worker, seconds)
            for _, members in groupby(in_groups, key=lambda message: message.group_id)
        )
    )
    return set().union(*failures)


async def _group(messages: list[InboundMessage], worker: Worker, seconds: float) -> set[str]:
    """One chat's messages in order; after a failure the rest is returned, not run."""
    for index, message in enumerate(messages):
        try:
            done = await _finish(message, worker, seconds)
        except (UnavailableError, RefusedError) as exc:
            worker.ports.journal.note("unavailable", error=str(exc))
            done = False
        if not done:
            for later in messages[index + 1 :]:
                await _show_after(later, 0, worker)
            return {later.message_id for later in messages[index:]}
    return set()


async def _finish(message: InboundMessage, worker: Worker, seconds: float) -> bool:
    """Process and carry out the disposition; True means that Lambda may delete the message."""
    match await process(message, worker.ports, seconds):
        case Ack():
            return True
        case DeadLetter() as letter:
            await worker.inbox.quarantine(message, letter)
            return True
        case Retry(after):
            if after is not None:
                await _show_after(message, after, worker)
            return False


async def _show_after(message: InboundMessage, seconds: float, worker: Worker) -> None:
    """Change when a message is seen again; if SQS does not do it now, the message comes later, and
    that is no reason to fail the batch.
    """
    try:
        await worker.inbox.extend(message, seconds)
    except (UnavailableError, RefusedError) as exc:
        worker.ports.journal.note("unavailable", error=str(exc))


def _api_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a Lambda event, under the names that SQS's own API uses."""
    return {
        "MessageId": record["messageId"],
        "ReceiptHandle": record["receiptHandle"],
        "Body": record["body"],
        "Attributes": record.get("attributes", {}),
        "MessageAttributes": {
            name: {"StringValue": item.get("stringValue")}
            for name, item in record.get("messageAttributes", {}).items()
        },
    }


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # in a sandbox: its INIT has the most CPU
    _warm()
