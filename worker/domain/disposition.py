"""How a message ends: exactly one of these, carried out by the entry point."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """Done: delete the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Deliver it again.

    `after` is in seconds; None leaves the visibility alone, because the message is
    (or may be) in another worker's hands.
    """

    after: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Put it into the dead-letter queue with its reason, then delete it.

    `reason` is a code ("unauthorized", "model_error", ...), `error` a sentence for an operator,
    `attempt` the attempt that failed (0: it never ran).
    """

    job_id: str
    reason: str
    error: str
    attempt: int


Disposition = Ack | Retry | DeadLetter
