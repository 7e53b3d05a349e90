"""When what a worker kept of a chat may serve the chat's next turn."""

from dataclasses import dataclass

from worker.domain.claim import Claim
from worker.domain.session import Segment


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
