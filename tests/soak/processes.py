"""Processes below one that this program started, and processes of a run, by /proc."""

import os
from pathlib import Path

from worker.local.processes import start_time

Identity = tuple[int, str]
"""A process by pid and start time: a later process with the same pid is another one."""


def below(pid: int) -> list[Identity]:
    """Every process below `pid` that is alive."""
    found: list[Identity] = []
    for child in _children(pid):
        if started := start_time(child):
            found.append((child, started))
        found += below(child)
    return found


def cli_of(worker: int) -> list[Identity]:
    """The agents' CLIs of a worker: each is the child of a launcher."""
    launchers = [pid for pid in _children(worker) if b"agent-launcher" in _read(pid, "cmdline")]
    return [
        (cli, started)
        for launcher in launchers
        for cli in _children(launcher)
        if (started := start_time(cli))
    ]


def of_run(folder: Path) -> list[Identity]:
    """Every process of this user whose command, environment or directory names the run's folder,
    but this one.
    """
    mark = str(folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        told = _read(pid, "cmdline") + _read(pid, "environ") + _directory(pid)
        if mark in told and (started := start_time(pid)):
            found.append((pid, started))
    return found


def alive(process: Identity) -> bool:
    return start_time(process[0]) == process[1]


def command(process: Identity) -> str:
    """What runs, for a report."""
    return _read(process[0], "cmdline").replace(b"\0", b" ").decode(errors="replace")[:200]


def signal_one(process: Identity, number: int) -> bool:
    """Send a signal to exactly this process; False if it had ended."""
    if not alive(process):
        return False
    try:
        os.kill(process[0], number)
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        pass  # it has just ended
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _directory(pid: int) -> bytes:
    try:
        return bytes(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return b""
