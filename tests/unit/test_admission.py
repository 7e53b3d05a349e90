import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import JobRequest, sign
from worker.domain.admission import Rejection, admit
from worker.domain.job import Job
from worker.domain.message import InboundMessage
from worker.domain.policy import Policy, RefusedOptionError, narrow


def message(body, group="1", attributes=None, message_id="m-1"):
    text = body if isinstance(body, str) else json.dumps(body)
    return InboundMessage(message_id, group, text, attributes or {})


def test_a_message_in_the_existing_format_is_a_job_named_after_the_message():
    job = admit(message({"user_message": "hi", "chat_id": "1"}), Policy())
    assert isinstance(job, Job)
    assert (job.job_id, job.session_key) == ("sqs-m-1", "default/1")
    assert job.spec.model == "sonnet"


def test_the_job_id_of_the_request_wins_over_the_one_of_the_attribute():
    body = {"user_message": "hi", "chat_id": "1", "job_id": "j-1"}
    assert admit(message(body, attributes={"job_id": "j-2"}), Policy()).job_id == "j-1"


def test_a_stranger_s_message_is_not_even_read():
    body = {"user_message": "hi", "chat_id": "1", "job_id": "j-1"}
    rejection = admit(message(body), Policy(auth_tokens=("secret",)))
    assert (rejection.reason, rejection.job_id, rejection.request) == (
        "unauthorized",
        "sqs-m-1",
        None,
    )


def test_a_signature_is_of_exactly_this_body():
    body = json.dumps({"user_message": "hi", "chat_id": "1"})
    policy = Policy(auth_tokens=("old", "new"))
    signed = {"auth_signature": sign(body, "new", 1_800_000_000)}
    assert isinstance(admit(message(body, attributes=signed), policy), Job)
    other = admit(message(body.replace("hi", "ho"), attributes=signed), policy)
    assert other.reason == "unauthorized"


@given(
    st.text(max_size=50), st.text(max_size=20), st.dictionaries(st.text(), st.text(), max_size=3)
)
def test_whatever_arrives_is_a_job_or_a_rejection(body, group, attributes):
    outcome = admit(message(body, group, attributes), Policy())
    assert isinstance(outcome, Job | Rejection)


def test_a_deployment_whose_tokens_are_gone_lets_nobody_in():
    body = {"user_message": "hi", "chat_id": "1"}
    assert admit(message(body), Policy(auth_tokens=())).reason == "unauthorized"


def test_a_dead_letter_that_sqs_itself_sends_back_comes_in_another_group_and_is_a_job():
    body = {"user_message": "hi", "chat_id": "1"}
    sent_back = {"dead_letter_reason": "model_error", "dead_letter_attempt": "1"}
    assert isinstance(admit(message(body, "m-0", sent_back), Policy()), Job)
    assert admit(message(body, "m-0"), Policy()).reason == "group_mismatch"


@pytest.mark.parametrize("given", ["x" * 3000, "a b", "", "j\n1"])
def test_an_attribute_that_is_no_job_id_is_not_one(given):
    body = {"user_message": "hi", "chat_id": "1"}
    assert admit(message(body, attributes={"job_id": given}), Policy()).job_id == "sqs-m-1"


@pytest.mark.parametrize("given", ["9" * 5000, "-1", "1.5", "²", ""])
def test_an_attribute_that_is_no_attempt_is_not_one(given):
    assert message({}, attributes={"dead_letter_attempt": given}).dead_letter_attempt is None


def test_a_request_that_lists_its_tools_is_offered_nothing_else():
    assert not narrow(Policy(), options(allowed_tools=[])).extras
    spec = narrow(Policy(), options(allowed_tools=["Read", "mcp__tickets__search", "Agent"]))
    assert spec.tools == ("Read", "mcp__tickets__search", "Agent")


def options(**fields):
    return JobRequest(user_message="hi", chat_id="1", options=fields)


def test_without_options_the_policy_s_limits_hold():
    spec = narrow(Policy(max_turns=7, max_budget_usd=2, timeout_seconds=60), options())
    assert (spec.max_turns, spec.max_budget_usd, spec.timeout_seconds) == (7, 2, 60)
    assert spec.permission_mode == "dontAsk"


def test_a_request_can_narrow_the_limits():
    spec = narrow(Policy(), options(max_turns=1, allowed_tools=["Read(docs/**)"]))
    assert spec.max_turns == 1
    assert (spec.tools, spec.allowed_tools) == (("Read",), ("Read(docs/**)",))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"max_turns": 51}, ["max_turns", "51", "50"]),
        ({"max_budget_usd": 6}, ["max_budget_usd", "6", "5"]),
        ({"timeout_seconds": 3601}, ["timeout_seconds", "3601", "3600"]),
        ({"allowed_tools": ["Bash(rm *)"]}, ["allowed_tools", "Bash", "Read"]),
        ({"permission_mode": "bypassPermissions"}, ["permission_mode", "dontAsk"]),
    ],
)
def test_a_request_cannot_widen_them_and_is_told_the_limit(fields, names):
    with pytest.raises(RefusedOptionError) as caught:
        narrow(Policy(), options(**fields))
    assert caught.value.code == "option_not_allowed"
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        "sonnet",
        "opus",
        "haiku",
        "claude-sonnet-4-5-20250929",
        "us.anthropic.claude-opus-5",
        "anthropic.claude-3-haiku-20240307-v1:0",
    ],
)
def test_aliases_and_full_ids_of_both_apis_are_known(model):
    request = JobRequest(user_message="hi", chat_id="1", model=model)
    assert narrow(Policy(), request).model == model
