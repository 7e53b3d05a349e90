"""Cancelling, with the real CLI: a tool that runs, and a message that waits."""

import asyncio
import json
import time

import boto3
import pytest

from tests.integration.conftest import Bot, running, until

pytestmark = pytest.mark.integration


async def test_a_running_tool_is_stopped_and_the_chat_goes_on_and_knows(bot, model, tmp_path):
    begun, done = tmp_path / "begun", tmp_path / "done"
    await bot.ask("my name is Ada")
    job = bot.send(f"steps: run touch {begun}; sleep 300; touch {done}", metadata={"user": 7})
    await until(begun.exists)
    asked = time.monotonic()
    bot.producer.cancel(job, "ada")
    event = await bot.result(job)
    assert time.monotonic() - asked < 60  # not the tool's 300 seconds
    assert event.type == "agent.job.cancelled"
    assert (event.data.started, event.data.cancelled_by) == (True, "ada")
    assert event.data.metadata == {"user": 7}
    assert event.data.cost_usd > 0
    answer = await bot.ask("what is my name")
    assert "Ada" in answer.response
    assert answer.session_id == event.data.session_id
    assert "message 4 of our conversation" in (await bot.ask("hello options")).response
    told = json.dumps(model.asked("hello options")[0]["messages"])
    assert "interrupted by user" in told
    assert told.count(str(begun)) == 2  # the prompt, and the call that it led to
    assert not done.exists()


async def test_what_is_cancelled_before_it_began_is_skipped(own):
    bot = Bot(own)
    first, second = bot.send("one"), bot.send("two")
    bot.producer.cancel(first)
    async with running(own) as worker:
        event = await bot.result(first)
        answer = await bot.result(second)
        await until(lambda: bot.waiting() == 0)
    assert event.type == "agent.job.cancelled"
    assert not event.data.started
    assert "'two'" in answer.data.response
    assert answer.data.session_status == "new"
    assert worker is not None


async def test_a_cancelled_event_reaches_topic_and_bus_and_its_message_is_gone(own, subscriber):
    on_topic = subscriber.topic()
    bot = Bot(own)
    job = bot.send("one")
    bot.producer.cancel(job, "ada")
    async with running(own):
        message = await asyncio.to_thread(on_topic.receive)
        await until(lambda: bot.waiting() == 0)
    attributes = {n: a["StringValue"] for n, a in message["MessageAttributes"].items()}
    assert (attributes["type"], attributes["status"]) == ("agent.job.cancelled", "cancelled")
    dead = boto3.client("sqs").get_queue_attributes(
        QueueUrl=own["DLQ_URL"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert dead["Attributes"]["ApproximateNumberOfMessages"] == "0"
