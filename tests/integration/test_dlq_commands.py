"""`agent-worker dlq` as an operator types it, on real queues, tables and bucket."""

import asyncio
import json
import sys
import time
import uuid

import boto3
import pytest
from typer.testing import CliRunner

from contracts.auth import verify_signature
from worker.adapters.aws import Aws
from worker.adapters.ledger import DynamoLedger
from worker.adapters.queue import SqsInbox, dead_letter
from worker.domain.disposition import DeadLetter
from worker.domain.job import JobRecord, JobState
from worker.domain.message import InboundMessage
from worker.entrypoints.cli import command_line

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-the-stack"


class Console:
    def __init__(self, environ):
        self.environ = {**environ, "AUTH_MODE": "token", "SDK_CLIENT_AUTH_TOKEN": TOKEN}
        self.environ |= {"COLUMNS": "80", "EDITOR": "false"}
        self.run = uuid.uuid4().hex[:6]
        self._aws = Aws(threads=8)
        self._ledger = DynamoLedger(
            self._aws, environ["JOB_TABLE"], environ["SESSION_TABLE"], 86400
        )
        self.inbox = SqsInbox(self._aws, environ["QUEUE_URL"], environ["DLQ_URL"])

    def type(self, *arguments, code=0, **changes):
        done = CliRunner().invoke(
            command_line(), ["dlq", *arguments], env={**self.environ, **changes}
        )
        assert done.exit_code == code, f"{done.output} {done.exception!r}"
        return done.output if code else done.stdout

    def ask(self, *arguments):
        return json.loads(self.type(*arguments, "--json"))

    def letters(self):
        return self.ask("list", "--letters")["letters"]

    def die(self, job, reason="model_error", chat="7", **fields):
        """A refused message and its record, as the worker leaves them."""
        job = f"{job}-{self.run}"
        fields = {"user_message": f"text of {job}", **fields}
        body = json.dumps({"chat_id": chat, "job_id": job, **fields})
        letter = DeadLetter(job, reason, f"{reason}: it is wrong", 0)
        message = InboundMessage(uuid.uuid4().hex, chat, body, {"origin": "bot"})
        sent = dead_letter(self.environ["DLQ_URL"], message, letter)
        boto3.client("sqs").send_message(**sent)
        now = time.time()
        record = JobRecord(
            job,
            f"default/{chat}",
            JobState.REJECTED,
            event="{}",
            error_code=reason,
            error_message=letter.error,
            created_at=now,
            updated_at=now,
        )
        asyncio.run(self._ledger.reject(record))
        return job

    def received(self):
        return asyncio.run(self.inbox.receive(0, 120))

    def close(self):
        self._aws.close()


@pytest.fixture
def console(own):
    console = Console(own)
    yield console
    console.close()


def test_letters_are_listed_by_kind_and_one_by_one_within_80_columns(console):
    for n in range(3):
        console.die(f"a{n}", chat=str(n))
    console.die("b", "timeout")
    told = console.type("list")
    assert "model_error" in told
    assert "4 dead letters of 4 chats" in told
    told += console.type("list", "--letters")
    assert max(map(len, told.splitlines())) <= 80
    [first, second] = console.ask("list")["groups"]
    assert (first["letters"], first["chats"], second["reason"]) == (3, 3, "timeout")
    assert len(console.ask("list", "--letters", "--chat", "1")["letters"]) == 1
    assert "no such dead letters" in console.type("list", "--reason", "nothing")


def test_a_letter_is_shown_with_its_job_and_without_secrets(console):
    secrets = {"api_token": "hunter2", "note": "Bearer abcdefghijklmnop", "colour": "blue"}
    job = console.die("a", metadata=secrets)
    told = console.type("show", job)
    assert f"text of {job}" in told
    assert "blue" in told
    assert "hunter2" not in told
    assert "abcdefghijklmnop" not in told
    assert "rejected (model_error)" in told
    shown = console.ask("show", job)
    assert shown["body"]["metadata"]["api_token"] == "(hidden)"
    assert shown["job"]["state"] == "rejected"
    assert "no letter" in console.type("show", "nothing", code=1)


def test_a_letter_is_edited_in_the_editor_and_by_a_patch(console, tmp_path):
    editor = {"EDITOR": "sed -i s/mesage/message/", "VISUAL": ""}
    one = console.die("a", user_mesage="hi", user_message=None)
    assert "nothing was changed" in console.type("edit", one, **editor)
    assert console.letters()[0]["version"] == 0
    patch = tmp_path / "fix.json"
    patch.write_text('[{"op": "remove", "path": "/user_message"}]')
    assert "stays" in console.type("edit", one, "--patch", str(patch), code=1)
    patch.write_text('[{"op": "move", "from": "/user_mesage", "path": "/user_message"}]')
    assert "+" in console.type("edit", one, "--patch", str(patch))
    assert console.letters()[0]["version"] == 0
    before = console.letters()[0]
    console.type("edit", one, "--patch", str(patch), "--yes")
    [after] = console.letters()
    assert (after["letter"], after["version"]) == (before["letter"], 1)
    assert console.ask("show", one)["body"]["user_message"] == "hi"
    told = console.type("show", one)
    assert "edited into version 1" in told
    console.type("edit", one, "--yes", EDITOR="sed -i s/hi/ho/", VISUAL="")
    assert console.letters()[0]["version"] == 2
    assert "no JSON Patch" in console.type("edit", one, "--patch", "[{}]", code=1)
    wrong = console.type("edit", one, "--yes", EDITOR="sed -i s/chat_id/chat/", VISUAL="", code=1)
    assert "the contract does not take it" in wrong


def test_a_dry_run_changes_nothing_and_a_replay_sends_signed_messages_in_order(console):
    jobs = [console.die(f"a{n}", "model_not_allowed") for n in range(3)]
    told = console.type("replay", "--reason", "model_not_allowed")
    assert "nothing was changed" in told
    assert max(map(len, told.splitlines())) <= 80
    assert console.received() is None
    assert "name letters" in console.type("replay", code=2)
    missing = console.type("replay", "--all", "--yes", code=2, SDK_CLIENT_AUTH_TOKEN="")
    assert "SDK_CLIENT_AUTH_TOKEN" in missing
    done = console.ask("replay", "--all", "--yes")
    assert (done["phase"], done["sent"], done["failed"]) == ("done", 3, 0)
    for job in jobs:
        message = console.received()
        assert json.loads(message.body)["job_id"] == job
        assert message.group_id == "7"
        assert verify_signature(message.body, message.attributes["auth_signature"], [TOKEN])
        assert message.attributes["origin"] == "bot"
        assert "dead_letter_reason" not in message.attributes
        asyncio.run(console.inbox.delete(message))
    assert console.letters() == []
    assert done["replay"] in console.type("replays")
    assert "done: 3 sent" in console.type("watch", done["replay"])
    audit = console.type("audit", "--replay", done["replay"])
    assert "replay begun" in audit
    assert "replay ended" in audit


def test_a_stranger_s_letter_is_sent_only_when_somebody_vouches_for_it(console):
    console.die("a", "unauthorized")
    assert console.ask("replay", "--all")["steps"][0]["action"] == "leave"
    assert console.ask("replay", "--all", "--vouch", "--yes")["sent"] == 1


def test_a_discarded_letter_is_in_the_archive_and_can_be_restored(console):
    job = console.die("a")
    assert "would discard 1" in console.type("discard", job, "--why", "a test of the console")
    console.type("discard", job, "--why", "a test of the console", "--yes")
    assert console.letters() == []
    kept = console.ask("list", "--archived")["archived"]
    assert [k["why"] for k in kept if k["job_id"] == job] == ["a test of the console"]
    assert "a test of the" in console.type("list", "--archived", "--limit", "1000")
    console.type("restore", job)
    [letter] = console.letters()
    assert letter["job_id"] == job
    assert "none" in console.type("restore", job, code=1)


def test_letters_go_out_and_in_again_byte_for_byte(console, tmp_path):
    console.die("a", user_message="tést \u2028 \U0001f600")
    console.die("b", "invalid_request", user_mesage="x")
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    console.type("export", "-o", str(one))
    console.type("import", str(one), "--yes")
    assert len(console.letters()) == 2
    console.type("discard", "--all", "--why", "moving", "--yes")
    console.type("import", str(one))
    assert console.letters() == []
    console.type("import", str(one), "--yes")
    console.type("export", "-o", str(two))
    assert sorted(two.read_bytes().splitlines()) == sorted(one.read_bytes().splitlines())
    assert console.type("export") == two.read_text()
    one.write_text('{"letter": 1}\nnothing\n')
    told = console.type("import", str(one), "--yes", code=1)
    assert "line 1" in told
    assert "line 2" in told


async def test_a_running_replay_is_paused_and_cancelled_from_another_terminal(own):
    console = await asyncio.to_thread(Console, own)
    for n in range(12):
        await asyncio.to_thread(console.die, f"a{n}", "model_not_allowed", str(n))
    known = console_replays = await asyncio.to_thread(_replays, console)
    arguments = ("replay", "--all", "--yes", "--rate", "2/s", "--hold", "5")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "dlq", *arguments),
        env=console.environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    while not (console_replays := await asyncio.to_thread(_replays, console)) > known:
        await asyncio.sleep(0.05)
    [name] = console_replays - known
    told = await asyncio.to_thread(console.type, "watch", name, "--pause")
    assert "told to pause" in told
    while (await asyncio.to_thread(_progress, console, name)) != "paused":
        await asyncio.sleep(0.05)
    await asyncio.to_thread(console.type, "watch", name, "--cancel")
    assert await process.wait() == 5
    left = len(await asyncio.to_thread(console.letters))
    assert left > 0
    done = await asyncio.to_thread(
        console.ask, "replay", "--resume", name, "--rate", "1000/s", "--hold", "5"
    )
    assert (done["phase"], done["sent"]) == ("done", 12)
    console.close()


def _rows(console):
    lines = console.type("replays", "--json", "--limit", "1000").splitlines()
    return [json.loads(line) for line in lines]


def _replays(console):
    return {row["id"] for row in _rows(console)}


def _progress(console, name):
    [row] = [row for row in _rows(console) if row["id"] == name]
    return row["progress"] and row["progress"]["phase"]
