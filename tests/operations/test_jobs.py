"""Finding jobs, on the emulator's indexes: what a list holds, and in which order."""

import json
from dataclasses import replace

import pytest

from worker.domain.claim import Claim
from worker.domain.job import JobState
from worker.operations.jobs import JobBook, JobFilter, Position

pytestmark = pytest.mark.integration

DAY = 86400.0


@pytest.fixture
def book(aws, resources):
    return JobBook(aws, resources["JOB_TABLE"])


async def ids(book, wanted, now, limit=100, after=None):
    page = await book.find(wanted, now, limit, after)
    return [job.job_id for job in page.jobs]


async def test_a_list_has_jobs_of_every_state_the_newest_first(book, shift, now):
    rejected = await shift.reject("a", now - 3 * DAY)
    failed = await shift.fail("b", now - 2 * DAY)
    answered = await shift.answer("c", now - 1 * DAY, published=False)
    published = await shift.answer("d", now - 3600)
    running = await shift.begin("e", now - 60)
    wanted = JobFilter(tenant=shift.tenant, since=now - 10 * DAY)
    page = await book.find(wanted, now, 100)
    assert [job.job_id for job in page.jobs] == [
        running.job.job_id,
        published.job.job_id,
        answered.job.job_id,
        failed.job.job_id,
        rejected.job_id,
    ]
    states = ["running", "published", "answered", "failed", "rejected"]
    assert [job.record.state for job in page.jobs] == states
    for state, job in zip(states, page.jobs, strict=True):
        only = replace(wanted, states=frozenset({state}))
        assert await ids(book, only, now) == [job.job_id]


async def test_age_bounds_a_list_on_both_sides(book, shift, now):
    for days in range(5):
        await shift.answer("a", now - days * DAY, job_id=f"{shift.tenant}-{days}")
    wanted = JobFilter(tenant=shift.tenant, since=now - 3.5 * DAY, before=now - 0.5 * DAY)
    assert await ids(book, wanted, now) == [f"{shift.tenant}-{n}" for n in (1, 2, 3)]


async def test_pages_hold_each_job_once_also_those_of_one_instant(book, shift, now):
    sent = [(await shift.fail(f"c{n}", now)).job.job_id for n in range(9)]
    sent += [(await shift.begin(f"r{n}", now)).job.job_id for n in range(4)]
    seen, after = [], None
    while True:
        page = await book.find(JobFilter(tenant=shift.tenant, since=now - DAY), now, 2, after)
        seen += [job.job_id for job in page.jobs]
        if page.next is None:
            break
        after = Position.parse(str(page.next))
    assert len(seen) == len(sent)
    assert set(seen) == set(sent)


async def test_the_jobs_of_a_chat_are_found_by_its_key(book, shift, now):
    first = await shift.answer("a", now - 10)
    await shift.answer("b", now - 9)
    last = await shift.begin("a", now)
    wanted = JobFilter(chat=shift.key("a"))
    assert await ids(book, wanted, now) == [last.job.job_id, first.job.job_id]


async def test_failures_are_found_by_their_code(book, shift, now):
    await shift.fail("a", now)
    timeout = await shift.fail("b", now, code="timeout")
    wanted = JobFilter(tenant=shift.tenant, since=now - DAY, error_code="timeout")
    assert await ids(book, wanted, now) == [timeout.job.job_id]


async def test_a_failed_job_that_runs_again_is_listed_once_as_running(book, shift, now):
    failed = await shift.fail("a", now)
    again = await shift.ledger.claim(
        replace(failed.job, dead_letter_attempt=failed.attempt), "worker-b", now + 10, 120
    )
    assert isinstance(again, Claim)
    page = await book.find(JobFilter(tenant=shift.tenant, since=now - DAY), now + 20, 10)
    assert [(job.job_id, job.record.state) for job in page.jobs] == [
        (failed.job.job_id, JobState.RUNNING)
    ]


async def test_list_as_a_script_reads_it(command, shift, now):
    await shift.fail("a", now - 5)
    await shift.answer("b", now - 4)
    listed = json.loads(
        (await command("jobs", "list", "--tenant", shift.tenant, "--limit", "1", "--json")).stdout
    )
    [job] = listed["jobs"]
    assert (job["state"], job["cost_usd"], job["chat"]) == ("published", 0.5, shift.key("b"))
    rest = await command(
        *("jobs", "list", "--tenant", shift.tenant, "--after", listed["next"], "--json")
    )
    [job] = json.loads(rest.stdout)["jobs"]
    assert (job["state"], job["error_code"], job["dead_letter"]) == ("failed", "model_error", True)


async def test_lists_are_readable_at_80_columns(command, shift, now):
    long = "telegram:" + "8" * 80
    await shift.fail("a" * 200, now, job_id=f"{long}:{shift.tenant[:8]}", code="agent_no_result")
    shown = (await command("jobs", "list", "--tenant", shift.tenant)).stdout
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "agent_no_result" in shown
    compact = shown.replace("\n", "").replace(" ", "")
    assert "888" in compact


async def test_show_tells_each_attempt_with_its_error(command, shift, now):
    claim = await shift.begin("a", now - 100)
    await shift.pause(claim, now - 90, cost=0.25)
    await shift.begin("a", now - 80, job_id=claim.job.job_id, owner="worker-x", lease=10)
    failed = await shift.fail("a", now - 60, job_id=claim.job.job_id)
    shown = (await command("jobs", "show", failed.job.job_id)).stdout
    for part in (
        "attempt 1: failed (model_unavailable)",
        "attempt 2: worker cut off (cut_off)",
        "worker-x",
        "attempt 3: failed (model_error)",
        "event published",
        "dead-letter queue",
        "$0.2500",
    ):
        assert part in shown
    said = json.loads((await command("jobs", "show", failed.job.job_id, "--json")).stdout)
    times = [moment["at"] for moment in said["timeline"]]
    assert times == sorted(times)
    assert [m["error"] for m in said["timeline"] if m["error"]] == [
        "model_unavailable",
        "cut_off",
        "model_error",
    ]


async def test_a_job_that_is_not_known_is_said_so(command):
    done = await command("jobs", "show", "nobody", status=1)
    assert "nobody" in done.stderr


async def test_without_settings_the_command_says_what_is_missing(command):
    done = await command("jobs", "list", status=2, JOB_TABLE="")
    assert "JOB_TABLE" in done.stderr
