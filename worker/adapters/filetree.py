"""A chat's files as archives: only what changed travels.

An archive is a tar stream inside zstd frames. Its first member, `.deleted`, lists the paths that
are gone; the others are regular files. Archives can be concatenated: applied in order, later ones
win. Names are `<root>/<path>`, and the roots are the caller's.

Links, devices, sockets, directories of their own, files of other users and names with control
characters are not kept, and of a mode only the owner's execute bit: nothing else of a workspace may
follow a chat to another machine.
"""

import errno
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from worker.adapters.removal import remove_tree
from worker.adapters.segments import COMPRESSION_LEVEL, Frames, MalformedSegmentError

DELETED = ".deleted"
MAX_DELETED_BYTES = 16 * 1024 * 1024


class TooManyFilesError(Exception):
    """A tree is over its limits. Attributes: files, size (bytes), and the limits of both."""

    def __init__(self, files: int, size: int, limits: "Limits") -> None:
        self.files, self.size, self.limits = files, size, limits
        super().__init__(
            f"the workspace holds more than {limits.files} files"
            if files > limits.files
            else f"the workspace holds more than {limits.size} bytes"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How many files, and how many bytes in all, a chat may keep."""

    files: int = 10_000
    size: int = 200 * 1024 * 1024


Stamp = tuple[int, int, int, int]
"""Size, modification time, change time and inode: differs when a file was written."""


class FileTree:
    """The files below some roots, and what has changed since the last `mark`."""

    def __init__(
        self,
        roots: Mapping[str, Path],
        limits: Limits | None = None,
        skip: Callable[[str, str], bool] = lambda _root, _path: False,
    ) -> None:
        self._roots = dict(roots)
        self._skip = skip
        self._limits = limits or Limits()
        self._marked: dict[str, Stamp] = {}

    def mark(self, stamps: dict[str, Stamp] | None = None) -> None:
        """What is there now is known; or what was there when `changes` took these stamps."""
        self._marked = self._stamps() if stamps is None else stamps

    def pack(self, out: IO[bytes], since: Mapping[str, Stamp] | None = None) -> dict[str, Stamp]:
        """Write an archive of what differs from `since` (by default, from the mark), nothing when
        nothing does; returns the stamps that it was made of. Raises TooManyFilesError.
        """
        before = self._marked if since is None else since
        now = self._stamps()
        changed = [name for name, stamp in now.items() if before.get(name) != stamp]
        deleted = sorted(before.keys() - now.keys())
        if changed or deleted:
            self._archive(out, changed, deleted)
        return now

    def everything(self) -> bytes:
        """An archive of all there is; empty when there is nothing."""
        out = io.BytesIO()
        self.pack(out, {})
        return out.getvalue()

    @property
    def marked(self) -> Mapping[str, Stamp]:
        return self._marked

    def apply(self, stored: IO[bytes]) -> None:
        """Write an archive's files below the roots. Raises MalformedSegmentError for anything but
        regular files inside them.
        """
        try:
            with (
                io.BufferedReader(Frames(stored)) as plain,
                # Concatenated archives: each ends with zero blocks.
                tarfile.open(fileobj=plain, mode="r|", ignore_zeros=True) as archive,
            ):
                for member in archive:
                    self._apply(archive, member)
        except (tarfile.TarError, ValueError, TypeError, EOFError, RecursionError) as exc:
            raise MalformedSegmentError(str(exc)) from exc
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            raise MalformedSegmentError(f"a file is in the way of another: {exc.strerror}") from exc
        except OSError as exc:
            if exc.errno != errno.ENAMETOOLONG:
                raise
            raise MalformedSegmentError("a name is too long") from exc

    def _apply(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if not member.isreg():
            msg = f"{member.name!r} is not a regular file"
            raise MalformedSegmentError(msg)
        content = archive.extractfile(member)
        if content is None:
            msg = f"{member.name!r} has no content"
            raise MalformedSegmentError(msg)
        if member.name == DELETED:
            for name in json.loads(content.read(min(member.size, MAX_DELETED_BYTES))):
                _clear(self._target(name))
            return
        target = self._target(member.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear(target)  # never write through what is there
        with target.open("xb") as out:
            while chunk := content.read(1024 * 1024):
                out.write(chunk)
        target.chmod(0o700 if member.mode & stat.S_IXUSR else 0o600)

    def _target(self, name: object) -> Path:
        if not isinstance(name, str):
            msg = f"{name!r} is not a name"
            raise MalformedSegmentError(msg)
        root, _, path = name.partition("/")
        if root not in self._roots or not path or "\0" in path:
            msg = f"{name!r} is below no root"
            raise MalformedSegmentError(msg)
        base = self._roots[root].resolve()
        target = base / path
        # The parent is resolved, the last part is not: it may be a link, which is replaced.
        if ".." in Path(path).parts or not target.parent.resolve().is_relative_to(base):
            msg = f"{name!r} leaves its root"
            raise MalformedSegmentError(msg)
        return target

    def _archive(self, out: IO[bytes], changed: list[str], deleted: list[str]) -> None:
        compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        with (
            compressor.stream_writer(out, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            listing = json.dumps(deleted).encode()
            info = tarfile.TarInfo(DELETED)
            info.size = len(listing)
            archive.addfile(info, io.BytesIO(listing))
            for name in changed:
                self._add(archive, name)

    def _add(self, archive: tarfile.TarFile, name: str) -> None:
        root, _, path = name.partition("/")
        try:
            descriptor = _opened_beneath(self._roots[root], path)
        except OSError:
            return  # gone again, or unreadable: the next look decides
        # Measured when open: it may just be written, or be something else by now.
        with open(descriptor, "rb") as source:  # noqa: PTH123 - of a descriptor
            status = os.fstat(source.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != _owner(self._roots[root]):
                return
            info = tarfile.TarInfo(name)
            info.size = min(status.st_size, self._limits.size + 1)
            info.mode = status.st_mode & 0o700
            archive.addfile(info, _AsLong(source))

    def _stamps(self) -> dict[str, Stamp]:
        stamps: dict[str, Stamp] = {}
        size = 0
        for name, status in self._regular_files():
            stamps[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            # What it takes on disk, too: a sparse file is as large as it says.
            size += status.st_size
            if len(stamps) > self._limits.files or size > self._limits.size:
                raise TooManyFilesError(len(stamps), size, self._limits)
        return stamps

    def _regular_files(self) -> Iterator[tuple[str, os.stat_result]]:
        for root, base in self._roots.items():
            try:
                owner, waiting = _owner(base), [base]
            except OSError:
                continue
            while waiting:
                folder = waiting.pop()
                try:
                    entries = list(os.scandir(folder))
                except OSError:
                    continue
                for entry in entries:
                    if not _kept(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        path = str(Path(entry.path).relative_to(base))
                        status = entry.stat(follow_symlinks=False)
                        if status.st_uid == owner and not self._skip(root, path):
                            yield f"{root}/{path}", status


class _AsLong:
    """A file that stays as long as it was measured, whatever is written to it meanwhile: zeros
    stand for what was cut off. Its stamp has changed by then, so the next look takes it again.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int = 0, /) -> bytes:
        return self._source.read(size).ljust(size, b"\0")


def _opened_beneath(root: Path, path: str) -> int:
    """Open a file below `root` without following a link in any part of its path: a tool that runs
    may put one there at any moment. Nor does it wait, as for the other end of a pipe.
    """
    *folders, name = path.split("/")
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
            os.close(opened)
            opened = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
    finally:
        os.close(opened)


def _owner(root: Path) -> int:
    """The user whose files are kept: the chat's. Another's can be there as a hard link, where the
    kernel lets users link what they cannot read (fs.protected_hardlinks=0): the worker would read
    it for them.
    """
    return root.stat().st_uid


def _clear(target: Path) -> None:
    """Make room: a file, a link, or a folder that was one before it became a file."""
    if target.is_dir() and not target.is_symlink():
        remove_tree(target)
    else:
        target.unlink(missing_ok=True)


def _kept(name: str) -> bool:
    """Names that are not UTF-8 cannot be written into the listing of deleted files; control
    characters, such as a newline, are there to fool what reads a listing.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not any(character < " " or "\x7f" <= character <= "\x9f" for character in name)
