"""Many webhooks over real HTTP, queue and table, of which a quarter fails: then every delivery is
accounted for, and time and memory are told.

Exit status: 0 all as promised, 1 not.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import boto3

from contracts import InvalidSignature, new_webhook_secret, verify_webhook
from tests.conftest import EMULATOR_ENVIRONMENT, ROOT
from tests.integration.webhook_servers import answering, subscriber
from worker.entrypoints.webhook_host import WebhookHost
from worker.local.environment_file import environment_name
from worker.local.ministack import ministack
from worker.local.resources import ensure_stack
from worker.webhook_bootstrap import build_webhooks
from worker.webhooks.delivery import DeliveryState
from worker.webhooks.subscription import new_subscription


def main():
    parser = argparse.ArgumentParser(prog="scripts/webhook-load", description=__doc__)
    parser.add_argument("--events", type=int, default=250, help="each goes to four subscribers")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ministack(Path(folder), EMULATOR_ENVIRONMENT) as service,
    ):
        os.environ |= {
            "AWS_ENDPOINT_URL": service.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "WEBHOOK_ALLOW_LOOPBACK": "1",
            "LOG_LEVEL": "ERROR",
        }
        outputs = ensure_stack(service.url, ROOT / "infra" / "resources.yml", {})
        os.environ |= {environment_name(name): value for name, value in outputs.items()}
        return asyncio.run(load(arguments.events))


async def load(events):
    webhooks = build_webhooks()
    store, now = webhooks.ports.store, webhooks.ports.clock.now()
    async with (
        subscriber(answering(500)) as (failing, _),
        subscriber(answering(204)) as (one, first),
        subscriber(answering(204)) as (two, second),
        subscriber(answering(204)) as (three, third),
    ):
        subs, secrets = [], []
        for port in (failing, one, two, three):
            secrets.append(new_webhook_secret())
            url = f"http://127.0.0.1:{port}/"
            subs.append(
                await store.save(new_subscription(url, secrets[-1], now, allow_loopback=True))
            )
        ids = await asyncio.to_thread(send, events)
        host = WebhookHost(webhooks, poll_seconds=1, drain_seconds=5)
        began, before = time.monotonic(), rss()
        task = asyncio.create_task(host.run())
        while min(len(got) for got in (first, second, third)) < events:
            await asyncio.sleep(0.5)
            if task.done():
                task.result()
        seconds, after = time.monotonic() - began, rss()
        # The failing one's lane goes on alone.
        while len(states := await attempted(store, subs[0])) < events:
            await asyncio.sleep(1)
        host.stop()
        await task
    await webhooks.close()
    problems = []
    for number, got in enumerate((first, second, third), 1):
        problems += wrong(got, ids, secrets[number], f"subscriber {number}")
    if {d.state for d in states} != {DeliveryState.PENDING}:
        problems.append("a delivery that failed does not wait for its retry")
    sys.stdout.write(
        f"{events * 4} deliveries, a quarter failing: the other three quarters in {seconds:.0f} s "
        f"({events * 3 / seconds:.0f} a second), memory {before:.0f} to {after:.0f} MB "
        "(with all that the subscribers have kept)\n"
    )
    for problem in problems:
        sys.stdout.write(f"broken: {problem}\n")
    return 1 if problems else 0


async def attempted(store, sub):
    """A subscription's deliveries that were attempted."""
    return [d async for d in store.recent(sub.subscription_id) if d.attempts]


def wrong(requests, ids, secret, who):
    """What a subscriber should have got otherwise."""
    counted = Counter(json.loads(request.body)["id"] for request in requests)
    if set(counted) != ids or set(counted.values()) != {1}:
        yield f"{who} did not get each event once"
    try:
        for request in requests:
            verify_webhook(request.headers, request.body, secret, tolerance_seconds=1e9)
    except InvalidSignature as exc:
        yield f"{who}: {exc}"


def send(events):
    """Put events on the webhook queue, in envelopes as the bus does; returns their ids."""
    sqs, ids = boto3.client("sqs"), set()
    for start in range(0, events, 10):
        entries = []
        for number in range(start, min(start + 10, events)):
            event = {
                "specversion": "1.0",
                "id": f"{uuid.uuid4().hex}/completed",
                "type": "agent.job.completed",
                "tenantid": "default",
                "data": {"chat_id": str(number % 100), "response": "x" * 1000},
            }
            ids.add(event["id"])
            entries.append({"Id": str(number), "MessageBody": json.dumps({"detail": event})})
        sqs.send_message_batch(QueueUrl=os.environ["WEBHOOK_QUEUE_URL"], Entries=entries)
    return ids


def rss():
    """This process's largest size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
