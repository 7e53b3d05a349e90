"""Counters of usage, and rules that stay as they are, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.domain.policy import Policy
from worker.domain.usage import Account, Exhausted, Granted


@dataclass
class _Counter:
    used: int = 0
    """Settled and reserved together."""
    holds: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Reservations by job: amount, and when it ends."""


class MemoryUsage:
    """Counters in a dictionary; each method is one step."""

    def __init__(self) -> None:
        self.counters: dict[str, _Counter] = {}

    def used(self, key: str) -> int:
        return self.counters[key].used if key in self.counters else 0

    async def reserve(
        self, accounts: Sequence[Account], job_id: str, amount: int, now: float, until: float
    ) -> Granted | Exhausted:
        granted = amount
        fresh: list[_Counter] = []
        for account in accounts:
            counter = self._counter(account, now)
            if job_id in counter.holds:
                held, _ = counter.holds[job_id]
                counter.holds[job_id] = (held, until)
                granted = min(granted, held)
                continue
            room = account.limit - counter.used
            if room <= 0:
                for taken in fresh:
                    self._take_back(taken, job_id)
                return Exhausted(account, sum(held for held, _ in counter.holds.values()))
            granted = min(granted, room)
            counter.used += granted
            counter.holds[job_id] = (granted, until)
            fresh.append(counter)
        return Granted(granted)

    async def settle(self, accounts: Sequence[Account], job_id: str, amount: int) -> None:
        for account in accounts:
            counter = self.counters.get(account.key)
            if counter is not None and job_id in counter.holds:
                self._take_back(counter, job_id)
                counter.used += amount

    async def count(self, accounts: Sequence[Account]) -> Account | None:
        for account in accounts:
            counter = self.counters.setdefault(account.key, _Counter())
            if counter.used >= account.limit:
                return account
            counter.used += 1
        return None

    def _counter(self, account: Account, now: float) -> _Counter:
        counter = self.counters.setdefault(account.key, _Counter())
        for job_id, (_, until) in list(counter.holds.items()):
            if until < now:
                self._take_back(counter, job_id)
        return counter

    @staticmethod
    def _take_back(counter: _Counter, job_id: str) -> None:
        counter.used -= counter.holds.pop(job_id)[0]


class MemoryRules:
    """A policy that a test may replace."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def current(self) -> Policy:
        return self.policy
