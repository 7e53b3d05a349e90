"""What an operator does with webhooks. Decisions are the subscription's; this carries them out."""

import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from contracts import new_webhook_secret
from worker.webhooks.delivery import Delivery, DeliveryState, new_delivery
from worker.webhooks.errors import ChangedError, InvalidSubscriptionError
from worker.webhooks.event import read_event
from worker.webhooks.ports import WebhookPorts
from worker.webhooks.subscription import Subscription, ping_event

UNSENT = frozenset({DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.SKIPPED})


async def find(subscription_id: str, ports: WebhookPorts) -> Subscription:
    """Raises InvalidSubscriptionError when there is none."""
    found = await ports.store.subscription(subscription_id)
    if found is None:
        raise InvalidSubscriptionError(
            f"there is no subscription {subscription_id!r}; agent-worker webhooks list shows all"
        )
    return found


async def change(
    subscription_id: str, changed: Callable[[Subscription], Subscription], ports: WebhookPorts
) -> Subscription:
    """Change a subscription, whoever else does at the same time."""
    while True:
        try:
            return await ports.store.save(changed(await find(subscription_id, ports)))
        except ChangedError:
            continue


async def rotate(
    subscription_id: str, keep_seconds: float, ports: WebhookPorts, secret: str | None = None
) -> str:
    """Give it a new secret, which is returned; the one before signs beside it for so long."""
    fresh = secret or new_webhook_secret()
    now = ports.clock.now()
    await change(subscription_id, lambda found: found.rotated(fresh, now, keep_seconds), ports)
    return fresh


async def pause(subscription_id: str, ports: WebhookPorts) -> Subscription:
    now = ports.clock.now()
    return await change(subscription_id, lambda found: found.without("paused", now), ports)


async def resume(subscription_id: str, ports: WebhookPorts) -> Subscription:
    """Send again: what was pending goes out now, also if the subscriber had asked to be left alone
    for longer; what was skipped meanwhile waits for a resend.
    """
    now, owner = ports.clock.now(), f"resume-{uuid.uuid4().hex}"
    resumed = await change(subscription_id, lambda found: found.resumed(now), ports)
    lane = await ports.store.lease(subscription_id, owner, now, 1.0)
    if lane is not None:  # else somebody is delivering, so no hold is in force
        await ports.store.release(subscription_id, owner, replace(lane, hold_until=0.0))
    await ports.queue.wake(subscription_id, 0)
    return resumed


async def send_test(subscription_id: str, ports: WebhookPorts) -> str:
    """Send a test event, once, whatever the subscription's filters are; returns its webhook id."""
    found = await _enabled(subscription_id, ports)
    now = ports.clock.now()
    event = read_event(json.loads(ping_event(found, now)))
    await ports.store.add(event, [new_delivery(event, found, now, ports.policy, limit=1)])
    await ports.queue.wake(subscription_id, 0)
    return event.webhook_id


async def resend(subscription_id: str, webhook_id: str, ports: WebhookPorts) -> Delivery:
    """Send one delivery anew, also one that has arrived. Raises InvalidSubscriptionError."""
    await _enabled(subscription_id, ports)
    while True:
        found = await ports.store.delivery(subscription_id, webhook_id)
        if found is None or await ports.store.event(webhook_id) is None:
            raise InvalidSubscriptionError(
                f"{subscription_id} has no delivery {webhook_id!r}; agent-worker webhooks log "
                f"shows its deliveries of the last {ports.policy.retention_days:g} days"
            )
        try:
            resent = await ports.store.change(found.resent(ports.clock.now(), ports.policy))
        except ChangedError:
            continue
        await ports.queue.wake(subscription_id, 0)
        return resent


async def between(
    subscription_id: str,
    since: float,
    until: float,
    ports: WebhookPorts,
    states: frozenset[DeliveryState] = UNSENT,
) -> AsyncIterator[Delivery]:
    """Its deliveries of events that came in that time (epoch seconds), the oldest change first."""
    async for found in ports.store.recent(subscription_id, since=since, newest_first=False):
        if since <= found.created_at <= until and found.state in states:
            yield found


async def resend_between(
    subscription_id: str,
    since: float,
    until: float,
    ports: WebhookPorts,
    states: frozenset[DeliveryState] = UNSENT,
) -> int:
    """Send anew what came in that time; returns how many. Without `states`, what has not arrived.

    Each is changed once, since the list is read to its end as it was when this began.
    """
    await _enabled(subscription_id, ports)
    now, count = ports.clock.now(), 0
    async for found in between(subscription_id, since, until, ports, states):
        if found.updated_at > now:
            break  # from here on the list holds what was changed after we began, by us as well
        try:
            await ports.store.change(found.resent(ports.clock.now(), ports.policy))
        except ChangedError:
            continue  # being attempted just now
        count += 1
    if count:
        await ports.queue.wake(subscription_id, 0)
    return count


async def _enabled(subscription_id: str, ports: WebhookPorts) -> Subscription:
    found = await find(subscription_id, ports)
    if not found.enabled:
        raise InvalidSubscriptionError(
            f"{subscription_id} is {found.disabled} and is sent nothing; first: agent-worker "
            f"webhooks resume {subscription_id}"
        )
    return found
