"""Webhooks in memory: a bus to send on, subscribers to script, and a clock that moves when told."""

import asyncio
import itertools
import json

from contracts import new_webhook_secret, verify_webhook
from worker.adapters.memory import ManualClock, MemoryJournal, MemoryPublisher
from worker.adapters.memory.webhooks import MemorySender, MemoryWebhookQueue, MemoryWebhookStore
from worker.webhooks.consumer import accept, sweep
from worker.webhooks.errors import UnreadableMessageError
from worker.webhooks.lane import deliver
from worker.webhooks.policy import Answer, Policy
from worker.webhooks.ports import WebhookPorts
from worker.webhooks.subscription import new_subscription

SWEEP_SECONDS = 60.0


class WebhookWorld:
    """A host on the in-memory ports: it reads its queue, has a lane for each subscriber, sweeps."""

    def __init__(self, **policy):
        self.clock = ManualClock()
        self.store = MemoryWebhookStore()
        self.queue = MemoryWebhookQueue(self.clock)
        self.sender = MemorySender()
        self.publisher = MemoryPublisher()
        self.journal = MemoryJournal()
        self.ports = WebhookPorts(
            policy=Policy(**policy),
            clock=self.clock,
            store=self.store,
            queue=self.queue,
            sender=self.sender,
            publisher=self.publisher,
            journal=self.journal,
        )
        self.secrets = {}
        self.lanes = set()
        self._jobs = itertools.count(1)
        self._swept = self.clock.now()

    async def subscribe(self, answer=200, url=None, **fields):
        """A subscriber that answers with a status, an Answer, or what a function returns."""
        secret = new_webhook_secret()
        url = url or f"https://subscriber-{len(self.secrets)}.example.com/"
        saved = await self.store.save(new_subscription(url, secret, self.clock.now(), **fields))
        self.secrets[saved.subscription_id] = secret
        self.script(url, answer)
        return saved

    def script(self, url, answer):
        def subscriber(headers, body):
            if callable(answer):
                return answer(headers, body)
            return answer if isinstance(answer, Answer) else Answer(answer, 0.01)

        self.sender.subscribers[url] = subscriber

    def publish(self, kind="agent.job.completed", tenant="acme", chat="1", **fields):
        """An event as EventBridge hands it over; returns its id."""
        number = next(self._jobs)
        event = {
            "specversion": "1.0",
            "id": f"j-{number}/{kind.rpartition('.')[2]}",
            "type": kind,
            "tenantid": tenant,
            "data": {"job_id": f"j-{number}", "chat_id": chat, "response": "the answer is 42"},
            **fields,
        }
        envelope = {"version": "0", "detail-type": kind, "source": "agent-worker", "detail": event}
        self.queue.send(json.dumps(envelope))
        return event["id"]

    async def work(self):
        """Read what the queue has; lanes run beside it, until they are done or wait for time."""
        while True:
            body = self.queue.receive()
            if body is None:
                await self.settle()
                if any(at <= self.clock.now() for at, _ in self.queue.messages):
                    continue
                return
            try:
                woken = await accept(body, self.ports)
            except UnreadableMessageError as exc:
                await self.queue.bury(body, {"dead_letter_reason": exc.reason})
                continue
            self.kick(woken)

    def kick(self, subscription_ids):
        for subscription_id in subscription_ids:
            lane = asyncio.create_task(deliver(subscription_id, self.ports))
            self.lanes.add(lane)
            lane.add_done_callback(self.lanes.discard)

    async def settle(self):
        """Let lanes run until each is done or sleeps on the clock."""
        for _ in range(10_000):
            before = self.clock.sleepers, len(self.lanes), self.sender.count
            for _ in range(20):
                await asyncio.sleep(0)
            if before == (self.clock.sleepers, len(self.lanes), self.sender.count):
                return
        raise AssertionError("lanes run without end")

    async def pass_time(self, seconds, step=SWEEP_SECONDS):
        """Time goes by in steps, with a sweep every minute."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance(min(step, end - self.clock.now()))
            await self.work()
            if self.clock.now() - self._swept >= SWEEP_SECONDS:
                self._swept = self.clock.now()
                self.kick(await sweep(self.ports))
                await self.work()

    def received(self, subscription):
        """The ids of events that a subscriber was sent, signatures verified."""
        return [
            json.loads(body)["id"]
            for url, headers, body in self.sender.requests
            if url == subscription.url
            and verify_webhook(
                headers,
                body,
                self.secrets[subscription.subscription_id],
                now=float(headers["webhook-timestamp"]),
            )
        ]

    def deliveries(self, subscription):
        return list(self.store.deliveries.get(subscription.subscription_id, {}).values())
