"""Removing what a tool has left, however it tried to prevent that."""

import contextlib
import shutil
import subprocess
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it; never raises. Links are removed, not followed.

    Folders without permissions, and trees deeper than Python can climb, are left to `rm`.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        with contextlib.suppress(OSError):
            subprocess.run(  # noqa: S603 - a path of ours, and no shell
                [*command, "--", path], check=False, capture_output=True
            )
