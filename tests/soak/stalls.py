"""How long a chat with something to do had to wait until something happened."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.bot import Heard, Sent

_PROGRESS = frozenset({"claim", "restore", "run", "publish", "reject"})


@dataclass(frozen=True, order=True, slots=True)
class Stall:
    """`harms`: how many workers were harmed meanwhile; each may have just taken the message."""

    seconds: float = 0.0
    job_id: str = ""
    harms: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    at: float
    worker: str = ""
    retried: bool = False


def longest_stall(
    sent: Mapping[str, Sent],
    heard: Mapping[str, Sequence[Heard]],
    steps: Sequence[Mapping[str, Any]],
    harm: Sequence[tuple[float, str]],
) -> Stall:
    """The longest time in which nothing happened to the first open message of a chat. `harm` is
    when (epoch seconds) which worker was killed, frozen or drained.

    A worker that has begun a turn works on it until it ends or the worker is harmed, and the
    backoff after a failed turn is a wait on purpose: neither is counted.
    """
    progress: dict[str, list[_Step]] = defaultdict(list)
    for step in steps:
        if step["message"] in _PROGRESS and step.get("result") != "Busy":
            retried = step.get("verdict") == "Again"
            progress[step["job_id"]].append(_Step(step["at"], step["worker"], retried))
    free_at: dict[str, float] = defaultdict(float)
    longest = Stall()
    for job_id, job in sent.items():
        if job_id not in heard:
            continue
        begin, end = max(job.at, free_at[job.order.group]), heard[job_id][0].at
        free_at[job.order.group] = max(end, begin)
        course = [
            _Step(begin),
            *(step for step in progress[job_id] if begin < step.at < end),
            _Step(end),
        ]
        for one, following in itertools.pairwise(course):
            if not one.retried:
                since = _worked_until(one, following.at, harm)
                harms = sum(since <= at < following.at for at, _ in harm)
                longest = max(longest, Stall(following.at - since, job_id, harms))
    return longest


def _worked_until(step: _Step, end: float, harm: Sequence[tuple[float, str]]) -> float:
    """Until when the step's worker went on; a step of nobody is no work."""
    if not step.worker:
        return step.at
    times = [at for at, worker in harm if worker == step.worker and step.at <= at < end]
    return min(times, default=end)
