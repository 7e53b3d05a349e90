"""One turn of the agent: what goes in, what came out, and what to do about it."""

import random
from dataclasses import dataclass, field
from typing import Literal

from worker.domain.job import Spent

RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses of the model API that are worth another attempt (Anthropic API errors; 529 is
"overloaded"). Any other status is an answer that will not change."""


@dataclass(frozen=True, slots=True)
class AgentResult:
    """The result that the CLI reported. `duration_ms` in milliseconds, `cost_usd` in dollars."""

    session_id: str
    subtype: str
    is_error: bool
    text: str = field(default="", repr=False)
    api_error_status: int | None = None
    terminal_reason: str | None = None
    stop_reason: str | None = None
    structured_output: object = field(default=None, repr=False)
    cost_usd: float = 0.0
    num_turns: int = 0
    duration_ms: int = 0
    usage: dict[str, object] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    timed_out: bool = False
    cut_short: bool = False
    """A limit ended it that is not the job's: the agent's process had turns before this one."""
    cancelled: bool = False
    """It was interrupted because its job was cancelled."""


@dataclass(frozen=True, slots=True)
class AgentFailure:
    """The agent gave no result that could be committed.

    `kind`: "died" (the process ended), "no_result" (it ended its stream without one), "hung" (it
    did not stop when interrupted), "stalled" (it was silent for too long), "mirror" (what it did
    could not be recorded), "start" (it could not be started).
    """

    kind: Literal["died", "no_result", "hung", "stalled", "mirror", "start"]
    message: str


AgentOutcome = AgentResult | AgentFailure


@dataclass(frozen=True, slots=True)
class Conclude:
    """The turn happened: commit the transcript with this result."""

    result: AgentResult
    is_error: bool
    error_message: str | None
    stop_reason: str


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing is committed; another attempt after so many seconds."""

    seconds: float
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing is committed; the job has failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The job is cancelled, and this attempt has left nothing that could be committed as it is:
    what it did is recorded, and the message comes back at once for the claim that ends the job.
    """


@dataclass(frozen=True, slots=True)
class Slice:
    """The host's time is up (or a limit of its process reached) and the job's is not: nothing is
    committed, what was done is recorded, and the message goes back to the head of its group to be
    continued.
    """


Verdict = Conclude | Again | GiveUp | Slice | Halt


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a job. `by_host`: it is the host's time limit that ends the turn, not the
    job's own; `slices_left`: how often it may still be continued after that; `cancelled`: somebody
    has asked for its end.
    """

    attempts_used: int
    max_attempts: int
    by_host: bool = False
    slices_left: int = 0
    cancelled: bool = False


def judge(outcome: AgentOutcome, allowed: Allowance, dice: random.Random) -> Verdict:
    """Commit, continue, try again, or give up. `dice` gives the jitter.

    A turn that was done before it could be interrupted is not cancelled: it has its result.
    """
    verdict = _judge(outcome, allowed, dice)
    return Halt() if allowed.cancelled and not isinstance(verdict, Conclude) else verdict


def _judge(
    outcome: AgentOutcome, allowed: Allowance, dice: random.Random
) -> Conclude | Again | GiveUp | Slice:
    attempts_used, max_attempts = allowed.attempts_used, allowed.max_attempts
    match outcome:
        case AgentResult(cancelled=True):
            return cancelled(outcome)
        case AgentResult(timed_out=True) if allowed.by_host and allowed.slices_left > 0:
            return Slice()
        case AgentResult(cut_short=True) if allowed.slices_left > 0:
            return Slice()
        case (
            AgentResult(is_error=True, terminal_reason="api_error")
            | AgentResult(is_error=True, api_error_status=int())
        ):
            message = f"the model did not answer: {outcome.text or 'connection lost'}"
            status = outcome.api_error_status
            if status is not None and status not in RETRYABLE_STATUSES:
                return GiveUp("model_error", message)
            return retry_or_give_up("model_unavailable", message, attempts_used, max_attempts, dice)
        case AgentResult():
            return _conclude(outcome, sliced_out=outcome.timed_out and allowed.by_host)
        case AgentFailure(kind="hung") if not allowed.by_host:
            # It used up its whole time: running it again would only do so once more.
            return GiveUp("timeout", outcome.message)
        case AgentFailure():
            code = f"agent_{outcome.kind}"
            return retry_or_give_up(code, outcome.message, attempts_used, max_attempts, dice)


def retry_or_give_up(
    code: str, message: str, attempts_used: int, max_attempts: int, dice: random.Random
) -> Again | GiveUp:
    """Another attempt with backoff while there is one left."""
    if attempts_used >= max_attempts:
        return GiveUp(code, f"{message} (after {attempts_used} attempts)")
    return Again(backoff_seconds(attempts_used, dice), code, message)


def backoff_seconds(attempts_used: int, dice: random.Random) -> float:
    """Exponential with "equal jitter": 2 to 4 s after the first attempt, 150 to 300 s at most."""
    ceiling = float(min(4 * 2 ** min(attempts_used - 1, 10), 300))
    return ceiling / 2 + dice.random() * ceiling / 2


_LIMIT_MESSAGES = {
    "error_max_turns": "the turn reached its limit of model calls (max_turns); "
    "send another message to go on",
    "error_max_budget_usd": "the turn reached its budget (max_budget_usd); "
    "send another message to go on",
}


def spent_by(outcome: AgentOutcome) -> Spent:
    """What this attempt has used, as far as the agent said."""
    if isinstance(outcome, AgentResult):
        return Spent(outcome.cost_usd, outcome.num_turns, outcome.duration_ms)
    return Spent()


def cancelled(result: AgentResult) -> Conclude:
    """The turn happened as far as it came."""
    message = "the job was cancelled and its turn interrupted; send another message to go on"
    return Conclude(result, is_error=True, error_message=message, stop_reason="cancelled")


def _conclude(result: AgentResult, *, sliced_out: bool) -> Conclude:
    if sliced_out:
        message = (
            "the turn was continued as often as this deployment allows (MAX_SLICES) and was "
            "interrupted; send another message to go on"
        )
        return Conclude(result, is_error=True, error_message=message, stop_reason="max_slices")
    if result.timed_out:
        message = (
            "the turn reached its time limit (timeout_seconds) and was interrupted; "
            "send another message to go on"
        )
        return Conclude(result, is_error=True, error_message=message, stop_reason="timeout")
    stop_reason = result.stop_reason or result.terminal_reason or "end_turn"
    if not result.is_error:
        return Conclude(result, is_error=False, error_message=None, stop_reason=stop_reason)
    message = _LIMIT_MESSAGES.get(result.subtype) or "; ".join(result.errors) or result.text
    return Conclude(
        result,
        is_error=True,
        error_message=message or f"the agent ended with {result.subtype}",
        stop_reason=result.subtype.removeprefix("error_"),
    )
