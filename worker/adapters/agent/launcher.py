"""Starts the CLI with an explicit environment, and ends it with the worker.

The SDK starts `cli_path` with the worker's whole environment, so this stands in between. It is a
script of its own (standard library only, started with `python -I -S`): it keeps only the variables
that AGENT_LAUNCHER_KEEP names, runs the CLI as its child, and is the one that remains to clean up:

- the worker dies: the kernel sends SIGTERM (PR_SET_PDEATHSIG) and everything below is killed;
- the CLI dies: what its tools left running is killed (PR_SET_CHILD_SUBREAPER makes them ours).

Linux only features are skipped elsewhere.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SDK_NAMES = frozenset(
    {
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_AGENT_SDK_VERSION",
        "CLAUDE_CODE_SDK_READS_SESSION_STATE",
        "PWD",
        "TRACEPARENT",
        "TRACESTATE",
    }
)


def main() -> int:
    cli = os.environ["AGENT_LAUNCHER_CLI"]
    keep = SDK_NAMES | set(os.environ["AGENT_LAUNCHER_KEEP"].split(","))
    environment = {name: item for name, item in os.environ.items() if name in keep}
    worker = int(os.environ["AGENT_LAUNCHER_WORKER"])
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    if os.getppid() != worker:  # it died before prctl took effect, perhaps before this began
        return 1
    child = os.fork()
    if child == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":  # should this process be killed outright
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        os.setsid()
        os.execve(cli, [cli, *sys.argv[1:]], environment)  # noqa: S606 - the point of this script
    with open(os.environ["AGENT_LAUNCHER_PIDFILE"], "w") as pidfile:  # noqa: PTH123 - as above
        pidfile.write(str(os.getpid()))
    # The CLI's pipes are the CLI's alone: the worker must see their end when it ends.
    for descriptor in (0, 1):
        os.close(descriptor)
    status = _wait_for(child)
    _kill_descendants()
    return status


def _wait_for(child: int) -> int:
    """Reap until the CLI itself ends; orphaned tools are reaped on the way."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end(_number: int, _frame: object) -> None:
    _kill_descendants()
    os._exit(143)


def _kill_descendants() -> None:
    """Kill every process below this one, until there is none: a killed parent's children become
    ours, because we are their subreaper. Bounded, so that it always ends.
    """
    for _ in range(1000):
        children = _children()
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:  # noqa: PTH123 - pathlib costs start time
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
