"""A subscription: who gets which events, where, and signed with what. Decisions, no I/O."""

import re
import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from contracts import (
    FinalEvent,
    InvalidConfiguration,
    WebhookDisabled,
    WebhookDisabledEvent,
    WebhookTest,
    WebhookTestEvent,
    sign_webhook,
)
from contracts.events import EVENTS
from contracts.fields import TENANT_PATTERN
from worker.webhooks.addresses import check_url
from worker.webhooks.errors import InvalidSubscriptionError
from worker.webhooks.event import IncomingEvent

MAX_SECRETS: Final = 5
"""Signatures on a webhook while secrets are rotated; the oldest go first."""

MAX_DESCRIPTION: Final = 200

DisabledReason = Literal["paused", "gone", "failing"]


def _types(models: tuple[type, ...]) -> tuple[str, ...]:
    return tuple(model.model_fields["type"].default for model in models)  # type: ignore[attr-defined]


KNOWN_TYPES: Final = _types(EVENTS)
DEFAULT_TYPES: Final = _types(get_args(FinalEvent))
"""What ends a job: without a choice, a subscriber is not sent the progress of every turn."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret. `expires_at` (epoch seconds) is set once another has taken its place."""

    value: str = field(repr=False)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription, as it is stored. Times in epoch seconds.

    `types` are event types or patterns of them; empty `tenants` or `chats` mean all. `disabled`
    says why nothing is sent, None that it is. `announcement` is the event that tells of it, until
    it is published. `revision` counts changes: a write is made on the one that was read.
    """

    subscription_id: str
    url: str
    types: tuple[str, ...] = DEFAULT_TYPES
    tenants: tuple[str, ...] = ()
    chats: tuple[str, ...] = ()
    description: str = ""
    secrets: tuple[Secret, ...] = ()
    disabled: DisabledReason | None = None
    announcement: str | None = field(default=None, repr=False)
    created_at: float = 0.0
    updated_at: float = 0.0
    revision: int = 0

    @property
    def enabled(self) -> bool:
        return self.disabled is None

    def wants(self, event: IncomingEvent) -> bool:
        """Whether the event is for this subscriber. A filter never lets pass what it cannot see:
        an event without a tenant goes only to those who take every tenant's.
        """
        return (
            any(fnmatchcase(event.type, pattern) for pattern in self.types)
            and (not self.tenants or event.tenant in self.tenants)
            and (not self.chats or event.chat in self.chats)
        )

    def signing_secrets(self, now: float) -> tuple[str, ...]:
        """Those that are valid, the newest first."""
        return tuple(
            secret.value
            for secret in self.secrets
            if secret.expires_at is None or secret.expires_at > now
        )

    def rotated(self, secret: str, now: float, keep_seconds: float) -> "Subscription":
        """With a new secret. The others sign beside it for so long; 0: never again."""
        until = now + keep_seconds
        kept = [
            replace(old, expires_at=until if old.expires_at is None else min(old.expires_at, until))
            for old in self.secrets
        ]
        valid = [old for old in kept if old.expires_at is not None and old.expires_at > now]
        return replace(self, secrets=(Secret(secret), *valid)[:MAX_SECRETS], updated_at=now)

    def without(self, reason: DisabledReason, now: float) -> "Subscription":
        """Sent nothing from now on."""
        return replace(self, disabled=reason, updated_at=now)

    def resumed(self, now: float) -> "Subscription":
        return replace(self, disabled=None, updated_at=now)


def new_subscription(
    url: str,
    secret: str,
    now: float,
    *,
    types: Sequence[str] = (),
    tenants: Sequence[str] = (),
    chats: Sequence[str] = (),
    description: str = "",
    allow_loopback: bool = False,
) -> Subscription:
    """A subscription that can be stored. Raises InvalidSubscriptionError with every problem."""
    problems: list[str] = []
    try:
        check_url(url, allow_loopback=allow_loopback)
    except InvalidSubscriptionError as exc:
        problems += exc.problems
    for pattern in types:
        if not any(fnmatchcase(known, pattern) for known in KNOWN_TYPES):
            problems.append(
                f"type: {pattern!r} matches no event; there are {', '.join(KNOWN_TYPES)}, and * "
                "stands for any characters"
            )
    problems += [
        f"tenant: {tenant!r} is no tenant's id" for tenant in tenants if not _is_tenant(tenant)
    ]
    problems += [f"chat: {chat!r} is empty; give a chat's id" for chat in chats if not chat.strip()]
    if len(description) > MAX_DESCRIPTION:
        problems.append(
            f"description: has {len(description)} characters; the limit is {MAX_DESCRIPTION}"
        )
    try:
        sign_webhook("check", 0, "", secret)
    except InvalidConfiguration as exc:
        problems.append(f"secret: {exc}")
    if problems:
        raise InvalidSubscriptionError(*problems)
    return Subscription(
        subscription_id=f"wh_{random.token_hex(5)}",
        url=url,
        types=tuple(types) or DEFAULT_TYPES,
        tenants=tuple(tenants),
        chats=tuple(chats),
        description=description,
        secrets=(Secret(secret),),
        created_at=now,
        updated_at=now,
    )


def disabled_event(
    subscription: Subscription,
    reason: Literal["gone", "failing"],
    now: float,
    *,
    failing_since: float | None,
    last_status: int | None,
) -> str:
    """The event that tells that a subscription was disabled, as JSON."""
    host = _host(subscription.url)
    resume = f"agent-worker webhooks resume {subscription.subscription_id}"
    if reason == "gone":
        text = f"{host} has answered 410 Gone, so it gets no more webhooks; if that was a mistake: "
    else:
        since = "days" if failing_since is None else f"{_utc(failing_since):%Y-%m-%d %H:%M} UTC"
        text = f"no webhook to {host} has succeeded since {since}; mend the subscriber, then: "
    event = WebhookDisabledEvent.of(
        WebhookDisabled(
            subscription_id=subscription.subscription_id,
            description=subscription.description,
            host=host,
            reason=reason,
            failing_since=None if failing_since is None else _utc(failing_since),
            last_status=last_status,
            error_message=text + resume,
        ),
        time=_utc(now),
        tenant_id=_only(subscription.tenants),
    )
    return event.to_json()


def ping_event(subscription: Subscription, now: float) -> str:
    """A test of the subscription, as JSON."""
    event = WebhookTestEvent.of(
        WebhookTest(
            subscription_id=subscription.subscription_id,
            description=subscription.description,
            host=_host(subscription.url),
        ),
        time=_utc(now),
        tenant_id=_only(subscription.tenants),
    )
    return event.to_json()


def _only(tenants: tuple[str, ...]) -> str | None:
    return tenants[0] if len(tenants) == 1 else None


def _host(url: str) -> str:
    return check_url(url, allow_loopback=True).host


def _is_tenant(tenant: str) -> bool:
    return re.fullmatch(TENANT_PATTERN, tenant) is not None


def _utc(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
