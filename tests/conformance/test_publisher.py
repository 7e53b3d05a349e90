"""What subscribers receive, and what PutEvents' partial failures lead to."""

import json
import uuid

import boto3
import pytest

from worker.adapters.aws import Aws
from worker.adapters.publisher import AwsPublisher
from worker.domain.errors import UnavailableError

EVENT = json.dumps(
    {
        "specversion": "1.0",
        "id": "j-1/completed",
        "type": "agent.job.completed",
        "tenantid": "acme",
        "data": {"job_id": "j-1", "is_error": False, "response": "ünï"},
    }
)


@pytest.fixture
def aws():
    aws = Aws(threads=4)
    yield aws
    aws.close()


@pytest.mark.integration
async def test_topic_and_bus_carry_the_same_body(resources, aws, subscriber):
    on_topic, on_bus = subscriber.topic(), subscriber.bus()
    await AwsPublisher(aws, resources["RESULT_TOPIC_ARN"], resources["EVENT_BUS_NAME"]).publish(
        EVENT
    )
    from_topic = on_topic.receive()
    assert from_topic["Body"] == EVENT
    attributes = {n: a["StringValue"] for n, a in from_topic["MessageAttributes"].items()}
    assert attributes == {"type": "agent.job.completed", "tenant": "acme", "status": "completed"}
    from_bus = json.loads(on_bus.receive()["Body"])
    assert (from_bus["source"], from_bus["detail-type"]) == ("agent-worker", "agent.job.completed")
    assert from_bus["detail"] == json.loads(EVENT)


@pytest.mark.integration
async def test_a_missing_bus_is_an_error_and_the_topic_still_has_the_event(
    resources, aws, subscriber
):
    on_topic = subscriber.topic()
    arn = resources["RESULT_TOPIC_ARN"]
    with pytest.raises(UnavailableError):
        await AwsPublisher(aws, f"{arn}-none", resources["EVENT_BUS_NAME"]).publish(EVENT)
    await AwsPublisher(aws, arn, resources["EVENT_BUS_NAME"]).publish(EVENT)
    assert on_topic.receive()["Body"] == EVENT


class PartialFailure:
    """PutEvents as AWS documents it: 200, and a code in the entry that failed."""

    def __init__(self, *codes):
        self.codes, self.calls = list(codes), []

    async def call(self, service, operation, **kwargs):
        self.calls.append(service)
        code = self.codes.pop(0) if service == "events" and self.codes else None
        entry = {"ErrorCode": code, "ErrorMessage": "x"} if code else {"EventId": str(uuid.uuid4())}
        return {"FailedEntryCount": int(code is not None), "Entries": [entry]}


async def test_an_entry_that_failed_inside_a_good_answer_is_sent_again():
    aws = PartialFailure("InternalFailure", "ThrottlingException")
    await AwsPublisher(aws, "arn", "bus").publish(EVENT)
    assert aws.calls.count("events") == 3
    assert aws.calls.count("sns") == 1


async def test_an_entry_that_is_refused_is_an_error_and_not_repeated_at_once():
    aws = PartialFailure("MalformedDetail")
    with pytest.raises(UnavailableError, match="MalformedDetail"):
        await AwsPublisher(aws, "arn", "bus").publish(EVENT)
    assert aws.calls.count("events") == 1


def test_the_clients_follow_the_endpoint_variable(emulator):
    assert boto3.client("sns").meta.endpoint_url == emulator
