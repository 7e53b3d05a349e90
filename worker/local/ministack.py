"""MiniStack, the AWS emulator, in a Python environment of its own.

Its own, because it pins another botocore than the worker uses.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.local.errors import LocalStackError
from worker.local.files import locked
from worker.local.processes import (
    LOOPBACK,
    Service,
    choose_port,
    start_service,
    stop,
)

REGION = "us-east-1"
ACCESS_KEY = "local"  # it takes any, and so it does as the secret key
LOCK_FILE = Path(__file__).with_name("ministack.txt")
Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody watches."""


def install(environment: Path, progress: Progress) -> Path:
    """Create the environment from the locked, hashed requirements; return its Python.

    An environment made from the same lock file is used as it is. uv runs with the caller's
    environment: package indexes, proxies and certificates are configured there.

    Raises:
        LocalStackError: uv is missing, or could not install.
    """
    python = environment / "bin" / "python"
    stamp = environment / "installed-from"
    wanted = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
    environment.parent.mkdir(parents=True, exist_ok=True)
    with locked(environment.with_suffix(".lock")):
        if stamp.exists() and stamp.read_text() == wanted and python.exists():
            return python
        progress(f"installing the AWS emulator into {environment}, once")
        uv = _find_uv()
        shutil.rmtree(environment, ignore_errors=True)
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(environment))
        _run(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), LOCK_FILE)
        stamp.write_text(wanted)  # last, so that an interrupted installation is made anew
    return python


def start(state_dir: Path, python: Path, *, port: int = 0, log: Path | None = None) -> Service:
    """Start MiniStack on loopback and wait until it is healthy. Port 0 means a free one.

    It keeps its state in memory and its few files under `state_dir`.
    """
    port = choose_port("the AWS emulator", port)
    folders = {"HOME": "home", "STATE_DIR": "state", "S3_DATA_DIR": "s3", "TMPDIR": "tmp"}
    env = {variable: str(state_dir / folder) for variable, folder in folders.items()}
    for folder in env.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    env |= {
        "PATH": os.defpath,
        "BIND_HOST": LOOPBACK,  # its default is every interface
        "MINISTACK_HOST": LOOPBACK,  # in queue URLs
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",  # listeners of other services
        "SFTP_ENABLED": "0",
    }
    return start_service(
        "ministack",
        [str(python), "-m", "ministack"],
        env=env,
        cwd=state_dir,
        log=log or state_dir / "ministack.log",
        url=f"http://{LOOPBACK}:{port}",
        health="/_ministack/health",
    )


@contextmanager
def ministack(
    state_dir: Path, environment: Path, *, port: int = 0, progress: Progress = silent
) -> Iterator[Service]:
    """MiniStack for the time of a `with` block; `url` of the service is its endpoint."""
    service = start(state_dir, install(environment, progress), port=port)
    try:
        yield service
    finally:
        stop(service)


def _find_uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise LocalStackError(
            "uv is needed to install the AWS emulator and is not on PATH: "
            "pip install 'agent-worker[local]', or see https://docs.astral.sh/uv"
        )
    return found


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        command = " ".join(map(str, argv))
        raise LocalStackError(
            f"the AWS emulator could not be installed: {command} "
            f"ended with {done.returncode}:\n{done.stderr.strip()}"
        )
