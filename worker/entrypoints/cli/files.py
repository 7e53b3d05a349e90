"""Files that commands write for their user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from worker.entrypoints.cli.output import fail


@contextmanager
def write_new(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A file that only its owner can read, and that is there as a whole or not at all."""
    if path.exists() and not overwrite:
        fail(f"{path} exists; --overwrite replaces it")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as out:  # noqa: PTH123 - of a descriptor
            yield out
        part.replace(path)
    except OSError as exc:
        fail(f"{path} cannot be written: {exc.strerror or exc}")
    finally:
        part.unlink(missing_ok=True)
