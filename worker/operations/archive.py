"""A session as one portable file: a tar of a manifest and the objects it names.

    manifest.json     format, version, where it is from, and each member's size and SHA-256
    lines/0.zst ...   transcript segments, in order, as they are stored (adapters/segments.py)
    files/0.zst ...   archives of the workspace's files, in order (adapters/filetree.py)

The manifest carries a digest of itself. An archive is read as a whole and checked before anything
of it is used: what is damaged is refused, with what is wrong.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.domain.errors import WorkerError

FORMAT = "agent-worker-session"
VERSION = 1

MAX_MANIFEST_BYTES = 1024 * 1024

_MODEL = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ArchiveError(WorkerError):
    """A file that is no archive of a session, or a damaged one."""


class Member(BaseModel):
    """One object of the session."""

    model_config = _MODEL

    name: Annotated[str, Field(pattern=r"^(lines|files)/\d{1,4}\.zst$")]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What an archive says of itself. Later versions may add fields."""

    model_config = _MODEL

    format: Literal["agent-worker-session"]
    version: int
    exported_at: str
    session_key: str
    session_id: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{8,64}$")]
    turns: int
    cost_usd: float
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """A session's content: its id, and its objects in order, as they are stored."""

    session_key: str
    session_id: str
    lines: tuple[bytes, ...] = field(repr=False)
    files: tuple[bytes, ...] = field(repr=False)
    turns: int = 0
    cost_usd: float = 0.0
    exported_at: str = ""

    @property
    def size(self) -> int:
        return sum(map(len, (*self.lines, *self.files)))


def write_archive(archive: Archive, out: IO[bytes]) -> None:
    """Write the file."""
    stored = [
        *((f"lines/{n}.zst", data) for n, data in enumerate(archive.lines)),
        *((f"files/{n}.zst", data) for n, data in enumerate(archive.files)),
    ]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": archive.exported_at,
        "session_key": archive.session_key,
        "session_id": archive.session_id,
        "turns": archive.turns,
        "cost_usd": archive.cost_usd,
        "members": [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in stored
        ],
    }
    text = json.dumps({**manifest, "digest": _digest(manifest)}, indent=1).encode()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("manifest.json", text), *stored):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))


def read_archive(path: Path) -> Archive:
    """Read and check the file; raises ArchiveError."""
    try:
        with path.open("rb") as source, tarfile.open(fileobj=source, mode="r:") as tar:
            manifest = _manifest(path, tar)
            stored = {member.name: _verified(path, tar, member) for member in manifest.members}
    except OSError as exc:
        raise ArchiveError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (tarfile.TarError, EOFError) as exc:
        raise ArchiveError(f"{path} is no archive of a session, or cut short: {exc}") from exc
    return Archive(
        session_key=manifest.session_key,
        session_id=manifest.session_id,
        lines=_in_order(stored, "lines"),
        files=_in_order(stored, "files"),
        turns=manifest.turns,
        cost_usd=manifest.cost_usd,
        exported_at=manifest.exported_at,
    )


def _manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    data = _content(path, tar, "manifest.json", MAX_MANIFEST_BYTES)
    try:
        plain = json.loads(data)
        digest = plain.pop("digest")
        if plain.get("format") == FORMAT and plain.get("version") != VERSION:
            raise ArchiveError(
                f"{path} has version {plain.get('version')!r} of the format, and this program "
                f"reads {VERSION}: use the program that it was written for"
            )
        if digest != _digest(plain):
            raise ArchiveError(f"{path}: manifest.json is damaged: its digest is another one")
        return Manifest.model_validate_json(json.dumps(plain))
    except (ValueError, KeyError, AttributeError, ValidationError) as exc:
        raise ArchiveError(f"{path}: manifest.json is not one of a session: {exc}") from exc


def _verified(path: Path, tar: tarfile.TarFile, member: Member) -> bytes:
    data = _content(path, tar, member.name, member.size)
    if len(data) != member.size or hashlib.sha256(data).hexdigest() != member.sha256:
        raise ArchiveError(
            f"{path}: {member.name} is damaged: its content is not what the manifest says; "
            "export the session again"
        )
    return data


def _content(path: Path, tar: tarfile.TarFile, name: str, limit: int) -> bytes:
    try:
        found = tar.getmember(name)
    except KeyError as exc:
        raise ArchiveError(f"{path}: {name} is missing") from exc
    source = tar.extractfile(found) if found.isreg() and found.size <= limit else None
    if source is None:
        raise ArchiveError(f"{path}: {name} is damaged: it is not the file that it should be")
    return source.read()


def _in_order(stored: Mapping[str, bytes], kind: str) -> tuple[bytes, ...]:
    numbered = {
        int(name.removeprefix(f"{kind}/").removesuffix(".zst")): data
        for name, data in stored.items()
        if name.startswith(f"{kind}/")
    }
    return tuple(numbered[n] for n in sorted(numbered))


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
