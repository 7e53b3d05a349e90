"""Where a job stands in the trace of its bot."""

import re

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.trace import job_trace

BOT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADER = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


def test_a_job_is_a_span_of_its_own_in_the_bot_s_trace():
    trace = job_trace("j-1", BOT)
    assert trace.traceparent.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert trace.span_id != "00f067aa0ba902b7"
    assert trace.sampled


def test_each_attempt_on_whichever_machine_has_the_same_spans():
    assert job_trace("j-1", BOT).child("run", 2) == job_trace("j-1", BOT).child("run", 2)
    assert job_trace("j-1", BOT).child("run", 2) != job_trace("j-1", BOT).child("run", 1)
    assert job_trace("j-1", BOT) != job_trace("j-2", BOT)


def test_a_job_without_a_trace_has_one_that_nobody_samples():
    assert job_trace("j-1", None).trace_id != job_trace("j-2", None).trace_id
    assert not job_trace("j-1", None).sampled


@given(st.text(min_size=1), st.one_of(st.none(), st.text(), st.just(BOT)))
def test_every_traceparent_is_a_valid_one(job_id, given_by_bot):
    trace = job_trace(job_id, given_by_bot)
    assert HEADER.fullmatch(trace.traceparent)
    assert HEADER.fullmatch(trace.child("publish", 1).traceparent)
