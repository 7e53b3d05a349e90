import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import contracts
from contracts import InvalidRequest, JobOptions, JobRequest
from contracts.fields import MAX_MESSAGE_BYTES

EXAMPLES = Path(contracts.__file__).parent / "examples"
VALID = sorted((EXAMPLES / "valid").glob("*.json"))
INVALID = sorted((EXAMPLES / "invalid").glob("*.json"))
SCHEMA = Draft202012Validator(
    json.loads((EXAMPLES.parent / "schemas" / "request.schema.json").read_text("utf-8"))
)


def by_name(path):
    return path.stem


def refusal(body):
    with pytest.raises(InvalidRequest) as caught:
        JobRequest.parse(body)
    return caught.value


@pytest.mark.parametrize("path", VALID, ids=by_name)
def test_a_valid_example_is_read_by_model_and_schema(path):
    text = path.read_text("utf-8")
    body = json.loads(text)
    request = JobRequest.parse(text)
    assert request == JobRequest.parse(text.encode()) == JobRequest.from_fields(body)
    assert request.user_message == body["user_message"]
    assert request.chat_id == str(body["chat_id"])
    SCHEMA.validate(body)


@pytest.mark.parametrize("path", VALID, ids=by_name)
def test_a_valid_example_survives_a_round_trip(path):
    request = JobRequest.parse(path.read_text("utf-8"))
    assert JobRequest.parse(request.model_dump_json()) == request


@pytest.mark.parametrize("path", INVALID, ids=by_name)
def test_an_invalid_example_is_refused_with_code_and_field(path):
    case = json.loads(path.read_text("utf-8"))
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    error = refusal(body)
    assert error.code == case["why"]
    assert case["mentions"] in str(error)


@pytest.mark.parametrize("path", INVALID, ids=by_name)
def test_the_schema_refuses_an_invalid_example_where_it_can(path):
    case = json.loads(path.read_text("utf-8"))
    body = case["body"]
    if case["why"] == "invalid_request":
        value = json.loads(body) if isinstance(body, str) else body
        assert SCHEMA.is_valid(value) == ("beyond_schema" in case)


def test_defaults_are_the_documented_ones():
    request = JobRequest.parse('{"user_message": "hi", "chat_id": 1}')
    assert request == JobRequest(user_message="hi", chat_id="1")
    assert (request.tenant_id, request.session, request.metadata) == ("default", "continue", {})
    assert request.options == JobOptions()
    assert request.job_id is None


def test_a_body_of_exactly_one_mebibyte_is_read_and_one_byte_more_is_not():
    empty = json.dumps({"user_message": "", "chat_id": "1"})
    text = "é" + "x" * (MAX_MESSAGE_BYTES - len(empty) - len("é".encode()))
    body = json.dumps({"user_message": text, "chat_id": "1"}, ensure_ascii=False)
    assert len(body.encode()) == MAX_MESSAGE_BYTES
    assert JobRequest.parse(body).user_message == text
    error = refusal(body + " ")
    assert error.code == "invalid_request"
    assert error.problems[0].startswith("body: is 1048577 bytes, more than the 1048576")


def test_the_last_of_duplicate_keys_counts():
    assert JobRequest.parse('{"chat_id": 1, "user_message": "hi", "chat_id": 2}').chat_id == "2"


def test_every_problem_is_listed_at_once():
    error = refusal(
        '{"user_message": "", "chat_id": true, "color": 1, "options": {"max_turns": 0}}'
    )
    assert [problem.partition(":")[0] for problem in error.problems] == [
        "user_message",
        "chat_id",
        "options.max_turns",
        "color",
    ]
    assert str(error) == "; ".join(error.problems)


def test_a_problem_says_what_is_wrong_with_which_value_and_what_to_do():
    error = refusal('{"user_message": "hi", "chat_id": "1", "options": {"max_turns": 0}}')
    assert str(error) == (
        "options.max_turns: should be greater than or equal to 1, got 0; "
        "send a whole number of model calls from 1 to 10000"
    )


def test_a_long_value_is_shortened():
    error = refusal(json.dumps({"user_message": "hi", "chat_id": "1", "job_id": "j" * 5000}))
    assert f"got 'j{'j' * 75}...;" in str(error)
    assert len(str(error)) < 300


def test_thousands_of_problems_make_a_short_text():
    fields = {f"field-{'x' * 100}-{n}": n for n in range(3000)}
    error = refusal(json.dumps({"user_message": "hi", "chat_id": "1", **fields}))
    assert len(error.problems) == 21
    assert error.problems[-1] == "body: has 2980 more problems; fix these first"
    assert len(str(error)) < 8000


@pytest.mark.parametrize(
    "fields",
    [
        {"user_message": "SECRET\x00"},
        {"user_message": ["SECRET"]},
        {"user_message": {"text": "SECRET"}},
        {"message": "SECRET"},
        {"user_message": "SECRET", "chat_id": True},
        {"metadata": "SECRET"},
        {"options": {"system_prompt": ["SECRET"], "output_schema": "SECRET"}},
    ],
)
def test_the_users_text_is_in_no_error(fields):
    assert "SECRET" not in str(refusal(json.dumps(fields)))


def test_the_users_text_is_in_no_repr_and_no_pydantic_error():
    request = JobRequest(user_message="SECRET", chat_id="1", metadata={"a": "SECRET"})
    assert "SECRET" not in repr(request)
    with pytest.raises(ValueError, match="user_message") as caught:
        JobRequest(user_message="SECRET\x00", chat_id="1")
    assert "SECRET" not in str(caught.value)


def test_requests_are_frozen():
    request = JobRequest(user_message="hi", chat_id="1")
    with pytest.raises(ValueError, match="frozen"):
        request.chat_id = "2"


@pytest.mark.parametrize(
    "fields",
    [
        {"chat_id": 10**5000},
        {"metadata": {"a": object()}},
        {"metadata": {"a": math.nan}},
        {"metadata": {"a": "\ud800"}},
        {"user_message": "\ud800"},
        {"chat_id": "\ud800"},
        {"options": {"max_turns": 10**5000}},
        {"options": {"max_budget_usd": 10**5000}},
    ],
)
def test_values_that_only_python_has_are_refused(fields):
    with pytest.raises(InvalidRequest):
        JobRequest.from_fields({"user_message": "hi", "chat_id": "1", **fields})


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"user_message":', '{"metadata":{"a":['])
@pytest.mark.parametrize("depth", [250, sys.getrecursionlimit() * 2, 50_000])
def test_nesting_without_end_is_refused(opening, depth):
    assert refusal(opening * depth).code == "invalid_json"


def test_metadata_of_any_accepted_depth_can_be_echoed_and_read_back():
    deepest = None
    for depth in range(1, 300):
        body = '{"user_message":"hi","chat_id":"1","metadata":{"a":%s1%s}}'
        try:
            request = JobRequest.parse(body % ("[" * depth, "]" * depth))
        except InvalidRequest:
            break
        deepest = depth
        assert JobRequest.parse(request.model_dump_json()) == request
    assert deepest == 31


def outcome(body):
    """The request, or why it is none; any other exception fails the test."""
    try:
        return JobRequest.parse(body)
    except InvalidRequest as exc:
        return exc


def assert_telling(read):
    if isinstance(read, InvalidRequest):
        assert read.problems
        assert str(read).isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
field_names = st.sampled_from([*JobRequest.model_fields, *JobOptions.model_fields, "other"])
requests = st.dictionaries(
    field_names,
    json_values | st.dictionaries(st.sampled_from([*JobOptions.model_fields]), json_values),
).map(lambda fields: {"user_message": "hi", "chat_id": "1", **fields})


@given(st.text() | st.binary())
@example("\ufeff{}")
@example("\ud800")
@example(b"\xff\xfe")
@example('{"user_message": "hi", "chat_id": 1' + "0" * 5000 + "}")
@example('{"user_message": "hi", "chat_id": 1' + "0" * 4000 + "}")
@example('{"user_message": "hi", "chat_id": 1e400}')
def test_whatever_the_body_is_only_invalid_request_is_raised(body):
    assert_telling(outcome(body))


@given(requests)
def test_whatever_the_fields_hold_what_the_model_takes_the_schema_takes(fields):
    body = json.dumps(fields)
    read = outcome(body)
    assert_telling(read)
    if isinstance(read, JobRequest):
        assert SCHEMA.is_valid(json.loads(body))
