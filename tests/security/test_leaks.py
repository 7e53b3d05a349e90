"""Marked secrets, planted everywhere one can be: none leaves the worker."""

import asyncio
import json
import uuid
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from contracts import message_group_id, sign
from tests.integration.conftest import Bot, until, worker_process
from tests.integration.webhook_servers import answering
from tests.integration.webhook_servers import subscriber as receiving
from worker.entrypoints.cli import command_line
from worker.replay import letter, record

pytestmark = pytest.mark.integration

MARK = "marked0secret"
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def marked(name):
    return f"{MARK}-{name}"


UNDONE = """
import os, worker.adapters.agent.process as process, worker.adapters.queue as queue
process.PASSED_FROM_WORKER = tuple(os.environ)
queue._NEVER_COPIED = queue.OURS
print(dict(os.environ), flush=True)
from worker.entrypoints.cli import main
main()
"""
"""A worker without the defences: the agent inherits its environment, dead letters keep tokens, and
it prints what it was started with."""


@pytest.mark.parametrize("defended", [True, False])
async def test_no_secret_leaves_by_anything_that_others_can_read(
    own, subscriber, tmp_path, defended, monkeypatch
):
    """What the bot says itself comes back to it: only what is secret is looked for."""
    if not defended:
        for module in (letter, record):
            monkeypatch.setattr(module, "SECRET_ATTRIBUTES", frozenset())
    topic, bus, log = subscriber.topic(), subscriber.bus(), tmp_path / "log"
    manager, name = boto3.client("secretsmanager"), f"leak-{uuid.uuid4().hex}"
    manager.create_secret(Name=name, SecretString=marked("referenced"))
    environ = {
        **own,
        "AUTH_MODE": "token",
        "SDK_CLIENT_AUTH_TOKEN": f"{marked('token')},{marked('other-token')}",
        "PRODUCERS": json.dumps([{"name": "bot", "tokens": [marked("producer")]}]),
        "ANTHROPIC_API_KEY": f"secretsmanager://{name}",
        "BEDROCK_SECRET_ACCESS_KEY": marked("bedrock"),
        "AWS_SECRET_ACCESS_KEY": marked("aws"),
        "MY_DATABASE_PASSWORD": marked("foreign"),
        "LOG_LEVEL": "DEBUG",
        "MAX_ATTEMPTS": "1",
    }
    bot, tenant = Bot(environ), f"leaks-{uuid.uuid4().hex}"

    def send(text, attributes, **fields):
        chat = uuid.uuid4().hex
        named = {"chat_id": chat, "tenant_id": tenant, "traceparent": TRACEPARENT}
        body = json.dumps({"user_message": text, **named, **fields})
        given = {n: sign(body, t, 1) if n == "auth_signature" else t for n, t in attributes.items()}
        group = message_group_id(chat, None, tenant)
        return bot.send_raw(body, group, given)

    async def type_(*arguments):
        """What a command prints for an operator."""
        runner = CliRunner(env={**environ, "COLUMNS": "80"})
        done = await asyncio.to_thread(runner.invoke, command_line(), arguments)
        assert done.exit_code == 0, done.output
        return done.output

    good = {"auth_token": marked("token")}
    start = [] if defended else ["-c", UNDONE]
    async with receiving(answering(200)) as (port, requests):
        hook = json.loads(
            await type_(
                *("webhooks", "add", f"http://127.0.0.1:{port}/", "--tenant", tenant, "--json")
            )
        )
        async with worker_process(environ, log, "--concurrency", "4", start=start):
            jobs = [
                send("hello", good),
                send("run env; cat /proc/$PPID/environ; ls /nowhere", good),
                send("hello [[status 400]]", {"auth_token": marked("producer")}),
                send("hello", {"auth_signature": marked("other-token")}),
                send("hello", {"auth_token": marked("wrong")}),
                send("hello", good, model="x"),
                send("hello", good, unknown=1),
            ]
            events = [await bot.result(job) for job in jobs]
            dead = {}
            await until(lambda: len(letters(own, dead)) == 4)
            await until(lambda: len({r.headers["webhook-id"] for r in requests}) >= 4)
        deliveries = await type_("webhooks", "log", hook["subscription_id"], "--json")
        await type_("webhooks", "remove", hook["subscription_id"], "--yes")
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds == ["completed"] * 2 + ["failed", "completed"] + ["rejected"] * 3
    async with asyncio.timeout(30):
        while len((exported := await type_("dlq", "export")).splitlines()) < 4:
            await asyncio.sleep(0.2)
    replayed = await type_("dlq", "replay", "--all", "--vouch", "--yes", "--json")
    left = {
        "log": log.read_text(),
        "events": json.dumps([event.model_dump(mode="json") for event in events]),
        "rows": json.dumps([bot.record(job) for job in jobs]),
        "dead letters": json.dumps(dead),
        "export": exported,
        "replay": replayed,
        "audit": await type_("dlq", "audit", "--replay", json.loads(replayed)["replay"], "--json"),
        "topic": "".join(drained(topic)),
        "bus": "".join(drained(bus)),
        "webhooks": "".join(f"{r.path} {r.headers} {r.body.decode()}" for r in requests),
        "deliveries": deliveries,
    }
    assert json.loads(replayed)["sent"] == 3  # one breaks the contract, and stays
    assert "a" * 32 in left["log"]  # the trace
    # The agent has its model's key, and `env` shows it: the one secret that a tool can tell.
    allowed = marked("referenced")
    found = {place for place, text in left.items() if MARK in text.replace(allowed, "")}
    if defended:
        assert not found
        assert allowed not in left["log"] + left["dead letters"] + exported + left["audit"]
    else:
        assert found == {
            *("log", "events", "rows", "dead letters", "export", "topic", "bus", "webhooks")
        }
    assert hook["secret"].removeprefix("whsec_") not in "".join(left.values())


async def test_a_wrong_configuration_is_explained_without_its_secrets(own, tmp_path):
    environ = {
        **own,
        "AUTH_MODE": "token",
        "SDK_CLIENT_AUTH_TOKEN": marked("token"),
        "PRODUCERS": f"[{{name: a, token: {marked('producer')}}}]",
        "LEASE_SECONDS": "soon",
    }
    async with worker_process(environ, tmp_path / "log") as process:
        assert await process.wait() == 2
    text = Path(tmp_path / "log").read_text()
    assert "PRODUCERS" in text
    assert MARK not in text


def drained(inbox):
    """All that a subscriber has been sent."""
    while True:
        try:
            yield inbox.receive(1)["Body"]
        except ValueError:
            return


def letters(environ, found):
    """What lies in the dead-letter queue, by id, and stays there; some may just be hidden."""
    answer = boto3.client("sqs").receive_message(
        QueueUrl=environ["DLQ_URL"],
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        VisibilityTimeout=1,
    )
    found |= {message["MessageId"]: message for message in answer.get("Messages", [])}
    return found
