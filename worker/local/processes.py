"""Processes that outlive the command that starts them, found again by pid and start time."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from worker.local.errors import LocalStackError

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.02
_LOG_LINES = 15

# Held so that what this process started is waited for, and not warned about, when it ends.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Service:
    """A process that serves `url`. `started` tells it from a later process with the same pid."""

    name: str
    pid: int
    started: str
    url: str
    log: str

    def is_alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_service(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    url: str,
    health: str,
    seconds: float = 30.0,
) -> Service:
    """Start a process in a session of its own and wait until `url` + `health` answers 200.

    `env` is its whole environment; its output goes to `log`.

    Raises:
        LocalStackError: it ended, or did not answer in time, and is ended; with the log's end.
    """
    service = launch(name, argv, env=env, cwd=cwd, log=log, url=url)
    try:
        _wait_until_healthy(service, health, seconds)
    except BaseException:
        stop(service)
        raise
    return service


def launch(
    name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, url: str
) -> Service:
    """Start a process as `start_service` does, without waiting."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return Service(name, child.pid, start_time(child.pid) or "", url, str(log))


def _wait_until_healthy(service: Service, path: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(service.url, path):
        if not service.is_alive():
            raise LocalStackError(f"{service.name} ended while starting:\n{log_tail(service)}")
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"{service.name} did not answer {service.url}{path} within {seconds:.0f} seconds:\n"
                f"{log_tail(service)}"
            )
        time.sleep(_POLL_SECONDS)


def stop(service: Service, grace_seconds: float = 5.0) -> bool:
    """End the service and what it started: SIGTERM, then SIGKILL. False if it had ended before."""
    if not service.is_alive():
        _reap(service.pid)
        return False
    os.killpg(service.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while service.is_alive() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # when nothing of the group is left
        os.killpg(service.pid, signal.SIGKILL)
    while service.is_alive():
        time.sleep(_POLL_SECONDS)
    _reap(service.pid)
    return True


def start_time(pid: int) -> str | None:
    """When the process started, in a form that no other process of this pid has; None if ended."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _start_time_by_ps(pid)
    try:
        # After the command's closing parenthesis: state is field 3, start time field 22 of proc(5).
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if fields[0] in {"Z", "X"} else f"{fields[19]}@{boot}"


def _start_time_by_ps(pid: int) -> str | None:
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def log_tail(service: Service) -> str:
    """The end of the service's log, with the log's place."""
    lines = Path(service.log).read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join([f"{service.log}:", *(f"  {line}" for line in lines or ["(empty)"])])


def choose_port(name: str, port: int) -> int:
    """`port` if it is free, or a free one for 0. Raises LocalStackError if it is in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as exc:
            raise LocalStackError(
                f"port {port} for {name} cannot be used ({exc.strerror}): "
                "end what listens there, or choose another port (0: any free one)"
            ) from exc
        return int(probe.getsockname()[1])


def _answers(url: str, path: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
