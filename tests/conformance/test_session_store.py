"""The transcript is a SessionStore as the agent SDK defines it: its own suite says so."""

import pytest
from claude_agent_sdk.testing import run_session_store_conformance
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.segments import MalformedSegmentError, decode, encode, restore
from worker.adapters.transcript import Transcript

KEY = {"project_key": "p", "session_id": "s"}
NOW_MS = 1_800_000_000_000


async def test_the_sdk_s_conformance_suite_passes():
    await run_session_store_conformance(lambda: Transcript(now_ms=NOW_MS))


class Resealed:
    """A store that seals after every append and reads back from the sealed file alone."""

    def __init__(self, folder):
        self.folder, self.files = folder, []

    def _open(self):
        return Transcript(self.files, now_ms=NOW_MS)

    async def append(self, key, entries):
        transcript = self._open()
        await transcript.append(key, entries)
        path = self.folder / str(len(self.files))
        with path.open("wb") as out:
            transcript.delta(out)
        self.files.append(path)

    async def load(self, key):
        return await self._open().load(key)

    async def list_sessions(self, project_key):
        return await self._open().list_sessions(project_key)

    async def list_subkeys(self, key):
        return await self._open().list_subkeys(key)


async def test_the_suite_passes_through_stored_segments_too(tmp_path_factory):
    await run_session_store_conformance(lambda: Resealed(tmp_path_factory.mktemp("segments")))


async def test_a_retried_append_is_recognized_by_its_uuids():
    transcript = Transcript()
    await transcript.append(KEY, [{"type": "user", "uuid": "a"}])
    await transcript.append(KEY, [{"type": "user", "uuid": "a"}, {"type": "user", "uuid": "b"}])
    assert [entry["uuid"] for entry in await transcript.load(KEY)] == ["a", "b"]


async def test_what_the_cli_notes_about_its_own_process_is_not_kept():
    transcript = Transcript()
    await transcript.append(KEY, [{"type": "cost-state", "totalCostUSD": 1.5}])
    assert await transcript.load(KEY) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
entries = st.lists(
    st.fixed_dictionaries({"type": st.text(), "data": json_values}), min_size=1, max_size=5
)


@given(st.lists(entries, min_size=1, max_size=5))
def test_any_entries_come_back_as_they_went_in(tmp_path_factory, batches):
    import asyncio

    async def round_trip():
        transcript = Transcript()
        for batch in batches:
            await transcript.append(KEY, batch)
        path = tmp_path_factory.mktemp("s") / "0"
        with path.open("wb") as out:
            transcript.delta(out)
        return await Transcript([path]).load(KEY)

    assert asyncio.run(round_trip()) == [entry for batch in batches for entry in batch]


@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_segment_are_refused_and_nothing_else_happens(
    tmp_path_factory, data, compressed
):
    import zstandard

    path = tmp_path_factory.mktemp("s") / "0"
    path.write_bytes(zstandard.compress(data) if compressed else data)
    try:
        with path.open("rb") as stored:
            for _, lines in decode(stored):
                lines.read()
    except MalformedSegmentError:
        pass


def test_a_segment_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "0"
    path.write_bytes(encode([(KEY, b'{"type": "user"}\n' * 1000)])[:-8])
    with pytest.raises(MalformedSegmentError):
        restore([path], tmp_path / "projects", "p")


@pytest.mark.parametrize("session", ["../escape", "/etc/passwd", "a/../../../b", "nul\0"])
def test_a_key_that_leaves_its_directory_is_refused(tmp_path, session):
    path = tmp_path / "0"
    path.write_bytes(encode([({"project_key": "p", "session_id": session}, b"{}\n")]))
    with pytest.raises(MalformedSegmentError):
        restore([path], tmp_path / "projects", "p")


def test_subagent_transcripts_and_their_sidecars_become_files(tmp_path):
    path = tmp_path / "0"
    sub = {**KEY, "subpath": "subagents/agent-1"}
    lines = b'{"type":"user"}\n{"type":"agent_metadata","name":"x"}\n{"type":"assistant"}\n'
    path.write_bytes(encode([(KEY, b'{"type":"user"}\n'), (sub, lines)]))
    restore([path], tmp_path / "projects", "p")
    root = tmp_path / "projects" / "p"
    assert (root / "s.jsonl").read_bytes() == b'{"type":"user"}\n'
    assert (root / "s/subagents/agent-1.jsonl").read_bytes() == (
        b'{"type":"user"}\n{"type":"assistant"}\n'
    )
    assert (root / "s/subagents/agent-1.meta.json").read_text() == '{"name": "x"}'
