"""What a tool of the agent can reach. Run by Bash inside a turn:
probe.py WORKER_PID WORK_DIR PORT DIARY, which is another chat's file.

Prints one JSON object: attack → true (it got there) or false. It changes nothing: a signal is
number 0, a file is opened and not written, a link is removed again.
"""

import contextlib
import ctypes
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


def reads_another_chat(diary):
    with open(diary) as file:
        return bool(file.read())


def links_another_chat(diary):
    """Into its own workspace, which the worker would carry along."""
    name = f"link-{os.getpid()}"
    os.link(diary, name)
    os.unlink(name)
    return True


def changes(path):
    with open(path, "ab"):
        return True


def reads_inherited(pids):
    """What a descriptor of the worker's that was handed down shows: its own, its shell's, the
    CLI's."""
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/fd/{name}", "rb") as file:
                if os.path.isfile(file.name) and MARK in os.pread(file.fileno(), 4096, 0):
                    return True
    return False


def tried(attack, *arguments):
    try:
        return bool(attack(*arguments))
    except OSError:
        return False


if __name__ == "__main__":
    worker, work_dir, port, diary = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    launcher, below = os.getpid(), []
    while parent(launcher) != worker:
        below.append(launcher)
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
                "another chat": tried(reads_another_chat, diary),
                "a link to another chat's file": tried(links_another_chat, diary),
                "the launcher's file": tried(changes, f"{work_dir}/bin/agent-launcher"),
                "inherited descriptors": tried(reads_inherited, below),
            },
            separators=(",", ":"),
        )
    )
