"""The chats' directories on this machine.

    <work_dir>/<session>/       kept for the chat's next turn, or removed after this one
        workspace/              the agent's working directory
        home/  tmp/             its HOME and TMPDIR
        config/projects/<project>/<session>.jsonl      transcripts; large tool results beside them
        segments/  log/         what is stored in the bucket, as stored

The path of a session is the same on every machine, because the model sees paths in its history.
It says nothing of the chat, so that a process can wait in it for a chat that is still to come.
"""

import contextlib
import fcntl
import hashlib
import os
import re
from pathlib import Path

from worker.adapters.owners import Owners
from worker.adapters.removal import remove_tree
from worker.domain.session import Segment

_CHAT_DIRECTORY = re.compile(r"^[0-9a-f]{24}(-\d+)?(-[0-9a-f]{8})?$")

KEPT = "kept-"
"""How the name of a file begins that marks a chat's directory as kept, and not in use."""


class Directories:
    """Below `work_dir`; each belongs to a user that `owners` finds for it."""

    def __init__(self, work_dir: Path, owners: Owners) -> None:
        self._work_dir = work_dir
        self._owners = owners

    def fresh(self, session_id: str, generation: int) -> Path:
        """The session's own path; a suffixed one while a zombie of this machine still has that."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=self._owners.mode)
        own = directory_name(session_id)
        _take_away(self._work_dir / own)
        for name in (own, f"{own}-{generation}", f"{own}-{generation}-{os.urandom(4).hex()}"):
            try:
                (self._work_dir / name).mkdir(mode=0o700)
            except FileExistsError:
                continue
            for part in ("workspace", "home", "tmp", "config", "segments", "log"):
                (self._work_dir / name / part).mkdir(mode=0o700)
            self._owners.assign(self._work_dir / name)
            return self._work_dir / name
        msg = f"no directory of its own for {own} below {self._work_dir}"
        raise AssertionError(msg)

    def hand_over(self, directory: Path) -> None:
        """What was restored into it is its user's."""
        self._owners.hand_over(directory)

    def clear(self) -> None:
        """Remove what a killed process left, when no other process works below `work_dir`."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=self._owners.mode)
        self._work_dir.chmod(self._owners.mode)
        # Held until this process ends: a bare descriptor, which nothing closes before.
        lock = os.open(self._work_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return
        for path in self._work_dir.iterdir():
            if path.is_dir() and _CHAT_DIRECTORY.match(path.name):
                remove_tree(path)


def directory_name(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()[:24]


def mark_kept(directory: Path) -> Path:
    """Whoever removes the mark has the directory. Raises OSError."""
    mark = directory / f"{KEPT}{os.urandom(4).hex()}"
    mark.touch(mode=0o600)
    return mark


def _take_away(directory: Path) -> None:
    """Of another worker on this machine, if it only keeps it."""
    for mark in directory.glob(f"{KEPT}*"):
        with contextlib.suppress(FileNotFoundError):
            mark.unlink()
            aside = directory.with_name(f"{directory.name}-{os.urandom(4).hex()}")
            directory.rename(aside)
            remove_tree(aside)


def local_copy(directory: Path, segment: Segment) -> Path:
    """A segment's copy; the last part of its key is its own within a session."""
    return directory / "segments" / segment.key.rpartition("/")[2]
