"""What subscribers receive, and what happens to entries that failed inside a good answer."""

import json

import boto3
import pytest

from tests.conformance.partial_failures import PartialFailures
from worker.adapters.aws import Aws
from worker.adapters.memory import MemoryPublisher
from worker.adapters.publisher import AwsPublisher
from worker.domain.errors import UnavailableError


def an_event(name="completed", job="j-1", **data):
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{job}/{name}",
            "type": f"agent.job.{name}",
            "tenantid": "acme",
            "data": {"job_id": job, "is_error": False, "response": "ünï", **data},
        }
    )


EVENT = an_event()
STEPS = [an_event("progress", f"j-{n}") for n in range(1, 4)]
IDS = [json.loads(step)["id"] for step in STEPS]


@pytest.fixture
def aws():
    aws = Aws(threads=4)
    yield aws
    aws.close()


@pytest.fixture
def publisher(request, resources, subscriber):
    """A publisher, and the two ways in which a subscriber can see what it has published."""
    on_topic, on_bus = subscriber.topic(), subscriber.bus()
    aws = Aws(threads=4)
    request.addfinalizer(aws.close)
    publisher = AwsPublisher(aws, resources["RESULT_TOPIC_ARN"], resources["EVENT_BUS_NAME"])
    publisher.on_topic, publisher.on_bus = on_topic, on_bus
    return publisher


@pytest.fixture
def bad_day(emulator, publisher, monkeypatch):
    """A server between the publisher and the emulator."""
    with PartialFailures(emulator) as proxy:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            for service in ("sns", "events"):
                publisher._aws.client(service)
        yield proxy


def ids_of(queue, count):
    """The ids of the next events on a queue, sorted, and that no other follows."""
    bodies = [json.loads(queue.receive()["Body"]) for _ in range(count)]
    return sorted(body.get("detail", body)["id"] for body in bodies)


@pytest.mark.integration
async def test_topic_and_bus_carry_the_same_body(publisher):
    await publisher.publish(EVENT)
    from_topic = publisher.on_topic.receive()
    assert from_topic["Body"] == EVENT
    attributes = {n: a["StringValue"] for n, a in from_topic["MessageAttributes"].items()}
    assert attributes == {"type": "agent.job.completed", "tenant": "acme", "status": "completed"}
    from_bus = json.loads(publisher.on_bus.receive()["Body"])
    assert (from_bus["source"], from_bus["detail-type"]) == ("agent-worker", "agent.job.completed")
    assert from_bus["detail"] == json.loads(EVENT)


@pytest.mark.integration
async def test_steps_of_a_turn_arrive_on_both_each_once_with_their_attributes(publisher):
    await publisher.tell(STEPS)
    received = [publisher.on_topic.receive() for _ in STEPS]
    assert sorted(message["Body"] for message in received) == sorted(STEPS)
    assert {m["MessageAttributes"]["status"]["StringValue"] for m in received} == {"progress"}
    assert ids_of(publisher.on_bus, 3) == IDS


@pytest.mark.integration
async def test_the_twin_keeps_final_events_and_steps_apart(publisher):
    twin = MemoryPublisher()
    for each in (twin, publisher):
        await each.tell(STEPS)
        await each.publish(EVENT)
    assert (twin.told, twin.events) == (STEPS, [EVENT])
    assert ids_of(publisher.on_topic, 4) == sorted([*IDS, "j-1/completed"])


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


@pytest.mark.integration
@pytest.mark.parametrize("service", ["events", "sns"])
async def test_only_the_entries_that_failed_for_now_are_sent_again(bad_day, publisher, service):
    scripted = bad_day.bus if service == "events" else bad_day.topic
    code = "ThrottlingException" if service == "events" else "InternalError"
    scripted.append([None, code, None])
    await publisher.tell(STEPS)
    assert bad_day.ids(service) == [IDS, [IDS[1]]]
    [other] = {"events", "sns"} - {service}
    assert bad_day.ids(other) == [IDS]
    assert ids_of(publisher.on_topic, 3) == ids_of(publisher.on_bus, 3) == IDS


@pytest.mark.integration
@pytest.mark.parametrize(
    ("service", "code"),
    [("events", "NotAuthorizedForSourceException"), ("sns", "InvalidParameter")],
)
async def test_a_refused_entry_is_an_error_and_not_sent_again_and_the_others_arrive(
    bad_day, publisher, service, code
):
    scripted = bad_day.bus if service == "events" else bad_day.topic
    scripted.append([None, code, "InternalFailure"])
    with pytest.raises(UnavailableError, match=code):
        await publisher.tell(STEPS)
    assert bad_day.ids(service) == [IDS, [IDS[2]]]
    received = publisher.on_bus if service == "events" else publisher.on_topic
    assert ids_of(received, 2) == [IDS[0], IDS[2]]


@pytest.mark.integration
@pytest.mark.parametrize("service", ["events", "sns"])
async def test_one_that_is_down_neither_stops_nor_repeats_the_other(bad_day, publisher, service):
    (bad_day.bus if service == "events" else bad_day.topic).extend([503] * 3)
    with pytest.raises(UnavailableError, match=service):
        await publisher.publish(EVENT)
    [other] = {"events", "sns"} - {service}
    assert (len(bad_day.ids(service)), len(bad_day.ids(other))) == (3, 1)
    received = publisher.on_topic if service == "events" else publisher.on_bus
    assert ids_of(received, 1) == ["j-1/completed"]


@pytest.mark.integration
async def test_a_final_event_is_insisted_on_and_a_step_less(bad_day, publisher):
    bad_day.bus.extend([["InternalFailure"], ["ThrottlingException"]])
    await publisher.publish(EVENT)
    assert len(bad_day.ids("events")) == 3
    bad_day.bus.extend([["InternalFailure"], ["InternalFailure"]])
    with pytest.raises(UnavailableError, match="InternalFailure"):
        await publisher.tell(STEPS[:1])
    assert len(bad_day.ids("events")) == 5


def test_the_clients_follow_the_endpoint_variable(emulator):
    assert boto3.client("sns").meta.endpoint_url == emulator
