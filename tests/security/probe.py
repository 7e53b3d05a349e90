"""What a tool of the agent can reach. Run by Bash inside a turn: probe.py WORKER_PID WORK_DIR PORT.

Prints one JSON object: attack → true (it got there) or false. It changes nothing: a signal is
number 0, a file is opened and not written.
"""

import ctypes
import glob
import json
import os
import socket
import sys

MARK = b"marked-secret-of-the-worker"


def parent(pid):
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[1])


def reads_environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as environ:
        return MARK in environ.read()


def reads_memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return len(memory.read(16)) == 16


def opens_descriptors(pid):
    return bool([os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")])


def attaches(pid):
    """PTRACE_SEIZE, which does not stop the process, and ends with this one."""
    libc = ctypes.CDLL(None)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    return libc.ptrace(0x4206, pid, 0, 0) == 0


def connects(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"open"


def may_signal(pid):
    os.kill(pid, 0)
    return True


def reads_another_chat(work_dir):
    return any(open(path).read() for path in glob.glob(f"{work_dir}/*/workspace/diary"))


def changes(path):
    with open(path, "ab"):
        return True


def inherited():
    """Descriptors beyond standard input, output and error that a tool was started with."""
    names = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
    targets = [
        os.readlink(f"/proc/self/fd/{name}")
        for name in names
        if os.path.exists(f"/proc/self/fd/{name}")
    ]
    return any(target.startswith("socket:") for target in targets)


def tried(attack, *arguments):
    try:
        return bool(attack(*arguments))
    except OSError:
        return False


if __name__ == "__main__":
    worker, work_dir, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    launcher = os.getpid()
    while parent(launcher) != worker:
        launcher = parent(launcher)
    print(
        json.dumps(
            {
                "worker's environment": tried(reads_environment, worker),
                "launcher's environment": tried(reads_environment, launcher),
                "worker's memory": tried(reads_memory, worker),
                "worker's descriptors": tried(opens_descriptors, worker),
                "ptrace": tried(attaches, worker),
                "another port": tried(connects, port),
                "signal to the worker": tried(may_signal, worker),
                "signal to the launcher": tried(may_signal, launcher),
                "another chat": tried(reads_another_chat, work_dir),
                "the launcher's file": tried(changes, f"{work_dir}/bin/agent-launcher"),
                "inherited sockets": tried(inherited),
            },
            separators=(",", ":"),
        )
    )
