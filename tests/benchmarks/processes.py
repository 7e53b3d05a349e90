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
    """Seconds by (process id, kind): kinds as above; "bench" is this process, and "ended CLIs" are
    those of a living host.
    """
    found = {}
    for pid, parent, seconds, reaped, command in _processes():
        kind = next((kind for name, kind in KINDS if name in command), "others")
        found[pid] = (parent, "bench" if pid == os.getpid() else kind, seconds, reaped)
    below, grown = {os.getpid()}, True
    while grown:
        grown = {pid for pid, (parent, *_) in found.items() if parent in below} - below
        below |= grown
    used = {(pid, found[pid][1]): found[pid][2] for pid in below}
    ended = {(p, "ended CLIs"): found[p][3] for p in below if found[p][1] == "host"}
    return used | ended


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
        own, reaped = (sum(map(int, fields[n : n + 2])) / TICKS for n in (11, 13))
        yield int(entry.name), int(fields[1]), own, reaped, command
