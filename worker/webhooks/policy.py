"""When a webhook is sent again, and when it is given up: decisions, no I/O.

Source of the rules: Standard Webhooks 1.0, "Deliverability and reliability" and "Delivery success
and failure" (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

DELAYS: Final = (
    0.0,
    5.0,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""Seconds before each attempt, counted from the one before: the specification's schedule."""

JITTER: Final = 0.1
"""A delay varies within this part of itself, so that what failed together comes back apart."""

MAX_RETRY_AFTER_SECONDS: Final = DAY

THROTTLING: Final = frozenset({429, 502, 503, 504})
"""Answers on which the specification wants other requests to the subscriber to be fewer, too."""

THROTTLE_SECONDS: Final = 5.0
"""How long the subscriber is left alone when such an answer does not say how long."""

GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of deliveries, as configured. Seconds and days as named."""

    timeout_seconds: float = 20.0
    concurrency: int = 8
    disable_after_days: float = 5.0
    retention_days: float = 30.0
    allow_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    `status` is None when there was no answer; then `error` is a code ("timeout", "unreachable",
    "dns", "tls", "protocol", "address_not_allowed"). `problem` is for people, `retry_after` the
    header, `beginning` the first bytes of the answer's body.
    """

    status: int | None
    seconds: float
    error: str | None = None
    problem: str | None = None
    retry_after: str | None = None
    beginning: bytes = field(default=b"", repr=False)

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - HTTP 2xx


@dataclass(frozen=True, slots=True)
class Delivered:
    """The subscriber has it."""


@dataclass(frozen=True, slots=True)
class Again:
    """To be attempted again after so many seconds. `hold`: nothing else may be sent to this
    subscriber for so many seconds, either.
    """

    after: float
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Exhausted:
    """That was the last attempt."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The subscriber wants no more webhooks."""


Verdict = Delivered | Again | Exhausted | Gone


def judge(answer: Answer, tries: int, limit: int, now: float, jitter: float) -> Verdict:
    """What an answer means. `tries` counts this attempt; `jitter` is from 0 up to 1."""
    if answer.is_success:
        return Delivered()
    if answer.status == GONE:
        return Gone()
    if tries >= limit:
        return Exhausted()
    asked = retry_after_seconds(answer.retry_after, now)
    delay = DELAYS[min(tries, len(DELAYS) - 1)] * (1 + JITTER * (jitter - 0.5))
    hold = 0.0
    if answer.status in THROTTLING:
        hold = THROTTLE_SECONDS if asked is None else asked
    return Again(max(delay, asked or 0.0), hold)


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3) in seconds from now, a day at most; None if it is
    missing or makes no sense.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MAX_RETRY_AFTER_SECONDS)
    try:
        when = parsedate_to_datetime(text)
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def is_to_be_disabled(failing_since: float, now: float, policy: Policy) -> bool:
    """Whether a subscriber that has answered nothing well since then is given up."""
    return now - failing_since >= policy.disable_after_days * DAY
