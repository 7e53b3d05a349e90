"""How long a chat with something to do had to wait until something happened."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.bot import Heard, Sent

_PROGRESS = frozenset({"claim", "restore", "run", "publish", "reject"})


@dataclass(frozen=True, slots=True)
class _Step:
    at: float
    name: str = ""
    worker: str = ""
    retried: bool = False


def longest_stall(
    sent: Mapping[str, Sent],
    heard: Mapping[str, Sequence[Heard]],
    steps: Sequence[Mapping[str, Any]],
) -> tuple[float, str]:
    """The longest time, in seconds, in which nothing happened to the first open message of a chat,
    and the job of it. A turn that runs to its end is work, and the backoff after a failed one is a
    wait on purpose: neither is counted.
    """
    progress: dict[str, list[_Step]] = defaultdict(list)
    for step in steps:
        if step["message"] in _PROGRESS and step.get("result") != "Busy":
            retried = step.get("verdict") == "Again"
            progress[step["job_id"]].append(
                _Step(step["at"], step["message"], step["worker"], retried)
            )
    free_at: dict[str, float] = defaultdict(float)
    longest = (0.0, "")
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
            worked = one.name == "restore" and following.name == "run"
            if not one.retried and not (worked and one.worker == following.worker):
                longest = max(longest, (following.at - one.at, job_id))
    return longest
