"""What an operator is told of a job, as values."""

import pytest
import typer

from contracts.control import CancelRequest
from worker.domain.history import AttemptEnd
from worker.domain.job import JobRecord, JobState
from worker.domain.timeline import JobDetails, timeline
from worker.entrypoints.cli.words import dollars, read_time, shortened, size, span


def whats(job):
    return [moment.what for moment in timeline(job)]


def record(state, **fields):
    return JobRecord("j", "default/1", state, created_at=100.0, updated_at=100.0, **fields)


def test_a_job_that_was_answered_at_once():
    job = JobDetails(
        record(JobState.PUBLISHED, attempt=1, claimed_at=100.0, published_at=106.0),
        outcome="completed",
        ended_at=105.0,
    )
    assert whats(job) == [
        "first taken from the queue",
        "attempt 1 began",
        "answered: turn and result committed",
        "event published",
    ]


def test_each_way_an_attempt_can_end_has_its_word_and_only_failures_are_errors():
    ends = [
        AttemptEnd(n, 100.0 + n, 100.5 + n, code, "why")
        for n, code in enumerate(["agent_died", "sliced", "drained", "cut_off"], 1)
    ]
    job = JobDetails(record(JobState.RUNNING, attempt=5, claimed_at=106.0, history=tuple(ends)))
    assert [moment.error for moment in timeline(job) if moment.text == "why"] == [
        *("agent_died", None, None, "cut_off")
    ]
    assert whats(job)[-1] == "attempt 5 began"
    assert "attempt 4: worker cut off" in whats(job)


def test_a_failure_is_told_once_and_its_message_is_in_the_dead_letter_queue():
    end = AttemptEnd(1, 100.0, 104.0, "timeout", "it took too long")
    job = JobDetails(
        record(
            JobState.FAILED,
            attempt=1,
            claimed_at=100.0,
            published_at=105.0,
            error_code="timeout",
            error_message="it took too long",
            history=(end,),
        ),
        outcome="failed",
        ended_at=104.0,
    )
    assert whats(job)[-3:] == [
        "attempt 1: failed",
        "event published",
        "message moved to the dead-letter queue",
    ]


def test_a_history_that_lost_its_beginning_says_so():
    end = AttemptEnd(7, 100.0, 104.0, "agent_died", "")
    job = JobDetails(record(JobState.RUNNING, attempt=7, claimed_at=100.0, history=(end,)))
    assert "6 earlier attempts are no longer recorded" in whats(job)


def test_who_asked_to_cancel_stands_where_it_happened():
    job = JobDetails(
        record(JobState.CANCELLED, attempt=1, claimed_at=101.0, error_code="cancelled"),
        outcome="cancelled",
        ended_at=105.0,
        cancel=CancelRequest(103.0, "ada"),
    )
    assert whats(job)[2] == "cancellation asked for by ada"
    assert [moment.at for moment in timeline(job)] == sorted(m.at for m in timeline(job))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (200, "3 m 20 s"), (7500, "2 h 5 m"), (270_000, "3 d 3 h")],
)
def test_spans(seconds, said):
    assert span(seconds) == said


def test_figures():
    assert (dollars(0.0123), dollars(1234.5)) == ("$0.0123", "$1,234.50")
    assert (size(10), size(2048), size(3 * 1024**2)) == ("10 B", "2.0 KiB", "3.0 MiB")
    assert shortened("a" * 50, 9) == "aaaa…aaaa"


def test_times_are_utc_unless_they_say_otherwise():
    assert read_time("--since", "2026-11-24T20:00") == read_time("--since", "2026-11-24T20:00Z")
    assert read_time("--since", "1970-01-01T01:00+01:00") == 0
    assert read_time("--since", "2h") > read_time("--since", "2d")
    with pytest.raises(typer.BadParameter, match="yesterday"):
        read_time("--since", "yesterday")
