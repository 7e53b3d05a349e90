"""How the attempts of a job ended: what an operator asks about a job that took several."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_ENTRIES = 20
"""Ends that a job's row keeps, the latest ones: a row has at most 400 KB and every kilobyte of it
costs a write unit."""

MAX_MESSAGE = 300
"""Characters of each end's message. The row has the last error as a whole."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """One attempt, or slice of one, that ended without an outcome, or with the job's failure.

    `code` is an error's code, "drained", "sliced", or "cut_off" when nothing ended it: then
    `ended_at` is when its lease ran out. Times are epoch seconds.
    """

    attempt: int
    began_at: float
    ended_at: float
    code: str
    message: str


def with_end(history: Sequence[AttemptEnd], end: AttemptEnd) -> tuple[AttemptEnd, ...]:
    """The history with one more end, and no more than are kept."""
    message = end.message
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "…"
    kept = AttemptEnd(end.attempt, end.began_at, end.ended_at, end.code, message)
    return (*history, kept)[-MAX_ENTRIES:]
