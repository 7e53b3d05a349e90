"""One suite for every store of sessions: what is sealed and committed is what is restored."""

import errno
import os
import uuid

import pytest

from tests.conformance.stores import PROJECT, a_claim, new_plan
from worker.adapters.checkout import MAX_SEGMENTS, REFRESH_SECONDS
from worker.adapters.checkouts import S3Checkouts
from worker.adapters.filetree import Limits
from worker.adapters.memory import TOOL_LINE
from worker.adapters.objects import ObjectStore
from worker.adapters.owners import Owners
from worker.domain.errors import StateDamagedError, UnavailableError, WorkspaceLimitError
from worker.domain.session import SessionPlan


async def turn(store, plan, generation, lines):
    """Restore, append, seal: what was there before, and the plan of the next turn."""
    async with store.checkouts.open(a_claim(plan, generation, plan.session_id)) as checkout:
        before = await store.read(checkout)
        await store.append(checkout, lines)
        sealed = await checkout.seal()
    return before, SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)


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


@pytest.mark.integration
async def test_another_valid_segment_in_the_place_of_one_is_corrupt(s3_store):
    _, other = await turn(s3_store, new_plan(), 1, ["of another chat"])
    _, plan = await turn(s3_store, new_plan(), 1, ["one"])
    await s3_store.aws.call(
        "s3",
        "copy_object",
        Bucket=s3_store.bucket,
        Key=plan.segments[0].key,
        CopySource={"Bucket": s3_store.bucket, "Key": other.segments[0].key},
    )
    with pytest.raises(StateDamagedError) as caught:
        await turn(s3_store, plan, 2, [])
    assert (caught.value.reason, caught.value.key) == ("corrupt", plan.segments[0].key)


async def test_unicode_and_long_lines_survive(store):
    lines = ["ünï\u2028code 🎈", "x" * 2_000_000, ""]
    _, plan = await turn(store, new_plan(), 1, lines)
    before, _ = await turn(store, plan, 2, [])
    assert before == lines


async def test_files_are_restored_changed_and_deleted(store):
    plan = new_plan()
    async with store.checkouts.open(a_claim(plan, 1, plan.session_id)) as checkout:
        store.write(checkout, "a.txt", "one")
        store.write(checkout, "b/c.txt", "two")
        sealed = await checkout.seal()
    plan = SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)
    async with store.checkouts.open(a_claim(plan, 2, plan.session_id)) as checkout:
        assert store.files(checkout) == {"a.txt": "one", "b/c.txt": "two"}
        store.delete(checkout, "a.txt")
        store.write(checkout, "b/c.txt", "three")
        sealed = await checkout.seal()
    plan = SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)
    async with store.checkouts.open(a_claim(plan, 3, plan.session_id)) as checkout:
        assert store.files(checkout) == {"b/c.txt": "three"}


async def test_files_of_a_turn_that_was_not_committed_are_gone(store):
    plan = new_plan()
    async with store.checkouts.open(a_claim(plan, 1, plan.session_id)) as checkout:
        store.write(checkout, "a.txt", "one")
        await checkout.seal()
    async with store.checkouts.open(a_claim(plan, 2, plan.session_id)) as checkout:
        assert store.files(checkout) == {}


async def cut_off(store, plan, job_id):
    """A turn that had called a tool, and written a file, when its worker died."""
    async with store.checkouts.open(a_claim(plan, 7, plan.session_id, job_id)) as checkout:
        await store.append(checkout, ["prompt"])
        await store.call_tool(checkout, "t-1")
        store.write(checkout, "done.txt", "by t-1")
        await checkout.record()
        await store.append(checkout, ["never recorded"])


async def test_what_a_cut_off_turn_recorded_is_what_its_next_attempt_continues(store):
    _, plan = await turn(store, new_plan(), 1, ["before"])
    job_id = f"j-{uuid.uuid4()}"
    await cut_off(store, plan, job_id)
    again = a_claim(plan, 8, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(again) as checkout:
        assert checkout.cut_off
        assert await store.read(checkout) == ["before", "prompt", f"{TOOL_LINE}t-1"]
        assert store.files(checkout) == {"done.txt": "by t-1"}
        await store.append(checkout, ["after"])
        sealed = await checkout.seal()
    plan = SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)
    before, _ = await turn(store, plan, 9, [])
    assert before == ["before", "prompt", f"{TOOL_LINE}t-1", "after"]


async def test_a_second_takeover_finds_the_work_of_both_before_it(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    await cut_off(store, plan, job_id)
    second = a_claim(plan, 8, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(second) as checkout:
        await store.call_tool(checkout, "t-2")
        await checkout.record()
    third = a_claim(plan, 9, plan.session_id, job_id, attempt=3)
    async with store.checkouts.open(third) as checkout:
        assert await store.read(checkout) == ["prompt", f"{TOOL_LINE}t-1", f"{TOOL_LINE}t-2"]
        assert store.files(checkout) == {"done.txt": "by t-1"}


async def test_a_turn_that_had_called_no_tool_starts_again(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    async with store.checkouts.open(a_claim(plan, 1, plan.session_id, job_id)) as checkout:
        await store.append(checkout, ["prompt", "half a sent"])
        await checkout.record()
    again = a_claim(plan, 2, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(again) as checkout:
        assert not checkout.cut_off
        assert await store.read(checkout) == []


async def test_another_job_of_the_chat_does_not_see_the_log(store):
    plan = new_plan()
    await cut_off(store, plan, f"j-{uuid.uuid4()}")
    other = a_claim(plan, 8, plan.session_id, f"j-{uuid.uuid4()}", attempt=2)
    async with store.checkouts.open(other) as checkout:
        assert not checkout.cut_off


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
    store = ObjectStore(s3_store.aws, s3_store.bucket)
    key = f"sessions/test/{uuid.uuid4()}"
    await store.put(key, b"one")
    await store.put(key, b"two")
    answer = await s3_store.aws.call("s3", "get_object", Bucket=s3_store.bucket, Key=key)
    assert answer["Body"].read() == b"one"


async def a_source(store):
    """A session with lines, a file, and what a tool call has left."""
    plan = new_plan()
    async with store.checkouts.open(a_claim(plan, 1, "source")) as checkout:
        await store.append(checkout, ["one", "two"])
        store.write(checkout, "a.txt", "of the source")
        sealed = await checkout.seal()
    return SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)


def a_fork(source):
    return SessionPlan(
        str(uuid.uuid4()), "forked", source.segments, source.files, source_id=source.session_id
    )


@pytest.mark.parametrize("with_files", [True, False])
async def test_a_fork_has_all_of_its_source_and_then_nothing_in_common_with_it(store, with_files):
    source = await a_source(store)
    fork = a_fork(source)
    async with store.checkouts.open(a_claim(fork, 1, "fork")) as checkout:
        assert await store.read(checkout) == ["one", "two"]
        assert store.files(checkout) == {"a.txt": "of the source"}
        await store.append(checkout, ["three"])
        if not with_files:
            store.write(checkout, "b.txt", "too much")
        sealed = await checkout.seal(with_files=with_files)
    kept = SessionPlan(fork.session_id, "continued", sealed.segments, sealed.files)
    for segment in source.segments:
        await store.remove(segment)
    async with store.checkouts.open(a_claim(kept, 2, "fork")) as checkout:
        assert await store.read(checkout) == ["one", "two", "three"]
        assert store.files(checkout) == {"a.txt": "of the source"}


async def test_a_fork_whose_turn_said_nothing_is_kept_all_the_same(store):
    fork = a_fork(await a_source(store))
    async with store.checkouts.open(a_claim(fork, 1, "fork")) as checkout:
        sealed = await checkout.seal()
    kept = SessionPlan(fork.session_id, "continued", sealed.segments, sealed.files)
    async with store.checkouts.open(a_claim(kept, 2, "fork")) as checkout:
        assert await store.read(checkout) == ["one", "two"]
        assert store.files(checkout) == {"a.txt": "of the source"}


async def test_a_fork_that_was_cut_off_records_its_own_part_only(store):
    source = await a_source(store)
    fork = a_fork(source)
    async with store.checkouts.open(a_claim(fork, 1, "fork", "j")) as checkout:
        await store.append(checkout, ["three"])
        await store.call_tool(checkout, "call")
        store.write(checkout, "b.txt", "new")
        await checkout.record()
    async with store.checkouts.open(a_claim(fork, 2, "fork", "j", attempt=2)) as checkout:
        assert checkout.cut_off
        assert await store.read(checkout) == ["one", "two", "three", f"{TOOL_LINE}call"]
        assert store.files(checkout) == {"a.txt": "of the source", "b.txt": "new"}


async def test_a_fork_of_damaged_files_is_told(store):
    source = await a_source(store)
    await store.tamper(source.segments[0])
    with pytest.raises(StateDamagedError):
        async with store.checkouts.open(a_claim(a_fork(source), 1, "fork")):
            pass


@pytest.mark.integration
async def test_only_what_changed_travels(s3_store):
    plan = new_plan()
    async with s3_store.checkouts.open(a_claim(plan, 1, plan.session_id)) as checkout:
        s3_store.write(checkout, "large.txt", os.urandom(500_000).hex())
        first = await checkout.seal()
    plan = SessionPlan(plan.session_id, "continued", first.segments, first.files)
    async with s3_store.checkouts.open(a_claim(plan, 2, plan.session_id)) as checkout:
        assert (await checkout.seal()).files == first.files
        s3_store.write(checkout, "small.txt", "x")
        second = await checkout.seal()
    assert len(second.files) == 2
    assert second.files[1].size < 500


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
async def test_what_is_given_to_a_chat_s_own_user_has_not_changed_by_that(s3_store):
    checkouts = S3Checkouts(
        ObjectStore(s3_store.aws, s3_store.bucket),
        s3_store.work_dir,
        PROJECT,
        s3_store.clock,
        owners=Owners(23_456),
    )
    plan = new_plan()
    async with checkouts.open(a_claim(plan, 1, "a")) as checkout:
        path = checkout.directory / "workspace" / "a.txt"
        path.write_text("one")
        os.chown(path, 23_456, 23_456)
        sealed = await checkout.seal()
    plan = SessionPlan(plan.session_id, "continued", sealed.segments, sealed.files)
    async with checkouts.open(a_claim(plan, 2, "b")) as checkout:
        path = checkout.directory / "workspace" / "a.txt"
        assert (path.read_text(), path.stat().st_uid) == ("one", 23_456)
        assert (await checkout.seal()).files == sealed.files


@pytest.mark.integration
@pytest.mark.parametrize(
    ("limits", "says"), [(Limits(files=2), "2 files"), (Limits(size=10), "10 bytes")]
)
async def test_a_workspace_over_its_limits_is_refused_and_says_which(
    s3_store, tmp_path, limits, says
):
    checkouts = S3Checkouts(
        ObjectStore(s3_store.aws, s3_store.bucket), tmp_path, PROJECT, s3_store.clock, limits
    )
    async with checkouts.open(a_claim(new_plan(), 1)) as checkout:
        for n in range(3):
            s3_store.write(checkout, f"{n}.txt", "12345")
        with pytest.raises(WorkspaceLimitError, match=says):
            await checkout.seal()
        assert (await checkout.seal(with_files=False)).files == ()


@pytest.mark.integration
async def test_a_full_disk_is_named_and_worth_another_attempt(s3_store, monkeypatch):
    _, plan = await turn(s3_store, new_plan(), 1, ["one"])

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("worker.adapters.checkouts.restore", full)
    with pytest.raises(UnavailableError, match="No space left on device") as caught:
        await turn(s3_store, plan, 2, [])
    assert caught.value.system == "disk"
    monkeypatch.undo()
    before, _ = await turn(s3_store, plan, 3, [])
    assert before == ["one"]


@pytest.mark.integration
async def test_a_work_directory_that_cannot_be_made_is_named(s3_store, tmp_path):
    (tmp_path / "file").write_text("in the way")
    checkouts = S3Checkouts(
        ObjectStore(s3_store.aws, s3_store.bucket), tmp_path / "file", PROJECT, s3_store.clock
    )
    with pytest.raises(UnavailableError, match="disk"):
        async with checkouts.open(a_claim(new_plan(), 1)):
            pass
