"""`scripts/simulate`: how long do messages wait, with so many chats, hosts and slots?

A plain discrete-event simulation of the queue and its workers. Chats write at random (Poisson);
SQS hands out the oldest message whose chat is not busy, to any host with a free slot; a host that
ran the chat's last turn and still keeps its process is warm. Service times are the medians of a
bench (`scripts/bench --out`), and the model's time is drawn from a lognormal distribution.
"""

import argparse
import heapq
import itertools
import json
import math
import random
import statistics
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "performance.json"
WARM, COLD = "ours, warm, 100 turns, +20 ms", "ours, cold, 100 turns, +20 ms"


@dataclass(frozen=True)
class Plan:
    """Seconds, unless named otherwise; `per_hour` is messages of one active chat."""

    chats: int
    per_hour: float
    hosts: int
    slots: int
    kept: int
    warm: float
    cold: float
    idle: float = 300.0
    model: float = 8.0
    hours: float = 1.0
    seed: int = 1


class Host:
    def __init__(self, plan):
        self.free, self._kept, self._plan = plan.slots, OrderedDict(), plan

    def take(self, chat, last, now):
        """Whether it is warm for the chat; the process is in use from now on."""
        since = self._kept.pop(chat, -math.inf)
        return last is self and now - since <= self._plan.idle

    def keep(self, chat, now):
        self._kept[chat] = now
        if len(self._kept) > self._plan.kept:
            self._kept.popitem(last=False)


def simulate(plan):
    """Waiting times in the queue, the share of warm turns, and the share of busy slots."""
    dice, numbers = random.Random(plan.seed), itertools.count()
    hosts = [Host(plan) for _ in range(plan.hosts)]
    free = plan.hosts * plan.slots
    end, events = plan.hours * 3600, []
    gap = 3600 / plan.per_hour
    for chat in range(plan.chats):
        heapq.heappush(events, (dice.expovariate(1 / gap), next(numbers), "sent", chat, None))
    waiting, blocked, busy, last = deque(), {}, set(), {}
    waits, warm_turns, worked = [], 0, 0.0

    def begin(now, chat, sent):
        nonlocal free, warm_turns, worked
        host = dice.choice([host for host in hosts if host.free])
        host.free, free = host.free - 1, free - 1
        busy.add(chat)
        warm = host.take(chat, last.get(chat), now)
        warm_turns += warm
        waits.append(now - sent)
        # Lognormal with a heavy tail: sigma 0.8, the mean as given.
        thinking = dice.lognormvariate(math.log(plan.model) - 0.32, 0.8)
        takes = (plan.warm if warm else plan.cold) + thinking
        worked += takes
        heapq.heappush(events, (now + takes, next(numbers), "done", chat, host))

    while events:
        now, _, what, chat, host = heapq.heappop(events)
        if what == "sent":
            if now < end:
                later = now + dice.expovariate(1 / gap)
                heapq.heappush(events, (later, next(numbers), "sent", chat, None))
                if chat in busy:
                    blocked.setdefault(chat, deque()).append(now)
                else:
                    busy.add(chat)  # its next messages wait behind this one
                    waiting.append((chat, now))
        else:
            host.free, free = host.free + 1, free + 1
            host.keep(chat, now)
            last[chat] = host
            busy.discard(chat)
            if blocked.get(chat):
                busy.add(chat)
                waiting.append((chat, blocked[chat].popleft()))
        while waiting and free:
            begin(now, *waiting.popleft())
    turns = len(waits)
    waits.sort()
    return {
        "messages": turns,
        "messages/s": round(turns / end, 2),
        "wait p50": round(statistics.median(waits), 2),
        "wait p95": round(waits[int(turns * 0.95)], 2),
        "wait p99": round(waits[int(turns * 0.99)], 2),
        "warm": round(warm_turns / turns, 2),
        "busy slots": round(worked / (end * plan.hosts * plan.slots), 2),
    }


PAGE = (
    ("10", "1 x 4, 8", {"chats": 10, "hosts": 1, "slots": 4, "kept": 8}),
    ("1,000", "1 x 40, 200", {"chats": 1000, "hosts": 1, "slots": 40, "kept": 200}),
    ("1,000", "2 x 20, 40", {"chats": 1000, "hosts": 2, "slots": 20, "kept": 40}),
    ("1,000", "50 x 1, 4 (Lambda)", {"chats": 1000, "hosts": 50, "slots": 1, "kept": 4}),
    (
        "100,000, three minutes",
        "60 x 64, 16",
        {"chats": 100_000, "hosts": 60, "slots": 64, "kept": 16, "hours": 0.05},
    ),
)
"""The rows of docs/scale.md."""


def page(results):
    """The page's table, as Markdown."""
    yield "| active chats | hosts x slots, kept | messages/s | wait p50 / p95 / p99, s | warm turns | busy slots |"  # noqa: E501
    yield "|---|---|---|---|---|---|"
    for chats, hosts, given in PAGE:
        told = simulate(Plan(per_hour=12, **_service_times(results), **given))
        waits = " / ".join(f"{told[f'wait {part}']:.1f}" for part in ("p50", "p95", "p99"))
        yield (
            f"| {chats} | {hosts} | {told['messages/s']:.2f} | {waits} "
            f"| {told['warm']:.0%} | {told['busy slots']:.0%} |"
        )


def _service_times(results):
    rows = json.loads(results.read_text())["rows"]
    return {"warm": rows[WARM]["median"], "cold": rows[COLD]["median"]}


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--chats", type=int, default=1000, help="chats that are being written to")
    parser.add_argument("--per-hour", type=float, default=12, help="messages of one such chat")
    parser.add_argument("--hosts", type=int, default=4, help="hosts, or Lambda's concurrency")
    parser.add_argument("--slots", type=int, default=16, help="--concurrency of a host; Lambda: 1")
    parser.add_argument("--kept", type=int, default=16, help="WARM_CHATS")
    parser.add_argument("--idle", type=float, default=300, help="WARM_IDLE_SECONDS")
    parser.add_argument("--model", type=float, default=8, help="mean seconds of model calls a turn")
    parser.add_argument("--hours", type=float, default=1, help="simulated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="of scripts/bench --out")
    parser.add_argument("--page", action="store_true", help="print the table of docs/scale.md")
    given = vars(parser.parse_args())
    results = given.pop("results")
    if given.pop("page"):
        sys.stdout.write("\n".join((*page(results), "")))
        return
    plan = Plan(**given, **_service_times(results))
    for name, what in simulate(plan).items():
        sys.stdout.write(f"{name:>12}  {what}\n")


if __name__ == "__main__":
    main()
