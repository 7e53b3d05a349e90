"""Where a host's time goes, by function; py-spy (requirements/bench.txt) looks from outside."""

import contextlib
import subprocess
from collections import Counter

from tests.benchmarks.stage import ROOT

SPY = (
    *(ROOT / ".venv/bin/uv", "run", "--quiet", "--no-project", "--isolated"),
    *("--with-requirements", ROOT / "requirements/bench.txt", "py-spy", "record"),
)
PARTS = (  # of a stack, by the innermost frame that one of these is in
    ("requests to AWS (boto3)", "adapters/clients.py"),
    ("retries and threads of requests", "adapters/aws.py"),
    ("the agent SDK", "claude_agent_sdk/"),
    ("log lines", "adapters/journal.py"),
    ("the worker's own code", "(worker/"),
)
OUTER = ("worker/__main__.py", "worker/entrypoints/cli/")
"""Frames of the start, below everything that the main thread does."""


@contextlib.contextmanager
def profile(folder, pid, row, seconds):
    """Sample a process for so many seconds while the block runs, where there is a folder.

    What holds the interpreter's lock is counted. Writes `<row>.txt`, stacks as flame graphs take
    them, and `<row>.md`, a table.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{row.partition(', jobs/s')[0].replace(', ', '-').replace(' ', '-')}.txt"
    options = ("--gil", "--rate", "200", "--duration", str(int(seconds)), "--format", "raw")
    spy = subprocess.Popen(
        [*SPY, *options, "--pid", str(pid), "--output", target], stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        if spy.wait() == 0:
            target.with_suffix(".md").write_text(table(target.read_text()))


def table(stacks):
    """Stacks with their number of samples, as shares of what they are for and of functions."""
    parts, functions, total = Counter(), Counter(), 0
    for line in stacks.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        parts[_part(frames)] += int(number)
        for frame in set(frames):
            functions[frame] += int(number)
        total += int(number)
    # What every stack of a thread begins with tells nothing.
    functions = Counter({f: n for f, n in functions.items() if "(worker/" in f and _inner(f)})
    lines = ["| where | share |", "|---|---|"]
    lines += [f"| {part} | {n / total:.0%} |" for part, n in parts.most_common()]
    lines += ["", "| function of the worker, with what it calls | share |", "|---|---|"]
    lines += [f"| `{frame}` | {n / total:.1%} |" for frame, n in functions.most_common(40)]
    return "\n".join(lines) + "\n"


def _part(frames):
    for frame in filter(_inner, reversed(frames)):
        for part, name in PARTS:
            if name in frame:
                return part
    return "asyncio"


def _inner(frame):
    return not any(name in frame for name in OUTER)
