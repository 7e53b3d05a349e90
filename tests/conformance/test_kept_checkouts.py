"""One suite for every store of sessions: what a turn leaves is found by the chat's next one, unless
anything has happened to the chat in between."""

import errno
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.stores import MemoryStore, Resident, a_claim, new_plan
from worker.adapters.kept import Kept
from worker.adapters.spool import Spool
from worker.domain.errors import UnavailableError
from worker.domain.session import SessionPlan
from worker.ports import Commit


def full(*_arguments, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


class Chat:
    """A chat whose turns follow each other; `claim` is the next one's."""

    def __init__(self, store):
        self.store = store
        self.key = uuid.uuid4().hex
        self.plan, self.generation, self.version = new_plan(), 0, 0

    def claim(self):
        claim = a_claim(self.plan, self.generation + 1, self.key)
        head = replace(
            claim.head,
            generation=self.generation,
            version=self.version,
            session_id=self.plan.session_id,
            segments=self.plan.segments,
            files=self.plan.files,
        )
        return replace(claim, head=head)

    async def turn(self, line, *, commit=True, resident=None, work=None):
        """What the turn found: its resident, and what its transcript and workspace held."""
        claim = self.claim()
        self.generation = claim.generation
        async with self.store.checkouts.open(claim) as checkout:
            found = checkout.found()
            held = await self.store.read(checkout), self.store.files(checkout)
            await self.store.append(checkout, [line])
            if work is not None:
                work(checkout)
            if resident is not None:
                checkout.leave(resident)
            sealed = await checkout.seal()
            if commit:
                done = Commit(self.plan.session_id, sealed.segments, sealed.files, "", 0.0, 1)
                checkout.committed(done)
                self.version += 1
                self.plan = SessionPlan(
                    self.plan.session_id, "continued", sealed.segments, sealed.files
                )
        return found, *held


async def a_kept_chat(store, work=None):
    chat, resident = Chat(store), Resident()
    await chat.turn("one", resident=resident, work=work)
    return chat, resident


async def test_the_next_turn_finds_the_resident_and_the_state(store):
    chat, resident = await a_kept_chat(store, lambda c: store.write(c, "a.txt", "1"))
    found, lines, files = await chat.turn("two")
    assert (found, lines, files) == (resident, ["one"], {"a.txt": "1"})
    assert not resident.ended


async def test_turns_that_were_kept_and_turns_that_were_not_make_one_conversation(store):
    chat, resident = await a_kept_chat(store, lambda c: store.write(c, "a.txt", "1"))
    await chat.turn("two", resident=resident, work=lambda c: store.write(c, "b.txt", "2"))
    await chat.turn("three", resident=resident, work=lambda c: store.delete(c, "a.txt"))
    await store.checkouts.close()
    found, lines, files = await chat.turn("four")
    assert (found, lines, files) == (None, ["one", "two", "three"], {"b.txt": "2"})


async def test_many_kept_turns_lose_nothing(store):
    chat, resident = await a_kept_chat(store)
    for n in range(12):
        work = partial(store.write, name="n", text=f"{n}")
        await chat.turn(f"line {n}", resident=resident, work=work)
    await store.checkouts.close()
    _, lines, files = await chat.turn("end")
    assert lines == ["one", *(f"line {n}" for n in range(12))]
    assert files == {"n": "11"}


async def test_a_turn_that_was_not_committed_is_not_kept(store):
    chat, resident = await a_kept_chat(store)
    await chat.turn("lost", commit=False, resident=resident)
    assert resident.ended
    found, lines, _ = await chat.turn("two")
    assert (found, lines) == (None, ["one"])


async def test_a_turn_that_raises_after_its_commit_is_not_kept(store):
    chat, resident = await a_kept_chat(store)

    def fails(_checkout):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await chat.turn("lost", resident=resident, work=fails)
    found, _, _ = await chat.turn("two")
    assert found is None


@pytest.mark.integration
async def test_a_turn_whose_copy_has_no_room_on_the_disk_is_committed_and_not_kept(
    s3_store, monkeypatch
):
    chat, resident = await a_kept_chat(s3_store)
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "copy_to", full)
        await chat.turn("two", resident=resident)
    assert resident.ended
    found, lines, _ = await chat.turn("three")
    assert (found, lines) == (None, ["one", "two"])


@pytest.mark.integration
async def test_a_turn_whose_mark_has_no_room_on_the_disk_is_committed_and_not_kept(
    s3_store, monkeypatch
):
    chat, resident = Chat(s3_store), Resident()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", full)
        await chat.turn("one", resident=resident)
    assert resident.ended
    assert not any(s3_store.work_dir.iterdir())
    assert (await chat.turn("two"))[:2] == (None, ["one"])


@pytest.mark.integration
async def test_a_kept_chat_that_cannot_be_taken_up_leaves_nothing_behind(s3_store, monkeypatch):
    chat, resident = await a_kept_chat(s3_store)
    with monkeypatch.context() as patch:
        patch.setattr(Kept, "tidy", full)
        with pytest.raises(UnavailableError):
            await chat.turn("two")
    assert resident.ended
    assert not any(s3_store.work_dir.iterdir())


async def test_without_a_resident_the_chat_is_restored(store):
    chat = Chat(store)
    await chat.turn("one", work=lambda c: store.write(c, "a.txt", "1"))
    assert await chat.turn("two") == (None, ["one"], {"a.txt": "1"})


async def test_a_claim_of_another_worker_makes_it_stale_whatever_it_did(store):
    chat, resident = await a_kept_chat(store)
    chat.generation += 1  # it claimed, and committed nothing
    found, lines, _ = await chat.turn("two")
    assert (found, lines) == (None, ["one"])
    assert resident.ended


async def test_a_turn_of_another_worker_is_remembered(store):
    chat, resident = await a_kept_chat(store)
    mine = store.checkouts
    store.checkouts = another_worker(store)
    await chat.turn("elsewhere")
    store.checkouts = mine
    found, lines, _ = await chat.turn("three")
    assert (found, lines) == (None, ["one", "elsewhere"])
    assert resident.ended


@pytest.mark.integration
async def test_two_workers_on_a_machine_do_not_stand_in_each_other_s_way(s3_store):
    chat, resident = await a_kept_chat(s3_store, lambda c: s3_store.write(c, "a.txt", "1"))
    mine, places = s3_store.checkouts, []
    s3_store.checkouts = s3_store.another_worker_here()
    its = Resident()
    found, lines, files = await chat.turn(
        "two", resident=its, work=lambda c: places.append(c.directory)
    )
    assert (found, lines, files) == (None, ["one"], {"a.txt": "1"})
    s3_store.checkouts = mine
    await mine.close()
    assert resident.ended
    assert places[0].is_dir()
    found, lines, files = await chat.turn("three", work=lambda c: places.append(c.directory))
    assert (found, lines, files) == (None, ["one", "two"], {"a.txt": "1"})
    assert places[0] == places[1]


async def test_chats_find_their_own(store):
    chat, resident = await a_kept_chat(store)
    other, its = await a_kept_chat(store)
    assert (await chat.turn("two"))[0] is resident
    assert (await other.turn("two"))[0] is its


async def test_closing_ends_what_is_kept(store):
    _, resident = await a_kept_chat(store)
    await store.checkouts.close()
    assert resident.ended


def another_worker(store):
    if isinstance(store, MemoryStore):
        return store.checkouts.of_another_process()
    return store.another_machine()
