"""What other processes of the same user may learn of this one: as little as the kernel allows."""

import ctypes
import os
import sys
from collections.abc import Iterable, MutableMapping

_PR_SET_DUMPABLE = 4


def conceal() -> None:
    """Close this process's memory, environment and descriptors below /proc, and ptrace, to every
    process that is not root's (Linux, prctl(2), PR_SET_DUMPABLE). It writes no core dump, either.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def forget(names: Iterable[str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove what has been read from the environment that child processes inherit."""
    for name in names:
        environ.pop(name, None)
