"""A transcript takes the memory of a line, however long it is and however well it compresses."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters import transcript as transcripts
from worker.adapters.filetree import FileTree
from worker.adapters.segments import Frames, MalformedSegmentError, decode, restore, write
from worker.adapters.spool import MAX_IN_MEMORY, Spool, spooled
from worker.adapters.transcript import Transcript
from worker.domain.errors import UnavailableError

KEY = {"project_key": "p", "session_id": "s"}
SUBAGENT = {**KEY, "subpath": "subagents/agent-1"}
MEGABYTE = 1024 * 1024
LARGE = 12 * MEGABYTE
FEW = 6 * MEGABYTE


@contextlib.contextmanager
def little_memory(most=FEW):
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak / MEGABYTE:.1f} MB"


def line(number, text):
    entry = {"type": "user", "uuid": f"u-{number}", "text": text}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A conversation that does not compress, of one part."""
    path = tmp_path_factory.mktemp("segments") / "1"
    with path.open("wb") as out:
        lines = [line(n, os.urandom(6_000).hex()) for n in range(LARGE // 12_000)]
        write([(KEY, b"".join(lines))], out)
    assert path.stat().st_size > LARGE / 3
    return path


async def summed_up(*files, kept=("u-3", "u-700")):
    """A transcript whose turn ended with a summary of all before it but what is kept."""
    transcript = Transcript(files)
    boundary = {
        "type": "system",
        "subtype": "compact_boundary",
        "uuid": "b",
        "compactMetadata": {"preservedMessages": {"allUuids": [*kept]}},
    }
    await transcript.append(KEY, [boundary, {"type": "user", "uuid": "after"}])
    return transcript


async def test_a_long_transcript_is_trimmed_a_line_at_a_time(committed, tmp_path):
    transcript = await summed_up(committed)
    with Spool(tmp_path) as out:
        with little_memory():
            assert transcript.trimmed(out)
        out.seek(0)
        said = [json.loads(one)["uuid"] for _, lines in decode(out) for one in lines]
    assert said == ["u-3", "u-700", "b", "after"]


async def test_what_is_kept_of_a_long_transcript_is_written_in_parts(committed, tmp_path):
    transcript = await summed_up(committed, kept=[f"u-{n}" for n in range(LARGE // 12_000)])
    with Spool(tmp_path) as out:
        with little_memory():
            assert transcript.trimmed(out)
        assert out.size > LARGE / 3


async def test_the_last_entry_of_a_long_transcript_is_found_a_line_at_a_time(committed):
    with little_memory():
        last = Transcript([committed]).last_uuid(KEY)
    assert last == f"u-{LARGE // 12_000 - 1}"


async def test_a_long_transcript_is_listed_without_reading_it_into_memory(committed):
    transcript = Transcript([committed])
    with little_memory():
        assert [one["session_id"] for one in await transcript.list_sessions("p")] == ["s"]
        assert await transcript.list_subkeys(KEY) == []


def test_a_long_transcript_is_restored_without_reading_it_into_memory(committed, tmp_path):
    with little_memory():
        restore([committed], tmp_path, "p")
    assert (tmp_path / "p" / "s.jsonl").stat().st_size > LARGE - MEGABYTE


async def test_a_turn_s_own_entries_are_held_once(tmp_path):
    transcript = Transcript()
    for n in range(LARGE // 240_000):
        entries = [
            {"type": "user", "uuid": f"{n}-{i}", "t": os.urandom(60_000).hex()} for i in (1, 2)
        ]
        await transcript.append(KEY, entries)
    with Spool(tmp_path) as out, little_memory():
        transcript.delta(out)


def test_what_repeats_itself_takes_no_more_memory(tmp_path):
    segment = tmp_path / "1"
    with segment.open("wb") as out:
        write(((KEY, line(n, "a" * MEGABYTE)) for n in range(32)), out)
    assert segment.stat().st_size < 64 * 1024
    with little_memory():
        restore([segment], tmp_path, "p")
    assert (tmp_path / "p" / "s.jsonl").stat().st_size > 32 * MEGABYTE


def test_a_large_file_is_packed_and_unpacked_without_reading_it_into_memory(tmp_path):
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    with (tmp_path / "from" / "random").open("wb") as out:
        for _ in range(8):
            out.write(os.urandom(MEGABYTE))
    with (tmp_path / "from" / "sparse").open("wb") as out:
        out.truncate(32 * MEGABYTE)
    with Spool(tmp_path) as archive, little_memory():
        FileTree({"w": tmp_path / "from"}).pack(archive)
        archive.seek(0)
        FileTree({"w": tmp_path / "to"}).apply(archive)
    for name in ("random", "sparse"):
        packed, unpacked = ((tmp_path / place / name).read_bytes() for place in ("from", "to"))
        assert packed == unpacked


def test_a_file_that_is_cut_short_while_it_is_packed_is_as_long_as_it_was(tmp_path, monkeypatch):
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    file = tmp_path / "from" / "a"
    file.write_bytes(b"x" * 100)
    fstat = os.fstat

    def measured(descriptor):
        found = fstat(descriptor)
        if found.st_size == 100:
            os.truncate(file, 10)
        return found

    tree, archive = FileTree({"w": tmp_path / "from"}), io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", measured)
        stamps = tree.pack(archive)
    archive.seek(0)
    FileTree({"w": tmp_path / "to"}).apply(archive)
    assert (tmp_path / "to" / "a").read_bytes() == b"x" * 10 + b"\0" * 90
    tree.mark(stamps)
    again = io.BytesIO()
    tree.pack(again)
    assert again.getvalue()


texts = st.text(st.characters(codec="utf-8"), max_size=30)
conversations = st.lists(
    st.tuples(st.sampled_from([KEY, SUBAGENT]), st.lists(texts, min_size=1, max_size=5)), max_size=6
)


@given(conversations, st.integers(1, 60))
def test_trimming_in_small_parts_leaves_out_the_same_lines(tmp_path_factory, told, part_bytes):
    """However the parts are cut: a subagent's lines stay, and of the conversation what is kept."""
    folder = tmp_path_factory.mktemp("s")
    expected, number, batches = {"main": [], "sub": []}, 0, []
    for key, said in told:
        entries = []
        for text in said:
            number += 1
            entries.append({"type": "user", "uuid": f"u-{number}", "text": text})
            main = key is KEY
            if not main or number in (3, 700):
                expected["main" if main else "sub"].append(entries[-1]["uuid"])
        batches.append((key, entries))

    async def trimmed():
        before = Transcript()
        for key, entries in batches:
            await before.append(key, entries)
        with (folder / "1").open("wb") as out:
            before.delta(out)
        transcript = await summed_up(folder / "1")
        out = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transcripts, "PART_BYTES", part_bytes)
            assert transcript.trimmed(out)
        (folder / "2").write_bytes(out.getvalue())
        again = Transcript([folder / "2"])
        main, sub = await again.load(KEY), await again.load(SUBAGENT)
        return {"main": [e["uuid"] for e in main], "sub": [e["uuid"] for e in sub or ()]}

    expected["main"] += ["b", "after"]
    assert asyncio.run(trimmed()) == expected


frames = st.lists(st.binary(max_size=400), max_size=5)


@given(
    frames,
    st.builds(
        zstandard.ZstdCompressor,
        level=st.integers(-3, 12),
        write_checksum=st.booleans(),
        write_content_size=st.booleans(),
    ),
    st.integers(1, 300),
)
def test_a_segment_that_ends_anywhere_but_after_a_frame_is_refused(contents, compressor, cut):
    stored = [compressor.compress(content * 200) for content in contents]
    plain = b"".join(content * 200 for content in contents)
    whole = b"".join(stored)
    assert io.BufferedReader(Frames(io.BytesIO(whole))).read() == plain
    ends = {0}
    for frame in stored:
        ends.add(max(ends) + len(frame))
    end = len(whole) - cut
    if end > 0 and end not in ends:
        with pytest.raises(MalformedSegmentError):
            io.BufferedReader(Frames(io.BytesIO(whole[:end]))).read()


@pytest.mark.parametrize("size", [0, 1, MAX_IN_MEMORY, MAX_IN_MEMORY + 1, 3 * MAX_IN_MEMORY])
def test_a_spool_knows_its_size_and_its_digest(tmp_path, size):
    data = os.urandom(size)
    with spooled(tmp_path) as spool:
        for start in range(0, size, 70_000):
            spool.write(data[start : start + 70_000])
        assert (spool.size, spool.sha256) == (size, hashlib.sha256(data).hexdigest())
        spool.copy_to(tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_what_is_joined_is_written_once_in_order(tmp_path):
    files = [tmp_path / name for name in "ab"]
    for path in files:
        path.write_bytes(path.name.encode() * MEGABYTE)
    with spooled(tmp_path) as last, spooled(tmp_path) as whole:
        last.write(b"c")
        with little_memory():
            whole.join(files, last)
        whole.copy_to(tmp_path / "all")
    data = b"a" * MEGABYTE + b"b" * MEGABYTE + b"c"
    assert (tmp_path / "all").read_bytes() == data
    assert whole.sha256 == hashlib.sha256(data).hexdigest()


def test_a_full_disk_is_worth_another_attempt(tmp_path):
    def fill():
        with spooled(tmp_path / "gone") as spool:
            spool.write(bytes(MAX_IN_MEMORY + 1))

    with pytest.raises(UnavailableError) as caught:
        fill()
    assert caught.value.system == "disk"
