"""When what a worker kept of a chat may serve the chat's next turn."""

from dataclasses import dataclass, replace

from worker.domain.claim import Claim
from worker.domain.policy import TurnSpec
from worker.domain.session import Segment
from worker.domain.trace import job_trace


@dataclass(frozen=True, slots=True)
class CommittedState:
    """A chat's head as the commit of this worker has left it."""

    generation: int
    version: int
    session_id: str
    segments: tuple[Segment, ...]
    files: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Warmth:
    """How many chats a worker keeps, how much memory (bytes) their processes may take together,
    and for how long (seconds) a chat is kept that nobody writes to.
    """

    chats: int = 8
    memory: int = 1024 * 1024 * 1024
    idle_seconds: float = 300.0


def still_current(state: CommittedState, claim: Claim) -> bool:
    """Whether nothing has happened to the chat since: no claim of anybody, not even one that
    committed nothing, and no other session asked for. In doubt it is restored from the bucket.
    """
    head, plan = claim.head, claim.plan
    committed = CommittedState(
        head.generation, head.version, plan.session_id, plan.segments, plan.files
    )
    return plan.status == "continued" and claim.attempt == 1 and committed == state


def spare_for(claim: Claim) -> TurnSpec | None:
    """What a process that was started ahead must have been started for, to serve this claim. None:
    it needs one of its own, because its session has begun already, or its model calls are to carry
    a trace of their own.
    """
    request = claim.job.request
    if claim.plan.status != "new" or claim.attempt > 1:
        return None
    if job_trace(claim.job.job_id, request.traceparent).sampled:
        return None
    return startable(claim.job.spec)


def startable(spec: TurnSpec) -> TurnSpec:
    """The part of a turn's options that its process is started with."""
    return replace(spec, timeout_seconds=0.0)
