"""One attempt at a claimed job: restore, run, and commit what came of it.

An attempt ends as a record that has an outcome, to be published, or as a Retry. Whatever it did is
recorded first, so that the next attempt continues it (see domain/resume.py).
"""

import asyncio
import json
import random
from dataclasses import dataclass, replace
from typing import Any

from contracts import JobCompletedEvent
from worker.cancel import watched
from worker.domain.claim import Claim
from worker.domain.disposition import Retry
from worker.domain.errors import (
    LeaseLostError,
    StateDamagedError,
    UnavailableError,
    WorkspaceLimitError,
)
from worker.domain.events import (
    NOT_RUN,
    cancelled_event,
    completed_event,
    failed_event,
    pointing,
    too_large,
)
from worker.domain.job import JobRecord, JobState, Spent
from worker.domain.message import InboundMessage
from worker.domain.policy import RefusedOptionError, TurnSpec
from worker.domain.resume import CONTINUE_PROMPT
from worker.domain.scan import without_secrets
from worker.domain.session import reset_session
from worker.domain.tenancy import policy_of
from worker.domain.trace import job_trace
from worker.domain.turn import (
    Again,
    AgentOutcome,
    AgentResult,
    Allowance,
    Conclude,
    GiveUp,
    Halt,
    Slice,
    cancelled,
    judge,
    retry_or_give_up,
    spent_by,
)
from worker.lease import HeldLease, kept
from worker.metering import forgo, metered
from worker.overlap import under_way
from worker.ports import Checkout, Commit, Pause, Ports, Turn
from worker.progress import reporting

_DICE = random.Random()

Blocks = tuple[dict[str, Any], ...]
"""Attachments, as content blocks of the Messages API."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The turn is not done. `spent` is what the job has used, with this attempt."""

    verdict: Again | GiveUp | Slice | Halt
    spent: Spent


async def attempt(
    claim: Claim, message: InboundMessage, ports: Ports, seconds: float
) -> JobRecord | Retry:
    """Run the claim's turn under its lease. `seconds` is what the host allows it."""
    try:
        lease = HeldLease(claim, message, ports)
        return await kept(lease, _turn(claim, lease, ports, seconds))
    except LeaseLostError:
        await forgo(claim, ports)
        raise
    except asyncio.CancelledError:
        # The host drains. The attempt does not count, and nobody has to wait for the lease.
        pause = Pause("drained", "the worker was stopped", claim.spent, claim.slices, counted=False)
        await asyncio.shield(ports.ledger.release(claim, pause, ports.clock.now()))
        raise


async def _turn(claim: Claim, lease: HeldLease, ports: Ports, seconds: float) -> JobRecord | Retry:
    limit = ports.policy.max_attempts
    if claim.cancel is not None and claim.attempt == 1:  # there is nothing to restore
        return await _settle(claim, Halt(), claim.spent, ports)
    if claim.attempts_used > limit:
        cut_off = f"the worker was cut off in each of {limit} attempts"
        return await _settle(claim, GiveUp("attempts_exhausted", cut_off), claim.spent, ports)
    try:
        allowed = await metered(claim, ports)
        if isinstance(allowed, Claim):
            # What the message brings is read while the session is restored.
            async with under_way(_attachments(allowed, ports)) as brought:
                ended = await _restored(allowed, lease, brought, ports, seconds)
        else:
            ended = Unfinished(allowed, claim.spent)
    except LeaseLostError:
        raise
    except UnavailableError as exc:
        ended = Unfinished(_unavailable(exc, claim, ports), claim.spent)
    except Exception as exc:  # noqa: BLE001 - a defect must not lose a message or stop the host
        code, error = "internal_error", f"{type(exc).__name__} in the worker; see its log"
        ports.journal.failure("internal_error", exc, job_id=claim.job.job_id)
        verdict = retry_or_give_up(code, error, claim.attempts_used, limit, _DICE)
        ended = Unfinished(verdict, claim.spent)
    if isinstance(ended, JobRecord):
        return ended
    # Once, and outside of the above: what an outage leaves unknown here is not written over.
    return await _settle(claim, ended.verdict, ended.spent, ports)


def _unavailable(exc: UnavailableError, claim: Claim, ports: Ports) -> Again | GiveUp:
    limit = ports.policy.max_attempts
    code = f"{exc.system}_unavailable"
    return retry_or_give_up(code, str(exc), claim.attempts_used, limit, _DICE)


async def _restored(
    claim: Claim, lease: HeldLease, brought: asyncio.Task[Blocks], ports: Ports, seconds: float
) -> JobRecord | Unfinished:
    """In the chat's session; in a new one, which the result tells, where its files are damaged."""
    try:
        async with ports.checkouts.open(claim) as checkout:
            return await _run(claim, lease, checkout, brought, ports, seconds)
    except StateDamagedError as exc:
        ports.journal.note("session_reset", job_id=claim.job.job_id, error=str(exc))
        plan = reset_session(claim.plan, claim.job.job_id, exc.reason)
    async with ports.checkouts.open(replace(claim, plan=plan)) as checkout:
        return await _run(claim, lease, checkout, brought, ports, seconds)


async def _run(
    claim: Claim,
    lease: HeldLease,
    checkout: Checkout,
    brought: asyncio.Task[Blocks],
    ports: Ports,
    seconds: float,
) -> JobRecord | Unfinished:
    claim = replace(claim, plan=checkout.plan)
    job = claim.job
    ports.journal.note(
        "restore",
        job_id=job.job_id,
        session=claim.plan.status,
        cut_off=checkout.cut_off,
        warm=checkout.warm,
    )
    if claim.cancel is not None:
        return await _not_continued(claim, checkout, ports)
    try:
        attachments = () if checkout.cut_off else await brought
    except RefusedOptionError as exc:
        return Unfinished(GiveUp(exc.code, str(exc)), claim.spent)
    left = max(job.spec.timeout_seconds - claim.spent.duration_ms / 1000, 1.0)
    async with reporting(claim, ports) as reporter:
        async with watched(job.job_id, ports) as watch:
            turn = Turn(
                job_id=job.job_id,
                session_key=job.session_key,
                prompt=CONTINUE_PROMPT if checkout.cut_off else job.request.user_message,
                spec=_rest_of(job.spec, claim.spent),
                session_id=claim.plan.session_id,
                resume=checkout.cut_off or claim.plan.status in {"continued", "forked"},
                seconds=min(left, seconds),
                cancelled=watch.seen,
                report=reporter.report if reporter else None,
                traceparent=_followed(claim),
                fence=lease.ensure,
                attachments=attachments,
            )
            outcome = await _recorded(turn, checkout, ports)
        if reporter is not None:
            reporter.finish()
        asked = replace(claim, cancel=watch.request)
        return await _concluded(asked, outcome, checkout, ports, by_host=seconds < left)


async def _attachments(claim: Claim, ports: Ports) -> Blocks:
    request = claim.job.request
    if not request.attachments:
        return ()
    policy = policy_of(await ports.rules.current(), request.tenant_id)
    return await ports.attachments.load(request, policy.attachments)


def _followed(claim: Claim) -> str | None:
    """The span of this turn, when the bot's trace is sampled."""
    trace = job_trace(claim.job.job_id, claim.job.request.traceparent)
    return trace.child("run", claim.attempt).traceparent if trace.sampled else None


def _rest_of(spec: TurnSpec, spent: Spent) -> TurnSpec:
    """The limits are the job's: slices and attempts share them."""
    return replace(
        spec,
        max_turns=max(spec.max_turns - spent.num_turns, 1),
        max_budget_usd=max(spec.max_budget_usd - spent.cost_usd, 0.0001),
    )


async def _concluded(
    claim: Claim, outcome: AgentOutcome, checkout: Checkout, ports: Ports, *, by_host: bool
) -> JobRecord | Unfinished:
    """What came of the turn, committed if it can be."""
    policy = ports.policy
    allowed = Allowance(
        claim.attempts_used,
        policy.max_attempts,
        by_host=by_host,
        slices_left=policy.max_slices - claim.slices - 1,
        cancelled=claim.cancel is not None,
    )
    verdict = judge(outcome, allowed, _DICE)
    ports.journal.note(
        "run",
        job_id=claim.job.job_id,
        attempt=claim.attempt,
        verdict=type(verdict).__name__,
        code=getattr(verdict, "code", None),
        cost_usd=spent_by(outcome).cost_usd,
    )
    spent = claim.spent.plus(spent_by(outcome))
    try:
        if isinstance(verdict, Conclude):
            return await _commit(claim, verdict, spent, checkout, ports)
        await checkout.record()
    except UnavailableError as exc:
        # What the agent did is tried again, but what it cost is known.
        return Unfinished(_unavailable(exc, claim, ports), spent)
    return Unfinished(verdict, spent)


async def _not_continued(claim: Claim, checkout: Checkout, ports: Ports) -> JobRecord | Unfinished:
    """The job was cancelled between two attempts. What the earlier one has done stays done, and the
    conversation knows of it.
    """
    if not checkout.cut_off:
        return Unfinished(Halt(), claim.spent)
    result = AgentResult(claim.plan.session_id, "cancelled", is_error=True, cancelled=True)
    return await _commit(claim, cancelled(result), claim.spent, checkout, ports)


async def _recorded(turn: Turn, checkout: Checkout, ports: Ports) -> AgentOutcome:
    """Run the agent; when the host stops it, what it did is recorded before."""
    try:
        return await ports.agent.run(turn, checkout)
    except asyncio.CancelledError:
        await asyncio.shield(checkout.record())
        raise


async def _commit(
    claim: Claim, conclusion: Conclude, spent: Spent, checkout: Checkout, ports: Ports
) -> JobRecord:
    """The turn happened: its transcript and files first, then the one write that makes it so."""
    try:
        sealed = await checkout.seal()
    except WorkspaceLimitError as exc:
        sealed = await checkout.seal(with_files=False)
        conclusion = replace(
            conclusion,
            is_error=True,
            error_message=f"{exc}: what this turn changed in its files was not kept; "
            "ask for fewer or smaller files",
            stop_reason="workspace_limit",
        )
    now = ports.clock.now()
    stopped = conclusion.result.cancelled
    conclusion = await _scanned(conclusion, ports)
    if stopped:
        event = cancelled_event(claim, conclusion, now).to_json()
    else:
        event = await _sized(claim, completed_event(claim, conclusion, now), ports)
    commit = Commit(
        session_id=claim.plan.session_id,
        segments=sealed.segments,
        files=sealed.files,
        event=event,
        cost_usd=spent.cost_usd,
        num_turns=spent.num_turns,
        state=JobState.CANCELLED if stopped else JobState.ANSWERED,
        error_message=conclusion.error_message if stopped else None,
    )
    record = await ports.ledger.commit(claim, commit, now, ports.policy.session_ttl_seconds)
    checkout.committed(commit)
    ports.journal.note("commit", job_id=claim.job.job_id)
    return record


async def _scanned(conclusion: Conclude, ports: Ports) -> Conclude:
    """Without what looks like a secret, where the deployment wants that."""
    policy = await ports.rules.current()
    if not policy.scan_results:
        return conclusion
    result = conclusion.result
    structured = result.structured_output
    if structured is not None:
        structured = json.loads(without_secrets(json.dumps(structured), policy.known_secrets))
    text = without_secrets(result.text, policy.known_secrets)
    return replace(conclusion, result=replace(result, text=text, structured_output=structured))


async def _sized(claim: Claim, event: JobCompletedEvent, ports: Ports) -> str:
    """The event as it travels: a response that is too large goes to the bucket first."""
    text = event.to_json()
    if not too_large(text):
        return text
    key = f"results/{claim.job.job_id}/{claim.generation}.txt"
    ref = await ports.results.store(key, event.data.response)
    return pointing(event, dict(ref)).to_json()


async def _settle(
    claim: Claim, verdict: Again | GiveUp | Slice | Halt, spent: Spent, ports: Ports
) -> JobRecord | Retry:
    """The turn is not done: another attempt, another slice of time, or the end of the job."""
    now = ports.clock.now()
    match verdict:
        case Halt() | GiveUp() if claim.cancel is not None:
            spent_all = replace(claim, spent=spent)
            event = cancelled_event(spent_all, None, now).to_json()
            return await ports.ledger.cancel(spent_all, event, NOT_RUN, now)
        case Halt():
            pause = Pause("cancelled", "to be cancelled", spent, claim.slices, counted=False)
            await ports.ledger.release(claim, pause, now)
            return Retry(0, "cancelled")
        case Slice():
            text = "the host's time was up; the turn continues"
            pause = Pause("sliced", text, spent, claim.slices + 1, counted=False)
            await ports.ledger.release(claim, pause, now)
            return Retry(0, "sliced")
        case Again(after, code, error):
            await ports.ledger.release(claim, Pause(code, error, spent, claim.slices), now)
            return Retry(after, code)
        case GiveUp(code, error):
            spent_all = replace(claim, spent=spent)
            event = failed_event(spent_all, code, error, now)
            return await ports.ledger.fail(spent_all, event, code, error, now)
