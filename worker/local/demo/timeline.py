"""When turns took place, and how that looks as bars."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """One turn: from its claim to the publication of its result, in epoch seconds."""

    chat: str
    job_id: str
    start: float
    end: float
    response: str = field(repr=False)


def bars(runs: Sequence[Run], width: int) -> list[str]:
    """One bar for each run on a common scale of `width` characters."""
    first, last = min(run.start for run in runs), max(run.end for run in runs)
    scale = width / max(last - first, 0.001)
    drawn = []
    for run in runs:
        begin, end = round((run.start - first) * scale), round((run.end - first) * scale)
        drawn.append(" " * begin + "━" * max(end - begin, 1))
    return drawn
