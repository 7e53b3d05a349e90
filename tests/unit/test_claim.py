"""Redelivery by state: each row of docs/guarantees.md's table is a case here."""

from dataclasses import replace

import pytest

from contracts import JobRequest
from contracts.control import CancelRequest
from worker.domain.claim import Busy, Conflict, Deliver, Finished, Run, decide_claim
from worker.domain.job import Job, JobRecord, JobState
from worker.domain.policy import Policy, narrow
from worker.domain.session import Lease, SessionHead

NOW = 1000.0
ASKED = CancelRequest(NOW - 5, "ada")
KEY = "default/1"
REQUEST = JobRequest(user_message="hello", chat_id="1")
JOB = Job("j-1", KEY, REQUEST, narrow(Policy(), REQUEST))
HEAD = SessionHead(KEY, generation=7)
RUNNING = JobRecord("j-1", KEY, JobState.RUNNING, attempt=2, first_attempt=1, generation=7)


def lease(job_id="j-1", expires_at=NOW + 60):
    return Lease("worker-a", job_id, expires_at)


def test_a_new_job_runs_as_its_first_attempt_under_the_next_generation():
    assert decide_claim(JOB, None, HEAD, NOW) == Run(1, 1, 8, takeover=False)


def test_a_job_with_a_live_lease_elsewhere_waits_until_that_ends():
    assert decide_claim(JOB, RUNNING, replace(HEAD, lease=lease()), NOW) == Busy(60)


def test_a_new_job_waits_while_another_job_of_its_chat_has_a_live_lease():
    assert decide_claim(JOB, None, replace(HEAD, lease=lease("j-0")), NOW) == Busy(60)


def test_an_expired_lease_is_taken_over_as_the_next_attempt():
    head = replace(HEAD, lease=lease(expires_at=NOW))
    assert decide_claim(JOB, RUNNING, head, NOW) == Run(3, 1, 8, takeover=True)


def test_a_job_whose_attempt_failed_runs_again_without_a_takeover():
    assert decide_claim(JOB, RUNNING, HEAD, NOW) == Run(3, 1, 8, takeover=False)


@pytest.mark.parametrize("state", [JobState.ANSWERED, JobState.FAILED, JobState.CANCELLED])
def test_an_outcome_that_was_not_published_is_only_published(state):
    record = replace(RUNNING, state=state)
    assert decide_claim(JOB, record, HEAD, NOW) == Deliver(record)


@pytest.mark.parametrize("state", [JobState.PUBLISHED, JobState.FAILED])
def test_an_outcome_that_was_published_is_only_acknowledged(state):
    record = replace(RUNNING, state=state, published_at=NOW - 1)
    assert decide_claim(JOB, record, HEAD, NOW) == Finished(record)


def test_a_rejected_job_has_not_run_and_runs_when_a_message_of_it_is_good():
    record = JobRecord("j-1", KEY, JobState.REJECTED, published_at=NOW - 1)
    assert decide_claim(JOB, record, HEAD, NOW) == Run(1, 1, 8, takeover=False)


def test_a_dead_letter_that_is_replayed_starts_a_new_series_of_attempts():
    record = replace(RUNNING, state=JobState.FAILED, published_at=NOW - 1)
    replayed = replace(JOB, dead_letter_attempt=2)
    assert decide_claim(replayed, record, HEAD, NOW) == Run(3, 3, 8, takeover=False)


def test_a_replay_of_what_sqs_itself_gave_up_on_starts_a_new_series_too():
    replayed = replace(JOB, dead_letter_attempt=2)
    assert decide_claim(replayed, RUNNING, HEAD, NOW) == Run(3, 3, 8, takeover=False)


def test_a_second_copy_of_a_replayed_dead_letter_does_not_run():
    record = replace(RUNNING, state=JobState.FAILED, attempt=5, published_at=NOW - 1)
    stale = replace(JOB, dead_letter_attempt=2)
    assert decide_claim(stale, record, HEAD, NOW) == Finished(record)


@pytest.mark.parametrize("state", [JobState.ANSWERED, JobState.PUBLISHED])
def test_a_replayed_dead_letter_whose_job_was_answered_does_not_run(state):
    record = replace(RUNNING, state=state, published_at=None)
    replayed = replace(JOB, dead_letter_attempt=2)
    assert decide_claim(replayed, record, HEAD, NOW) == Deliver(record)


def test_a_job_that_is_cancelled_before_it_began_is_claimed_to_be_ended():
    assert decide_claim(JOB, None, HEAD, NOW, ASKED) == Run(1, 1, 8, takeover=False, cancel=ASKED)


@pytest.mark.parametrize("left_by", [None, lease(expires_at=NOW)], ids=["failed", "cut off"])
def test_a_job_that_is_cancelled_between_two_attempts_is_claimed_to_be_ended(left_by):
    run = decide_claim(JOB, RUNNING, replace(HEAD, lease=left_by), NOW, ASKED)
    assert run == Run(3, 1, 8, takeover=left_by is not None, cancel=ASKED)


def test_a_job_that_is_cancelled_while_it_runs_is_its_worker_s_to_end():
    assert decide_claim(JOB, RUNNING, replace(HEAD, lease=lease()), NOW, ASKED) == Busy(60)


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.RUNNING, JobState.REJECTED}))
@pytest.mark.parametrize("published_at", [None, NOW - 1])
def test_cancelling_a_job_that_has_ended_changes_nothing(state, published_at):
    record = replace(RUNNING, state=state, published_at=published_at)
    asked = decide_claim(JOB, record, HEAD, NOW, ASKED)
    assert asked == decide_claim(JOB, record, HEAD, NOW)


def test_what_was_asked_of_a_failed_job_is_not_meant_for_its_replay():
    record = replace(RUNNING, state=JobState.FAILED, published_at=NOW - 1)
    replayed = replace(JOB, dead_letter_attempt=2)
    assert decide_claim(replayed, record, HEAD, NOW, ASKED) == Run(3, 3, 8, takeover=False)


def test_a_job_id_of_another_chat_is_a_conflict():
    record = replace(RUNNING, session_key="default/2")
    assert decide_claim(JOB, record, HEAD, NOW) == Conflict(record)


def test_a_rejected_record_without_a_readable_chat_is_no_conflict():
    record = JobRecord("j-1", "", JobState.REJECTED)
    replayed = replace(JOB, dead_letter_attempt=0)
    assert decide_claim(replayed, record, HEAD, NOW) == Run(1, 1, 8, takeover=False)


def test_a_job_id_that_was_rejected_in_another_chat_is_a_conflict():
    record = JobRecord("j-1", "default/2", JobState.REJECTED)
    assert decide_claim(JOB, record, HEAD, NOW) == Conflict(record)
