"""Progress of real turns: what a subscriber sees of it, and a topic that hangs."""

import asyncio
import json
import socket
from itertools import pairwise

import pytest

from tests.integration.conftest import Bot, running, until
from worker.adapters.publisher import AwsPublisher

pytestmark = pytest.mark.integration


async def events_until_final(queue):
    """What arrives at a queue, in the order of `sequence`, until the final event has."""
    found = {}
    async with asyncio.timeout(60):
        while True:
            event = json.loads((await asyncio.to_thread(queue.receive))["Body"])
            event = event.get("detail", event)
            found[event["id"]] = event
            last = max(found.values(), key=lambda event: event["sequence"])
            if last["type"] == "agent.job.completed":
                return sorted(found.values(), key=lambda event: event["sequence"])


async def test_a_subscriber_follows_a_turn_s_tools_and_its_text(own, subscriber):
    queues = [subscriber.topic(), subscriber.bus()]
    bot = Bot(own)
    async with running(own, PROGRESS_SECONDS="0.1"):
        job = bot.send(
            "steps: run echo 'private text' > notes.txt; run cat notes.txt",
            progress="text",
        )
        answer = await bot.result(job)
        seen = [await events_until_final(queue) for queue in queues]
    for events in seen:
        kinds = [event["type"].rpartition(".")[2] for event in events]
        assert kinds[0] == "started"
        assert kinds[-1] == "completed"
        assert events[-1] == json.loads(answer.to_json())
        steps = [event["data"] for event in events if event["type"] == "agent.job.progress"]
        tools = [data["summary"] for data in steps if data["kind"] == "tool"]
        assert tools == ["Bash: echo […] > notes.txt", "Bash: cat notes.txt"]
        assert "private text" not in json.dumps(tools)
        assert [data["tool_calls"] for data in steps if data["kind"] == "tool"] == [1, 2]
        assert all(event["subject"] == job for event in events)


async def test_text_grows_while_the_model_writes(own, subscriber):
    on_topic = subscriber.topic()
    bot = Bot(own)
    async with running(own, PROGRESS_SECONDS="0.1"):
        job = bot.send("tell me a story [[slow 0.05]] [[long 1500]]", progress="text")
        events = await events_until_final(on_topic)
        answer = await bot.result(job)
    texts = [e["data"]["text"] for e in events if e["data"].get("kind") == "text"]
    assert len(set(texts)) > 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert all(answer.data.response.startswith(text) for text in texts)


async def test_without_progress_only_the_final_event_is_sent(own, subscriber):
    on_topic = subscriber.topic()
    bot = Bot(own)
    async with running(own):
        await bot.ask("steps: run echo one; run echo two")
        [only] = await events_until_final(on_topic)
    assert only["type"] == "agent.job.completed"


async def test_a_topic_that_hangs_holds_back_no_turn(own, monkeypatch, request):
    """The connection is accepted and nothing is ever answered."""
    silent = socket.create_server(("127.0.0.1", 0))
    request.addfinalizer(silent.close)
    bot = Bot(own)
    async with running(own) as worker:
        publisher = worker.ports.publisher
        assert isinstance(publisher, AwsPublisher)
        aside = publisher._aside
        assert aside is not worker.aws
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            for service in ("sns", "events"):
                aside.client(service)
        jobs = [
            bot.send("steps: run echo one", thread_id=str(n), progress="text") for n in range(5)
        ]
        results = [await bot.result(job) for job in jobs]
        await until(lambda: bot.waiting() == 0)
    assert {result.type for result in results} == {"agent.job.completed"}
