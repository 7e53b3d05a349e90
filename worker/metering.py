"""What a job may use up of its chat's and tenant's limits: reserved before the turn, settled when
its outcome is committed. Without such limits no request is made.
"""

import json
import random
from dataclasses import replace

from worker.domain.claim import Claim
from worker.domain.job import JobRecord
from worker.domain.tenancy import usage_of
from worker.domain.turn import Again, GiveUp, retry_or_give_up
from worker.domain.usage import MICRO, Account, Exhausted, budgets, rates, tenant_of
from worker.ports import Ports

_DICE = random.Random()

HOLD_MARGIN_SECONDS = 900.0
"""A reservation outlasts the turn by this: its lease, its backoff, and the next attempt's start."""


async def metered(claim: Claim, ports: Ports) -> Claim | Again | GiveUp:
    """The claim with the money that is reserved for it; or why it cannot run (now)."""
    key = claim.job.session_key
    limits = usage_of(await ports.rules.current(), tenant_of(key))
    now = ports.clock.now()
    minute = rates(limits, key, now) if claim.attempt == 1 else ()
    if minute and (full := await ports.usage.count(minute)):
        return GiveUp("rate_limited", _rate_text(full))
    accounts = budgets(limits, key, claim.created_at)
    if not accounts:
        return claim
    spec = claim.job.spec
    until = now + spec.timeout_seconds + HOLD_MARGIN_SECONDS
    asked = round(spec.max_budget_usd * MICRO)
    outcome = await ports.usage.reserve(accounts, claim.job.job_id, asked, now, until)
    if isinstance(outcome, Exhausted):
        return _refusal(outcome, claim, ports)
    spec = replace(spec, max_budget_usd=min(spec.max_budget_usd, outcome.amount / MICRO))
    return replace(claim, job=replace(claim.job, spec=spec))


async def forgo(claim: Claim, ports: Ports) -> None:
    """Give back what an attempt reserved that had lost its lease, after its job was settled.

    While the job is not published, the reservation may be that of the attempt that took over.
    """
    limits = usage_of(await ports.rules.current(), tenant_of(claim.job.session_key))
    accounts = budgets(limits, claim.job.session_key, claim.created_at)
    if not accounts:
        return
    record = await ports.ledger.get(claim.job.job_id)
    if record is not None and record.published_at is not None:
        await ports.usage.settle(accounts, record.job_id, 0)


async def settle(record: JobRecord, ports: Ports) -> None:
    """Count what a job has used, once, however often its outcome is delivered."""
    key = record.session_key
    if not key or record.attempt == 0:
        return
    limits = usage_of(await ports.rules.current(), tenant_of(key))
    accounts = budgets(limits, key, record.created_at)
    if accounts:
        await ports.usage.settle(accounts, record.job_id, round(cost_of(record) * MICRO))


def cost_of(record: JobRecord) -> float:
    """US dollars, as the job's event tells them."""
    data = json.loads(record.event)["data"] if record.event else {}
    return float(data.get("cost_usd") or 0.0)


def _refusal(outcome: Exhausted, claim: Claim, ports: Ports) -> Again | GiveUp:
    account = outcome.account
    spent = f"the {account.title} of {account.limit / MICRO:g} US dollars is used up"
    if outcome.held:
        # Jobs that run may give back what they do not use: it is worth another look.
        code, limit = "budget_held", ports.policy.max_attempts
        text = f"{spent}, {outcome.held / MICRO:g} of it by jobs that are running; send it again"
        return retry_or_give_up(code, text, claim.attempts_used, limit, _DICE)
    return GiveUp("budget_exceeded", f"{spent}; send it again later, or have the limit raised")


def _rate_text(account: Account) -> str:
    return f"the {account.title} are at their limit of {account.limit}; send it again later"
