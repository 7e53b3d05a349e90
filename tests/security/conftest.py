import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.integration.conftest import environ, own  # noqa: F401 - fixtures

long = pytest.mark.skipif(
    "SECURITY_LONG" not in os.environ, reason="takes its time: SECURITY_LONG=1 scripts/test ..."
)

NOBODY = 23_456
"""A user without rights, as which a worker runs that is not root."""


@pytest.fixture
def ground():
    """A folder that every user can reach; pytest's own is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="attack-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def service():
    """A port on loopback that answers "open": as Lambda's runtime API, an extension's port or a
    metadata service would to any process of the machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def answer():
            while not done.is_set():
                with contextlib.suppress(OSError), server.accept()[0] as connection:
                    connection.sendall(b"open")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        done.set()
        thread.join()


SYSTEM_PYTHON = shutil.which(
    f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin"
)
"""An interpreter that every user can start, which the one of the tests need not be."""


UNDONE = {
    "concealment": "import worker.bootstrap as b; b.conceal = lambda: None",
    "closed descriptors": "import subprocess as s, functools as f; "
    "s.Popen.__init__ = f.partialmethod(s.Popen.__init__, close_fds=False)",
}
"""Defences of the worker's process that no setting turns off, and what does."""

HOLD = "import os; os.set_inheritable(os.open(os.environ['HELD'], os.O_RDONLY), True)"
"""As a library may, that has an inheritable descriptor open in the worker."""


def command(*, root=True, without=(), hold=False, concurrency=2):
    """`agent-worker run`, perhaps as a user without rights, or `without` some of its defences."""
    user = [] if root else ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    main = "from worker.entrypoints.cli import main; main()"
    lines = [HOLD] * hold + [UNDONE[name] for name in without]
    return [
        *user,
        sys.executable if root else SYSTEM_PYTHON,
        *(["-c", "\n".join([*lines, main])] if lines else ["-m", "worker"]),
        "run",
        "--concurrency",
        str(concurrency),
    ]


def importable():
    """The environment in which another interpreter finds what this one has."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), "PYTHONSAFEPATH": "1"}


def is_root():
    return os.geteuid() == 0
