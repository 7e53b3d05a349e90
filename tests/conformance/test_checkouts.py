"""One suite for every store of sessions: what is sealed and committed is what is restored."""

import os
import uuid

import pytest

from contracts import JobRequest, session_key
from worker.adapters.aws import Aws
from worker.adapters.checkout import MAX_SEGMENTS, REFRESH_SECONDS, S3Checkouts, SegmentStore
from worker.adapters.memory import ManualClock, MemoryCheckouts
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError
from worker.domain.job import Job
from worker.domain.policy import Policy, narrow
from worker.domain.session import Segment, SessionHead, SessionPlan

PROJECT = "-tmp-workspace"


class MemoryStore:
    def __init__(self):
        self.clock = ManualClock()
        self.checkouts = MemoryCheckouts(self.clock)

    async def append(self, checkout, lines):
        checkout.transcript.extend(lines)

    async def read(self, checkout):
        return list(checkout.transcript)

    async def remove(self, segment):
        del self.checkouts.segments[segment.key]

    async def tamper(self, segment):
        self.checkouts.segments[segment.key][0] += "!"


class S3Store:
    """The real store; its transcript is read back from the files that the CLI would read."""

    def __init__(self, aws, bucket, work_dir):
        self.clock = ManualClock()
        self.aws, self.bucket = aws, bucket
        self.checkouts = S3Checkouts(SegmentStore(aws, bucket), work_dir, PROJECT, self.clock)

    def _key(self, checkout):
        return {"project_key": PROJECT, "session_id": checkout.plan.session_id}

    async def append(self, checkout, lines):
        entries = [{"type": "user", "uuid": uuid.uuid4().hex, "text": line} for line in lines]
        await checkout.transcript.append(self._key(checkout), entries)

    async def read(self, checkout):
        loaded = await checkout.transcript.load(self._key(checkout)) or []
        return [entry["text"] for entry in loaded]

    async def remove(self, segment):
        await self.aws.call("s3", "delete_object", Bucket=self.bucket, Key=segment.key)

    async def tamper(self, segment):
        await self.aws.call(
            "s3", "put_object", Bucket=self.bucket, Key=segment.key, Body=b"garbage"
        )


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.integration)])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    resources = request.getfixturevalue("resources")
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return S3Store(aws, resources["SESSION_BUCKET"], tmp_path / "work")


def a_claim(plan, generation, chat="1"):
    request = JobRequest(user_message="hi", chat_id=chat)
    key = session_key(request.chat_id, None, "default")
    job = Job(f"j-{generation}", key, request, narrow(Policy(), request))
    return Claim(job, "a", 1, 1, generation, False, SessionHead(key), plan, 0.0)


def new_plan():
    return SessionPlan(str(uuid.uuid4()), "new")


async def turn(store, plan, generation, lines):
    """Restore, append, seal: what was there before, and the plan of the next turn."""
    async with store.checkouts.open(a_claim(plan, generation, plan.session_id)) as checkout:
        before = await store.read(checkout)
        await store.append(checkout, lines)
        segments = await checkout.seal()
    return before, SessionPlan(plan.session_id, "continued", segments)


async def test_what_was_sealed_is_restored_in_order(store):
    before, plan = await turn(store, new_plan(), 1, ["one", "two"])
    assert before == []
    before, plan = await turn(store, plan, 2, ["three"])
    assert before == ["one", "two"]
    before, _ = await turn(store, plan, 3, [])
    assert before == ["one", "two", "three"]


async def test_sealing_nothing_leaves_the_manifest_as_it_is(store):
    _, plan = await turn(store, new_plan(), 1, ["one"])
    _, same = await turn(store, plan, 2, [])
    assert same.segments == plan.segments


async def test_what_was_sealed_but_not_committed_is_not_seen(store):
    _, committed = await turn(store, new_plan(), 1, ["one"])
    await turn(store, committed, 2, ["lost"])
    before, _ = await turn(store, committed, 3, ["two"])
    assert before == ["one"]


async def test_a_missing_segment_is_named(store):
    _, plan = await turn(store, new_plan(), 1, ["one"])
    await store.remove(plan.segments[0])
    with pytest.raises(StateDamagedError) as caught:
        await turn(store, plan, 2, [])
    assert (caught.value.reason, caught.value.key) == ("missing", plan.segments[0].key)


async def test_a_corrupt_segment_is_named(store):
    _, plan = await turn(store, new_plan(), 1, ["one"])
    await store.tamper(plan.segments[0])
    with pytest.raises(StateDamagedError) as caught:
        await turn(store, plan, 2, [])
    assert caught.value.reason == "corrupt"


async def test_unicode_and_long_lines_survive(store):
    lines = ["ünï\u2028code 🎈", "x" * 2_000_000, ""]
    _, plan = await turn(store, new_plan(), 1, lines)
    before, _ = await turn(store, plan, 2, [])
    assert before == lines


@pytest.fixture
def s3_store(request, tmp_path, resources):
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return S3Store(aws, resources["SESSION_BUCKET"], tmp_path / "work")


@pytest.mark.integration
async def test_a_long_conversation_is_restored_from_few_objects(s3_store):
    plan, said = new_plan(), []
    for generation in range(1, 40):
        before, plan = await turn(s3_store, plan, generation, [f"{generation}" * 50])
        assert before == said
        said.append(f"{generation}" * 50)
        assert len(plan.segments) <= MAX_SEGMENTS


@pytest.mark.integration
async def test_segments_are_rewritten_before_the_bucket_expires_them(s3_store):
    _, plan = await turn(s3_store, new_plan(), 1, [os.urandom(5000).hex()])
    _, plan = await turn(s3_store, plan, 2, ["small"])
    assert len(plan.segments) == 2
    s3_store.clock.advance(REFRESH_SECONDS + 1)
    _, plan = await turn(s3_store, plan, 3, ["small"])
    [segment] = plan.segments
    assert segment.written_at == s3_store.clock.now()


@pytest.mark.integration
async def test_nothing_of_a_chat_stays_on_disk(s3_store, tmp_path):
    _, plan = await turn(s3_store, new_plan(), 1, ["one"])
    with pytest.raises(RuntimeError, match="boom"):
        async with s3_store.checkouts.open(a_claim(plan, 2, plan.session_id)):
            raise RuntimeError("boom")
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.integration
async def test_a_chat_has_the_same_path_again_and_a_zombie_keeps_its_own(s3_store):
    plan = new_plan()
    async with s3_store.checkouts.open(a_claim(plan, 1)) as zombie:
        async with s3_store.checkouts.open(a_claim(plan, 2)) as other:
            assert other.directory != zombie.directory
        path = zombie.directory
    async with s3_store.checkouts.open(a_claim(plan, 3)) as later:
        assert later.directory == path


@pytest.mark.integration
async def test_leftovers_of_a_killed_process_are_cleared_at_the_next_start(s3_store, tmp_path):
    left = tmp_path / "work" / ("a" * 24)
    left.mkdir(parents=True)
    (left / "secret").write_text("of another chat")
    (tmp_path / "work" / "bin").mkdir()
    s3_store.checkouts.clear()
    assert not left.exists()
    assert (tmp_path / "work" / "bin").exists()


@pytest.mark.integration
async def test_writing_a_segment_again_after_a_lost_answer_is_one_write(s3_store):
    store = SegmentStore(s3_store.aws, s3_store.bucket)
    segment = Segment(f"sessions/test/{uuid.uuid4()}", 3, "-", 0.0)
    await store.put(segment, b"one")
    await store.put(segment, b"two")
    answer = await s3_store.aws.call("s3", "get_object", Bucket=s3_store.bucket, Key=segment.key)
    assert answer["Body"].read() == b"one"
