import uuid

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.session import (
    Segment,
    SessionHead,
    forkable,
    merge_from,
    plan_session,
    reset_session,
)

SEGMENT = Segment("k", 10, "00", 0.0)
HEAD = SessionHead("default/1", session_id="s-1", segments=(SEGMENT,), expires_at=200.0)


def test_a_chat_continues_its_committed_session():
    plan = plan_session(HEAD, "j-1", "continue", 100.0)
    assert (plan.session_id, plan.status, plan.segments) == ("s-1", "continued", (SEGMENT,))


def test_a_chat_without_a_session_starts_one():
    assert plan_session(SessionHead("default/1"), "j-1", "continue", 100.0).status == "new"


def test_every_attempt_of_a_job_gets_the_same_new_session():
    head = SessionHead("default/1")
    ids = {plan_session(head, job, "continue", 1.0).session_id for job in ("j-1", "j-1", "j-2")}
    assert len(ids) == 2
    for session_id in ids:
        uuid.UUID(session_id)


def test_a_request_for_a_new_session_leaves_the_old_files_alone():
    plan = plan_session(HEAD, "j-1", "new", 100.0)
    assert (plan.status, plan.segments) == ("new", ())
    assert plan.session_id != "s-1"


def test_a_fork_is_a_new_session_with_the_files_of_another():
    plan = plan_session(SessionHead("default/2"), "j-1", "fork", 100.0, HEAD)
    assert (plan.status, plan.segments, plan.source_id) == ("forked", (SEGMENT,), "s-1")
    assert plan.session_id not in {"s-1", None}
    assert plan == plan_session(SessionHead("default/2"), "j-1", "fork", 100.0, HEAD)
    assert "s-1 are missing" in reset_session(plan, "j-1", "missing").note


def test_only_what_is_there_now_can_be_forked():
    assert forkable(HEAD, None, 100.0)
    assert forkable(HEAD, "s-1", 100.0)
    assert not forkable(HEAD, "s-2", 100.0)
    assert not forkable(HEAD, None, 200.0)
    assert not forkable(SessionHead("default/1"), None, 100.0)
    assert not forkable(None, None, 100.0)
    assert plan_session(SessionHead("default/2"), "j", "fork", 200.0, HEAD).status == "reset"


def test_an_expired_mapping_is_gone_even_while_its_row_is_not_yet_deleted():
    plan = plan_session(HEAD, "j-1", "continue", 200.0)
    assert plan.status == "reset"
    assert plan.session_id != "s-1"
    assert plan.note == "the previous session had expired"


def test_a_reset_says_which_session_was_lost_and_why():
    plan = reset_session(plan_session(HEAD, "j-1", "continue", 100.0), "j-1", "missing")
    assert (plan.status, plan.segments) == ("reset", ())
    assert "s-1 are missing" in plan.note


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=300), st.integers(2, 6))
def test_segments_stay_few_and_hold_every_byte_however_long_the_conversation(deltas, limit):
    sizes: list[int] = []
    for delta in deltas:
        first = merge_from(sizes, delta, limit)
        sizes = [*sizes[:first], sum(sizes[first:]) + delta]
        assert len(sizes) <= limit
    assert sum(sizes) == sum(deltas)


@given(st.integers(100, 2000))
def test_merging_rewrites_each_byte_only_a_few_times(turns):
    sizes: list[int] = []
    written = 0
    for _ in range(turns):
        first = merge_from(sizes, 1000, 3)
        sizes = [*sizes[:first], sum(sizes[first:]) + 1000]
        written += sizes[-1]
    # Three levels: at most about the cube root of the number of turns per level.
    assert written / (turns * 1000) < 3 * turns ** (1 / 2)
