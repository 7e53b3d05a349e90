"""A subscriber that is gone, or has failed for days, is disabled, and everybody is told.

The event is stored with the change and published after it, like a job's: should this process die
in between, a sweep publishes it, as the same event.
"""

from dataclasses import replace
from typing import Literal

from worker.webhooks.errors import ChangedError
from worker.webhooks.ports import Lane, WebhookPorts
from worker.webhooks.subscription import Subscription, disabled_event


async def disable(
    subscription_id: str,
    reason: Literal["gone", "failing"],
    lane: Lane,
    last_status: int | None,
    ports: WebhookPorts,
) -> None:
    """Disable the subscription, unless it is disabled or gone already, and announce that."""
    while True:
        found = await ports.store.subscription(subscription_id)
        if found is None or not found.enabled:
            return
        now = ports.clock.now()
        event = disabled_event(
            found, reason, now, failing_since=lane.failing_since, last_status=last_status
        )
        try:
            disabled = await ports.store.save(
                replace(found.without(reason, now), announcement=event)
            )
        except ChangedError:
            continue
        ports.journal.note("webhook_disabled", subscription_id=subscription_id, reason=reason)
        await announce(disabled, ports)
        return


async def announce(subscription: Subscription, ports: WebhookPorts) -> None:
    """Publish what is to be told about the subscription."""
    if subscription.announcement is None:
        return
    await ports.publisher.publish(subscription.announcement)
    try:
        await ports.store.save(replace(subscription, announcement=None))
    except ChangedError:
        return  # somebody changed it meanwhile; a later sweep publishes the same event once more
