"""A message on the queue, the real CLI running a turn, the result with its subscribers."""

import asyncio
import base64
import json
import re

import boto3
import pytest

from contracts import session_key, sign
from tests.integration.conftest import Bot, running

pytestmark = pytest.mark.integration


async def test_a_conversation_is_remembered_and_a_thread_has_its_own(bot):
    first = await bot.ask("my name is Ada")
    second = await bot.ask("what is my name")
    other = await bot.ask("what is my name", thread_id="7")
    assert "Ada" in second.response
    assert (first.session_status, second.session_status) == ("new", "continued")
    assert first.session_id == second.session_id != other.session_id
    assert "Ada" not in other.response


async def test_a_session_is_restored_on_another_machine(own, tmp_path):
    bot = Bot(own)
    async with running(own, WORK_DIR=str(tmp_path / "machine-1")):
        await bot.ask("remember color is blue")
        await bot.ask("remember shape is round")
    async with running(own, WORK_DIR=str(tmp_path / "machine-2")):
        answer = await bot.ask("what is color")
    assert "blue" in answer.response
    assert answer.session_status == "continued"


@pytest.mark.parametrize(
    ("body", "group"),
    [
        (
            {"user_message": "hi", "chat_id": "123", "thread_id": "456", "model": "sonnet"},
            "123:456",
        ),
        ({"user_message": "hi", "chat_id": "123", "thread_id": None, "model": "sonnet"}, "123"),
        ({"user_message": "hi", "chat_id": "123"}, "123"),
        ({"user_message": "hi", "chat_id": -100123, "thread_id": 5}, "-100123:5"),
    ],
)
async def test_the_existing_message_format_works_unchanged(bot, body, group):
    job_id = bot.send_raw(body, group)
    data = (await bot.result(job_id)).data
    assert "'hi'" in data.response
    assert data.session_id
    assert data.cost_usd > 0
    assert data.num_turns == 1
    assert (data.is_error, data.error_message) == (False, None)


async def test_each_job_has_its_own_cost_and_the_chat_their_sum(bot):
    costs = [(await bot.ask("same text")).cost_usd for _ in range(4)]
    assert max(costs) < 1.5 * min(costs)  # a resumed CLI must not add the earlier turns to it
    head = boto3.client("dynamodb").get_item(
        TableName=bot.environ["SESSION_TABLE"],
        Key={"session_key": {"S": session_key(bot.chat)}},
    )["Item"]
    assert float(head["cost_usd"]["N"]) == pytest.approx(sum(costs))


async def test_the_result_arrives_on_topic_and_bus(bot, subscriber):
    on_topic, on_bus = subscriber.topic(), subscriber.bus()
    job_id = bot.send("hello", metadata={"user": "ada"})
    event = await bot.result(job_id)
    from_topic = json.loads((await asyncio.to_thread(on_topic.receive))["Body"])
    from_bus = json.loads((await asyncio.to_thread(on_bus.receive))["Body"])
    assert from_topic == from_bus["detail"] == json.loads(event.to_json())
    assert from_topic["id"] == f"{job_id}/completed"
    assert from_topic["data"]["metadata"] == {"user": "ada"}


async def test_a_turn_uses_tools(bot):
    data = await bot.ask("steps: run echo one > f.txt; run cat f.txt")
    written = await bot.ask("write notes.txt: buy milk")
    assert "one" in data.response
    assert data.num_turns == 3
    assert "notes.txt" in written.response
    assert not written.is_error


async def test_two_chats_run_side_by_side_and_each_keeps_its_order(bot):
    jobs = [bot.send(f"a{n} [[delay 1]]", thread_id="a") for n in range(3)]
    jobs += [bot.send(f"b{n}", thread_id="b") for n in range(3)]
    events = [await bot.result(job) for job in jobs]
    numbers = [re.search(r"message (\d)", event.data.response)[1] for event in events]
    assert numbers == ["1", "2", "3", "1", "2", "3"]
    # b did not wait for a: its last answer was committed before a's last.
    assert events[5].time < events[2].time


async def test_structured_output_comes_as_an_object(bot):
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["title", "count"],
    }
    data = await bot.ask("summarize", options={"output_schema": schema})
    assert set(data.structured_output) == {"title", "count"}
    assert not data.is_error


async def test_the_options_of_a_request_reach_the_agent(bot, model):
    data = await bot.ask(
        "hello options",
        model="claude-opus-5",
        options={"system_prompt": "Speak like a pirate.", "allowed_tools": ["Read"]},
    )
    assert data.model == "claude-opus-5"
    [body] = model.asked("hello options")
    assert body["model"] == "claude-opus-5"
    assert "Speak like a pirate." in json.dumps(body["system"])
    tools = {tool["name"] for tool in body["tools"]}
    assert tools & {"Read", "Write", "Edit", "Bash"} == {"Read"}


async def test_a_turn_limit_is_a_result_that_says_so_and_the_session_goes_on(bot):
    limited = await bot.ask("steps: run true; run true; run true", options={"max_turns": 2})
    after = await bot.ask("what did I say first")
    assert limited.is_error
    assert limited.stop_reason == "max_turns"
    assert "max_turns" in limited.error_message
    assert "steps: run true" in after.response


@pytest.mark.parametrize("silence", ["[[hang]]", "[[stall]]", "run tail -f /dev/null"])
async def test_a_turn_that_takes_too_long_is_interrupted_and_says_so(bot, silence):
    late = await bot.ask(silence, options={"timeout_seconds": 2})
    after = await bot.ask("hello again")
    assert late.is_error
    assert (late.stop_reason or late.error_code) == "timeout"
    assert "'hello again'" in after.response


async def test_an_overloaded_model_is_asked_again(bot):
    data = await bot.ask("hello [[status 529 times 1]]")
    after = await bot.ask("second")
    assert not data.is_error
    assert data.attempt == 2
    assert "message 2" in after.response  # the failed attempt left nothing in the transcript


async def test_a_model_that_refuses_fails_the_job_and_dead_letters_it(bot):
    job_id = bot.send("hello [[status 400]]", metadata={"n": 1})
    event = await bot.result(job_id)
    after = await bot.ask("second")
    assert event.type == "agent.job.failed"
    assert event.data.error_code == "model_error"
    assert event.data.metadata == {"n": 1}
    assert (await bot.dead_letter(job_id))["dead_letter_reason"] == "model_error"
    assert "message 1" in after.response


async def test_a_new_session_is_started_on_request(bot):
    await bot.ask("my name is Ada")
    fresh = await bot.ask("what is my name", session="new")
    assert "Ada" not in fresh.response
    assert fresh.session_status == "new"


async def test_prompts_are_data(bot, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-of-the-file")
    slash = await bot.ask("/cost")
    inlined = await bot.ask(f"look at @{secret}")
    assert "'/cost'" in slash.response
    assert "the-secret-of-the-file" not in inlined.response
    assert slash.num_turns == 1


async def test_the_agent_sees_only_what_the_agent_needs(bot, tmp_path):
    shown = tmp_path / "environment"
    await bot.ask(f"run env > {shown}")
    names = {line.partition("=")[0] for line in shown.read_text().splitlines()}
    assert {"PATH", "HOME", "ANTHROPIC_API_KEY"} <= names
    assert "MY_DATABASE_PASSWORD" not in names  # the shared host has it
    worker_only = set(bot.environ) - {"PATH", "HOME", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}
    assert not names & worker_only
    assert [n for n in names if n.startswith("AWS_")] == ["AWS_EC2_METADATA_DISABLED"]


async def test_a_token_or_a_signature_is_needed_when_the_worker_has_one(own):
    bot = Bot(own)
    body = json.dumps({"user_message": "hi", "chat_id": bot.chat})
    jobs = [
        bot.send_raw(body, attributes={"auth_token": "old-token"}),
        bot.send_raw(body, attributes={"auth_token": "new-token"}),
        bot.send_raw(body, attributes={"auth_signature": sign(body, "new-token", 1_800_000_000)}),
        bot.send_raw(body, attributes={"auth_token": "wrong"}),
        bot.send_raw(body),
        bot.send_raw(body, attributes={"auth_signature": sign(body, "wrong", 1_800_000_000)}),
        bot.send_raw(body, attributes={"auth_signature": "t=1,v1=nonsense"}),
    ]
    async with running(own, AUTH_MODE="token", SDK_CLIENT_AUTH_TOKEN="new-token,old-token"):
        events = [await bot.result(job) for job in jobs]
    assert [event.type.rpartition(".")[2] for event in events] == [
        *["completed"] * 3,
        *["rejected"] * 4,
    ]
    assert {event.data.reason for event in events[3:]} == {"unauthorized"}
    letters = [await bot.dead_letter(job) for job in jobs[3:]]
    assert not [name for letter in letters for name in letter if name.startswith("auth_")]
    assert "wrong" not in json.dumps(letters)


CHAT = "bad-input"

BAD = {
    "not JSON": ("hello", "invalid_json", "JSON"),
    "an array": ("[]", "invalid_request", "array"),
    "no message": ({"chat_id": CHAT}, "invalid_request", "user_message"),
    "an empty message": ({"user_message": "", "chat_id": CHAT}, "invalid_request", "user_message"),
    "a blank message": ({"user_message": " ", "chat_id": CHAT}, "invalid_request", "blank"),
    "a wrong type": ({"user_message": 5, "chat_id": CHAT}, "invalid_request", "user_message"),
    "a boolean chat": ({"user_message": "a", "chat_id": True}, "invalid_request", "chat_id"),
    "an unknown field": (
        {"user_message": "a", "chat_id": CHAT, "mdoel": "x"},
        "invalid_request",
        "mdoel",
    ),
    "a control character": (
        {"user_message": "a\u0000b", "chat_id": CHAT},
        "invalid_request",
        "U+0000",
    ),
    "an unknown model": (
        {"user_message": "a", "chat_id": CHAT, "model": "gpt-4"},
        "model_not_allowed",
        "gpt-4",
    ),
    "a forbidden mode": (
        {"user_message": "a", "chat_id": CHAT, "options": {"permission_mode": "bypassPermissions"}},
        "option_not_allowed",
        "bypassPermissions",
    ),
    "another group": (
        {"user_message": "a", "chat_id": "other"},
        "group_mismatch",
        "'other'",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_rejected_with_what_to_do_and_its_chat_goes_on(bot, case):
    body, reason, mentions = BAD[case]
    job_id = bot.send_raw(body, CHAT)
    event = await bot.result(job_id)
    after = await bot.ask("hello", chat=CHAT)
    assert event.type == "agent.job.rejected"
    assert event.data.reason == reason
    assert mentions in event.data.error_message
    letter = await bot.dead_letter(job_id)
    assert letter["dead_letter_reason"] == reason
    assert mentions in letter["dead_letter_error"]
    assert letter["body"] == (body if isinstance(body, str) else json.dumps(body))
    assert "'hello'" in after.response


@pytest.mark.parametrize(
    "chat",
    ["../../etc/passwd", "a/b/../c", "C024BE91L", "-1001234567890", "чат 🎈", "x" * 512, "a:b~c%"],
)
async def test_any_chat_id_is_a_chat_of_its_own(bot, chat):
    await bot.ask("my name is Ada", chat=chat)
    again = await bot.ask("what is my name", chat=chat)
    other = await bot.ask("what is my name")
    assert "Ada" in again.response
    assert "Ada" not in other.response


async def test_a_message_near_the_limit_of_sqs_is_answered(bot):
    data = await bot.ask("x" * 1_000_000)
    after = await bot.ask("what did I say last")
    assert not data.is_error
    assert after.session_status == "continued"


async def test_a_large_answer_travels_as_a_pointer(bot):
    event = await bot.result(bot.send("[[long 400000]]"))
    assert len(event.to_json()) < 256 * 1024
    ref = event.data.response_ref
    stored = boto3.client("s3").get_object(Bucket=ref.bucket, Key=ref.key)["Body"].read()
    assert len(stored) == ref.size >= 400_000
    assert stored.decode().startswith(event.data.response)


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
async def test_a_damaged_session_starts_anew_and_the_result_says_so(own, damage):
    s3, bot = boto3.client("s3"), Bot(own)
    async with running(own):
        first = await bot.ask("my name is Ada", thread_id=damage)
    listed = s3.list_objects_v2(Bucket=bot.environ["SESSION_BUCKET"], Prefix="sessions/")
    [key] = [o["Key"] for o in listed["Contents"] if first.session_id in o["Key"]]
    if damage == "missing":
        s3.delete_object(Bucket=bot.environ["SESSION_BUCKET"], Key=key)
    else:
        s3.put_object(Bucket=bot.environ["SESSION_BUCKET"], Key=key, Body=b"\x00garbage")
    async with running(own):
        second = await bot.ask("what is my name", thread_id=damage)
        third = await bot.ask("what did I say first", thread_id=damage)
    assert second.session_status == "reset"
    assert damage in second.session_note
    assert first.session_id in second.session_note
    assert "Ada" not in second.response
    assert third.session_status == "continued"


async def test_nothing_of_a_chat_stays_on_disk(own, tmp_path):
    bot = Bot(own)
    async with running(own):
        await bot.ask("write notes.txt: secret")
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == [".lock", "bin"]


async def test_attachments_reach_the_model_and_a_damaged_one_fails_the_job(bot, model):
    note = base64.b64encode(b"the attached note").decode()
    data = await bot.ask("hello attachment", attachments=[{"name": "note.txt", "data": note}])
    assert "hello attachment" in data.response
    [asked] = model.asked("hello attachment")
    assert "the attached note" in json.dumps(asked["messages"])
    damaged = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 99).decode()
    failed = await bot.result(bot.send("look", attachments=[{"data": damaged}]))
    assert failed.data.error_code == "attachment_unreadable"
