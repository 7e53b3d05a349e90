"""A user of its own for each chat that is worked on, where the worker may give away files."""

import os
import stat
import threading
from pathlib import Path

FOLDERS = ("workspace", "home", "tmp", "config")
COUNT = 1000
"""How many chats of one machine may be worked on at the same time under users of their own."""


def can_give_away(*paths: Path) -> bool:
    """Whether files can be given to other users here, and these could reach the paths."""
    return os.geteuid() == 0 and all(_open_to_others(path.resolve()) for path in paths)


class Owners:
    """Gives chats' directories to the users `first`, `first` + 1, ... None: they stay ours."""

    def __init__(self, first: int | None = None) -> None:
        self._first = first
        self._lock = threading.Lock()

    @property
    def mode(self) -> int:
        """Of directories above a chat's own: its user must pass, and see nothing there."""
        return 0o700 if self._first is None else 0o711

    def assign(self, directory: Path) -> None:
        """A chat's new directory becomes that of a user that no other chat on this disk has."""
        if self._first is None:
            return
        with self._lock:
            taken = {_owner(sibling / FOLDERS[0]) for sibling in directory.parent.iterdir()}
            free = next(n for n in range(self._first, self._first + COUNT) if n not in taken)
            for name in FOLDERS:
                os.chown(directory / name, free, free)
        directory.chmod(self.mode)

    def hand_over(self, directory: Path) -> None:
        """What was restored into a chat's folders is its user's, if it is not yet."""
        if self._first is None:
            return
        for name in FOLDERS:
            owner = (directory / name).stat().st_uid
            for folder, folders, files in os.walk(directory / name):
                for entry in (*folders, *files):
                    path = os.path.join(folder, entry)  # noqa: PTH118 - many
                    if os.lstat(path).st_uid != owner:
                        os.lchown(path, owner, owner)


def _owner(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_uid
    except OSError:
        return -1


def _open_to_others(path: Path) -> bool:
    return all(stat.S_IMODE(part.stat().st_mode) & stat.S_IXOTH for part in (path, *path.parents))
