"""The drill of docs/incident.md: a bad deploy fails 300 jobs in 40 chats for three reasons while
traffic goes on. The operator sees the groups, mends one, replays two, discards one; the replay is
killed twice on the way. Queue, tables, topic, worker and command line are real; the agent is a
script, so that 300 turns take seconds.
"""

import asyncio
import itertools
import json
import sys
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import boto3
import pytest
from typer.testing import CliRunner

from tests.integration.conftest import until
from worker.adapters.documents import S3Documents
from worker.adapters.memory import MemoryCheckouts
from worker.bootstrap import build
from worker.domain.turn import AgentResult
from worker.entrypoints.cli import command_line
from worker.entrypoints.host import Host

pytestmark = pytest.mark.integration

CHATS = [f"chat-{n:02d}" for n in range(40)]
TYPOS, BROKEN, FORBIDDEN = 100, 120, 80


@dataclass
class Story:
    """What was sent, chat by chat, and what the agent did."""

    sent: dict = field(default_factory=lambda: defaultdict(list))
    ran: dict = field(default_factory=lambda: defaultdict(list))
    healthy: bool = False

    def kind(self, kind):
        return [job for jobs in self.sent.values() for job in jobs if job.startswith(kind)]


class ScriptedAgent:
    """Answers at once; until the deploy is rolled back, the model refuses `broken` jobs."""

    def __init__(self, story):
        self._story = story

    async def run(self, turn, checkout):
        refused = turn.job_id.startswith("broken") and not self._story.healthy
        if not refused:
            self._story.ran[turn.session_key].append(turn.job_id)
        checkout.transcript.append(turn.prompt)
        return AgentResult(
            turn.session_id,
            "success",
            is_error=refused,
            text="no" if refused else "yes",
            api_error_status=400 if refused else None,
            cost_usd=0.01,
            num_turns=1,
        )


class Bots:
    """Many bots: batches of messages, each chat's in order."""

    def __init__(self, environ, story):
        self._sqs, self._url, self._story = boto3.client("sqs"), environ["QUEUE_URL"], story
        self._numbers = itertools.count()
        self.run = uuid.uuid4().hex[:6]

    def messages(self, kind, number, chats=CHATS):
        return [(kind, chats[n % len(chats)]) for n in range(number)]

    def send(self, messages):
        entries = [self._entry(kind, chat) for kind, chat in messages]
        for n in range(0, len(entries), 10):
            answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries[n : n + 10])
            assert not answer.get("Failed")

    def _entry(self, kind, chat):
        job = f"{kind}-{self.run}-{next(self._numbers):04d}"
        self._story.sent[chat].append(job)
        body = {"user_message": f"do {job}", "chat_id": f"{self.run}-{chat}", "job_id": job}
        if kind == "typo":  # a bot's new version; its request cannot be read, so not its job id
            body["user_mesage"] = body.pop("user_message")
        if kind == "forbidden":
            body["options"] = {"max_turns": 999}
        return {
            "Id": str(next(self._numbers)),
            "MessageBody": json.dumps(body),
            "MessageGroupId": f"{self.run}-{chat}",
            "MessageDeduplicationId": job,
        }


class Operator:
    """Types commands, and kills them."""

    def __init__(self, environ):
        self._environ = {**environ, "COLUMNS": "80"}

    async def begin(self, *arguments):
        """A command in a process of its own, to be killed."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", "dlq", *arguments),
            env=self._environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def type(self, *arguments):
        """A command and what it prints."""
        done = await asyncio.to_thread(
            CliRunner().invoke, command_line(), ["dlq", *arguments], env=self._environ
        )
        assert done.exit_code == 0, f"{arguments}: {done.output} {done.exception!r}"
        return done.stdout

    async def ask(self, *arguments):
        return json.loads(await self.type(*arguments, "--json"))

    async def groups(self):
        return {group["reason"]: group for group in (await self.ask("list"))["groups"]}


def left_in(url):
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return sum(int(attributes["Attributes"][name]) for name in names)


@pytest.mark.timeout(600)
async def test_three_hundred_jobs_fail_for_three_reasons_and_everything_is_put_right(
    own, subscriber, tmp_path
):
    story, operator = Story(), Operator(own)
    bots, events = Bots(own, story), subscriber.topic()
    worker = build(own, threads=40)
    worker = replace(
        worker,
        ports=replace(
            worker.ports,
            agent=ScriptedAgent(story),
            checkouts=MemoryCheckouts(worker.ports.clock),
        ),
    )
    documents = S3Documents(worker.aws, own["SESSION_BUCKET"])
    host = Host(worker, 8)
    working = asyncio.create_task(host.run())
    try:
        # The bad deploy, and good messages before, between and after.
        bots.send(bots.messages("good", 40))
        bad = bots.messages("typo", TYPOS) + bots.messages("broken", BROKEN)
        bad += bots.messages("forbidden", FORBIDDEN)
        bots.send(sorted(bad, key=lambda message: message[1][-1]))
        await until(
            lambda: left_in(own["DLQ_URL"]) == 300 and left_in(own["QUEUE_URL"]) == 0, seconds=300
        )

        groups = await operator.groups()
        counted = {reason: (group["letters"], group["chats"]) for reason, group in groups.items()}
        assert counted == {
            "invalid_request": (TYPOS, 40),
            "model_error": (BROKEN, 40),
            "option_not_allowed": (FORBIDDEN, 40),
        }
        traffic = asyncio.create_task(_traffic(bots))

        # One group is mended, two are replayed, one is discarded.
        typos = groups["invalid_request"]["group"]
        patch = tmp_path / "fix.json"
        patch.write_text('[{"op": "move", "from": "/user_mesage", "path": "/user_message"}]')
        await operator.type("edit", "--group", typos, "--patch", str(patch), "--yes")
        story.healthy = True  # the deploy was rolled back
        await operator.type("replay", "--group", typos, "--yes")
        await _killed_twice(operator, documents, groups["model_error"]["group"])
        forbidden = groups["option_not_allowed"]["group"]
        await operator.type("discard", "--group", forbidden, "--why", "load test", "--yes")

        traffic.cancel()
        bots.send(bots.messages("good", 40))
        await until(lambda: left_in(own["QUEUE_URL"]) == 0, seconds=300)
        assert left_in(own["DLQ_URL"]) == 0
    finally:
        host.stop()
        await working
    _every_job_has_one_effect(story, _completed(events, story))
    rows = await _rows(worker, story)
    _each_chat_s_order_is_explained(story, rows, bots)
    archive = (await operator.ask("list", "--archived"))["archived"]
    discarded = {item["job_id"] for item in archive if item["why"] == "load test"}
    assert discarded == set(story.kind("forbidden"))
    await _the_audit_tells_the_story(operator, bots, discarded)
    worker.aws.close()


async def _traffic(bots):
    for n in itertools.count():
        await asyncio.to_thread(bots.send, bots.messages("good", 2, CHATS[n % 40 :]))
        await asyncio.sleep(0.3)


async def _killed_twice(operator, documents, group):
    """SIGKILL in the middle, twice; the third time it comes to its end."""
    known = {key.split("/")[1] for key in await documents.keys("replays/")}
    how = ("--yes", "--hold", "3", "--rate", "60/s")
    process = await operator.begin("replay", "--group", group, *how)
    name = await _killed(process, documents, known, at_least=15)
    process = await operator.begin("replay", "--resume", name, "--hold", "3")
    await _killed(process, documents, known, at_least=50)
    told = await operator.ask("replay", "--resume", name, "--rate", "1000/s", "--hold", "3")
    assert (told["phase"], told["sent"], told["failed"]) == ("done", BROKEN, 0)


async def _killed(process, documents, known, at_least):
    async with asyncio.timeout(300):
        while True:
            new = {key.split("/")[1] for key in await documents.keys("replays/")} - known
            for name in new:
                state = await documents.get(f"replays/{name}/state")
                if state and state["sent"] >= at_least:
                    process.kill()
                    assert await process.wait() == -9, "it was at its end already"
                    return name
            await asyncio.sleep(0.02)


def _completed(events, story):
    """The completed events of the story's jobs, as a subscriber has got them."""
    sqs, found = boto3.client("sqs"), []
    jobs = {job for jobs in story.sent.values() for job in jobs}
    while True:
        answer = sqs.receive_message(
            QueueUrl=events.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        ).get("Messages", [])
        if not answer:
            break
        found += [json.loads(message["Body"]) for message in answer]
        sqs.delete_message_batch(
            QueueUrl=events.url,
            Entries=[
                {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                for n, message in enumerate(answer)
            ],
        )
    ours = [event for event in found if event["data"]["job_id"] in jobs]
    return [event for event in ours if event["type"] == "agent.job.completed"]


def _every_job_has_one_effect(story, completed):
    answered = set(story.kind("good") + story.kind("typo") + story.kind("broken"))
    assert len(story.kind("typo") + story.kind("broken") + story.kind("forbidden")) == 300
    runs = Counter(job for jobs in story.ran.values() for job in jobs)
    assert runs == dict.fromkeys(answered, 1)
    assert {event["data"]["job_id"] for event in completed} == answered
    contents = defaultdict(set)
    for event in completed:
        contents[event["id"]].add(json.dumps(event, sort_keys=True))
    assert {len(texts) for texts in contents.values()} == {1}
    assert len(contents) == len(answered)


async def _rows(worker, story):
    jobs = [job for jobs in story.sent.values() for job in jobs]
    items = {}
    for job in jobs:
        answer = await worker.aws.call(
            "dynamodb",
            "get_item",
            TableName=worker.settings.job_table,
            Key={"job_id": {"S": job}},
        )
        items[job] = answer.get("Item", {})
    return items


def _each_chat_s_order_is_explained(story, rows, bots):
    """Live messages ran in the order sent, and so did each replay's; whatever ran later than a
    message that was sent after it is a replay.
    """
    for chat, sent in story.sent.items():
        ran = story.ran[f"default/{bots.run}-{chat}"]
        for kind in ("good", "typo", "broken"):
            mine = [job for job in sent if job.startswith(kind)]
            assert [job for job in ran if job.startswith(kind)] == mine
        for n, job in enumerate(ran):
            overtaken = any(sent.index(other) > sent.index(job) for other in ran[:n])
            if overtaken:
                assert job.startswith(("typo", "broken")), f"{job} ran late, and nobody says why"
                notes = [note["M"]["what"]["S"] for note in rows[job].get("notes", {}).get("L", [])]
                assert job.startswith("typo") or "replayed" in notes


async def _the_audit_tells_the_story(operator, bots, discarded):
    entries = [json.loads(line) for line in (await operator.type("audit", "--json")).splitlines()]
    replays = {entry["replay"] for entry in entries if _is_ours(entry, bots)} - {None}
    entries = [e for e in entries if _is_ours(e, bots) or e["replay"] in replays]
    told = [(entry["what"], len(entry["letters"])) for entry in entries]
    assert told == [
        ("edit", TYPOS),
        ("replay begun", TYPOS),
        ("replay ended", 0),
        ("replay begun", BROKEN),
        ("replay resumed", 0),
        ("replay resumed", 0),
        ("replay ended", 0),
        ("discard", FORBIDDEN),
    ]
    assert {item["job"] for item in entries[-1]["letters"]} == discarded
    assert all(entry["by"] and entry["from"] and entry["at"] for entry in entries)


def _is_ours(entry, bots):
    return any(letter["chat"].startswith(bots.run) for letter in entry["letters"])
