"""Marked secrets, planted everywhere one can be: none leaves the worker."""

import json
import uuid
from pathlib import Path

import boto3
import pytest

from contracts import sign
from tests.integration.conftest import Bot, until, worker_process

pytestmark = pytest.mark.integration

MARK = "marked0secret"


def marked(name):
    return f"{MARK}-{name}"


async def test_no_secret_leaves_by_logs_events_rows_dead_letters_or_errors(
    own, subscriber, tmp_path
):
    """What the bot says itself comes back to it: only what is secret is looked for."""
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
    bot = Bot(environ)

    def send(text, attributes, **fields):
        chat = uuid.uuid4().hex
        body = json.dumps({"user_message": text, "chat_id": chat, **fields})
        given = {n: sign(body, t, 1) if n == "auth_signature" else t for n, t in attributes.items()}
        return bot.send_raw(body, chat, given)

    good = {"auth_token": marked("token")}
    async with worker_process(environ, log, "--concurrency", "4"):
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
        await until(lambda: len(bot._dead_letters().keys() & set(jobs)) == 4)
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds == ["completed"] * 2 + ["failed", "completed"] + ["rejected"] * 3
    left = {
        "log": log.read_text(),
        "events": json.dumps([event.model_dump(mode="json") for event in events]),
        "rows": json.dumps([bot.record(job) for job in jobs]),
        "dead letters": json.dumps([bot.letters[job] for job in jobs if job in bot.letters]),
        "topic": "".join(drained(topic)),
        "bus": "".join(drained(bus)),
    }
    # The agent has its model's key, and `env` shows it: the one secret that a tool can tell.
    allowed = marked("referenced")
    found = {
        place: sorted({part.split('"')[0][:40] for part in text.split(MARK)[1:]})
        for place, text in left.items()
        if MARK in text.replace(allowed, "")
    }
    assert not found
    assert allowed not in left["log"] + left["dead letters"]


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
