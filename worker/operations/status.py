"""The state of the stack at one moment, for one screen."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.webhook_store import DynamoWebhookStore
from worker.domain.errors import UnavailableError
from worker.domain.timeline import JobDetails
from worker.operations.blocked import Held, held_chats
from worker.operations.jobs import DAY, JobBook
from worker.operations.sessions import SessionBook
from worker.settings import Resources
from worker.webhook_settings import WebhookSettings

LAST_RESULTS = 6

MAX_COUNTED = 200_000
"""Ended jobs of a day that are counted; beyond it the figures are lower bounds, and say so."""

CHEAP = 2_000
"""A day with no more ended jobs is counted anew each time; of a longer one only what came since."""

OVERLAP_SECONDS = 120.0
"""How late an index may show what was written, and then some."""

METRIC_MINUTES = 15
METRIC_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue's messages, as SQS estimates them: it promises only that they settle within a minute
    after the last change. `oldest_seconds` is CloudWatch's, as of `oldest_at` (epoch seconds);
    None where CloudWatch does not tell.
    """

    waiting: int
    in_flight: int
    delayed: int = 0
    oldest_seconds: float | None = None
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed or rejected jobs of a day with one error code."""

    outcome: str
    code: str
    count: int
    chats: int
    last_at: float


@dataclass(frozen=True, slots=True)
class Today:
    """Jobs that ended since midnight UTC: how many by outcome, and what they cost in dollars, all
    their attempts included. `complete`: whether all of them were counted.
    """

    outcomes: Mapping[str, int]
    cost_usd: float
    failures: tuple[Failures, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Subscribers, and what is on its way to them."""

    subscriptions: int
    paused: int
    disabled: tuple[str, ...]
    failing: tuple[str, ...]
    queue: Depth
    dead: Depth


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the screen; `at` in epoch seconds. `unpublished` are results that are committed
    and not handed over yet.
    """

    at: float
    queue: Depth
    dead: Depth
    held: tuple[Held, ...]
    unpublished: int
    last: tuple[JobDetails, ...]
    today: Today
    webhooks: Webhooks | None


@dataclass(slots=True)
class DayCount:
    """The ended jobs of the current day, by id. One instance serves a whole watch."""

    day: int = -1
    latest: float = 0.0
    jobs: dict[str, tuple[str, str | None, float, str, float]] = field(default_factory=dict)
    complete: bool = True

    async def count(self, book: JobBook, now: float) -> Today:
        midnight = now // DAY * DAY
        if self.day != now // DAY or len(self.jobs) <= CHEAP:
            self.day, self.latest, self.jobs, self.complete = int(now // DAY), 0.0, {}, True
        since = max(midnight, self.latest - OVERLAP_SECONDS)
        async for hit in book.ended(since, now + OVERLAP_SECONDS):
            row = hit.row
            self.jobs[hit.job_id] = (
                row["outcome"],
                row.get("error_code"),
                float(row.get("cost_usd", 0)),
                row.get("session_key", ""),
                hit.at,
            )
            self.latest = max(self.latest, hit.at)
            if len(self.jobs) >= MAX_COUNTED:
                self.complete = False
                break
        return self._today()

    def _today(self) -> Today:
        outcomes: dict[str, int] = {}
        groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
        for outcome, code, _, chat, at in self.jobs.values():
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if outcome in {"failed", "rejected"}:
                groups.setdefault((outcome, code or "unknown"), []).append((chat, at))
        failures = [
            Failures(outcome, code, len(seen), len({c for c, _ in seen}), max(at for _, at in seen))
            for (outcome, code), seen in groups.items()
        ]
        return Today(
            outcomes,
            sum(cost for _, _, cost, _, _ in self.jobs.values()),
            tuple(sorted(failures, key=lambda group: (-group.count, group.code))),
            self.complete,
        )


class StatusBoard:
    """Reads the status, again and again. Nothing is received from a queue."""

    def __init__(
        self, aws: Aws, resources: Resources, webhooks: WebhookSettings | None = None
    ) -> None:
        self._aws = aws
        self._resources = resources
        self._webhooks = webhooks
        self._jobs = JobBook(aws, resources.job_table)
        self._sessions = SessionBook(aws, resources.session_table)
        self._day = DayCount()
        self._ages: dict[str, tuple[float, tuple[float, float] | None]] = {}

    async def read(self, now: float) -> Status:
        """One look. Raises UnavailableError or RefusedError."""
        (queue, dead), (held, unpublished), (last, today, webhooks) = await asyncio.gather(
            asyncio.gather(
                self._depth(self._resources.queue_url, now),
                self._depth(self._resources.dlq_url, now),
            ),
            asyncio.gather(
                held_chats(self._jobs, self._sessions, now), self._jobs.count_unpublished(now)
            ),
            asyncio.gather(
                self._last(now), self._day.count(self._jobs, now), self._webhook_state(now)
            ),
        )
        return Status(now, queue, dead, tuple(held), unpublished, last, today, webhooks)

    async def _last(self, now: float) -> tuple[JobDetails, ...]:
        ids: list[str] = []
        async for hit in self._jobs.ended(now - 2 * DAY, now + OVERLAP_SECONDS):
            ids.append(hit.job_id)
            if len(ids) == LAST_RESULTS:
                break
        return tuple(await self._jobs.many(ids))

    async def _depth(self, url: str, now: float) -> Depth:
        answer, age = await asyncio.gather(
            self._aws.call(
                "sqs",
                "get_queue_attributes",
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            ),
            self._oldest(url.rpartition("/")[2], now),
        )
        counts = answer["Attributes"]
        seconds, at = age or (None, None)
        return Depth(
            waiting=int(counts["ApproximateNumberOfMessages"]),
            in_flight=int(counts["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(counts.get("ApproximateNumberOfMessagesDelayed", 0)),
            oldest_seconds=seconds,
            oldest_at=at,
        )

    async def _oldest(self, queue: str, now: float) -> tuple[float, float] | None:
        """CloudWatch's latest word on the oldest message: its age, and when that was. SQS itself
        does not tell. None where it may not be asked, or knows nothing. Asked once a minute: it has
        no news more often, and each question costs.
        """
        asked_at, known = self._ages.get(queue, (0.0, None))
        if now - asked_at < METRIC_SECONDS:
            return known
        known = await self._measured(queue, now)
        self._ages[queue] = (now, known)
        return known

    async def _measured(self, queue: str, now: float) -> tuple[float, float] | None:
        end = datetime.fromtimestamp(now, UTC)
        try:
            answer = await self._aws.call(
                "cloudwatch",
                "get_metric_statistics",
                attempts=1,
                Namespace="AWS/SQS",
                MetricName="ApproximateAgeOfOldestMessage",
                Dimensions=[{"Name": "QueueName", "Value": queue}],
                StartTime=end - timedelta(minutes=METRIC_MINUTES),
                EndTime=end,
                Period=60,
                Statistics=["Maximum"],
            )
        except (RefusedError, UnavailableError):
            return None
        points: Sequence[Mapping[str, Any]] = answer.get("Datapoints", [])
        if not points:
            return None
        latest = max(points, key=lambda point: point["Timestamp"])
        return float(latest["Maximum"]), latest["Timestamp"].timestamp()

    async def _webhook_state(self, now: float) -> Webhooks | None:
        settings = self._webhooks
        if settings is None:
            return None
        store = DynamoWebhookStore(self._aws, settings.webhook_table)
        subscriptions, queue, dead = await asyncio.gather(
            store.subscriptions(),
            self._depth(settings.webhook_queue_url, now),
            self._depth(settings.webhook_dlq_url, now),
        )
        enabled = [item.subscription_id for item in subscriptions if item.enabled]
        lanes = await asyncio.gather(*map(store.lane, enabled))
        return Webhooks(
            subscriptions=len(subscriptions),
            paused=sum(item.disabled == "paused" for item in subscriptions),
            disabled=tuple(
                f"{item.subscription_id} ({item.disabled})"
                for item in subscriptions
                if item.disabled not in {None, "paused"}
            ),
            failing=tuple(
                name
                for name, lane in zip(enabled, lanes, strict=True)
                if lane.failing_since is not None
            ),
            queue=queue,
            dead=dead,
        )
