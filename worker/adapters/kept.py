"""What a worker keeps: a chat between two of its turns, and a process that waits for its first."""

from dataclasses import dataclass
from pathlib import Path

from worker.adapters.directories import local_copy
from worker.adapters.filetree import FileTree
from worker.adapters.objects import ObjectStore
from worker.adapters.removal import remove_tree
from worker.adapters.transcript import Transcript
from worker.domain.warm import CommittedState
from worker.ports import Resident


@dataclass(frozen=True)
class Kept:
    """A chat between two of its turns: its directory, and the process that has it open."""

    state: CommittedState
    resident: Resident
    directory: Path
    mark: Path
    transcript: Transcript
    tree: FileTree
    _store: ObjectStore

    @property
    def memory(self) -> int:
        return self.resident.memory

    def reclaimed(self) -> bool:
        """Whether the directory is this worker's again. Another one on this machine that restores
        the chat takes it away, because the chat has only one path: whoever removes the mark has it.
        """
        try:
            self.mark.unlink()
        except FileNotFoundError:
            return False
        return True

    async def close(self) -> None:
        if self.reclaimed():
            await removed(self.resident, self.directory, self._store)
        else:
            await self.resident.end()

    def tidy(self) -> None:
        """Remove the copies of segments that were merged since."""
        needed = {local_copy(self.directory, s) for s in (*self.state.segments, *self.state.files)}
        for path in (self.directory / "segments").iterdir():
            if path not in needed:
                path.unlink()


@dataclass(frozen=True)
class Spare:
    """A process in a new session's directory, which has served nobody."""

    session_id: str
    resident: Resident
    directory: Path
    transcript: Transcript
    tree: FileTree
    _store: ObjectStore

    @property
    def memory(self) -> int:
        return self.resident.memory

    async def close(self) -> None:
        await removed(self.resident, self.directory, self._store)


async def removed(resident: Resident | None, directory: Path, store: ObjectStore) -> None:
    """Nothing of the chat runs any more, and nothing of it is left."""
    try:
        if resident is not None:
            await resident.end()
    finally:
        await store.run(lambda: remove_tree(directory))
