"""Bytes on their way to the bucket: they are written once, and never all in memory."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from worker.domain.errors import UnavailableError

MAX_IN_MEMORY = 1024 * 1024
"""Bytes; what is larger goes to the disk. Most turns add less, and so need no disk to be stored."""

COPY_CHUNK = 1024 * 1024


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A file without a name, gone when it is closed. Its size and SHA-256 are counted as it is
    written, so it is only appended to.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(MAX_IN_MEMORY, "w+b", dir=str(folder))
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:  # noqa: ANN401 - bytes or a buffer of them
        self._digest.update(data)
        self.size += len(data)
        return super().write(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def join(self, files: Iterable[Path], last: "Spool") -> None:
        """Add what these hold, one after the other."""
        for path in files:
            with path.open("rb") as stored:
                shutil.copyfileobj(stored, self, COPY_CHUNK)
        last.seek(0)
        shutil.copyfileobj(last, self, COPY_CHUNK)

    def copy_to(self, target: Path) -> None:
        self.seek(0)
        with target.open("wb") as out:
            shutil.copyfileobj(self, out, COPY_CHUNK)


@contextlib.contextmanager
def spooled(folder: Path) -> Iterator[Spool]:
    """A spool below `folder`. Raises UnavailableError when the disk is full, or fails otherwise."""
    try:
        with Spool(folder) as spool:
            yield spool
    except OSError as exc:
        raise UnavailableError("disk", f"{exc.strerror} ({folder})") from exc
