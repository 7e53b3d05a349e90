"""A delivery: one event for one subscription, with its log. Decisions, no I/O."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from worker.webhooks.event import IncomingEvent
from worker.webhooks.policy import (
    DAY,
    DELAYS,
    Again,
    Answer,
    Delivered,
    Exhausted,
    Gone,
    Policy,
    Verdict,
)
from worker.webhooks.subscription import Subscription

MAX_LOGGED_ATTEMPTS: Final = 30
"""Three schedules: a delivery that is resent again and again loses its oldest lines."""


class DeliveryState(StrEnum):
    PENDING = "pending"
    """Attempted when it is due."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """No attempt is left, or the subscriber is gone; in the dead-letter queue, if none is left."""
    SKIPPED = "skipped"
    """The subscription was paused or disabled at the time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A line of the log. `at` in epoch seconds, `seconds` is how long it took."""

    number: int
    at: float
    seconds: float
    status: int | None
    error: str | None = None
    problem: str | None = None
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery, as it is stored. Times in epoch seconds.

    `tries` counts the attempts since it was last begun, `attempts` all of them. `limit` is how many
    tries it has. `due_at` is None unless it is pending.
    """

    subscription_id: str
    webhook_id: str
    event_id: str
    type: str
    created_at: float
    expires_at: float
    state: DeliveryState = DeliveryState.PENDING
    due_at: float | None = None
    limit: int = len(DELAYS)
    tries: int = 0
    attempts: int = 0
    log: tuple[Attempt, ...] = field(default=(), repr=False)
    updated_at: float = 0.0
    revision: int = 0

    def attempted(
        self, answer: Answer, verdict: Verdict, at: float, now: float, snippet: str = ""
    ) -> "Delivery":
        """After an attempt that began `at` and was judged. What had ended meanwhile stays so."""
        line = Attempt(
            self.attempts + 1,
            at,
            answer.seconds,
            answer.status,
            answer.error,
            answer.problem,
            snippet,
        )
        state, due_at = self.state, self.due_at
        match verdict:
            case Delivered():
                state, due_at = DeliveryState.DELIVERED, None
            case Again(after) if state is DeliveryState.PENDING:
                due_at = now + after
            case Exhausted() | Gone() if state is DeliveryState.PENDING:
                state, due_at = DeliveryState.FAILED, None
            case _:
                pass
        return replace(
            self,
            state=state,
            due_at=due_at,
            tries=self.tries + 1,
            attempts=self.attempts + 1,
            log=(*self.log, line)[-MAX_LOGGED_ATTEMPTS:],
            updated_at=now,
        )

    def resent(self, now: float, policy: Policy) -> "Delivery":
        """Begun anew: due at once, with all its tries, and kept as long as a new one."""
        return replace(
            self,
            state=DeliveryState.PENDING,
            due_at=now,
            limit=len(DELAYS),
            tries=0,
            updated_at=now,
            expires_at=max(self.expires_at, now + policy.retention_days * DAY),
        )


def new_delivery(
    event: IncomingEvent,
    subscription: Subscription,
    now: float,
    policy: Policy,
    *,
    limit: int = len(DELAYS),
) -> Delivery:
    """Due at once; skipped where the subscription is not enabled, so that it can be resent."""
    enabled = subscription.enabled
    return Delivery(
        subscription_id=subscription.subscription_id,
        webhook_id=event.webhook_id,
        event_id=event.event_id,
        type=event.type,
        created_at=now,
        expires_at=now + policy.retention_days * DAY,
        state=DeliveryState.PENDING if enabled else DeliveryState.SKIPPED,
        due_at=now if enabled else None,
        limit=limit,
        updated_at=now,
    )
