"""What the worker is compared with: two common ways to put the SDK behind a queue.

`handmade`: the session's file is downloaded, a cold query runs, the file is uploaded.
`reference store`: the scheme of the S3 session store among the SDK's examples (claude-agent-sdk,
examples/session_stores): each append is an object, `load` lists and reads them all. Written anew
here, after its description; not a part of the worker.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable

import boto3
from claude_agent_sdk import ClaudeSDKClient

from tests.benchmarks.counting import counted
from tests.benchmarks.history import as_lines
from tests.benchmarks.stage import answer


class Loop:
    """A worker of a dozen lines: receive, run a turn, publish, delete. No lease, no fence."""

    def __init__(self, stage, turn, *, delayed):
        session = boto3.Session()
        self.counts = counted(session)
        endpoint = stage.delayed if delayed else stage.emulator
        names = ("sqs", "s3", "sns", "events")
        self.clients = {n: session.client(n, endpoint_url=endpoint) for n in names}
        self.stage, self._turn, self._stopped = stage, turn, False

    async def run(self):
        resources = self.stage.resources
        while not self._stopped:
            answer = await self.call(
                "sqs",
                "receive_message",
                QueueUrl=resources["QUEUE_URL"],
                WaitTimeSeconds=1,
            )
            for message in answer.get("Messages", []):
                request = json.loads(message["Body"])
                await self._turn(self, request["chat_id"], request["user_message"])
                event = {"type": "agent.job.completed", "data": {**request, "is_error": False}}
                await self.call(
                    "sns",
                    "publish",
                    TopicArn=resources["RESULT_TOPIC_ARN"],
                    Message=json.dumps(event),
                )
                await self.call(
                    "sqs",
                    "delete_message",
                    QueueUrl=resources["QUEUE_URL"],
                    ReceiptHandle=message["ReceiptHandle"],
                )

    async def call(self, service, operation, **arguments):
        return await asyncio.to_thread(getattr(self.clients[service], operation), **arguments)

    def stop(self):
        self._stopped = True


@contextlib.asynccontextmanager
async def loop(stage, turn, *, delayed=False):
    worker = Loop(stage, turn, delayed=delayed)
    task = asyncio.create_task(worker.run())
    try:
        yield worker.counts
    finally:
        worker.stop()
        await task


def handmade(sessions) -> Callable:
    """`sessions`: chat to session id, for those that have one."""

    async def turn(worker, chat, text):
        bucket, key = worker.stage.resources["SESSION_BUCKET"], f"handmade/{chat}.jsonl"
        known = chat in sessions
        session = sessions.setdefault(chat, str(uuid.uuid4()))
        changes = {"resume": session} if known else {"session_id": session}
        options = worker.stage.options(**changes)
        path = worker.stage.transcript_path(options, session)
        if known:
            answer = await worker.call("s3", "get_object", Bucket=bucket, Key=key)
            path.write_bytes(await asyncio.to_thread(answer["Body"].read))
        await _cold(options, text)
        await worker.call("s3", "put_object", Bucket=bucket, Key=key, Body=path.read_bytes())

    return turn


def reference_store(sessions) -> Callable:
    async def turn(worker, chat, text):
        store = ReferenceStore(worker, f"reference/{chat}")
        known = chat in sessions
        session = sessions.setdefault(chat, str(uuid.uuid4()))
        changes = {"resume": session} if known else {"session_id": session}
        await _cold(worker.stage.options(session_store=store, **changes), text)

    return turn


class ReferenceStore:
    """One object for each append, its name sorts by time; `load` reads them all, 16 at a time."""

    def __init__(self, worker, prefix):
        self._worker, self._prefix = worker, prefix
        self._bucket = worker.stage.resources["SESSION_BUCKET"]

    def _folder(self, key):
        parts = (self._prefix, key["session_id"], key.get("subpath") or "main")
        return "/".join(parts) + "/"

    async def append(self, key, entries):
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
        await self._worker.call(
            "s3",
            "put_object",
            Bucket=self._bucket,
            Key=self._folder(key) + name,
            Body=as_lines(entries).encode(),
        )

    async def load(self, key):
        names, token = [], {}
        while True:
            listed = await self._worker.call(
                "s3", "list_objects_v2", Bucket=self._bucket, Prefix=self._folder(key), **token
            )
            names += [item["Key"] for item in listed.get("Contents", [])]
            if not listed.get("IsTruncated"):
                break
            token = {"ContinuationToken": listed["NextContinuationToken"]}
        few = asyncio.Semaphore(16)

        async def part(name):
            async with few:
                found = await self._worker.call("s3", "get_object", Bucket=self._bucket, Key=name)
                return await asyncio.to_thread(found["Body"].read)

        parts = await asyncio.gather(*map(part, sorted(names)))
        return [json.loads(line) for text in parts for line in text.splitlines()] or None


async def _cold(options, text):
    client = ClaudeSDKClient(options)
    await client.connect()
    try:
        await answer(client, text)
    finally:
        await client.disconnect()
