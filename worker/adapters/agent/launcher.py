"""Starts the CLI with an explicit environment, and ends it with the worker.

The SDK starts `cli_path` with the worker's whole environment, so this stands in between. It is a
script of its own (standard library only, started with `python -I -S`): it keeps only the variables
that AGENT_LAUNCHER_KEEP names, runs the CLI as its child, and is the one that remains to clean up:

- the worker dies: the kernel sends SIGTERM (PR_SET_PDEATHSIG) and everything below is killed;
- the CLI dies: what its tools left running is killed (PR_SET_CHILD_SUBREAPER makes them ours).

It confines the CLI (confinement.py) and watches what its tools take (watch.py), as the plan in
AGENT_LAUNCHER_PLAN says. Linux only features are skipped elsewhere.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - `-I` leaves it out

from agent_confinement import confine  # type: ignore[import-not-found]
from agent_watch import Watch  # type: ignore[import-not-found]

PR_SET_DUMPABLE = 4
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WATCH_SECONDS = 0.25
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
    plan = json.loads(os.environ["AGENT_LAUNCHER_PLAN"])
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # This process still holds the worker's environment: not for the eyes of the same user.
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
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
        confine(plan)
        if sys.platform == "linux":  # a change of the user clears it
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        os.execve(cli, [cli, *sys.argv[1:]], environment)  # noqa: S606 - the point of this script
    with open(os.environ["AGENT_LAUNCHER_PIDFILE"], "w") as pidfile:  # noqa: PTH123 - as above
        pidfile.write(str(os.getpid()))
    # The CLI's pipes are the CLI's alone: the worker must see their end when it ends.
    for descriptor in (0, 1):
        os.close(descriptor)
    threading.Thread(target=_watch, args=(Watch(plan["watch"], child),), daemon=True).start()
    status = _wait_for(child)
    _kill_descendants()
    return status


def _watch(watch: Watch) -> None:
    pause = threading.Event()
    while not pause.wait(WATCH_SECONDS):
        if said := watch.look():
            print(said, file=sys.stderr, flush=True)  # noqa: T201 - the worker keeps the last lines


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
