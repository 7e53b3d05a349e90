"""The real parts that all rows share: emulator, scripted model, the CLI's options, a subscriber."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import boto3
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

from tests.benchmarks.counting import counted
from worker.adapters.agent.process import FIXED_ENVIRONMENT
from worker.bootstrap import build
from worker.entrypoints.host import Host
from worker.local.environment_file import environment_name
from worker.local.ministack import ministack
from worker.local.resources import ensure_stack

ROOT = Path(__file__).parents[2]
PROJECT = "-tmp-workspace"
TOOLS = ("Read", "Write", "Edit", "Glob", "Grep")
FOREIGN = ("AWS_", "ANTHROPIC_", "BEDROCK_", "CLAUDE_", "SDK_CLIENT_", "AGENT_")


class Stage:
    """Started by `stage()`. `delayed` is the emulator's address behind the proxy."""

    def __init__(self, folder, emulator, model, resources, delayed, delay_ms):
        self.folder, self.emulator, self.model = folder, emulator, model
        self.resources, self.delayed, self.delay_ms = resources, delayed, delay_ms
        self.subscriber = Subscriber(resources)

    def environ(self, *, delayed=False, **changes):
        """A worker's whole environment."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "AWS_ENDPOINT_URL": self.delayed if delayed else self.emulator,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "POWERTOOLS_TRACE_DISABLED": "true",
            **self.resources,
            "AUTH_MODE": "open",
            "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": self.model,
            "AGENT_TOOLS": ",".join(TOOLS),
            "MODEL_MAX_RETRIES": "0",
            "POLL_SECONDS": "20",
            "LOG_LEVEL": "WARNING",
            "WORK_DIR": str(self.folder / f"work-{uuid.uuid4().hex[:8]}"),
            # But for the row that is about them, so that none is started beside a measured turn.
            "SPARE_AGENTS": "0",
            **changes,
        }

    def client(self, service, *, delayed=False):
        return boto3.client(service, endpoint_url=self.delayed if delayed else self.emulator)

    def options(self, **changes):
        """Options of the bare SDK that ask the CLI for what a turn of ours asks."""
        directory = Path(tempfile.mkdtemp(dir=self.folder))
        for part in ("workspace", "home", "tmp", "config"):
            (directory / part).mkdir()
        environment = {
            **FIXED_ENVIRONMENT,
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "CLAUDE_CODE_TMPDIR": str(directory / "tmp"),
            "CLAUDE_CONFIG_DIR": str(directory / "config"),
            "CLAUDE_CODE_PROJECT_DIR_NAME": PROJECT,
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": self.model,
        }
        given = {
            "model": "sonnet",
            "system_prompt": "You are a helpful assistant in a chat.",
            "tools": [*TOOLS],
            "allowed_tools": [*TOOLS],
            "permission_mode": "dontAsk",
            "max_turns": 50,
            "max_budget_usd": 5.0,
            "strict_mcp_config": True,
            "setting_sources": [],
            "cwd": directory / "workspace",
            "env": environment,
        }
        return ClaudeAgentOptions(**given | changes)

    def transcript_path(self, options, session_id):
        folder = Path(options.env["CLAUDE_CONFIG_DIR"]) / "projects" / PROJECT
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{session_id}.jsonl"

    def send(self, text, chat):
        """Returns the job id and when it was sent."""
        job_id = f"j-{uuid.uuid4().hex}"
        body = {"user_message": text, "chat_id": chat, "job_id": job_id}
        sqs, begun = self.subscriber.sqs, time.perf_counter()
        sqs.send_message(
            QueueUrl=self.resources["QUEUE_URL"],
            MessageBody=json.dumps(body),
            MessageGroupId=chat,
            MessageDeduplicationId=job_id,
        )
        return job_id, begun

    async def ask(self, text, chat):
        """Seconds from the sending of a message to the receipt of its result event."""
        job_id, begun = await asyncio.to_thread(self.send, text, chat)
        return await self.subscriber.arrival(job_id) - begun


class Subscriber:
    """A queue that the result topic feeds, read as fast as messages come, in its own thread."""

    def __init__(self, resources):
        self.sqs = boto3.client("sqs")
        self.url = self.sqs.create_queue(QueueName="bench-results")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        boto3.client("sns").subscribe(
            TopicArn=resources["RESULT_TOPIC_ARN"],
            Protocol="sqs",
            Endpoint=arn["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        self._arrived = {}
        self.stopped = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        sqs = boto3.client("sqs")
        while not self.stopped:
            answer = sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            now = time.perf_counter()
            for message in answer.get("Messages", []):
                event = json.loads(message["Body"])
                if event["type"].rpartition(".")[2] in {"completed", "failed", "rejected"}:
                    failed = event["type"] != "agent.job.completed" or event["data"]["is_error"]
                    self._arrived[event["data"]["job_id"]] = (now, event if failed else None)
                sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    async def arrival(self, job_id):
        async with asyncio.timeout(120):
            while job_id not in self._arrived:
                await asyncio.sleep(0.0005)
        at, failed = self._arrived.pop(job_id)
        assert failed is None, failed
        return at

    def stop(self):
        self.stopped = True
        self._thread.join()


@contextlib.contextmanager
def stage(folder, delay_ms):
    """All parts, until the end of the block. Nothing of this machine's configuration is read."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(folder),
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    with (
        ministack(folder / "ministack", ROOT / ".agent-worker" / "ministack-env") as service,
        helper("worker.local.model") as told,
        helper("tests.benchmarks.proxy", service.url.rpartition(":")[2], str(delay_ms)) as port,
    ):
        os.environ["AWS_ENDPOINT_URL"] = service.url
        outputs = ensure_stack(service.url, ROOT / "infra" / "resources.yml", {})
        resources = {environment_name(name): value for name, value in outputs.items()}
        delayed = f"http://127.0.0.1:{port.strip()}"
        set_up = Stage(folder, service.url, json.loads(told)["url"], resources, delayed, delay_ms)
        try:
            yield set_up
        finally:
            set_up.subscriber.stop()


@contextlib.contextmanager
def helper(module, *arguments):
    """A process of its own, and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.asynccontextmanager
async def our_host(stage, concurrency=1, *, delayed=False, **changes):
    """A host in this process, and the AWS requests that it sends: (service, operation) to count."""
    environ = stage.environ(delayed=delayed, **changes)
    before = os.environ["AWS_ENDPOINT_URL"]
    os.environ["AWS_ENDPOINT_URL"] = environ["AWS_ENDPOINT_URL"]
    worker = build(environ, threads=concurrency * 3 + 8)
    counts = counted(worker.aws.clients.session._boto)
    counts.checkouts = worker.checkouts
    host = Host(worker, concurrency)
    task = asyncio.create_task(host.run())
    try:
        yield counts
    finally:
        host.stop()
        await task
        worker.aws.close()
        os.environ["AWS_ENDPOINT_URL"] = before


@contextlib.asynccontextmanager
async def host_process(stage, concurrency, **changes):
    """`agent-worker run` as it is used: a process of its own, here for jobs alone."""
    environ = stage.environ(**changes)
    jobs_only = {n: item for n, item in environ.items() if not n.startswith("WEBHOOK_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "run", "--concurrency", str(concurrency)),
        env=jobs_only,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def answer(client, text):
    """One turn of a connected client: seconds to its result."""
    begun = time.perf_counter()
    await client.query(text)
    async for message in client.receive_response():
        if isinstance(message, ResultMessage):
            assert not message.is_error, message
    return time.perf_counter() - begun


async def cold_turn(options, text):
    """A turn on a process of its own, as `query()` runs it: seconds from start to result."""
    begun = time.perf_counter()
    client = ClaudeSDKClient(options)
    await client.connect()
    try:
        await answer(client, text)
        return time.perf_counter() - begun
    finally:
        await client.disconnect()
