"""The environment file: the settings of a worker as KEY=VALUE lines.

A shell can source it; values that a shell would take apart are quoted.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from worker.local.errors import LocalStackError
from worker.local.files import write_private

_HEADER = "# Written by `agent-worker up`; do not edit, it is written anew.\n"


def write_environment_file(path: Path, environment: Mapping[str, str]) -> None:
    """Write `environment`, readable by its owner only.

    Raises:
        LocalStackError: the file exists and was not written by this function.
    """
    check_writable(path)
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, _HEADER + "".join(lines))


def read_environment_file(path: Path) -> dict[str, str]:
    """The settings in an environment file; comments and empty lines are skipped."""
    environment = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, _, value = line.partition("=")
            environment[name.strip()] = "".join(shlex.split(value))
    return environment


def remove_environment_file(path: Path) -> None:
    """Remove the file if `write_environment_file` wrote it."""
    if _is_ours(path):
        path.unlink()


def check_writable(path: Path) -> None:
    """Raises LocalStackError if the file exists and somebody else wrote it."""
    if path.exists() and path.stat().st_size and not _is_ours(path):
        raise LocalStackError(
            f"{path} exists and was not written by this command: "
            "move it away, or name another environment file"
        )


def environment_name(output: str) -> str:
    """QueueUrl -> QUEUE_URL."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", output).upper()


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_text(errors="replace").startswith(_HEADER)
