import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts import (
    InvalidConfiguration,
    InvalidRequest,
    JobCompletedEvent,
    JobRequest,
    Producer,
    ResultTimeout,
    ResultUnavailable,
    authorized,
    build_message,
)
from contracts.client import MAX_POLL_SECONDS, poll_intervals
from contracts.fields import MAX_MESSAGE_BYTES

EVENTS = Path(contracts.__file__).parent / "examples" / "events"
ENVIRONMENT = {
    "QUEUE_URL": "http://127.0.0.1:1/000000000000/jobs.fifo",
    "JOB_TABLE": "jobs",
    "SDK_CLIENT_AUTH_TOKEN": " new-token , old-token",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}


def request(**fields):
    return JobRequest(**{"user_message": "hi", "chat_id": "1", "job_id": "j-1", **fields})


@pytest.fixture
def producer():
    return Producer.from_env(ENVIRONMENT)


@pytest.fixture
def stubbed(producer):
    """A stub of one of the producer's real clients; it checks parameters against AWS's models."""
    stubs = []

    def stub(service):
        stubs.append(Stubber(producer._client(service)))
        stubs[-1].activate()
        return stubs[-1]

    yield stub
    for each in stubs:
        each.assert_no_pending_responses()
        each.deactivate()


def test_a_message_carries_group_deduplication_and_token():
    message = build_message(request(thread_id="2", tenant_id="acme"), timestamp=0, token="t")
    assert message == {
        "MessageBody": '{"user_message":"hi","chat_id":"1","thread_id":"2","job_id":"j-1",'
        '"tenant_id":"acme"}',
        "MessageGroupId": "acme/1:2",
        "MessageDeduplicationId": "j-1",
        "MessageAttributes": {"auth_token": {"DataType": "String", "StringValue": "t"}},
    }


def test_a_signed_message_does_not_carry_the_secret():
    message = build_message(request(), timestamp=1700000000, hmac_secret="s3cret")
    signature = message["MessageAttributes"]["auth_signature"]["StringValue"]
    assert signature.startswith("t=1700000000,v1=")
    assert "s3cret" not in str(message)
    assert authorized(
        message["MessageBody"], token=None, signature=signature, secrets=["other", "s3cret"]
    )


def test_without_a_secret_a_message_has_no_attributes():
    assert build_message(request(), timestamp=0)["MessageAttributes"] == {}


def test_a_message_needs_a_job_id():
    with pytest.raises(ValueError, match="job_id"):
        build_message(request(job_id=None), timestamp=0)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.booleans()),
)
def test_every_message_is_one_that_sqs_takes_and_the_worker_reads_back(text, metadata):
    sent = request(user_message=text, metadata=metadata, options={"allowed_tools": []})
    body = build_message(sent, timestamp=0)["MessageBody"]
    # Amazon SQS, SendMessage: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | above
    assert not any(ord(c) < 32 or c in "\ufffe\uffff" for c in body)
    assert JobRequest.parse(body) == sent


def test_a_message_may_be_one_mebibyte_with_its_attributes_and_not_a_byte_more():
    attribute = len("auth_token" + "String" + "token")
    room = MAX_MESSAGE_BYTES - attribute - len('{"user_message":"","chat_id":"1","job_id":"j-1"}')
    text = "é" * (room // 2) + "x" * (room % 2)
    largest = build_message(request(user_message=text), timestamp=0, token="token")
    assert len(largest["MessageBody"].encode()) + attribute == MAX_MESSAGE_BYTES
    with pytest.raises(InvalidRequest, match="message: is 1048577 bytes, more than the 1048576"):
        build_message(request(user_message=text + "x"), timestamp=0, token="token")


def test_enqueue_sends_a_new_job_id_and_says_where_it_went(producer, stubbed):
    stubbed("sqs").add_response(
        "send_message",
        {"MessageId": "m-1", "SequenceNumber": "18"},
        {
            "QueueUrl": ENVIRONMENT["QUEUE_URL"],
            "MessageBody": ANY,
            "MessageGroupId": "1:2",
            "MessageDeduplicationId": ANY,
            "MessageAttributes": {"auth_token": {"DataType": "String", "StringValue": "new-token"}},
        },
    )
    sent = producer.enqueue(user_message="hi", chat_id=1, thread_id=2)
    assert (sent.message_id, sent.sequence_number, sent.message_group_id) == ("m-1", "18", "1:2")
    assert sent.job_id.startswith("j-")
    assert len(sent.job_id) == 34


def test_enqueue_keeps_the_job_id_it_is_given(producer, stubbed):
    answer = {"MessageId": "m-1", "SequenceNumber": "18"}
    stubbed("sqs").add_response("send_message", answer)
    assert producer.enqueue(request(job_id="mine")).job_id == "mine"


def test_enqueue_refuses_bad_fields_before_sending(producer):
    with pytest.raises(InvalidRequest, match="chat_id: is missing"):
        producer.enqueue(user_message="hi")
    with pytest.raises(TypeError, match="not both"):
        producer.enqueue(request(), chat_id="2")


def item(state, **attributes):
    return {"Item": {"state": {"S": state}, **attributes}}


def text_of(name):
    return (EVENTS / f"{name}.json").read_text("utf-8")


def test_wait_returns_the_event_once_the_job_has_ended(producer, stubbed):
    table = stubbed("dynamodb")
    expected = {
        "TableName": "jobs",
        "Key": {"job_id": {"S": "j-1"}},
        "ConsistentRead": True,
        "ProjectionExpression": ANY,
        "ExpressionAttributeNames": ANY,
    }
    event = {"event": {"S": text_of("job-completed")}}
    for answer in ({}, item("running"), item("answered", **event), item("published", **event)):
        table.add_response("get_item", answer, expected)
    result = producer.wait("j-1", timeout=30, poll=0.001)
    assert isinstance(result, JobCompletedEvent)
    assert result.data.response == "Ticket 42 is open. 👋"


@pytest.mark.parametrize("state", ["failed", "rejected"])
def test_wait_returns_bad_news_too(producer, stubbed, state):
    event = {"event": {"S": text_of(f"job-{state}")}}
    stubbed("dynamodb").add_response("get_item", item(state, **event))
    assert producer.wait("j-1").data.is_error


def test_wait_says_which_job_and_state_it_gave_up_on(producer, stubbed):
    stubbed("dynamodb").add_response("get_item", item("running"))
    with pytest.raises(ResultTimeout, match=r"job j-1 .* 'running'") as caught:
        producer.wait("j-1", timeout=0)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.job_id, caught.value.state) == ("j-1", "running")


def test_wait_says_when_no_worker_has_taken_the_job(producer, stubbed):
    stubbed("dynamodb").add_response("get_item", {})
    with pytest.raises(ResultTimeout, match="no worker has taken it"):
        producer.wait("j-1", timeout=0)


def test_wait_says_when_an_ended_job_has_no_event(producer, stubbed):
    stubbed("dynamodb").add_response("get_item", item("cancelled"))
    with pytest.raises(ResultUnavailable, match="'cancelled'"):
        producer.wait("j-1")


def test_wait_needs_a_job_table():
    with pytest.raises(InvalidConfiguration, match="job_table"):
        Producer("http://127.0.0.1:1/queue.fifo").wait("j-1")


def test_looks_become_rarer_up_to_a_limit():
    assert list(islice(poll_intervals(0.25), 4)) == [0.25, 0.5, MAX_POLL_SECONDS, MAX_POLL_SECONDS]
    assert next(poll_intervals(60)) == MAX_POLL_SECONDS
    assert 0 < next(poll_intervals(0)) < 0.01


def test_a_signing_producer_from_the_environment_sends_no_token(stubbed, producer):
    signing = Producer.from_env(ENVIRONMENT, signed=True)
    signing._clients = producer._clients
    answer = {"MessageId": "m-1", "SequenceNumber": "18"}
    signed = {"auth_signature": {"DataType": "String", "StringValue": ANY}}
    expected = dict.fromkeys(
        ("QueueUrl", "MessageBody", "MessageGroupId", "MessageDeduplicationId"), ANY
    )
    stubbed("sqs").add_response("send_message", answer, {**expected, "MessageAttributes": signed})
    signing.enqueue(request())


@pytest.mark.parametrize(
    ("changes", "signed", "mentions"),
    [
        ({"QUEUE_URL": ""}, False, "QUEUE_URL is not set"),
        ({"SDK_CLIENT_AUTH_TOKEN": "ssm://token"}, False, "reference"),
        ({"SDK_CLIENT_AUTH_TOKEN": ""}, True, "SDK_CLIENT_AUTH_TOKEN is not set"),
    ],
)
def test_an_environment_that_cannot_work_is_refused(changes, signed, mentions):
    with pytest.raises(InvalidConfiguration, match=mentions):
        Producer.from_env({**ENVIRONMENT, **changes}, signed=signed)


def test_a_token_and_a_signing_secret_exclude_each_other():
    with pytest.raises(InvalidConfiguration, match="token and hmac_secret"):
        Producer("queue", token="a", hmac_secret="b")


def test_a_given_session_is_used():
    session = boto3.Session(
        aws_access_key_id="mine", aws_secret_access_key="s", region_name="eu-west-1"
    )
    client = Producer("queue", session=session)._client("sqs")
    assert client.meta.region_name == "eu-west-1"


def test_importing_the_contract_loads_pydantic_and_no_vendor():
    program = "import contracts, json, sys; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    packages = {name.partition(".")[0] for name in json.loads(shown)}
    assert "pydantic" in packages
    assert not packages & {
        "boto3",
        "botocore",
        "claude_agent_sdk",
        "aws_lambda_powertools",
        "httpx",
        "worker",
        "asyncio",
    }
