"""The first half of a webhook: an event becomes one delivery for each subscription that wants it.

From then on the table holds it, and the queue's message has done its work: `accept` returns only
when every delivery is stored. An event that SQS hands out again finds its deliveries there.
"""

from worker.domain.errors import UnavailableError
from worker.webhooks.delivery import new_delivery
from worker.webhooks.disabling import announce
from worker.webhooks.event import IncomingEvent, Wake, read_message
from worker.webhooks.ports import WebhookPorts
from worker.webhooks.subscription import Subscription


async def accept(body: str, ports: WebhookPorts) -> tuple[str, ...]:
    """Take a message of the webhook queue; returns the subscriptions that have deliveries now.

    Raises UnreadableMessageError: it belongs into the dead-letter queue.
    """
    match read_message(body):
        case Wake(subscription_id):
            return (subscription_id,)
        case IncomingEvent() as event:
            return await _fan_out(event, ports)


async def sweep(ports: WebhookPorts) -> tuple[str, ...]:
    """The subscriptions that have deliveries now, whoever forgot them; and what had been left
    unsaid about disabled ones is told.
    """
    now = ports.clock.now()
    waiting = []
    for subscription in await ports.store.subscriptions():
        if subscription.announcement is not None:
            await _announced(subscription, ports)
        if subscription.enabled and await ports.store.due(subscription.subscription_id, now, 1):
            waiting.append(subscription.subscription_id)
    return tuple(waiting)


async def _announced(subscription: Subscription, ports: WebhookPorts) -> None:
    """One that cannot be told stops no other, and no delivery."""
    try:
        await announce(subscription, ports)
    except UnavailableError:
        raise
    except Exception as exc:  # noqa: BLE001 - a defect, or a row that is not ours
        ports.journal.failure("webhooks_broken", exc, subscription_id=subscription.subscription_id)


async def _fan_out(event: IncomingEvent, ports: WebhookPorts) -> tuple[str, ...]:
    now = ports.clock.now()
    wanting = [s for s in await ports.store.subscriptions() if s.wants(event)]
    if not wanting:
        return ()
    await ports.store.add(event, [new_delivery(event, s, now, ports.policy) for s in wanting])
    ports.journal.note(
        "webhook_accepted",
        event_id=event.event_id,
        event_type=event.type,
        subscriptions=len(wanting),
    )
    return tuple(s.subscription_id for s in wanting if s.enabled)
