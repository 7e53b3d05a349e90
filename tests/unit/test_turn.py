import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.turn import (
    Again,
    AgentFailure,
    AgentResult,
    Allowance,
    Conclude,
    GiveUp,
    Slice,
    backoff_seconds,
    judge,
)

DICE = random.Random(1)


def result(**fields):
    return AgentResult(**{"session_id": "s", "subtype": "success", "is_error": False, **fields})


def api_error(status):
    return result(
        is_error=True, terminal_reason="api_error", api_error_status=status, text="API Error"
    )


def test_a_good_result_is_committed():
    verdict = judge(result(text="hi", stop_reason="end_turn"), Allowance(1, 5), DICE)
    assert isinstance(verdict, Conclude)
    assert (verdict.is_error, verdict.stop_reason) == (False, "end_turn")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529, None])
def test_a_model_that_is_unavailable_is_asked_again_later(status):
    verdict = judge(api_error(status), Allowance(1, 5), DICE)
    assert isinstance(verdict, Again)
    assert verdict.code == "model_unavailable"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_model_that_says_no_is_not_asked_again(status):
    verdict = judge(api_error(status), Allowance(1, 5), DICE)
    assert verdict == GiveUp("model_error", "the model did not answer: API Error")


def test_the_last_attempt_gives_up_and_says_how_many_there_were():
    verdict = judge(api_error(529), Allowance(5, 5), DICE)
    assert isinstance(verdict, GiveUp)
    assert verdict.message.endswith("(after 5 attempts)")


@pytest.mark.parametrize("kind", ["died", "no_result", "mirror", "start", "stalled"])
def test_an_agent_without_a_result_is_tried_again(kind):
    verdict = judge(AgentFailure(kind, "why"), Allowance(1, 5), DICE)
    assert isinstance(verdict, Again)
    assert verdict.code == f"agent_{kind}"


def test_a_turn_that_cannot_be_interrupted_is_not_run_a_second_time():
    assert judge(AgentFailure("hung", "why"), Allowance(1, 5), DICE) == GiveUp("timeout", "why")


@pytest.mark.parametrize(
    ("subtype", "reason"),
    [("error_max_turns", "max_turns"), ("error_max_budget_usd", "max_budget_usd")],
)
def test_reaching_a_limit_is_a_committed_result_that_says_so(subtype, reason):
    verdict = judge(result(is_error=True, subtype=subtype), Allowance(1, 5), DICE)
    assert isinstance(verdict, Conclude)
    assert verdict.is_error
    assert verdict.stop_reason == reason
    assert reason in verdict.error_message


def test_a_turn_that_was_interrupted_at_its_time_limit_is_committed_as_such():
    interrupted = result(is_error=True, subtype="error_during_execution", timed_out=True)
    verdict = judge(interrupted, Allowance(1, 5), DICE)
    assert isinstance(verdict, Conclude)
    assert verdict.stop_reason == "timeout"


def test_a_turn_that_outlasts_the_host_is_continued_while_there_are_slices_left():
    late = result(timed_out=True)
    assert judge(late, Allowance(1, 5, by_host=True, slices_left=1), DICE) == Slice()
    verdict = judge(late, Allowance(1, 5, by_host=True, slices_left=0), DICE)
    assert isinstance(verdict, Conclude)
    assert verdict.stop_reason == "max_slices"


def test_a_turn_that_the_host_could_not_interrupt_is_tried_again():
    verdict = judge(AgentFailure("hung", "why"), Allowance(1, 5, by_host=True), DICE)
    assert isinstance(verdict, Again)


@given(st.integers(1, 60), st.randoms())
def test_backoff_grows_with_jitter_and_stays_within_five_minutes(attempts, dice):
    seconds = backoff_seconds(attempts, dice)
    ceiling = min(4 * 2 ** (attempts - 1), 300)
    assert ceiling / 2 <= seconds <= ceiling
