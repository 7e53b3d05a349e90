"""One screen: what it says is what is there, and what is an estimate says so."""

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from rich.console import Console

from worker.entrypoints.cli.status_screen import screen
from worker.operations.status import CHEAP, DayCount, StatusBoard
from worker.settings import Resources

pytestmark = pytest.mark.integration

NOON = 1_900_000_000 // 86400 * 86400 + 43200.0
"""Of a day that no other test has jobs in."""


@pytest.fixture
def queues(resources):
    """A job queue and a dead-letter queue of the test's own."""
    sqs, urls = boto3.client("sqs"), {}
    for name in ("QUEUE_URL", "DLQ_URL"):
        urls[name] = sqs.create_queue(
            QueueName=f"status-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true"}
        )["QueueUrl"]
    yield {**resources, **urls}
    for url in urls.values():
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def board(aws, queues):
    return StatusBoard(aws, Resources.from_env(queues))


def send(url, group):
    boto3.client("sqs").send_message(
        QueueUrl=url, MessageBody="{}", MessageGroupId=group, MessageDeduplicationId=group
    )


def drawn(status):
    console = Console(width=80, record=True, file=None, force_terminal=False)
    with console.capture() as text:
        console.print(screen(status))
    return text.get()


async def test_the_screen_has_queues_running_jobs_results_failures_and_cost(
    board, queues, shift, now
):
    send(queues["QUEUE_URL"], "a")
    send(queues["QUEUE_URL"], "b")
    send(queues["DLQ_URL"], "c")
    start = NOON + 1000
    await shift.answer("done", start, cost=1.25)
    await shift.fail("f1", start + 10, code="agent_died")
    await shift.fail("f2", start + 20, code="agent_died")
    await shift.reject("r", start + 25)
    await shift.begin("busy", start + 30)
    status = await board.read(start + 60)
    assert (status.queue.waiting, status.dead.waiting) == (2, 1)
    mine = [item for item in status.held if item.job.chat == shift.key("busy")]
    assert [item.why for item in mine] == ["working"]
    assert status.today.outcomes == {"completed": 1, "failed": 2, "rejected": 1}
    assert status.today.cost_usd == pytest.approx(1.25)
    assert [(g.code, g.count, g.chats) for g in status.today.failures] == [
        ("agent_died", 2, 2),
        ("invalid_request", 1, 1),
    ]
    assert [job.record.state.value for job in status.last[:4]] == [
        *("rejected", "failed", "failed", "published")
    ]
    # Other tests' jobs run in the same tables, and the screen shows the longest running ones.
    text = drawn(replace(status, held=tuple(mine)))
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("~2 waiting", "~1  agent-worker dlq", "$1.25", "busy", "agent_died", "not known"):
        assert part in text


async def test_looking_takes_nothing_from_a_queue(board, queues, now):
    send(queues["QUEUE_URL"], "a")
    for _ in range(3):
        await board.read(now)
    [message] = boto3.client("sqs").receive_message(
        QueueUrl=queues["QUEUE_URL"], MessageSystemAttributeNames=["All"]
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


async def test_the_age_of_the_oldest_message_is_cloudwatch_s_and_says_as_of_when(
    board, queues, now
):
    name = queues["QUEUE_URL"].rpartition("/")[2]
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": name}],
                "Timestamp": datetime.fromtimestamp(now - 120, UTC),
                "Value": 45.0,
            }
        ],
    )
    status = await board.read(now)
    assert status.queue.oldest_seconds == 45.0
    assert "oldest ~45 s (as of" in drawn(status)


async def test_a_long_day_is_counted_once_and_then_only_what_came_since(aws, shift, queues):
    class Book:
        """An index of ended jobs that remembers what it was asked."""

        def __init__(self, hits):
            self.hits, self.asked = hits, []

        async def ended(self, since, until):
            self.asked.append(since)
            for hit in self.hits:
                if since <= hit.at <= until:
                    yield hit

    class Hit:
        def __init__(self, n, at):
            self.job_id, self.at = f"j{n}", at
            self.row = {"outcome": "completed", "cost_usd": 1, "session_key": "a/1"}

    midnight = NOON - 43200
    book = Book([Hit(n, midnight + n) for n in range(CHEAP + 10)])
    count = DayCount()
    first = await count.count(book, NOON)
    book.hits = [*book.hits, Hit("late", NOON)]
    second = await count.count(book, NOON + 10)
    assert second.cost_usd == first.cost_usd + 1
    assert book.asked[0] == midnight
    assert book.asked[1] > midnight + CHEAP / 2
    tomorrow = await count.count(book, NOON + 86400)
    assert tomorrow.outcomes == {}


async def test_webhooks_are_on_the_screen_when_they_are_configured(command, now):
    said = json.loads((await command("status", "--json", WEBHOOK_TABLE="")).stdout)
    assert said["webhooks"] is None
    said = json.loads((await command("status", "--json")).stdout)
    waiting = said["webhooks"]["approximate"]["dead_letters"]["waiting"]
    assert isinstance(waiting, int)  # other tests' letters, too
    assert {"running", "last", "today", "unpublished"} <= said.keys()


async def test_watch_prints_a_line_each_time_until_it_is_interrupted(command, resources):
    import os
    import signal
    import sys

    names = ("PATH", "HOME", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
    environ = {name: os.environ[name] for name in names} | resources
    environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "status", "--watch", "--json", "--every", "0.5"),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**22,
    )
    first = json.loads(await process.stdout.readline())
    second = json.loads(await process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert second["at"] > first["at"]
    assert b"Traceback" not in errors


async def test_what_cannot_be_reached_is_a_plain_error(command):
    done = await command("status", status=1, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "127.0.0.1:9" in done.stderr
