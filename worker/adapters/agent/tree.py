"""The processes below a launcher, as Linux's /proc tells them."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATE, _PARENTS_END = 0, b")"


def descendants(root: int) -> frozenset[int]:
    """The living processes below `root`, however deep; zombies are not. Raises OSError when there
    is no such process, or no /proc.
    """
    found: set[int] = set()
    waiting = _children(root)
    while waiting:
        pid = waiting.pop()
        try:
            below = _children(pid)
        except OSError:
            continue  # it has just ended
        if _alive(pid):
            found.add(pid)
        waiting += below
    return frozenset(found)


def resident_bytes(root: int) -> int:
    """Memory of `root` and all below it; what they share is counted for each."""
    total = 0
    for pid in (root, *descendants(root)):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue
    return total


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(_PARENTS_END)[2].split()[_STATE] not in {b"Z", b"X"}
