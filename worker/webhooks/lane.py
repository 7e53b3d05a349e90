"""The second half of a webhook: the deliveries of one subscriber, attempted when they are due.

Each subscriber has a lane of its own, so that none waits for another. One worker at a time has the
lane's lease:

    lease ──▶ due deliveries, some side by side ──▶ ... ──▶ none is due ──▶ release ──▶ look again

The second look closes a gap: whoever stored a delivery and found the lane taken relies on its
owner. It may, because the store reads consistently. A worker that dies leaves deliveries due; a
sweep finds them.
"""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from contracts import sign_webhook
from worker.domain.trace import read_trace
from worker.webhooks.delivery import Delivery
from worker.webhooks.disabling import disable
from worker.webhooks.errors import ChangedError
from worker.webhooks.event import IncomingEvent
from worker.webhooks.policy import (
    Again,
    Answer,
    Delivered,
    Exhausted,
    Gone,
    Verdict,
    is_to_be_disabled,
    judge,
)
from worker.webhooks.ports import Lane, WebhookPorts
from worker.webhooks.snippet import snippet
from worker.webhooks.subscription import Subscription

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
USER_AGENT = "agent-worker-webhooks/1"

LEASE_MARGIN_SECONDS = 40.0
"""A lease outlasts an attempt and its writes."""

MAX_WAKE_SECONDS = 900.0
"""SQS delays a message for at most 15 minutes; a sweep finds what is due later."""


async def deliver(
    subscription_id: str, ports: WebhookPorts, go_on: Callable[[], bool] = lambda: True
) -> None:
    """Attempt what is due for the subscriber until nothing is, or until `go_on` says no; then what
    is left is woken again. Returns at once when another worker is at it.
    """
    run = _Run(subscription_id, ports, uuid.uuid4().hex, go_on)
    while go_on():
        before = await run.lease()
        if before is None:
            return
        lane = before
        try:
            lane = await run.drain(before)
        finally:
            await ports.store.release(subscription_id, run.owner, lane)
        if lane.hold_until > before.hold_until:
            hold = lane.hold_until - ports.clock.now()
            await ports.queue.wake(subscription_id, min(max(hold, 0.0), MAX_WAKE_SECONDS))
        if await run.next(lane) is None:
            return
    await ports.queue.wake(subscription_id, 0)


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Answer
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Run:
    subscription_id: str
    ports: WebhookPorts
    owner: str
    go_on: Callable[[], bool]

    async def lease(self) -> Lane | None:
        seconds = self.ports.policy.timeout_seconds + LEASE_MARGIN_SECONDS
        now = self.ports.clock.now()
        return await self.ports.store.lease(self.subscription_id, self.owner, now, seconds)

    async def next(self, lane: Lane) -> tuple[Subscription, list[Delivery]] | None:
        """What can be attempted now."""
        store, now = self.ports.store, self.ports.clock.now()
        if lane.hold_until > now:
            return None
        subscription = await store.subscription(self.subscription_id)
        if subscription is None or not subscription.enabled:
            return None
        due = await store.due(self.subscription_id, now, self.ports.policy.concurrency)
        return (subscription, due) if due else None

    async def drain(self, lane: Lane) -> Lane:
        while self.go_on():
            work = await self.next(lane)
            if work is None:
                break
            subscription, due = work
            results = await asyncio.gather(
                *(self._attempt(subscription, delivery) for delivery in due),
                return_exceptions=True,
            )
            outcomes = [result for result in results if isinstance(result, _Outcome)]
            lane = after(lane, outcomes, self.ports.clock.now())
            if outcomes:
                await self._react(subscription, lane, outcomes)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            if await self.lease() is None:
                break  # this worker slept through its lease; the new owner goes on
        return lane

    async def _attempt(self, subscription: Subscription, delivery: Delivery) -> _Outcome:
        event = await self.ports.store.event(delivery.webhook_id)
        began = self.ports.clock.now()
        if event is None:
            answer = Answer(None, 0.0, "expired", "the event is no longer stored")
            outcome = _Outcome(answer, Exhausted())
        else:
            self.ports.journal.begin(read_trace(event.traceparent))
            answer = await self._send(subscription, event, began)
            now = self.ports.clock.now()
            tries = delivery.tries + 1
            outcome = _Outcome(answer, judge(answer, tries, delivery.limit, now, random.random()))
            if isinstance(outcome.verdict, Exhausted) and delivery.limit > 1:  # not a test's one
                await self._bury(delivery, answer, event)
        kept = ""
        if event is not None and not answer.is_success:
            secrets = [secret.value for secret in subscription.secrets]
            kept = snippet(answer.beginning, event.body, secrets)
        await self._record(delivery, outcome, began, kept)
        return outcome

    async def _send(self, subscription: Subscription, event: IncomingEvent, now: float) -> Answer:
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": USER_AGENT,
            **sign_webhook(
                event.webhook_id, int(now), event.body, subscription.signing_secrets(now)
            ),
        }
        if event.traceparent is not None:
            headers["traceparent"] = event.traceparent
        return await self.ports.sender.send(subscription.url, headers, event.body)

    async def _bury(self, delivery: Delivery, answer: Answer, event: IncomingEvent) -> None:
        """Send before the end is recorded: a crash in between makes two dead letters, not none."""
        await self.ports.queue.bury(
            event.body,
            {
                "dead_letter_reason": "attempts_exhausted",
                "dead_letter_error": answer.problem or f"the answer was {answer.status}",
                "subscription_id": delivery.subscription_id,
                "webhook_id": delivery.webhook_id,
            },
        )

    async def _record(self, delivery: Delivery, outcome: _Outcome, began: float, kept: str) -> None:
        answer, now = outcome.answer, self.ports.clock.now()
        current: Delivery | None = delivery
        while current is not None:
            try:
                await self.ports.store.change(
                    current.attempted(answer, outcome.verdict, began, now, kept)
                )
                break
            except ChangedError:  # resent meanwhile, or attempted by another worker, too
                current = await self.ports.store.delivery(
                    delivery.subscription_id, delivery.webhook_id
                )
        self.ports.journal.note(
            "webhook_attempt",
            subscription_id=delivery.subscription_id,
            webhook_id=delivery.webhook_id,
            event_type=delivery.type,
            attempt=delivery.attempts + 1,
            outcome=type(outcome.verdict).__name__.lower(),
            status=answer.status,
            error=answer.error,
            seconds=round(answer.seconds, 3),
        )
        if isinstance(outcome.verdict, Again) and outcome.verdict.after <= MAX_WAKE_SECONDS:
            await self.ports.queue.wake(self.subscription_id, outcome.verdict.after)

    async def _react(
        self, subscription: Subscription, lane: Lane, outcomes: list[_Outcome]
    ) -> None:
        """Disable whom it is time to disable."""
        gone = [o for o in outcomes if isinstance(o.verdict, Gone)]
        if gone:
            await disable(self.subscription_id, "gone", lane, gone[0].answer.status, self.ports)
        elif lane.failing_since is not None:
            # Somebody who has just resumed it is given as long again.
            since = max(lane.failing_since, subscription.updated_at)
            if is_to_be_disabled(since, self.ports.clock.now(), self.ports.policy):
                status = outcomes[-1].answer.status
                await disable(self.subscription_id, "failing", lane, status, self.ports)


def after(lane: Lane, outcomes: list[_Outcome], now: float) -> Lane:
    """How a lane goes on after some attempts."""
    holds = [o.verdict.hold for o in outcomes if isinstance(o.verdict, Again)]
    hold_until = max([lane.hold_until, *(now + hold for hold in holds if hold > 0)])
    if any(isinstance(o.verdict, Delivered) for o in outcomes):
        return Lane(hold_until, None)
    failing_since = lane.failing_since
    if outcomes and failing_since is None:
        failing_since = now
    return Lane(hold_until, failing_since)
