"""One suite for every ledger: claim, lease, fence, commit."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from contracts import JobRequest, session_key
from contracts.control import CancelRequest, cancel_item
from worker.adapters.aws import Aws
from worker.adapters.ledger import DynamoLedger
from worker.adapters.memory import MemoryLedger
from worker.domain.claim import Busy, Claim, Conflict, Deliver, Finished, NoSource
from worker.domain.errors import LeaseLostError
from worker.domain.history import MAX_ENTRIES, MAX_MESSAGE, AttemptEnd
from worker.domain.job import Job, JobRecord, JobState, Spent
from worker.domain.policy import Policy, narrow
from worker.domain.session import Segment
from worker.ports import Commit, Pause

NOW = 1_800_000_000.25
DAY = 86400.0


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.integration)])
def ledger(request):
    if request.param == "memory":
        return MemoryLedger()
    tables = request.getfixturevalue("resources")
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return DynamoLedger(aws, tables["JOB_TABLE"], tables["SESSION_TABLE"], 30 * DAY)


def a_job(chat=None, job_id=None, **fields):
    request = JobRequest(user_message="hi", chat_id=chat or uuid.uuid4().hex, **fields)
    return Job(
        job_id or f"j-{uuid.uuid4().hex}",
        session_key(request.chat_id, request.thread_id, request.tenant_id),
        request,
        narrow(Policy(), request),
    )


def a_commit(number=1, cost=0.5):
    segment = Segment(f"sessions/x/{number}", 100 + number, "ab" * 32, NOW + number / 3)
    return Commit("s-1", (segment,), (segment,), event='{"id": "e"}', cost_usd=cost, num_turns=2)


async def claimed(ledger, job, now=NOW, owner="worker-a"):
    claim = await ledger.claim(job, owner, now, 120)
    assert isinstance(claim, Claim), claim
    return claim


async def test_a_new_job_is_claimed_as_generation_and_attempt_one(ledger):
    claim = await claimed(ledger, a_job())
    assert (claim.generation, claim.attempt, claim.plan.status) == (1, 1, "new")
    record = await ledger.get(claim.job.job_id)
    assert (record.state, record.attempt, record.generation) == (JobState.RUNNING, 1, 1)


async def test_a_claimed_job_is_busy_for_everybody_else_until_its_lease_ends(ledger):
    job = a_job()
    await claimed(ledger, job)
    assert await ledger.claim(job, "worker-b", NOW + 20, 120) == Busy(100)


async def test_a_fork_is_claimed_with_the_committed_state_of_its_source(ledger):
    source = await claimed(ledger, a_job())
    chat = source.job.request.chat_id
    fork = a_job(session="fork", fork_of={"chat_id": chat})
    assert await ledger.claim(fork, "worker-b", NOW, 120) == NoSource()  # nothing committed yet
    await ledger.commit(source, a_commit(), NOW, DAY)
    claim = await claimed(ledger, fork)
    assert (claim.plan.status, claim.plan.source_id) == ("forked", "s-1")
    assert claim.plan.segments == a_commit().segments
    assert claim.head.session_key == fork.session_key


async def test_a_fork_finds_nothing_in_another_tenant_and_no_other_session(ledger):
    source = await claimed(ledger, a_job())
    await ledger.commit(source, a_commit(), NOW, DAY)
    chat = {"chat_id": source.job.request.chat_id}
    foreign = a_job(session="fork", fork_of=chat, tenant_id="other")
    other = a_job(session="fork", fork_of={**chat, "session_id": str(uuid.uuid4())})
    for job, now in (
        (foreign, NOW),
        (other, NOW),
        (a_job(session="fork", fork_of=chat), NOW + DAY),
    ):
        assert await ledger.claim(job, "worker-b", now, 120) == NoSource()
        assert await ledger.get(job.job_id) is None


async def test_another_job_of_a_chat_with_a_live_lease_is_busy(ledger):
    job = a_job()
    await claimed(ledger, job)
    assert await ledger.claim(a_job(job.request.chat_id), "worker-b", NOW, 120) == Busy(120)


async def test_an_extended_lease_lasts_longer(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    await ledger.extend(claim, NOW + 300)
    assert await ledger.claim(job, "worker-b", NOW + 200, 120) == Busy(100)


async def test_an_expired_lease_is_taken_over_by_the_next_generation(ledger):
    job = a_job()
    await claimed(ledger, job)
    second = await claimed(ledger, job, NOW + 120, "worker-b")
    assert (second.generation, second.attempt, second.takeover) == (2, 2, True)


async def test_a_commit_makes_head_and_result_visible_together(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    record = await ledger.commit(claim, a_commit(), NOW + 1, DAY)
    assert record == await ledger.get(job.job_id)
    assert (record.state, record.event) == (JobState.ANSWERED, '{"id": "e"}')
    following = await claimed(ledger, a_job(job.request.chat_id), NOW + 2)
    assert following.head.version == 1
    assert following.head.turns == 1
    assert following.head.cost_usd == 0.5
    assert following.plan.session_id == "s-1"
    assert following.plan.segments == a_commit().segments
    assert following.plan.files == a_commit().files


async def test_costs_add_up_over_the_turns_of_a_chat(ledger):
    job = a_job()
    for turn in range(3):
        claim = await claimed(ledger, a_job(job.request.chat_id), NOW + turn)
        await ledger.commit(claim, a_commit(turn, cost=0.1), NOW + turn, DAY)
    head = (await claimed(ledger, a_job(job.request.chat_id), NOW + 9)).head
    assert (head.turns, head.version) == (3, 3)
    assert head.cost_usd == pytest.approx(0.3)


async def test_a_zombie_can_neither_extend_commit_release_nor_fail(ledger):
    job = a_job()
    zombie = await claimed(ledger, job)
    await claimed(ledger, job, NOW + 121, "worker-b")
    with pytest.raises(LeaseLostError):
        await ledger.extend(zombie, NOW + 500)
    with pytest.raises(LeaseLostError):
        await ledger.commit(zombie, a_commit(), NOW + 122, DAY)
    with pytest.raises(LeaseLostError):
        await ledger.release(zombie, Pause("code", "text", Spent(), 0), NOW + 122)
    with pytest.raises(LeaseLostError):
        await ledger.fail(zombie, "{}", "code", "text", NOW + 122)
    with pytest.raises(LeaseLostError):
        await ledger.cancel(zombie, "{}", "text", NOW + 122)
    record = await ledger.get(job.job_id)
    assert (record.state, record.event, record.generation) == (JobState.RUNNING, None, 2)


async def test_a_zombie_of_an_earlier_job_cannot_touch_the_chat_of_a_later_one(ledger):
    first = a_job()
    zombie = await claimed(ledger, first)
    later = await claimed(ledger, a_job(first.request.chat_id), NOW + 121, "worker-b")
    with pytest.raises(LeaseLostError):
        await ledger.commit(zombie, a_commit(), NOW + 122, DAY)
    await ledger.commit(later, a_commit(), NOW + 123, DAY)


async def test_repeating_a_commit_whose_answer_was_lost_changes_nothing(ledger):
    claim = await claimed(ledger, a_job())
    first = await ledger.commit(claim, a_commit(), NOW + 1, DAY)
    again = await ledger.commit(claim, a_commit(), NOW + 2, DAY)
    assert again.event == first.event
    head = (await claimed(ledger, a_job(claim.job.request.chat_id), NOW + 3)).head
    assert (head.version, head.turns) == (1, 1)


async def test_a_released_job_can_be_claimed_at_once_as_the_next_attempt(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    await ledger.release(claim, Pause("model_unavailable", "overloaded", Spent(), 0), NOW + 1)
    record = await ledger.get(job.job_id)
    assert (record.state, record.error_code) == (JobState.RUNNING, "model_unavailable")
    second = await claimed(ledger, job, NOW + 2)
    assert (second.attempt, second.attempts_used, second.takeover) == (2, 2, False)


async def test_an_attempt_that_was_drained_does_not_count(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    await ledger.release(claim, Pause("drained", "stopped", Spent(), 0, counted=False), NOW + 1)
    second = await claimed(ledger, job, NOW + 2)
    assert (second.attempt, second.attempts_used) == (2, 1)


async def test_what_earlier_slices_have_spent_is_known_to_the_next(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    spent = Spent(0.125, 3, 4500)
    await ledger.release(claim, Pause("sliced", "time", spent, 1, counted=False), NOW + 1)
    second = await claimed(ledger, job, NOW + 2)
    assert (second.spent, second.slices) == (spent, 1)


async def test_what_has_not_ended_can_be_listed_oldest_first(ledger):
    jobs = [a_job() for _ in range(3)]
    claims = [await claimed(ledger, job, NOW - 5000 + n) for n, job in enumerate(jobs)]
    mine = {job.job_id for job in jobs}

    async def listed(state, before=NOW - 4000):
        found = await ledger.unfinished(state, before, 100)
        return [record.job_id for record in found if record.job_id in mine]

    assert await listed("running") == [job.job_id for job in jobs]
    assert await listed("running", NOW - 4999.5) == [jobs[0].job_id]
    record = await ledger.commit(claims[1], a_commit(), NOW - 4900, DAY)
    failed = await ledger.fail(claims[2], "{}", "c", "t", NOW - 4800)
    assert await listed("running") == [jobs[0].job_id]
    assert await listed("unpublished") == [jobs[1].job_id, jobs[2].job_id]
    await ledger.mark_published(record, NOW - 4700)
    await ledger.mark_published(failed, NOW - 4700)
    assert await listed("unpublished") == []


async def test_a_failed_job_leaves_its_chat_free_and_its_session_unchanged(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    record = await ledger.fail(claim, '{"id": "f"}', "agent_died", "it died", NOW + 1)
    assert record == await ledger.get(job.job_id)
    assert record.state is JobState.FAILED
    assert await ledger.claim(job, "b", NOW + 2, 120) == Deliver(record)
    following = await claimed(ledger, a_job(job.request.chat_id), NOW + 2)
    assert (following.head.version, following.plan.status) == (0, "new")


async def test_publishing_ends_an_answered_job(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    record = await ledger.commit(claim, a_commit(), NOW + 1, DAY)
    await ledger.mark_published(record, NOW + 2)
    await ledger.mark_published(record, NOW + 3)
    published = await ledger.get(job.job_id)
    assert (published.state, published.published_at) == (JobState.PUBLISHED, NOW + 2)
    assert await ledger.claim(job, "b", NOW + 4, 120) == Finished(published)


async def test_a_replayed_dead_letter_is_claimed_once(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    await ledger.mark_published(await ledger.fail(claim, "{}", "c", "t", NOW + 1), NOW + 1)
    replayed = replace(job, dead_letter_attempt=1)
    again = await claimed(ledger, replayed, NOW + 2)
    assert (again.attempt, again.attempts_used) == (2, 1)
    record = await ledger.get(job.job_id)
    assert (record.published_at, record.event) == (None, None)
    await ledger.commit(again, a_commit(), NOW + 3, DAY)
    assert isinstance(await ledger.claim(replayed, "b", NOW + 4, 120), Deliver)


async def ask_to_cancel(ledger, job_id, now=NOW):
    """As a bot does: the row itself, by the contract."""
    if isinstance(ledger, MemoryLedger):
        ledger.controls[job_id] = CancelRequest(now, "ada")
        return
    item = cancel_item(job_id, now, "ada")
    await ledger._aws.call("dynamodb", "put_item", TableName=ledger._jobs, Item=item)


async def test_what_is_asked_of_a_job_is_seen_by_who_watches_and_by_the_next_claim(ledger):
    job = a_job()
    assert await ledger.cancel_request(job.job_id, NOW) is None
    await ask_to_cancel(ledger, job.job_id)
    asked = CancelRequest(NOW, "ada")
    assert await ledger.cancel_request(job.job_id, NOW + 1) == asked
    assert (await claimed(ledger, job)).cancel == asked
    assert (await claimed(ledger, a_job())).cancel is None
    again = await claimed(ledger, job, NOW + 121, "worker-b")
    assert (again.attempt, again.cancel) == (2, asked)


async def test_a_cancelled_job_leaves_its_chat_free_and_its_session_unchanged(ledger):
    job = a_job()
    claim = replace(await claimed(ledger, job), spent=Spent(0.5, 2, 300))
    record = await ledger.cancel(claim, '{"id": "c"}', "it was cancelled", NOW + 1)
    assert record == await ledger.get(job.job_id)
    assert (record.state, record.error_code, record.spent.cost_usd) == (
        JobState.CANCELLED,
        "cancelled",
        0.5,
    )
    assert await ledger.claim(job, "b", NOW + 2, 120) == Deliver(record)
    await ledger.mark_published(record, NOW + 2)
    published = await ledger.get(job.job_id)
    assert (published.state, published.published_at) == (JobState.CANCELLED, NOW + 2)
    assert await ledger.claim(job, "b", NOW + 3, 120) == Finished(published)
    following = await claimed(ledger, a_job(job.request.chat_id), NOW + 4)
    assert (following.head.version, following.plan.status) == (0, "new")


async def test_an_interrupted_turn_is_committed_as_cancelled_with_its_transcript_and_cost(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    commit = replace(a_commit(), state=JobState.CANCELLED, error_message="it was cancelled")
    record = await ledger.commit(claim, commit, NOW + 1, DAY)
    assert record == await ledger.get(job.job_id)
    assert (record.state, record.error_message) == (JobState.CANCELLED, "it was cancelled")
    assert (await ledger.commit(claim, commit, NOW + 2, DAY)).event == record.event
    head = (await claimed(ledger, a_job(job.request.chat_id), NOW + 3)).head
    assert (head.version, head.turns, head.cost_usd) == (1, 1, 0.5)
    assert head.segments == commit.segments


@pytest.mark.parametrize("first", ["commit", "cancel"])
async def test_of_an_answer_and_a_cancel_the_first_is_the_outcome(ledger, first):
    claim = await claimed(ledger, a_job())
    ends = {
        "commit": lambda: ledger.commit(claim, a_commit(), NOW + 1, DAY),
        "cancel": lambda: ledger.cancel(claim, "{}", "it was cancelled", NOW + 1),
    }
    record = await ends.pop(first)()
    [later] = ends.values()
    with pytest.raises(LeaseLostError):
        await later()
    assert await ledger.get(claim.job.job_id) == record


async def test_a_replayed_dead_letter_forgets_what_was_asked_before(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    await ledger.mark_published(await ledger.fail(claim, "{}", "c", "t", NOW + 1), NOW + 1)
    await ask_to_cancel(ledger, job.job_id, NOW + 2)
    again = await claimed(ledger, replace(job, dead_letter_attempt=1), NOW + 3)
    assert again.cancel is None
    assert await ledger.cancel_request(job.job_id, NOW + 4) is None
    await ledger.release(again, Pause("code", "text", Spent(), 0), NOW + 5)
    assert (await claimed(ledger, job, NOW + 6)).cancel is None
    await ask_to_cancel(ledger, job.job_id, NOW + 7)
    assert await ledger.cancel_request(job.job_id, NOW + 8) is not None


async def test_a_job_id_of_another_chat_is_a_conflict(ledger):
    job = a_job()
    await claimed(ledger, job)
    assert isinstance(await ledger.claim(a_job(job_id=job.job_id), "b", NOW, 120), Conflict)


async def test_a_rejection_never_replaces_what_is_known_of_a_job_id(ledger):
    job = a_job()
    claim = await claimed(ledger, job)
    rejected = JobRecord(job.job_id, "", JobState.REJECTED, event="{}", error_code="x")
    assert (await ledger.reject(rejected)).state is JobState.RUNNING
    await ledger.commit(claim, a_commit(), NOW + 1, DAY)


async def test_a_rejection_is_recorded_once(ledger):
    record = JobRecord(
        f"j-{uuid.uuid4().hex}", "", JobState.REJECTED, event="{}", error_code="x", created_at=NOW
    )
    assert await ledger.reject(record) == record
    assert await ledger.reject(replace(record, event="other")) == record
    await ledger.mark_published(record, NOW + 1)
    assert (await ledger.get(record.job_id)).published_at == NOW + 1


async def test_of_many_workers_that_claim_at_once_one_wins(ledger):
    job = a_job()
    results = await asyncio.gather(*(ledger.claim(job, f"worker-{n}", NOW, 120) for n in range(12)))
    assert sum(isinstance(result, Claim) for result in results) == 1
    assert all(isinstance(result, Claim | Busy) for result in results)


async def test_of_many_jobs_of_one_new_chat_that_are_claimed_at_once_one_wins(ledger):
    chat = uuid.uuid4().hex
    results = await asyncio.gather(*(ledger.claim(a_job(chat), "a", NOW, 120) for _ in range(12)))
    assert sum(isinstance(result, Claim) for result in results) == 1


async def test_a_job_that_has_ended_cannot_be_committed_and_its_chat_stays_as_it_was(ledger):
    claim = await claimed(ledger, a_job())
    await ledger.fail(claim, "{}", "agent_died", "it died", NOW + 1)
    with pytest.raises(LeaseLostError):
        await ledger.commit(claim, a_commit(), NOW + 2, DAY)
    head = (await claimed(ledger, a_job(claim.job.request.chat_id), NOW + 3)).head
    assert (head.version, head.session_id) == (0, None)


async def test_an_unknown_job_has_no_record(ledger):
    assert await ledger.get("j-unknown") is None


async def test_the_history_tells_how_each_attempt_ended(ledger):
    job = a_job()
    first = await claimed(ledger, job)
    await ledger.release(first, Pause("agent_died", "it died", Spent(), 0), NOW + 1)
    await claimed(ledger, job, NOW + 10, owner="worker-b")  # and then it is killed
    third = await claimed(ledger, job, NOW + 200)
    record = await ledger.fail(third, "{}", "timeout", "x" * 1000, NOW + 300)
    died, cut_off, last = record.history
    assert died == AttemptEnd(1, NOW, NOW + 1, "agent_died", "it died")
    assert (cut_off.attempt, cut_off.code, cut_off.began_at) == (2, "cut_off", NOW + 10)
    assert cut_off.ended_at == NOW + 10 + 120
    assert "worker-b" in cut_off.message
    assert (last.attempt, last.code, len(last.message)) == (3, "timeout", MAX_MESSAGE)
    assert (await ledger.get(job.job_id)).history == record.history


async def test_the_history_is_bounded(ledger):
    job = a_job()
    for n in range(MAX_ENTRIES + 3):
        claim = await claimed(ledger, job, NOW + n)
        await ledger.release(claim, Pause("drained", "", Spent(), 0, counted=False), NOW + n)
    history = (await ledger.get(job.job_id)).history
    assert [end.attempt for end in history] == list(range(4, MAX_ENTRIES + 4))


async def test_what_a_failed_job_has_spent_is_recorded(ledger):
    claim = await claimed(ledger, a_job())
    spent = Spent(0.25, 3, 1000)
    await ledger.fail(replace(claim, spent=spent), "{}", "model_error", "no", NOW + 1)
    assert (await ledger.get(claim.job.job_id)).spent == spent


async def test_a_rejected_message_without_a_readable_chat_is_recorded(ledger):
    record = JobRecord(f"j-{uuid.uuid4().hex}", "", JobState.REJECTED, event="{}")
    assert await ledger.reject(record) == record
    assert (await ledger.get(record.job_id)).session_key == ""
