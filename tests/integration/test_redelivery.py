"""Messages without a job id, on the real queue: each is a job of its own, and stays that job."""

import json

import boto3
import pytest

from tests.integration.conftest import Bot, running
from worker.bootstrap import build
from worker.domain.admission import admit

pytestmark = pytest.mark.integration


async def test_two_identical_texts_are_two_jobs(bot):
    body = {"user_message": "the same", "chat_id": bot.chat}
    jobs = [bot.send_raw(body), bot.send_raw(body)]
    first, second = [(await bot.result(job)).data for job in jobs]
    assert "message 1" in first.response
    assert "message 2" in second.response


async def test_a_message_that_sqs_itself_dead_lettered_keeps_its_job_when_it_comes_back(own):
    bot, sqs = Bot(own), boto3.client("sqs")
    arn = sqs.get_queue_attributes(QueueUrl=own["DLQ_URL"], AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1}
    sqs.set_queue_attributes(
        QueueUrl=own["QUEUE_URL"], Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    job = bot.send_raw({"user_message": "hello redrive", "chat_id": bot.chat})
    dead = build(own)
    message = await dead.inbox.receive(5, 120)
    claimed = admit(message, dead.ports.policy)
    await dead.ports.ledger.claim(claimed, "dead", dead.ports.clock.now() - 200, 120)
    await dead.inbox.extend(message, 0)
    assert await dead.inbox.receive(0, 120) is None  # moved, by the queue
    dead.aws.close()
    [letter] = sqs.receive_message(
        QueueUrl=own["DLQ_URL"], MessageSystemAttributeNames=["All"], WaitTimeSeconds=5
    )["Messages"]
    # As a redrive sends it back: a new message id, the deduplication id that it came with.
    sent = sqs.send_message(
        QueueUrl=own["QUEUE_URL"],
        MessageBody=letter["Body"],
        MessageGroupId=letter["Attributes"]["MessageGroupId"],
        MessageDeduplicationId=job.removeprefix("sqs-"),
    )
    assert sent["MessageId"] not in job
    async with running(own):
        data = (await bot.result(job)).data
    assert data.attempt == 2
    assert "message 1" in data.response
