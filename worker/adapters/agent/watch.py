"""Ends tools that take more of the machine than their turn may: run by the launcher.

A module of its own for the launcher: standard library only, also importable by `python -I -S`.

Limits of one process (setrlimit) do not bound many of them, and the CLI cannot live under a limit
on address space. So the launcher looks a few times a second at what runs below it, and kills the
tool that takes most when there is too much. The CLI goes on: its model reads that the tool was
killed.
"""

import contextlib
import os
import signal

_PAGE = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE = 1024 * 1024


class Watch:
    """Limits on everything below `cli` (and on what its tools left behind) together.

    plan: {"processes": int, "memory_mb": int, "disk_mb": int, "folders": [...]}; 0 is no limit.
    """

    def __init__(self, plan: dict, cli: int) -> None:  # type: ignore[type-arg] # from JSON
        self._processes = plan["processes"]
        self._memory = plan["memory_mb"] * MEBIBYTE
        self._disk = plan["disk_mb"] * MEBIBYTE
        self._folders = plan["folders"]
        self._cli = cli
        self._rounds = 0

    def look(self) -> str | None:
        """Kill a tool if a limit is exceeded; says which."""
        self._rounds += 1
        groups = {tool: below(tool) | {tool} for tool in self._tools()}
        count = sum(map(len, groups.values()))
        if self._processes and count > self._processes:
            return self._end(groups, f"more than {self._processes} processes", len)
        used = {tool: sum(map(_resident, members)) for tool, members in groups.items()}
        if self._memory and sum(used.values()) > self._memory:
            what = f"more than {self._memory // MEBIBYTE} MiB of memory"
            return self._end(groups, what, lambda members: sum(map(_resident, members)))
        # Walking a large tree costs more than looking at processes, so it is done less often.
        if self._disk and groups and self._rounds % 2 == 0 and self._full():
            return self._end(groups, f"more than {self._disk // MEBIBYTE} MiB of disk", len)
        return None

    def _tools(self) -> set[int]:
        """The roots of what tools started: the CLI's children, and orphans that came to us."""
        return (children(self._cli) | children(os.getpid())) - {self._cli}

    def _end(self, groups, what, weight) -> str:  # type: ignore[no-untyped-def] # noqa: ANN001 - above
        tool = max(groups, key=lambda root: weight(groups[root]))
        kill_tree(tool)
        return f"a tool was killed: {what} (AGENT_MAX_*)"

    def _full(self) -> bool:
        total, most = 0, int(self._disk)
        waiting = list(self._folders)
        while waiting and total <= most:
            with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        # What it takes, not what it says: a sparse file takes nothing.
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        return total > most


def children(pid: int) -> set[int]:
    """The children of each thread of a process; none when it is gone."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib costs start time
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as names:  # noqa: PTH123
                found.update(map(int, names.read().split()))
    return found


def below(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting |= children(child)
    return found


def kill_tree(root: int) -> None:
    """Kill a process and all below it. Each is stopped before its children are listed, so that
    none can fork away; those that still did are ours then, and found by the next look.
    """
    waiting, seen = {root}, set()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
        waiting |= children(pid)
    for pid in seen:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123 - pathlib costs start time
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
