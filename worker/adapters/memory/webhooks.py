"""Webhooks in memory: the store, the queue, and subscribers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.adapters.memory.clock import ManualClock
from worker.webhooks.delivery import Delivery, DeliveryState
from worker.webhooks.errors import ChangedError
from worker.webhooks.event import IncomingEvent, wake_body
from worker.webhooks.policy import Answer
from worker.webhooks.ports import Lane
from worker.webhooks.subscription import Subscription


@dataclass
class _Lane:
    lane: Lane = field(default_factory=Lane)
    owner: str | None = None
    leased_until: float = 0.0


class MemoryWebhookStore:
    """The table as dictionaries; each method is one step, as one write is."""

    def __init__(self) -> None:
        self.saved: dict[str, Subscription] = {}
        self.events: dict[str, IncomingEvent] = {}
        self.deliveries: dict[str, dict[str, Delivery]] = {}
        self._pending: dict[str, dict[str, Delivery]] = {}
        self._lanes: dict[str, _Lane] = {}

    async def subscriptions(self) -> list[Subscription]:
        return sorted(self.saved.values(), key=lambda found: found.created_at)

    async def subscription(self, subscription_id: str) -> Subscription | None:
        return self.saved.get(subscription_id)

    async def save(self, subscription: Subscription) -> Subscription:
        stored = self.saved.get(subscription.subscription_id)
        if (stored.revision if stored else 0) != subscription.revision:
            raise ChangedError(subscription.subscription_id)
        saved = replace(subscription, revision=subscription.revision + 1)
        self.saved[subscription.subscription_id] = saved
        return saved

    async def remove(self, subscription_id: str) -> None:
        self.saved.pop(subscription_id, None)
        self._lanes.pop(subscription_id, None)

    async def add(self, event: IncomingEvent, deliveries: Sequence[Delivery]) -> None:
        self.events.setdefault(event.webhook_id, event)
        for delivery in deliveries:
            known = self.deliveries.setdefault(delivery.subscription_id, {})
            if delivery.webhook_id not in known:
                self._put(delivery)

    async def event(self, webhook_id: str) -> IncomingEvent | None:
        return self.events.get(webhook_id)

    async def delivery(self, subscription_id: str, webhook_id: str) -> Delivery | None:
        return self.deliveries.get(subscription_id, {}).get(webhook_id)

    async def due(self, subscription_id: str, now: float, limit: int) -> list[Delivery]:
        pending = self._pending.get(subscription_id, {}).values()
        found = [d for d in pending if d.due_at is not None and d.due_at <= now]
        return sorted(found, key=lambda delivery: delivery.due_at or 0.0)[:limit]

    async def recent(
        self, subscription_id: str, *, since: float = 0.0, newest_first: bool = True
    ) -> AsyncIterator[Delivery]:
        found = [
            delivery
            for delivery in self.deliveries.get(subscription_id, {}).values()
            if delivery.updated_at >= since
        ]
        for delivery in sorted(found, key=lambda d: d.updated_at, reverse=newest_first):
            yield delivery

    async def change(self, delivery: Delivery) -> Delivery:
        stored = await self.delivery(delivery.subscription_id, delivery.webhook_id)
        if stored is None or stored.revision != delivery.revision:
            raise ChangedError(delivery.webhook_id)
        return self._put(replace(delivery, revision=delivery.revision + 1))

    async def lease(
        self, subscription_id: str, owner: str, now: float, seconds: float
    ) -> Lane | None:
        lane = self._lanes.setdefault(subscription_id, _Lane())
        if lane.owner not in {None, owner} and lane.leased_until > now:
            return None
        lane.owner, lane.leased_until = owner, now + seconds
        return lane.lane

    async def release(self, subscription_id: str, owner: str, lane: Lane) -> None:
        held = self._lanes.get(subscription_id)
        if held is not None and held.owner == owner:
            held.lane, held.owner = lane, None

    async def lane(self, subscription_id: str) -> Lane:
        return self._lanes.get(subscription_id, _Lane()).lane

    def _put(self, delivery: Delivery) -> Delivery:
        self.deliveries.setdefault(delivery.subscription_id, {})[delivery.webhook_id] = delivery
        pending = self._pending.setdefault(delivery.subscription_id, {})
        if delivery.state is DeliveryState.PENDING:
            pending[delivery.webhook_id] = delivery
        else:
            pending.pop(delivery.webhook_id, None)
        return delivery


class MemoryWebhookQueue:
    """The queue as a list of messages with the time from which they are seen."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.messages: list[tuple[float, str]] = []
        self.dead_letters: list[tuple[str, Mapping[str, str]]] = []

    def send(self, body: str) -> None:
        self.messages.append((self._clock.now(), body))

    def receive(self) -> str | None:
        """The first message that can be seen. It is gone then: this queue's readers do not die."""
        for index, (visible_at, body) in enumerate(self.messages):
            if visible_at <= self._clock.now():
                del self.messages[index]
                return body
        return None

    async def wake(self, subscription_id: str, after: float) -> None:
        self.messages.append((self._clock.now() + after, wake_body(subscription_id)))

    async def bury(self, body: str, attributes: Mapping[str, str]) -> None:
        self.dead_letters.append((body, attributes))


Subscriber = Callable[[Mapping[str, str], str], Answer | Awaitable[Answer]]


class MemorySender:
    """Subscribers by URL: functions of headers and body. Nobody listens at any other URL."""

    def __init__(self) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.requests: list[tuple[str, Mapping[str, str], str]] = []
        self.kept = True
        """Whether `requests` grows."""
        self.count = 0
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        self.count += 1
        if self.kept:
            self.requests.append((url, headers, body))
        subscriber = self.subscribers.get(url)
        if subscriber is None:
            return Answer(None, 0.0, "unreachable", "nobody listens there")
        self.at_once[url] += 1
        self.most_at_once[url] = max(self.most_at_once[url], self.at_once[url])
        try:
            await asyncio.sleep(0)  # as any request, it lets others go first
            answer = subscriber(headers, body)
            return answer if isinstance(answer, Answer) else await answer
        finally:
            self.at_once[url] -= 1
