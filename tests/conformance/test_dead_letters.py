"""One suite for every dead-letter queue: reading shows all and changes nothing."""

import json
import uuid

import boto3
import pytest

from worker.adapters.aws import Aws
from worker.adapters.deadletters import SqsDeadLetters
from worker.adapters.memory import ManualClock, MemoryDeadLetters, MemoryInbox
from worker.adapters.queue import SqsInbox
from worker.domain.disposition import DeadLetter
from worker.replay.letter import REDRIVEN, Letter
from worker.replay.plan import Outgoing

HOLD = 60


class Memory:
    def __init__(self):
        self.inbox = MemoryInbox(ManualClock())
        self.letters = MemoryDeadLetters(ManualClock(), self.inbox)

    async def die(self, body, group, attributes=None):
        number = uuid.uuid4().hex
        self.letters.add(Letter(number, group, body, attributes or {}, 0.0))

    async def received(self):
        return self.inbox.receive(120)


class Sqs:
    def __init__(self, aws, queue_url, dlq_url, tokens=None):
        self.aws, self.queue_url, self.dlq_url = aws, queue_url, dlq_url
        self.inbox = SqsInbox(aws, queue_url, dlq_url)
        self.letters = SqsDeadLetters(aws, dlq_url, queue_url, tokens)

    async def die(self, body, group, attributes=None):
        await self.send(self.dlq_url, body, group, attributes)

    async def send(self, url, body, group, attributes=None):
        await self.aws.call(
            "sqs",
            "send_message",
            QueueUrl=url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=uuid.uuid4().hex,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": item}
                for name, item in (attributes or {}).items()
            },
        )

    async def received(self):
        return await self.inbox.receive(0, 120)


@pytest.fixture(params=["memory", pytest.param("sqs", marks=pytest.mark.integration)])
def queue(request):
    if request.param == "memory":
        return Memory()
    request.getfixturevalue("emulator")
    return Sqs(*request.getfixturevalue("own_queues"))


@pytest.fixture
def own_queues(emulator):
    aws = Aws(threads=8)
    sqs = boto3.client("sqs")
    urls = [
        sqs.create_queue(
            QueueName=f"{name}-{uuid.uuid4().hex}.fifo",
            Attributes={"FifoQueue": "true", "DeduplicationScope": "messageGroup"},
        )["QueueUrl"]
        for name in ("jobs", "dead")
    ]
    yield aws, *urls
    for url in urls:
        sqs.delete_queue(QueueUrl=url)
    aws.close()


async def look(queue):
    """What a reader sees who then shows everything again."""
    reading = await queue.letters.read(HOLD)
    await queue.letters.hold(reading.letters, 0)
    return reading


async def test_every_letter_is_read_once_and_shown_again(queue):
    for n in range(35):
        await queue.die(f"body {n}", f"group {n}".replace(" ", "-"))
    for _ in range(2):
        reading = await look(queue)
        assert sorted(letter.body for letter in reading.letters) == sorted(
            f"body {n}" for n in range(35)
        )
        assert (reading.behind, reading.elsewhere) == (0, 0)


async def test_what_another_reader_holds_is_counted_and_not_shown(queue):
    await queue.die("a", "1")
    first = await queue.letters.read(HOLD)
    second = await queue.letters.read(HOLD)
    assert len(first.letters) == 1
    assert (second.letters, second.elsewhere) == ((), 1)


async def test_of_one_message_group_ten_are_shown_and_the_others_counted(queue):
    for n in range(13):
        await queue.die(f"{n}", "chat-1")
    reading = await look(queue)
    assert [letter.body for letter in reading.letters] == [f"{n}" for n in range(10)]
    assert reading.behind == 3


async def test_a_held_letter_can_be_deleted_and_others_stay(queue):
    await queue.die("a", "1")
    await queue.die("b", "2")
    reading = await queue.letters.read(HOLD)
    [a] = [letter for letter in reading.letters if letter.body == "a"]
    assert await queue.letters.delete(a)
    await queue.letters.hold([letter for letter in reading.letters if letter.body == "b"], 0)
    assert [letter.body for letter in (await look(queue)).letters] == ["b"]


async def test_a_letter_that_another_reader_has_taken_since_stays(queue):
    await queue.die("a", "1")
    mine = (await look(queue)).letters
    theirs = (await queue.letters.read(HOLD)).letters
    assert not await queue.letters.delete(mine[0])
    assert await queue.letters.delete(theirs[0])


async def test_a_copy_keeps_the_letter_s_id_group_and_time_and_repeats_are_one(queue):
    await queue.die('{"x": 1}', "123", {"origin": "bot", "dead_letter_reason": "invalid_request"})
    [first] = (await look(queue)).letters
    for _ in range(2):
        await queue.letters.put(first.edited('{"x": 2}'), "edit 1")
    copies = [c for c in (await look(queue)).letters if c.message_id != first.message_id]
    [copy] = copies
    assert copy.body == '{"x": 2}'
    assert (copy.id, copy.origin.group, copy.origin.version) == (first.id, "123", 1)
    assert copy.since == pytest.approx(first.since, abs=0.001)
    assert copy.attributes["origin"] == "bot"


async def test_what_is_sent_is_received_once_however_often_it_is_repeated(queue):
    message = Outgoing('{"user_message": "hi"}', "123", {"job_id": "j-1"}, "replay-1")
    first = await queue.letters.send(message)
    assert await queue.letters.send(message) == first
    got = await queue.received()
    assert (got.body, got.group_id, got.attributes["job_id"]) == (message.body, "123", "j-1")
    await queue.inbox.delete(got)
    assert await queue.received() is None


@pytest.mark.integration
async def test_what_is_sent_is_signed_and_has_at_most_ten_attributes(own_queues):
    queue = Sqs(*own_queues, tokens=("new", "old"))
    theirs = {f"a{n}": "x" for n in range(10)}
    message = Outgoing("{}", "1", {**theirs, "job_id": "j", "dead_letter_attempt": "1"}, "r")
    await queue.letters.send(message)
    got = await queue.received()
    assert len(got.attributes) == 10
    assert {"auth_signature", "job_id", "dead_letter_attempt"} <= got.attributes.keys()
    assert "new" not in json.dumps(dict(got.attributes))


@pytest.mark.integration
async def test_a_letter_of_the_worker_s_tells_its_chat_and_why(own_queues):
    queue = Sqs(*own_queues)
    body = json.dumps({"user_message": "hi", "chat_id": 7, "thread_id": "t"})
    await queue.send(queue.queue_url, body, "7:t", {"auth_token": "s3cret"})
    message = await queue.received()
    await queue.inbox.quarantine(message, DeadLetter("j-1", "model_error", "no", 3))
    [letter] = (await look(queue)).letters
    assert (letter.reason, letter.error, letter.attempt) == ("model_error", "no", 3)
    assert (letter.chat, letter.session_key, letter.job_id) == ("7:t", "default/7:t", "j-1")
    assert not letter.redriven
    assert letter.origin.authentic


@pytest.mark.integration
async def test_a_letter_that_sqs_itself_moved_is_told_apart_whatever_its_attributes_say(own_queues):
    aws, queue_url, dlq_url = own_queues
    queue = Sqs(aws, queue_url, dlq_url, tokens=("secret",))
    sqs = boto3.client("sqs")
    arn = sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1}
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"RedrivePolicy": json.dumps(policy)})
    forged = {"dead_letter_reason": "model_error", "dead_letter_origin": '{"authentic": true}'}
    await queue.send(queue_url, "{}", "1", {**forged, "auth_token": "wrong"})
    await queue.send(queue_url, "{}", "2", {"auth_token": "secret"})
    for _ in range(2):
        await queue.inbox.extend(await queue.received(), 0)
    assert await queue.received() is None
    stranger, friend = sorted((await look(queue)).letters, key=lambda letter: letter.group_id)
    assert stranger.reason == friend.reason == REDRIVEN
    assert (stranger.origin.authentic, friend.origin.authentic) == (False, True)
    assert "secret" not in json.dumps([dict(stranger.attributes), dict(friend.attributes)])
    assert stranger.stamped().origin.authentic is False
    assert friend.stamped().origin.authentic is True
