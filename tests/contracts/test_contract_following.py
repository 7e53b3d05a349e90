"""What a reader of a job's events is shown, whatever the queue does to them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import (
    JobCompleted,
    JobCompletedEvent,
    JobProgress,
    JobProgressEvent,
    JobStarted,
    JobStartedEvent,
    ResultTimeout,
)
from contracts.following import GAP_SECONDS, SILENCE_SECONDS, Done, Following, Look, Show, Wait

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHAT = {"job_id": "j-1", "tenant_id": "default", "chat_id": "1"}


def started(number=1, attempt=1):
    data = JobStarted(**CHAT, attempt=attempt, model="sonnet")
    return JobStartedEvent.of(data, time=NOON, number=number)


def progress(number, attempt=1, call=1, kind="tool", **fields):
    data = JobProgress(
        **CHAT, attempt=attempt, kind=kind, num_turns=call, tool_calls=0, elapsed_ms=0, **fields
    )
    return JobProgressEvent.of(data, time=NOON, number=number)


def text(number, written, **fields):
    return progress(number, kind="text", text=written, **fields)


FINAL = JobCompletedEvent.of(
    JobCompleted(**CHAT, session_id="s", session_status="new", model="sonnet", attempt=1),
    time=NOON,
)


def following(timeout=300.0, **options):
    return Following("j-1", 0.0, timeout, **options)


def shown(reader, now=0.0):
    """What the reader shows until it waits."""
    events = []
    while isinstance(step := reader.step(now), Show):
        events.append(step.event)
    return events


def numbers(events):
    return [int(event.sequence) % 1_000_000 for event in events if event is not FINAL]


def test_events_are_shown_as_they_come_and_the_final_one_ends_it():
    reader = following()
    for event in (started(), progress(2), progress(3)):
        reader.arrived(event, 0.0)
        assert shown(reader) == [event]
    reader.arrived(FINAL, 0.0)
    assert shown(reader) == [FINAL]
    assert reader.step(0.0) == Done()


@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8)), st.sets(st.integers(1, 8)))
def test_whatever_the_queue_does_what_is_shown_is_in_order_once_and_ends(order, again, lost):
    reader = following()
    every, now = [], 0.0
    for number in [*order, *again]:
        now += 0.1
        if number not in lost:
            reader.arrived(progress(number), now)
        every += shown(reader, now)
    reader.arrived(FINAL, now)
    every += shown(reader, now)
    assert every[-1] is FINAL
    assert numbers(every) == sorted(set(numbers(every)))
    assert reader.step(now) == Done()


@given(st.permutations(range(1, 9)))
def test_events_that_only_changed_places_are_all_shown(order):
    reader = following()
    every = []
    for number in order:
        reader.arrived(progress(number), 0.0)
        every += shown(reader)
    assert numbers(every) == list(range(1, 9))


def test_a_missing_event_is_waited_for_a_little_and_then_no_more():
    reader = following()
    reader.arrived(started(1), 0.0)
    assert numbers(shown(reader)) == [1]
    reader.arrived(progress(3), 1.0)
    assert shown(reader, 1.0) == []
    assert reader.step(1.0) == Wait(pytest.approx(GAP_SECONDS))
    assert numbers(shown(reader, 1.0 + GAP_SECONDS)) == [3]
    reader.arrived(progress(2), 2.0)  # too late
    assert shown(reader, 2.0) == []


def test_what_was_held_is_shown_before_the_final_event():
    reader = following()
    reader.arrived(progress(3), 0.0)
    reader.arrived(FINAL, 0.0)
    assert numbers(shown(reader)[:-1]) == [3]


def test_the_next_attempt_begins_without_waiting_for_what_the_last_one_did_not_tell():
    reader = following()
    for event in (started(), started(attempt=2)):
        reader.arrived(event, 0.0)
    assert shown(reader) == [started(), started(attempt=2)]


def test_a_slow_reader_is_shown_the_newest_text_and_every_tool():
    reader = following()
    events = [
        text(1, "I"),
        text(2, "I call"),
        progress(3, tool="Bash"),
        text(4, "It", call=2),
        text(5, "It is", call=2),
    ]
    for event in events:
        reader.arrived(event, 0.0)
    assert numbers(shown(reader)) == [2, 3, 5]


def test_texts_are_not_shown_once_the_answer_is_there():
    reader = following()
    for event in (progress(1, tool="Bash"), text(2, "It is"), FINAL):
        reader.arrived(event, 0.0)
    assert shown(reader) == [progress(1, tool="Bash"), FINAL]


def test_after_a_silence_the_record_is_looked_at_again_and_again():
    reader = following()
    assert reader.step(1.0) == Wait(pytest.approx(SILENCE_SECONDS - 1.0))
    assert reader.step(SILENCE_SECONDS) == Look()
    reader.looked("running", None, SILENCE_SECONDS)
    assert reader.step(SILENCE_SECONDS) == Wait(pytest.approx(SILENCE_SECONDS))
    assert reader.step(2 * SILENCE_SECONDS) == Look()
    reader.looked("published", FINAL, 2 * SILENCE_SECONDS)
    assert shown(reader, 2 * SILENCE_SECONDS) == [FINAL]


def test_an_event_breaks_the_silence():
    reader = following()
    reader.arrived(started(), 4.0)
    assert shown(reader, 4.0) == [started()]
    assert isinstance(reader.step(SILENCE_SECONDS), Wait)


def test_who_comes_late_looks_at_the_record_first():
    reader = following(late=True)
    assert reader.step(0.0) == Look()
    reader.looked("published", FINAL, 0.0)
    assert shown(reader) == [FINAL]


def test_time_is_over_after_a_last_look():
    reader = following(timeout=7.0)
    reader.looked("running", None, 6.0)
    assert reader.step(7.0) == Look()
    reader.looked("running", None, 7.1)
    with pytest.raises(ResultTimeout, match=r"job j-1 has no result after 7 s: .*'running'"):
        reader.step(7.1)


def test_a_last_look_can_still_find_the_result():
    reader = following(timeout=0.0)
    assert reader.step(0.0) == Look()
    reader.looked("published", FINAL, 0.0)
    assert shown(reader) == [FINAL]


def test_without_a_record_to_look_at_there_is_only_the_timeout():
    reader = following(timeout=60.0, look=False)
    assert reader.step(30.0) == Wait(30.0)
    with pytest.raises(ResultTimeout):
        reader.step(60.0)


def test_a_second_final_event_changes_nothing():
    reader = following()
    reader.arrived(FINAL, 0.0)
    reader.looked("published", FINAL.model_copy(), 0.0)
    assert shown(reader) == [FINAL]
    assert reader.step(0.0) == Done()
