"""CPU time of the processes below this one, by what they are."""

import os
from collections import Counter
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KINDS = (  # by the first of these that is in a command line
    ("ministack", "emulator"),
    ("worker.local.model", "model"),
    ("tests.benchmarks.proxy", "proxy"),
    ("agent-launcher", "launchers"),
    ("claude", "CLIs"),
    ("-m worker run", "host"),
)


def cpu_seconds():
    """Seconds by (process id, kind): kinds as above, and "bench" is this process."""
    found = {}
    for pid, parent, seconds, command in _processes():
        kind = next((kind for name, kind in KINDS if name in command), "others")
        found[pid] = (parent, kind, seconds)
    below, grown = {os.getpid()}, True
    while grown:
        grown = {p for p, (parent, _, _) in found.items() if parent in below} - below
        below |= grown
    used = {(p, found[p][1]): found[p][2] for p in below if p != os.getpid()}
    return used | {(os.getpid(), "bench"): found[os.getpid()][2]}


def cpu_since(earlier):
    """Seconds by kind that living processes have used since then."""
    used = Counter()
    for process, seconds in cpu_seconds().items():
        used[process[1]] += seconds - earlier.get(process, 0)
    return used


def _processes():
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has just ended
        yield int(entry.name), int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, command
