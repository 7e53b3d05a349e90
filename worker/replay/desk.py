"""The desk: what is in the dead-letter queue, with each letter's job and chat, and what an operator
does to letters one by one: discard, restore, edit, import. Each writes before it deletes, so that a
crash leaves a letter twice and never not at all; of two copies the latest counts (case.latest).
"""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.domain.errors import WorkerError
from worker.replay.case import Case, joined, latest
from worker.replay.letter import Letter
from worker.replay.ports import DeskPorts, Reading
from worker.replay.record import ArchivedLetter, archive_key, archived, audit_entry

HOLD_SECONDS = 30.0
"""How long letters stay hidden from others should this process be killed while it holds them."""


@dataclass(frozen=True, slots=True)
class View:
    """What was read. `copies` are older versions and doubles of letters in `cases`; `behind` and
    `elsewhere` as in ports.Reading.
    """

    cases: tuple[Case, ...] = ()
    copies: tuple[Case, ...] = ()
    behind: int = 0
    elsewhere: int = 0


@dataclass
class Held:
    """Letters that are hidden from others as long as this is open."""

    view: View
    _ports: DeskPorts
    _letters: dict[str, Letter] = field(default_factory=dict)

    async def release(self, letters: Sequence[Letter]) -> None:
        """Show them to others again."""
        ours = [letter for letter in letters if self._letters.pop(letter.message_id, None)]
        if ours:
            await self._ports.letters.hold(ours, 0)

    async def keep_only(self, cases: Sequence[Case]) -> None:
        kept = {case.letter.message_id for case in cases}
        others = [letter for key, letter in self._letters.items() if key not in kept]
        await self.release(others)

    async def remove(self, letter: Letter) -> bool:
        """Take a letter out of the queue; False when another reader has it by now."""
        gone = await self._ports.letters.delete(letter)
        self._letters.pop(letter.message_id, None)
        return gone

    async def extend(self, seconds: float) -> None:
        await self._ports.letters.hold(list(self._letters.values()), seconds)

    async def end(self) -> None:
        # Should this fail, they are shown again when their time is up.
        with contextlib.suppress(WorkerError):
            await self.release(list(self._letters.values()))


class Desk:
    """The dead-letter queue and what belongs to it."""

    def __init__(self, ports: DeskPorts) -> None:
        self.ports = ports

    async def look(self) -> View:
        """Read, and show everything to others again before anything else is done."""
        reading = await self.ports.letters.read(HOLD_SECONDS)
        await self.ports.letters.hold(reading.letters, 0)
        return await self._joined(reading)

    @contextlib.asynccontextmanager
    async def hold(self, seconds: float = HOLD_SECONDS) -> AsyncIterator[Held]:
        """Read, and hide what was read from others while this is open, or for so many seconds
        after this process was killed.
        """
        reading = await self.ports.letters.read(seconds)
        letters = {letter.message_id: letter for letter in reading.letters}
        held = Held(View(), self.ports, letters)
        keeping = asyncio.create_task(self._keep(held, seconds))
        try:
            held.view = await self._joined(reading)
            yield held
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await asyncio.shield(held.end())

    async def _keep(self, held: Held, seconds: float) -> None:
        while True:
            await self.ports.clock.sleep(seconds / 3)
            # An outage of a moment: the next time is early enough. After that a letter that was
            # lost is found out when it is deleted.
            with contextlib.suppress(WorkerError):
                await held.extend(seconds)

    async def _joined(self, reading: Reading) -> View:
        names = {job_id for letter in reading.letters for job_id in letter.job_ids}
        records = await self.ports.rows.jobs(names)
        keys = {letter.session_key for letter in reading.letters if letter.session_key}
        keys |= {record.session_key for record in records.values()}
        chats = await self.ports.rows.chats(keys, self.ports.clock.now())
        cases, copies = latest(joined(reading.letters, records, chats))
        return View(tuple(cases), tuple(copies), reading.behind, reading.elsewhere)

    async def discard(self, held: Held, cases: Sequence[Case], why: str) -> list[Letter]:
        """Move letters into the archive; returns those that another reader has taken meanwhile."""
        await self.audit("discard", why, [case.letter for case in cases])
        removed = await asyncio.gather(*(self._discard(held, case, why) for case in cases))
        return [case.letter for case, gone in zip(cases, removed, strict=True) if not gone]

    async def _discard(self, held: Held, case: Case, why: str) -> bool:
        await self.keep(case, why)
        await self.note(case.letter, "discarded", why)
        return await held.remove(case.letter)

    async def keep(self, case: Case, why: str) -> None:
        """Write a letter into the archive. It is not removed from the queue."""
        ports = self.ports
        document = archived(case.letter, why, ports.operator, ports.clock.now())
        await ports.documents.put(archive_key(case.letter), document)

    async def archive(self, letter: Letter | None = None) -> list[ArchivedLetter]:
        """What is in the archive, of this letter or of all, the latest first."""
        keys = await self.ports.documents.keys(f"archive/{letter.id}/" if letter else "archive/")
        documents = await asyncio.gather(*map(self.ports.documents.get, keys))
        found = [ArchivedLetter.read(key, d) for key, d in zip(keys, documents, strict=True) if d]
        return sorted(found, key=lambda kept: -kept.at)

    async def restore(self, kept: ArchivedLetter) -> None:
        """Put a letter back into the dead-letter queue. A crash may leave it in both."""
        await self.ports.letters.put(kept.letter, f"restore {kept.key} {kept.at}")
        await self.note(kept.letter, "restored", kept.why)
        await self.audit("restore", f"out of the archive: {kept.why}", [kept.letter])
        await self.ports.documents.remove(kept.key)

    async def edit(self, held: Held, edits: Sequence[tuple[Case, str]]) -> list[Letter]:
        """Put letters' next versions, with these bodies, in their place; those before go into the
        archive. Returns those that another reader has taken meanwhile: they are there beside their
        new version, which counts.
        """
        await self.audit("edit", "", [case.letter for case, _ in edits])
        removed = await asyncio.gather(*(self._edit(held, case, body) for case, body in edits))
        return [case.letter for (case, _), gone in zip(edits, removed, strict=True) if not gone]

    async def _edit(self, held: Held, case: Case, body: str) -> bool:
        new = case.letter.edited(body)
        version = new.origin.version
        await self.keep(case, f"edited into version {version}")
        digest = hashlib.sha256(body.encode()).hexdigest()
        await self.ports.letters.put(new, f"edit {new.id} {version} {digest}")
        await self.note(case.letter, "edited", f"into version {version}")
        return await held.remove(case.letter)

    async def put_in(self, letters: Sequence[Letter], source: str) -> None:
        """Import: put letters into the dead-letter queue, as they were exported."""
        run = uuid.uuid4().hex
        for number, letter in enumerate(letters):
            await self.ports.letters.put(letter, f"import {run} {number}")
            await self.note(letter, "imported", source)
        await self.audit("import", f"from {source}", letters)

    async def note(self, letter: Letter, what: str, detail: str) -> None:
        """Let the job's history tell what was done to its letter, and by whom."""
        note = {
            "at": self.ports.clock.now(),
            "what": what,
            "by": self.ports.operator.name,
            "letter": letter.id,
            "detail": detail,
        }
        for job_id in dict.fromkeys([letter.recorded_job_id, letter.job_id]):
            await self.ports.rows.note(job_id, note)

    async def audit(
        self, what: str, detail: str, letters: Sequence[Letter] = (), replay: str | None = None
    ) -> None:
        """Record who did what, when and from where."""
        now = self.ports.clock.now()
        key = f"audit/{round(now * 1000):013d}-{uuid.uuid4().hex[:8]}"
        entry = audit_entry(what, detail, self.ports.operator, now, letters, replay)
        await self.ports.documents.put(key, entry)

    async def audits(self) -> list[dict[str, Any]]:
        """The audit, in order."""
        keys = await self.ports.documents.keys("audit/")
        documents = await asyncio.gather(*map(self.ports.documents.get, keys))
        return [document for document in documents if document is not None]
