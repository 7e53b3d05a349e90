"""What chats and tenants may use up: money in a day or in all, jobs in a minute.

A limit is kept as an account, a counter with a name. The name follows from the chat and from the
time at which the job was first claimed, so that every attempt of it, and whoever settles it, finds
the same one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

MICRO = 1_000_000
"""Money is counted in millionths of a dollar: whole numbers add up exactly."""

DAY_SECONDS = 86400.0
KEPT_DAYS = 40
"""How long a day's account is kept: a message waits up to 28 days in queue and DLQ."""

CHAT_KEPT_DAYS = 400
"""The account of a chat is forgotten when nothing was reserved in it for so long."""


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """Limits over several jobs; None is no limit. Money in US dollars, days in UTC."""

    chat_budget_usd: float | None = None
    chat_daily_budget_usd: float | None = None
    tenant_daily_budget_usd: float | None = None
    chat_jobs_per_minute: int | None = None
    tenant_jobs_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One counter. `limit` is in millionths of a dollar, or in jobs; `expires_at` is when its row
    may go (epoch seconds). `title` names the limit for people.
    """

    key: str
    title: str
    limit: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Granted:
    """So much is reserved for the job: what was asked for, or what was left of the limit."""

    amount: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nothing is left of a limit. `held` is the part of it that running jobs have reserved and may
    give back.
    """

    account: Account
    held: int


def tenant_of(session_key: str) -> str:
    """The tenant of a chat's key ("acme/123:456")."""
    return session_key.partition("/")[0]


def budgets(limits: UsageLimits, session_key: str, claimed_at: float) -> tuple[Account, ...]:
    """The accounts of money that a job of this chat, first claimed then (epoch seconds), draws on.

    A "#" is in no session's key (each part is percent-encoded), so an account is never a chat.
    """
    tenant = tenant_of(session_key)
    chat = session_key.partition("/")[2].partition(":")[0]
    day = datetime.fromtimestamp(claimed_at, UTC).date().isoformat()
    end_of_day = int((claimed_at // DAY_SECONDS + 1 + KEPT_DAYS) * DAY_SECONDS)
    long_after = int(claimed_at + CHAT_KEPT_DAYS * DAY_SECONDS)
    named = (
        (f"{tenant}/#budget/{day}", "tenant's budget of a day", limits.tenant_daily_budget_usd),
        (f"{tenant}/#budget/{day}/{chat}", "chat's budget of a day", limits.chat_daily_budget_usd),
        (f"{tenant}/#budget/all/{chat}", "chat's budget", limits.chat_budget_usd),
    )
    return tuple(
        Account(key, title, round(limit * MICRO), long_after if "/all/" in key else end_of_day)
        for key, title, limit in named
        if limit is not None
    )


def rates(limits: UsageLimits, session_key: str, now: float) -> tuple[Account, ...]:
    """The accounts of jobs in the present minute."""
    tenant = tenant_of(session_key)
    chat = session_key.partition("/")[2].partition(":")[0]
    minute = int(now // 60)
    expires_at = minute * 60 + 3600
    named = (
        (f"{tenant}/#rate/{minute}", "tenant's jobs in a minute", limits.tenant_jobs_per_minute),
        (f"{tenant}/#rate/{minute}/{chat}", "chat's jobs in a minute", limits.chat_jobs_per_minute),
    )
    return tuple(
        Account(key, title, limit, expires_at) for key, title, limit in named if limit is not None
    )
