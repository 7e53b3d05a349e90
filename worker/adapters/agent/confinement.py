"""What the agent's process may do to this machine: applied by the launcher's child to itself, just
before it becomes the CLI, and so to everything below it.

A module of its own for the launcher: standard library only, also importable by `python -I -S`.

- another user and group, without supplementary groups, where the worker may give them;
- otherwise, for root, no capabilities: one of them is enough to read other processes;
- resource limits (setrlimit), soft and hard;
- Landlock (Linux 5.13 and newer), which needs no privilege: it may read and write only what it is
  told, connect only to some TCP ports (6.7), signal no process outside (6.12), and look into the
  memory, environment and descriptors of none.
"""

import contextlib
import ctypes
import os
import resource
import struct
import sys

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH, _RULE_PORT = 1, 2

# linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights the kernel knows, by version of its interface."""
_CONNECT_TCP = 1 << 1
_NET_ABI, _SCOPE_ABI = 4, 6
_SCOPES = 0b11  # abstract unix sockets and signals

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")


def landlock_version() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(_syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG), 0)


def confine(plan: dict) -> None:  # type: ignore[type-arg] # from JSON
    """Confine this process for good. Raises OSError when a part of the plan cannot be applied:
    then nothing may run.

    plan: {"uid": int | None, "powerless": bool, "limits": {name of resource.RLIMIT_*: int},
           "paths": None | {"readable": [...], "writable": [...]}, "ports": None | [int]}
    """
    uid = plan["uid"]
    for name, limit in plan["limits"].items():
        if name == "RLIMIT_NPROC" and uid is None:
            limit += _threads_of_user()  # noqa: PLW2901 - the kernel counts all of them
        which = getattr(resource, name)
        _, most = resource.getrlimit(which)
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)  # noqa: PLW2901 - only root could raise it
        resource.setrlimit(which, (limit, limit))
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    elif plan["powerless"]:
        _drop_capabilities()
    if plan["paths"] is not None:
        _landlock(plan["paths"], plan["ports"])


def _drop_capabilities() -> None:
    """What root gets when it starts a program is bounded by this set (capabilities(7))."""
    prctl = ctypes.CDLL(None).prctl
    capability = 0
    while prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1


def _threads_of_user() -> int:
    """Of every process that runs as this user: the worker, and other chats' agents."""
    total = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs start time
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():  # noqa: PTH116
                total += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
    return total


def _landlock(paths: dict, ports: list | None) -> None:  # type: ignore[type-arg] # from JSON
    version = landlock_version()
    if version == 0:
        raise OSError("this kernel has no Landlock (AGENT_SANDBOX)")
    handled = (1 << _RIGHTS_OF_ABI.get(version, 16)) - 1
    connects = _CONNECT_TCP if version >= _NET_ABI and ports is not None else 0
    scopes = _SCOPES if version >= _SCOPE_ABI else 0
    attributes = struct.pack("=QQQ", handled, connects, scopes)
    size = 24 if version >= _SCOPE_ABI else 16 if version >= _NET_ABI else 8
    ruleset = _checked(_syscall(_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset")
    for path in paths["readable"]:
        _allow(ruleset, path, _READ & handled)
    for path in paths["writable"]:
        # Everything but device files, which only root could make.
        _allow(ruleset, path, handled & ~(_MAKE_CHAR | _MAKE_BLOCK))
    for device in DEVICES:
        _allow(ruleset, f"/dev/{device}", handled & (_FILE_RIGHTS | _READ_DIR))
    if connects:
        for port in ports or ():
            rule = struct.pack("=QQ", _CONNECT_TCP, port)
            _checked(_syscall(_ADD_RULE, ruleset, _RULE_PORT, rule, 0), "landlock_add_rule")
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _checked(_syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """What is not there needs no right."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):  # noqa: PTH112 - pathlib costs start time
                rights &= _FILE_RIGHTS
            rule = struct.pack("=Qi", rights, opened)
            _checked(_syscall(_ADD_RULE, ruleset, _RULE_PATH, rule, 0), "landlock_add_rule")
        finally:
            os.close(opened)


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, *arguments))


def _checked(outcome: int, what: str) -> int:
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return outcome
