import asyncio
import contextlib
import json
import os
import subprocess
import sys
import uuid
from typing import ClassVar

import boto3
import pytest

from contracts import Producer
from worker.bootstrap import build
from worker.entrypoints.host import Host

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def environ(resources, model, tmp_path_factory):
    """The whole environment of a worker, as a deployment would set it."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
    }
    return {
        **kept,
        **resources,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AUTH_MODE": "open",
        "ANTHROPIC_API_KEY": "dummy",
        "ANTHROPIC_BASE_URL": model.url,
        "AGENT_TOOLS": "Read,Write,Edit,Bash",
        "MODEL_MAX_RETRIES": "0",
        "POLL_SECONDS": "1",
        "WEBHOOK_ALLOW_LOOPBACK": "1",
        "WORK_DIR": str(tmp_path_factory.mktemp("host") / "work"),
        # Where tests have the agent's tools leave what they found.
        "AGENT_WRITABLE": str(tmp_path_factory.getbasetemp()),
    }


@pytest.fixture(scope="session")
def host(environ, tmp_path_factory):
    """`agent-worker run`, one for all tests that need nothing special of it; returns its log."""
    log = tmp_path_factory.mktemp("host") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "--concurrency", "4"],
            env={**environ, "MY_DATABASE_PASSWORD": "hunter2"},
            stdout=output,
            stderr=output,
        )
    yield log
    process.terminate()
    assert process.wait(60) == 0, log.read_text()


@pytest.fixture
def bot(environ, host):
    """A bot whose messages the shared host answers."""
    return Bot(environ)


@pytest.fixture
def own(environ, tmp_path):
    """An environment with queues of the test's own: only its own workers take its messages."""
    sqs = boto3.client("sqs")
    urls = {
        name: sqs.create_queue(
            QueueName=f"{name.lower()}-{uuid.uuid4().hex}.fifo".replace("_", "-"),
            Attributes={"FifoQueue": "true", "VisibilityTimeout": "900"},
        )["QueueUrl"]
        for name in ("QUEUE_URL", "DLQ_URL")
    }
    # Its hosts live for a second or two: a process that is started ahead would seldom be of use.
    yield {**environ, **urls, "WORK_DIR": str(tmp_path / "work"), "SPARE_AGENTS": "0"}
    for url in urls.values():
        sqs.delete_queue(QueueUrl=url)


class Bot:
    """A bot's side: sends, waits, and looks into the dead-letter queue."""

    letters: ClassVar = {}

    def __init__(self, environ):
        self.environ = environ
        self.producer = Producer.from_env(environ)
        self.chat = uuid.uuid4().hex
        self._sqs = boto3.client("sqs")

    def send(self, text, chat=None, **fields):
        return self.producer.enqueue(user_message=text, chat_id=chat or self.chat, **fields).job_id

    def send_raw(self, body, group=None, attributes=None):
        """As an existing producer does, with boto3 alone; returns the worker's job id."""
        answer = self._sqs.send_message(
            QueueUrl=self.environ["QUEUE_URL"],
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageGroupId=group or self.chat,
            MessageDeduplicationId=uuid.uuid4().hex,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": item}
                for name, item in (attributes or {}).items()
            },
        )
        return f"sqs-{answer['MessageId']}"

    async def result(self, job_id, seconds=60):
        return await asyncio.to_thread(self.producer.wait, job_id, seconds)

    async def ask(self, text, chat=None, **fields):
        return (await self.result(self.send(text, chat, **fields))).data

    async def dead_letter(self, job_id):
        """The dead letter of a job, once it is there."""
        return await until(lambda: self._dead_letters().get(job_id))

    def _dead_letters(self):
        """All that were ever read: reading takes them away, so that none hides another."""
        answer = self._sqs.receive_message(
            QueueUrl=self.environ["DLQ_URL"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        )
        for message in answer.get("Messages", []):
            letter = {n: a["StringValue"] for n, a in message["MessageAttributes"].items()}
            self.letters[letter["job_id"]] = {"body": message["Body"], **letter}
            self._sqs.delete_message(
                QueueUrl=self.environ["DLQ_URL"], ReceiptHandle=message["ReceiptHandle"]
            )
        return self.letters

    def record(self, job_id):
        """The job's row, as it is stored."""
        return boto3.client("dynamodb").get_item(
            TableName=self.environ["JOB_TABLE"], Key={"job_id": {"S": job_id}}
        )["Item"]

    def ended(self, job_id):
        """The codes with which the job's earlier attempts and slices have ended."""
        return [end["M"]["code"]["S"] for end in self.record(job_id)["history"]["L"]]

    def waiting(self):
        """Messages that the queue still holds, visible or in flight."""
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=self.environ["QUEUE_URL"], AttributeNames=["All"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(
            attributes["ApproximateNumberOfMessagesNotVisible"]
        )


@contextlib.asynccontextmanager
async def running(environ, concurrency=4, **changes):
    """A host in this process, drained at the end."""
    worker = build({**environ, **changes}, threads=concurrency * 3 + 8)
    host = Host(worker, concurrency)
    task = asyncio.create_task(host.run())
    try:
        yield worker
    finally:
        host.stop()
        await task
        worker.aws.close()


@contextlib.asynccontextmanager
async def worker_process(environ, log, *arguments, start=(), **changes):
    """`agent-worker run` as a process of its own; killed at the end if it still runs."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(start or ("-m", "worker")),
            "run",
            *arguments,
            env={**environ, **changes},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(condition, seconds=60, what="the condition"):
    """Wait for a condition, not for a time; the bound only ends a test that hangs."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found
