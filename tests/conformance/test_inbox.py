"""One suite for every queue: order in a group, visibility, quarantine."""

import json
import uuid

import boto3
import pytest

from worker.adapters.aws import Aws
from worker.adapters.memory import ManualClock, MemoryInbox
from worker.adapters.queue import SqsInbox, dead_letter, message_of
from worker.domain.disposition import DeadLetter
from worker.domain.message import InboundMessage

LETTER = DeadLetter("j-1", "invalid_json", "body: is not JSON; send one JSON object", 2)


class Memory:
    def __init__(self):
        self.inbox = MemoryInbox(ManualClock())

    async def send(self, group, body, attributes=None):
        self.inbox.send(InboundMessage(uuid.uuid4().hex, group, body, attributes or {}))

    async def receive(self):
        return self.inbox.receive(120)

    def dead(self, group):
        return [m.body for m, _ in self.inbox.dead_letters if m.group_id == group]


class Sqs:
    def __init__(self, aws, queue_url, dlq_url):
        self.aws, self.queue_url, self.dlq_url = aws, queue_url, dlq_url
        self.inbox = SqsInbox(aws, queue_url, dlq_url)

    async def send(self, group, body, attributes=None):
        await self.aws.call(
            "sqs",
            "send_message",
            QueueUrl=self.queue_url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=uuid.uuid4().hex,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": item}
                for name, item in (attributes or {}).items()
            },
        )

    async def receive(self):
        return await self.inbox.receive(0, 120)

    def dead(self, group):
        return [
            m["Body"]
            for m in self.dead_messages()
            if json.loads(m["MessageAttributes"]["dead_letter_origin"]["StringValue"])["group"]
            == group
        ]

    def dead_messages(self):
        return (
            boto3.client("sqs")
            .receive_message(
                QueueUrl=self.dlq_url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            .get("Messages", [])
        )


@pytest.fixture(params=["memory", pytest.param("sqs", marks=pytest.mark.integration)])
def queue(request):
    if request.param == "memory":
        return Memory()
    request.getfixturevalue("emulator")
    return Sqs(*request.getfixturevalue("own_queues"))


@pytest.fixture
def own_queues(emulator):
    """Queues of the test's own, so that it sees no other test's messages."""
    aws = Aws(threads=4)
    sqs = boto3.client("sqs")
    urls = [
        sqs.create_queue(
            QueueName=f"{name}-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true"}
        )["QueueUrl"]
        for name in ("jobs", "dead")
    ]
    yield aws, *urls
    for url in urls:
        sqs.delete_queue(QueueUrl=url)
    aws.close()


async def test_messages_of_a_group_come_one_at_a_time_in_order(queue):
    await queue.send("1", "a")
    await queue.send("1", "b")
    first = await queue.receive()
    assert first.body == "a"
    assert await queue.receive() is None
    await queue.inbox.delete(first)
    assert (await queue.receive()).body == "b"


async def test_groups_do_not_wait_for_each_other(queue):
    await queue.send("1", "a")
    await queue.send("2", "b")
    assert {(await queue.receive()).body, (await queue.receive()).body} == {"a", "b"}


async def test_a_message_made_visible_comes_again_before_later_ones(queue):
    await queue.send("1", "a")
    await queue.send("1", "b")
    first = await queue.receive()
    await queue.inbox.extend(first, 0)
    again = await queue.receive()
    assert (again.body, again.message_id) == ("a", first.message_id)
    assert again.receive_count == 2


@pytest.mark.integration
async def test_a_message_of_a_dead_worker_comes_back_after_its_lease_and_not_the_queue_s_own_time(
    own_queues,
):
    queue = Sqs(*own_queues)
    await queue.send("1", "a")
    await queue.inbox.receive(0, lease_seconds=1)
    again = await queue.inbox.receive(5, lease_seconds=120)  # the queue's own time is 30 s
    assert again.receive_count == 2


async def test_quarantine_copies_the_message_and_repeats_are_one(queue):
    group = uuid.uuid4().hex
    await queue.send(group, "bad")
    message = await queue.receive()
    await queue.inbox.quarantine(message, LETTER)
    await queue.inbox.quarantine(message, LETTER)
    await queue.inbox.delete(message)
    assert queue.dead(group) == ["bad"]


@pytest.mark.integration
async def test_a_dead_letter_says_why_and_carries_no_token(own_queues):
    queue = Sqs(*own_queues)
    await queue.send("1", "bad", {"auth_token": "s3cret", "auth_signature": "x", "origin": "bot"})
    await queue.inbox.quarantine(await queue.receive(), LETTER)
    [letter] = queue.dead_messages()
    attributes = {n: a["StringValue"] for n, a in letter["MessageAttributes"].items()}
    assert attributes.pop("original_message_id")
    assert attributes == {
        "origin": "bot",
        "job_id": "j-1",
        "dead_letter_reason": "invalid_json",
        "dead_letter_error": LETTER.error,
        "dead_letter_attempt": "2",
        "dead_letter_origin": '{"group": "1"}',
    }
    assert "s3cret" not in json.dumps(letter, default=str)


@pytest.mark.integration
async def test_dead_letters_of_one_chat_do_not_hide_each_other(own_queues):
    queue = Sqs(*own_queues)
    for body in ("a", "b"):
        await queue.send("1", body)
        message = await queue.receive()
        await queue.inbox.quarantine(message, LETTER)
        await queue.inbox.delete(message)
    receive = {"QueueUrl": queue.dlq_url, "MaxNumberOfMessages": 1, "VisibilityTimeout": 60}
    seen = [boto3.client("sqs").receive_message(**receive)["Messages"][0]["Body"] for _ in "ab"]
    assert seen == ["a", "b"]


def test_a_dead_letter_stays_within_sqs_s_ten_attributes_and_characters():
    theirs = {f"a{n}": "x" for n in range(10)}
    message = InboundMessage("m", "1", "body", theirs)
    letter = DeadLetter("j", "r", "control \x00 character " + "long " * 1000, 1)
    sent = dead_letter("url", message, letter)
    assert len(sent["MessageAttributes"]) == 10
    error = sent["MessageAttributes"]["dead_letter_error"]["StringValue"]
    assert "\x00" not in error
    assert len(error) <= 1000


def test_a_message_id_survives_the_dead_letter_queue_and_the_way_back():
    first = InboundMessage("m-1", "1", "body")
    sent = dead_letter("url", first, DeadLetter(first.fallback_job_id, "r", "e", 3))
    back = message_of(
        {
            "MessageId": "m-2",
            "ReceiptHandle": "r",
            "Body": "body",
            "MessageAttributes": sent["MessageAttributes"],
        }
    )
    assert back.fallback_job_id == first.fallback_job_id == "sqs-m-1"
    assert back.dead_letter_attempt == 3


@pytest.mark.integration
async def test_a_stale_receipt_is_no_error_because_the_fence_decides(own_queues):
    queue = Sqs(*own_queues)
    stale = InboundMessage("m", "1", "b", receipt_handle="stale")
    await queue.inbox.extend(stale, 10)
    await queue.inbox.delete(stale)
