r"""The format of transcript segments: what is stored, and how it becomes the CLI's files again.

A segment is a sequence of zstd frames; each frame is a header line and JSON lines:

    {"project_key": "-tmp-workspace", "session_id": "4f…", "subpath": "", "size": 812}\n
    <812 bytes of JSON lines, as the CLI wrote them>

zstd frames can be concatenated, so merging segments copies bytes and compresses nothing again, and
a restore streams: memory stays flat however long the conversation.
"""

import errno
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard
from claude_agent_sdk import SessionKey

COMPRESSION_LEVEL = 3
MAX_HEADER = 64 * 1024
COPY_CHUNK = 1024 * 1024

FRAME_START = 5
"""Bytes of a zstd frame that tell how long its header is."""

MAX_BLOCK = 128 * 1024
"""What a block of a zstd frame holds at most, compressed or not (RFC 8878, 3.1.1.2.4)."""

REPEATED_BYTE = 1
"""The type of a block that is one byte, to be repeated."""


class MalformedSegmentError(Exception):
    """Stored bytes that are not a segment."""


Parts = Iterable[tuple[SessionKey, bytes]]
"""JSON lines by transcript, in the order they were written."""


def write(parts: Parts, out: IO[bytes]) -> None:
    """Add one compressed frame of these parts to `out`; nothing when there are none."""
    rest = iter(parts)
    first = next(rest, None)
    if first is None:
        return
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    with compressor.stream_writer(out, closefd=False) as packed:
        for key, lines in itertools.chain([first], rest):
            header = {
                "project_key": key["project_key"],
                "session_id": key["session_id"],
                "subpath": key.get("subpath") or "",
                "size": len(lines),
            }
            packed.write(json.dumps(header).encode() + b"\n")
            packed.write(lines)


def encode(parts: Parts) -> bytes:
    """The same, in memory."""
    out = io.BytesIO()
    write(parts, out)
    return out.getvalue()


def decode(stored: IO[bytes]) -> Iterator[tuple[SessionKey, IO[bytes]]]:
    """The parts of a stored segment; each stream is to be read before the next part.

    Raises MalformedSegmentError for anything that `write` has not written.
    """
    try:
        with io.BufferedReader(Frames(stored)) as plain:
            while header := plain.readline(MAX_HEADER):
                key, size = _header(header)
                part = _Part(plain, size)
                yield key, io.BufferedReader(part)
                if part.left:
                    part.skip()
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MalformedSegmentError(str(exc)) from exc


def restore(stored: Iterable[Path], projects: Path, project: str) -> None:
    """Write the CLI's files below `projects/project`: `<session>.jsonl` for a main transcript,
    `<session>/<subpath>.jsonl` (and `.meta.json`) for a subagent's.

    The layout is the CLI's own (claude_agent_sdk, session_resume). Raises MalformedSegmentError,
    also for a key that would leave the directory.
    """
    root = projects / project
    root.mkdir(parents=True, exist_ok=True)
    for path in stored:
        with path.open("rb") as source:
            for key, lines in decode(source):
                try:
                    _append(lines, _inside(root, key), subagent=bool(key.get("subpath")))
                except (ValueError, AttributeError, RecursionError) as exc:
                    raise MalformedSegmentError(str(exc)) from exc
                except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
                    raise MalformedSegmentError(exc.strerror) from exc
                except OSError as exc:
                    if exc.errno != errno.ENAMETOOLONG:
                        raise
                    raise MalformedSegmentError(exc.strerror) from exc


def _append(lines: IO[bytes], target: Path, *, subagent: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as out:
        if subagent:
            _restore_subagent(lines, out, target)
        else:
            while chunk := lines.read(COPY_CHUNK):
                out.write(chunk)


def _restore_subagent(lines: IO[bytes], out: IO[bytes], target: Path) -> None:
    """A subagent's stream carries its sidecar as `agent_metadata` entries; the last one counts."""
    for line in lines:
        entry = json.loads(line)
        if entry.get("type") == "agent_metadata":
            meta = {name: item for name, item in entry.items() if name != "type"}
            target.with_name(target.name.removesuffix(".jsonl") + ".meta.json").write_text(
                json.dumps(meta)
            )
        else:
            out.write(line)


def _header(line: bytes) -> tuple[SessionKey, int]:
    header: dict[str, Any] = json.loads(line)
    key: SessionKey = {
        "project_key": str(header["project_key"]),
        "session_id": str(header["session_id"]),
    }
    if header["subpath"]:
        key["subpath"] = str(header["subpath"])
    size = int(header["size"])
    if size < 0:
        msg = f"a part of {size} bytes"
        raise MalformedSegmentError(msg)
    return key, size


def _inside(root: Path, key: SessionKey) -> Path:
    subpath = key.get("subpath")
    name = f"{key['session_id']}/{subpath}" if subpath else key["session_id"]
    try:
        target = (root / f"{name}.jsonl").resolve()
    except ValueError as exc:  # a NUL character
        raise MalformedSegmentError(str(exc)) from exc
    if not target.is_relative_to(root.resolve()):
        msg = f"the transcript key {name!r} leaves its directory"
        raise MalformedSegmentError(msg)
    return target


class Frames(io.RawIOBase):
    """Concatenated zstd frames as one stream; a frame that is cut short is an error."""

    def __init__(self, stored: IO[bytes]) -> None:
        self._pieces = _pieces(stored)
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._plain:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._plain = memoryview(piece)
        size = min(len(buffer), len(self._plain))
        buffer[:size], self._plain = self._plain[:size], self._plain[size:]
        return size


def _pieces(stored: IO[bytes]) -> Iterator[bytes]:
    """What the frames hold, a block at a time: 64 KB of a transcript that repeats itself can be a
    gigabyte, but no block is more than MAX_BLOCK. Raises MalformedSegmentError.
    """
    decompressor = zstandard.ZstdDecompressor()
    while start := stored.read(FRAME_START):
        try:
            start += _exactly(stored, zstandard.frame_header_size(start) - FRAME_START)
            frame = decompressor.decompressobj()
            yield frame.decompress(start)
            for block in _blocks(stored):
                yield frame.decompress(block)
            if zstandard.get_frame_parameters(start).has_checksum:
                yield frame.decompress(_exactly(stored, 4))
        except zstandard.ZstdError as exc:
            raise MalformedSegmentError(str(exc)) from exc


def _blocks(stored: IO[bytes]) -> Iterator[bytes]:
    """The blocks of a frame, with their headers (RFC 8878, 3.1.1.2)."""
    last = False
    while not last:
        header = _exactly(stored, 3)
        told = int.from_bytes(header, "little")
        last, kind, size = bool(told & 1), told >> 1 & 3, told >> 3
        if size > MAX_BLOCK:
            msg = f"a block of {size} bytes"
            raise MalformedSegmentError(msg)
        yield header + _exactly(stored, 1 if kind == REPEATED_BYTE else size)


def _exactly(stored: IO[bytes], size: int) -> bytes:
    data = stored.read(size)
    if len(data) < size:
        msg = "a segment ends in the middle of a frame"
        raise MalformedSegmentError(msg)
    return data


class _Part(io.RawIOBase):
    """The next `size` bytes of a stream, as a stream."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        data = self._source.read(min(len(buffer), self.left))
        if not data and self.left:
            msg = "a segment ends in the middle of a part"
            raise MalformedSegmentError(msg)
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)

    def skip(self) -> None:
        while self.left and self.readinto(bytearray(min(self.left, COPY_CHUNK))):
            pass
