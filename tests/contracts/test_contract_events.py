import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import contracts
from contracts import (
    InvalidEvent,
    JobCancelled,
    JobCancelledEvent,
    JobCompleted,
    JobCompletedEvent,
    JobFailed,
    JobFailedEvent,
    JobProgress,
    JobProgressEvent,
    JobRejected,
    JobRejectedEvent,
    JobStarted,
    JobStartedEvent,
    ResponseRef,
    parse_event,
)
from contracts.envelope import LAST_NUMBER, sequence
from contracts.events import EVENTS

PACKAGE = Path(contracts.__file__).parent
EXAMPLES = sorted((PACKAGE / "examples" / "events").glob("*.json"))
EARLIER = sorted((PACKAGE / "examples" / "events" / "earlier").glob("*.json"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def completed(**fields):
    return JobCompleted(
        **{
            "job_id": "j-1",
            "tenant_id": "default",
            "chat_id": "123",
            "response": "done",
            "session_id": "s",
            "session_status": "new",
            "model": "sonnet",
            "attempt": 1,
            **fields,
        }
    )


def schema_of(event_type):
    name = event_type.removeprefix("agent.").replace(".", "-")
    return json.loads((PACKAGE / "schemas" / f"{name}.schema.json").read_text("utf-8"))


def assert_described(event):
    Draft202012Validator(schema_of(event["type"])).validate(event)


def test_there_is_an_example_of_every_event():
    types = {parse_event(path.read_text("utf-8")).type for path in EXAMPLES}
    assert types == {event.model_fields["type"].default for event in EVENTS}


@each_example
def test_an_example_survives_a_round_trip(path):
    text = path.read_text("utf-8")
    event = parse_event(text)
    assert json.loads(event.to_json()) == json.loads(text)
    assert parse_event(event.to_json()) == event
    assert parse_event(json.loads(text)) == event
    assert parse_event(text.encode()) == event


@each_example
def test_an_example_is_described_by_its_schema(path):
    assert_described(json.loads(path.read_text("utf-8")))


@each_example
def test_the_cloudevents_sdk_reads_an_example(path):
    event = parse_event(path.read_text("utf-8"))
    read = JSONFormat().read(None, path.read_bytes())
    assert (read.get_id(), read.get_source(), read.get_type()) == (
        event.id,
        "/agent-worker",
        event.type,
    )
    assert read.get_subject() == event.subject
    assert read.get_time() == event.time
    assert read.get_extension("tenantid") == event.tenantid
    assert read.get_extension("sequence") == event.sequence
    assert read.get_data() == json.loads(path.read_text("utf-8"))["data"]


@each_example
def test_a_reader_ignores_fields_of_a_later_version(path):
    body = json.loads(path.read_text("utf-8"))
    known = parse_event(body)
    body["partitionkey"] = "123"
    body["data"]["artifacts"] = [{"key": "a"}]
    assert parse_event(body) == known


def kept(earlier, now):
    """Whether all that an earlier event said is said now, under the same names."""
    if not isinstance(earlier, dict):
        return earlier == now
    return all(name in now and kept(value, now[name]) for name, value in earlier.items())


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_an_event_of_an_earlier_version_is_still_read_in_full(path):
    earlier = json.loads(path.read_text("utf-8"))
    assert kept(earlier, json.loads(parse_event(earlier).to_json()))


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_a_reader_of_an_earlier_version_finds_its_fields_in_today_s_event(path):
    now = json.loads(path.parents[1].joinpath(path.name).read_text("utf-8"))
    assert kept(json.loads(path.read_text("utf-8")), now)


def test_an_event_is_built_from_its_data_alone():
    event = JobCompletedEvent.of(completed(), time=NOON, traceparent="00-aa-bb-01")
    assert json.loads(event.to_json()) == {
        "specversion": "1.0",
        "id": "j-1/completed",
        "source": "/agent-worker",
        "type": "agent.job.completed",
        "subject": "j-1",
        "time": "2026-03-01T12:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:agent-worker:schema:job-completed:1",
        "tenantid": "default",
        "traceparent": "00-aa-bb-01",
        "sequence": "000001999999",
        "data": {
            "job_id": "j-1",
            "tenant_id": "default",
            "chat_id": "123",
            "thread_id": None,
            "is_error": False,
            "error_message": None,
            "metadata": {},
            "response": "done",
            "response_ref": None,
            "session_id": "s",
            "session_status": "new",
            "session_note": None,
            "model": "sonnet",
            "cost_usd": 0.0,
            "num_turns": 0,
            "stop_reason": None,
            "structured_output": None,
            "usage": {},
            "duration_ms": 0,
            "attempt": 1,
        },
    }


def test_the_same_outcome_is_the_same_event_byte_for_byte():
    build = [JobCompletedEvent.of(completed(), time=NOON).to_json() for _ in range(2)]
    assert build[0] == build[1]


def test_every_kind_of_event_is_built_described_and_read():
    failed = JobFailed(
        job_id="j-1",
        tenant_id="default",
        chat_id="123",
        attempt=5,
        error_code="model_unavailable",
        error_message="the model did not answer",
    )
    rejected = JobRejected(job_id="j-2", reason="unauthorized", error_message="no", message_id="m")
    large = completed(response_ref=ResponseRef(bucket="b", key="k", size=1, url="https://x"))
    about = {"job_id": "j-1", "tenant_id": "default", "chat_id": "123", "attempt": 2}
    cancelled = JobCancelled(**about, started=True, error_message="cancelled", requested_at=NOON)
    text = JobProgress(**about, kind="text", text="a", num_turns=1, tool_calls=0, elapsed_ms=7)
    errors = {"agent.job.failed", "agent.job.rejected", "agent.job.cancelled"}
    for event in (
        JobStartedEvent.of(JobStarted(**about, model="sonnet"), time=NOON, number=1),
        JobProgressEvent.of(text, time=NOON, number=2),
        JobCancelledEvent.of(cancelled, time=NOON),
        JobCompletedEvent.of(large, time=NOON),
        JobFailedEvent.of(failed, time=NOON),
        JobRejectedEvent.of(rejected, time=NOON),
    ):
        assert_described(json.loads(event.to_json()))
        assert parse_event(event.to_json()) == event
        assert event.data.is_error == (event.type in errors)


def test_a_step_has_an_id_of_its_own_and_the_end_of_a_job_one_for_all_attempts():
    about = {"job_id": "j-1", "tenant_id": "default", "chat_id": "123"}
    started = JobStarted(**about, attempt=2, model="sonnet")
    step = JobStartedEvent.of(started, time=NOON, number=1)
    assert (step.id, step.sequence) == ("j-1/started/000002000001", "000002000001")
    end = JobCompletedEvent.of(completed(attempt=2), time=NOON)
    assert (end.id, end.sequence) == ("j-1/completed", "000002999999")


attempts = st.integers(0, LAST_NUMBER)
numbers = st.integers(1, LAST_NUMBER - 1)


@given(attempts, numbers, attempts, numbers)
def test_sequences_sort_as_attempt_and_number_do_and_the_end_comes_last(a, n, b, m):
    assert (sequence(a, n) < sequence(b, m)) == ((a, n) < (b, m))
    assert (int(sequence(a, n)) < int(sequence(b, m))) == ((a, n) < (b, m))
    assert (sequence(a, n) < sequence(b)) == (a <= b)


def test_times_are_told_in_utc():
    local = NOON.astimezone(timezone(timedelta(hours=-5)))
    event = JobCompletedEvent.of(completed(), time=local)
    assert json.loads(event.to_json())["time"] == "2026-03-01T12:00:00Z"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="timezone"):
        JobCompletedEvent.of(completed(), time=datetime(2026, 3, 1))  # noqa: DTZ001


def test_an_attribute_without_a_value_is_left_out():
    rejected = JobRejected(job_id="j-2", reason="unauthorized", error_message="no", message_id="m")
    event = json.loads(JobRejectedEvent.of(rejected, time=NOON).to_json())
    assert not event.keys() & {"tenantid", "traceparent"}
    assert event["data"]["tenant_id"] is None


outside_text = st.text(st.characters(categories=None), max_size=20)
outside_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | outside_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(outside_text, inner, max_size=3),
    max_leaves=8,
)


@given(outside_text, outside_json)
@example("half an emoji: \ud83d", {"\udc00": ["\ud83d"]})
@example("split: \ud83d\ude00", float("nan"))
def test_whatever_the_model_says_becomes_a_readable_event(response, output):
    data = completed(response=response, structured_output=output, error_message=response)
    event = JobCompletedEvent.of(data, time=NOON).to_json()
    assert_described(json.loads(event))
    assert parse_event(event).data.response == data.response


def test_a_lone_surrogate_of_the_model_is_replaced_and_a_split_pair_joined():
    assert completed(response="a\ud83d").response == "a\ufffd"
    assert completed(response="\ud83d\ude00").response == "😀"


def broken(**changes):
    body = json.loads((PACKAGE / "examples" / "events" / "job-completed.json").read_text("utf-8"))
    return {**body, **changes}


@pytest.mark.parametrize(
    ("body", "code", "mentions"),
    [
        ("no", "invalid_json", "not JSON"),
        ("\ud800", "invalid_json", "not JSON"),
        ("[" * 100_000, "invalid_json", "not JSON"),
        ("[]", "invalid_event", "object"),
        ("{}", "invalid_event", "type"),
        (broken(type="agent.job.paused"), "unknown_type", "agent.job.paused"),
        (broken(type=7), "unknown_type", "7"),
        (broken(specversion="0.3"), "invalid_event", "specversion"),
        (broken(time="yesterday"), "invalid_event", "time"),
        (broken(data={}), "invalid_event", "data.job_id"),
    ],
)
def test_what_is_not_an_event_is_refused_with_a_code(body, code, mentions):
    with pytest.raises(InvalidEvent) as caught:
        parse_event(body)
    assert caught.value.code == code
    assert mentions in str(caught.value)


@given(st.text() | st.binary())
def test_whatever_the_body_is_only_invalid_event_is_raised(body):
    with pytest.raises(InvalidEvent):
        parse_event(body)
