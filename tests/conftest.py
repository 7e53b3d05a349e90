"""Real parts, started once for the whole run: the emulator with the deployed resources, and the
scripted model. Nothing of this machine's own configuration is read."""

import os
from pathlib import Path

import hypothesis
import pytest

# No test depends on how fast this machine is just now.
hypothesis.settings.register_profile("steady", deadline=None)
hypothesis.settings.load_profile("steady")

ROOT = Path(__file__).parent.parent
EMULATOR_ENVIRONMENT = ROOT / ".agent-worker" / "ministack-env"

_FOREIGN = ("AWS_", "ANTHROPIC_", "BEDROCK_", "CLAUDE_", "SDK_CLIENT_", "AGENT_")


@pytest.fixture(scope="session", autouse=True)
def scratch_environment(tmp_path_factory):
    """The environment of the tests: no credentials, no home, no settings of who runs them."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(_FOREIGN) and name != "AWS_CA_BUNDLE":
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    os.environ |= {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    yield
    os.environ.clear()
    os.environ |= kept


@pytest.fixture(scope="session")
def emulator(scratch_environment, tmp_path_factory):
    """The AWS emulator's endpoint URL; AWS_ENDPOINT_URL points to it while it runs."""
    from worker.local.ministack import ministack

    state = tmp_path_factory.mktemp("ministack")
    with ministack(state, EMULATOR_ENVIRONMENT) as service:
        os.environ["AWS_ENDPOINT_URL"] = service.url
        yield service.url
        del os.environ["AWS_ENDPOINT_URL"]


@pytest.fixture(scope="session")
def resources(emulator):
    """The settings that name the resources, made from the file that is deployed."""
    from worker.local.environment_file import environment_name
    from worker.local.resources import ensure_stack

    outputs = ensure_stack(emulator, ROOT / "infra" / "resources.yml", {})
    return {environment_name(name): value for name, value in outputs.items()}


@pytest.fixture(scope="session")
def model():
    """The scripted model."""
    from worker.local.model import ScriptedModel

    with ScriptedModel() as server:
        yield server


class Inbox:
    """A queue that a test subscribed."""

    def __init__(self, url):
        import boto3

        self.url, self._sqs = url, boto3.client("sqs")

    def receive(self, seconds=20):
        """The next message; fails when there is none in time."""
        answer = self._sqs.receive_message(
            QueueUrl=self.url, WaitTimeSeconds=seconds, MessageAttributeNames=["All"]
        )
        [message] = answer.get("Messages", [])
        self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return message


@pytest.fixture
def subscriber(resources):
    """Makes queues that receive what is published: `topic()` and `bus()`."""
    import uuid

    import boto3

    sqs, sns, events = boto3.client("sqs"), boto3.client("sns"), boto3.client("events")
    undo = []

    def queue():
        url = sqs.create_queue(QueueName=f"subscriber-{uuid.uuid4().hex}")["QueueUrl"]
        undo.append(lambda: sqs.delete_queue(QueueUrl=url))
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, attributes["Attributes"]["QueueArn"]

    class Subscriber:
        def topic(self):
            url, arn = queue()
            subscription = sns.subscribe(
                TopicArn=resources["RESULT_TOPIC_ARN"],
                Protocol="sqs",
                Endpoint=arn,
                Attributes={"RawMessageDelivery": "true"},
                ReturnSubscriptionArn=True,
            )["SubscriptionArn"]
            undo.append(lambda: sns.unsubscribe(SubscriptionArn=subscription))
            return Inbox(url)

        def bus(self):
            url, arn = queue()
            rule = {"Name": f"all-{uuid.uuid4().hex}", "EventBusName": resources["EVENT_BUS_NAME"]}
            events.put_rule(**rule, EventPattern='{"source": ["agent-worker"]}')
            where = {"Rule": rule["Name"], "EventBusName": rule["EventBusName"]}
            events.put_targets(**where, Targets=[{"Id": "1", "Arn": arn}])
            undo.append(lambda: events.delete_rule(**rule))
            undo.append(lambda: events.remove_targets(**where, Ids=["1"]))
            return Inbox(url)

    yield Subscriber()
    for step in reversed(undo):
        step()
