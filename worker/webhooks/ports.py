"""What webhooks need of the outside world, besides the worker's clock, publisher and journal."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.ports import Clock, Journal, Publisher
from worker.webhooks.delivery import Delivery
from worker.webhooks.event import IncomingEvent
from worker.webhooks.policy import Answer, Policy
from worker.webhooks.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Lane:
    """How deliveries to a subscriber go: nothing is sent before `hold_until`, and nothing has
    succeeded since `failing_since` (epoch seconds; None: the last one has).
    """

    hold_until: float = 0.0
    failing_since: float | None = None


class WebhookStore(Protocol):
    """Subscriptions, deliveries and lanes. Reads see every write that was made before.

    An outage raises UnavailableError; then it is unknown whether a write happened, and repeating is
    safe.
    """

    async def subscriptions(self) -> list[Subscription]:
        """All of them, the oldest first."""
        ...

    async def subscription(self, subscription_id: str) -> Subscription | None: ...

    async def save(self, subscription: Subscription) -> Subscription:
        """Write it; returns it with its new revision. Raises ChangedError when the stored one is
        not of the given revision (0: when there is one).
        """
        ...

    async def remove(self, subscription_id: str) -> None:
        """Remove the subscription. Its deliveries are attempted no more, and expire."""
        ...

    async def add(self, event: IncomingEvent, deliveries: Sequence[Delivery]) -> None:
        """Store the event's body and its deliveries. One that is stored already stays as it is."""
        ...

    async def event(self, webhook_id: str) -> IncomingEvent | None:
        """The event, until it expires."""
        ...

    async def delivery(self, subscription_id: str, webhook_id: str) -> Delivery | None: ...

    async def due(self, subscription_id: str, now: float, limit: int) -> list[Delivery]:
        """Pending deliveries whose time has come, `limit` at most, those due first first."""
        ...

    def recent(
        self, subscription_id: str, *, since: float = 0.0, newest_first: bool = True
    ) -> AsyncIterator[Delivery]:
        """Deliveries that have changed since then, in the order of their last change. Read in
        pages: to stop early is cheap, and so is a long list.
        """
        ...

    async def change(self, delivery: Delivery) -> Delivery:
        """Write a delivery that was read; returns it with its new revision. Its event expires no
        earlier. Raises ChangedError when it has changed since, or is gone.
        """
        ...

    async def lease(
        self, subscription_id: str, owner: str, now: float, seconds: float
    ) -> Lane | None:
        """Take, or renew, the right to deliver to this subscriber; None when another has it."""
        ...

    async def release(self, subscription_id: str, owner: str, lane: Lane) -> None:
        """Keep the lane's state and give the right back. Nothing happens when it was lost."""
        ...

    async def lane(self, subscription_id: str) -> Lane: ...


class WebhookQueue(Protocol):
    """The webhook queue and its dead-letter queue, to be written to."""

    async def wake(self, subscription_id: str, after: float) -> None:
        """Have deliveries to this subscriber looked at after so many seconds, 900 at most."""
        ...

    async def bury(self, body: str, attributes: Mapping[str, str]) -> None:
        """Put a message into the dead-letter queue."""
        ...


class Sender(Protocol):
    """Sends one request. Whatever goes wrong is an answer, not an exception."""

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer: ...


@dataclass(frozen=True, slots=True)
class WebhookPorts:
    """Everything that deliveries are given, once per process."""

    policy: Policy
    clock: Clock
    store: WebhookStore
    queue: WebhookQueue
    sender: Sender
    publisher: Publisher
    journal: Journal
