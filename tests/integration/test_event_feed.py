"""A bot's side of the events, on real queues: what it is shown when events are late, doubled,
lost, or somebody else's."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime

import boto3
import pytest

import contracts.feed
import contracts.following
from contracts import (
    FeedClosed,
    InvalidConfiguration,
    JobCompleted,
    JobCompletedEvent,
    JobProgress,
    JobProgressEvent,
    Producer,
    ResultTimeout,
)
from contracts.aio import AsyncProducer
from contracts.temporary_queue import NAME_PREFIX

pytestmark = pytest.mark.integration

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Stage:
    """Says what a worker would say."""

    def __init__(self, resources):
        self.topic = resources["RESULT_TOPIC_ARN"]
        self.table = resources["JOB_TABLE"]
        self.environ = {**os.environ, **resources}
        self.sqs, self._sns = boto3.client("sqs"), boto3.client("sns")

    def publish(self, *events):
        for event in events:
            self._sns.publish(TopicArn=self.topic, Message=event.to_json())

    def record(self, event, state="published"):
        boto3.client("dynamodb").put_item(
            TableName=self.table,
            Item={
                "job_id": {"S": event.subject},
                "state": {"S": state},
                "event": {"S": event.to_json()},
            },
        )

    def temporary_queues(self):
        return self.sqs.list_queues(QueueNamePrefix=NAME_PREFIX).get("QueueUrls", [])

    @contextmanager
    def queue(self):
        """A queue that a bot has made for itself."""
        url = self.sqs.create_queue(QueueName=f"bot-{uuid.uuid4().hex}")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        subscription = self._sns.subscribe(
            TopicArn=self.topic,
            Protocol="sqs",
            Endpoint=arn["Attributes"]["QueueArn"],
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        yield url
        self._sns.unsubscribe(SubscriptionArn=subscription)
        with contextlib.suppress(self.sqs.exceptions.QueueDoesNotExist):
            self.sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def stage(resources):
    """With a queue of its own: no worker of other tests takes its jobs."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(
        QueueName=f"stage-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true"}
    )["QueueUrl"]
    yield Stage({**resources, "QUEUE_URL": url})
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """What waits for seconds waits for less, so that the tests do."""
    monkeypatch.setattr(contracts.feed, "POLL_SECONDS", 1)
    monkeypatch.setattr(contracts.following, "SILENCE_SECONDS", 0.5)


@pytest.fixture
def producer(stage):
    with Producer.from_env(stage.environ) as producer:
        yield producer


@pytest.fixture
def job(producer):
    """A job that the producer has sent; no worker takes it."""
    return send(producer)


def send(producer):
    chat = uuid.uuid4().hex
    return producer.enqueue(user_message="hi", chat_id=chat, job_id=f"j-{chat}").job_id


def progress(job, number):
    data = JobProgress(
        job_id=job,
        tenant_id="default",
        chat_id="1",
        attempt=1,
        kind="tool",
        tool="Bash",
        num_turns=1,
        tool_calls=number,
        elapsed_ms=0,
    )
    return JobProgressEvent.of(data, time=NOON, number=number)


def completed(job):
    data = JobCompleted(
        job_id=job,
        tenant_id="default",
        chat_id="1",
        response="done",
        session_id="s",
        session_status="new",
        model="sonnet",
        attempt=1,
    )
    return JobCompletedEvent.of(data, time=NOON)


def test_a_stream_shows_what_has_happened_since_the_job_was_sent(stage, producer, job):
    events = [progress(job, 1), progress(job, 2), completed(job)]
    stage.publish(*events)
    assert list(producer.stream(job, timeout=30)) == events


def test_events_that_come_twice_and_out_of_order_are_shown_once_and_in_order(stage, producer, job):
    one, two, three = (progress(job, number) for number in (1, 2, 3))
    stage.publish(two, two, one, three, one)
    stream = producer.stream(job, timeout=30)
    assert [next(stream) for _ in range(3)] == [one, two, three]
    stage.publish(completed(job), completed(job))
    assert list(stream) == [completed(job)]


def test_a_result_that_no_event_told_is_found_in_the_job_table(stage, producer, job):
    stage.publish(progress(job, 1))
    stage.record(completed(job))
    assert list(producer.stream(job, timeout=30)) == [progress(job, 1), completed(job)]


def test_a_job_of_an_earlier_life_of_the_bot_is_found_at_once(stage, producer):
    job = uuid.uuid4().hex
    stage.record(completed(job))
    assert list(producer.stream(job, timeout=0)) == [completed(job)]


def test_a_job_without_a_result_is_given_up_in_time(producer, job):
    with pytest.raises(ResultTimeout, match=r"no result after 0\.1 s"):
        list(producer.stream(job, timeout=0.1))


def test_many_jobs_are_followed_through_one_queue(stage, producer):
    before = set(stage.temporary_queues())
    jobs = [send(producer) for _ in range(20)]
    shown = {}

    def follow(job):
        shown[job] = list(producer.stream(job, timeout=60))

    threads = [threading.Thread(target=follow, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for number in (1, 2):
        stage.publish(*(progress(job, number) for job in jobs))
    stage.publish(*map(completed, jobs))
    for thread in threads:
        thread.join(60)
    assert shown == {job: [progress(job, 1), progress(job, 2), completed(job)] for job in jobs}
    assert set(stage.temporary_queues()) == before


def test_two_readers_of_one_job_are_both_shown_its_events(stage, producer, job):
    first, second = producer.stream(job, timeout=30), producer.stream(job, timeout=30)
    stage.publish(progress(job, 1))
    assert next(first) == progress(job, 1)
    started = threading.Thread(target=lambda: shown.extend(second))
    shown = []
    started.start()
    stage.publish(progress(job, 2), completed(job))
    started.join(30)
    assert list(first) == [progress(job, 2), completed(job)]
    assert shown[-1] == completed(job)


def test_processes_with_queues_of_their_own_take_nothing_from_each_other(stage, producer, job):
    with stage.queue() as url, Producer.from_env({**stage.environ, "BOT_QUEUE_URL": url}) as other:
        others = send(other)
        for each in (job, others):
            stage.publish(progress(each, 1), completed(each))
        assert list(producer.stream(job, timeout=30)) == [progress(job, 1), completed(job)]
        assert list(other.stream(others, timeout=30)) == [progress(others, 1), completed(others)]


def test_processes_that_share_a_queue_miss_progress_and_no_result(stage):
    with (
        stage.queue() as url,
        Producer.from_env({**stage.environ, "BOT_QUEUE_URL": url}) as one,
        Producer.from_env({**stage.environ, "BOT_QUEUE_URL": url}) as other,
    ):
        jobs = [(producer, send(producer)) for producer in (one, other) for _ in range(4)]
        for _, job in jobs:
            stage.record(completed(job))
            stage.publish(progress(job, 1), completed(job))
        for producer, job in jobs:
            assert list(producer.stream(job, timeout=30))[-1] == completed(job)


def test_a_queue_that_is_gone_hides_no_result(stage, caplog):
    with stage.queue() as url, Producer.from_env({**stage.environ, "BOT_QUEUE_URL": url}) as bot:
        job = send(bot)
        stage.sqs.delete_queue(QueueUrl=url)
        stage.record(completed(job))
        assert list(bot.stream(job, timeout=30)) == [completed(job)]


def test_closing_ends_who_waits_and_removes_the_temporary_queue(stage):
    bot = Producer.from_env(stage.environ)
    job = send(bot)
    feed = bot.listen()
    errors = []

    def follow():
        try:
            list(bot.stream(job, timeout=60))
        except FeedClosed as exc:
            errors.append(exc)

    thread = threading.Thread(target=follow)
    thread.start()
    while feed._expected:  # until the stream has taken the job's mailbox
        time.sleep(0.01)
    assert feed.queue_url in stage.temporary_queues()
    bot.close()
    thread.join(30)
    assert [error.job_id for error in errors] == [job]
    assert feed.queue_url not in stage.temporary_queues()
    bot.close()  # again changes nothing


BOT = """
import os, signal, sys
from contracts import Producer

{handler}
producer = Producer.from_env(os.environ)
print(producer.listen().queue_url, flush=True)
for event in producer.stream("nobody", timeout=60):
    pass
"""
HANDLER = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bot_that_is_told_to_end_leaves_no_queue(stage, number):
    process = subprocess.Popen(
        [sys.executable, "-c", BOT.format(handler=HANDLER)],
        env=stage.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    url = process.stdout.readline().strip()
    assert url in stage.temporary_queues()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Exception ignored" not in errors
    assert url not in stage.temporary_queues()


def test_events_need_a_place_to_be_heard(stage):
    environ = {**stage.environ, "RESULT_TOPIC_ARN": ""}
    with (
        Producer.from_env(environ) as bot,
        pytest.raises(InvalidConfiguration, match="neither BOT_QUEUE_URL nor RESULT_TOPIC_ARN"),
    ):
        next(bot.stream("j-1"))


async def test_an_asyncio_bot_follows_more_jobs_than_it_has_threads(stage):
    async with AsyncProducer.from_env(stage.environ) as bot:
        chats = [uuid.uuid4().hex for _ in range(60)]
        jobs = [(await bot.enqueue(user_message="hi", chat_id=chat)).job_id for chat in chats]

        async def follow(job):
            return [event async for event in bot.stream(job, timeout=60)]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(follow(job)) for job in jobs]
            for job in jobs:
                await asyncio.to_thread(stage.publish, progress(job, 1), completed(job))
    assert [task.result() for task in tasks] == [[progress(job, 1), completed(job)] for job in jobs]


async def test_an_asyncio_bot_finds_what_was_lost_and_gives_up_like_a_blocking_one(stage):
    async with AsyncProducer.from_env(stage.environ) as bot:
        sent = await bot.enqueue(user_message="hi", chat_id=uuid.uuid4().hex)
        with pytest.raises(ResultTimeout):
            await bot.wait(sent.job_id, timeout=0)
        with pytest.raises(ResultTimeout):
            _ = [event async for event in bot.stream(sent.job_id, timeout=0)]
        task = asyncio.create_task(anext(bot.stream(sent.job_id, timeout=60)))
        stage.record(completed(sent.job_id))
        assert await task == completed(sent.job_id)
        assert await bot.wait(sent.job_id) == completed(sent.job_id)


async def test_a_cancelled_asyncio_reader_leaves_no_mailbox(stage):
    producer = Producer.from_env(stage.environ)
    async with AsyncProducer(producer) as bot:
        sent = await bot.enqueue(user_message="hi", chat_id=uuid.uuid4().hex)
        stream = bot.stream(sent.job_id, timeout=60)
        async with contextlib.aclosing(stream):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.05)
        assert not producer.listen()._mailboxes
