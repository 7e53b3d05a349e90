"""The Telegram bot of examples/, against a scripted Telegram, with the real queue and worker."""

import asyncio
import contextlib
import itertools
import signal
import sys

import boto3
import pytest

from tests.conftest import ROOT
from tests.integration.conftest import until
from tests.integration.telegram import TOKEN, RefusedError, ScriptedTelegram

pytestmark = pytest.mark.integration

_chats = itertools.count(5_000_000_001)


@pytest.fixture
def telegram():
    with ScriptedTelegram() as server:
        yield server


@pytest.fixture
def chat():
    """A chat that no other test uses."""
    return next(_chats)


@pytest.fixture
def start(environ, host, telegram, tmp_path):
    """Starts the bot as a process; it is ended at the end of the `async with`."""

    @contextlib.asynccontextmanager
    async def running(number=signal.SIGTERM, **changes):
        log = tmp_path / "bot.log"
        with log.open("ab") as output:
            bot = await asyncio.create_subprocess_exec(
                sys.executable,
                ROOT / "examples" / "telegram_bot.py",
                env={
                    **environ,
                    "TELEGRAM_TOKEN": TOKEN,
                    "TELEGRAM_ALLOWED_CHATS": "*",
                    "TELEGRAM_API_URL": telegram.url,
                    "TELEGRAM_STATE": str(tmp_path / "telegram.db"),
                    **changes,
                },
                stdout=output,
                stderr=output,
            )
        try:
            yield bot
        finally:
            if bot.returncode is None:
                bot.send_signal(number)
            status = await bot.wait()
        told = log.read_text()
        assert TOKEN not in told
        if number is signal.SIGTERM:
            assert status == 0, told
            assert "Traceback" not in told

    return running


def record(environ, job_id):
    return boto3.client("dynamodb").get_item(
        TableName=environ["JOB_TABLE"], Key={"job_id": {"S": job_id}}
    )["Item"]


async def test_a_message_is_answered_in_its_chat_and_topic(telegram, chat, start):
    async with start():
        first = telegram.say(chat, "my name is Ada")
        telegram.say(chat, "what is my name?", message_thread_id=7, is_topic_message=True)
        telegram.say(chat, "what is my name?", message_thread_id=7)  # a reply, in no topic
        await until(lambda: len(telegram.answers(chat)) == 3)
    by_topic = {(message.thread_id, message.text) for message in telegram.of(chat)}
    assert by_topic == {
        (None, "I will remember: my name is Ada."),
        (7, "I don't know what your name is: you have not told me in this conversation."),
        (None, "You told me that your name is Ada."),
    }
    assert first in {message.reply_to for message in telegram.of(chat)}
    assert {"chat_id": chat, "action": "typing"} in telegram.called("sendChatAction")


async def test_the_same_update_twice_is_one_job_and_one_answer(telegram, chat, start):
    async with start():
        update = telegram.say(chat, "hello")
        await until(lambda: telegram.answers(chat))
        telegram.repeat(update)
        telegram.say(chat, "hello again")
        await until(lambda: len(telegram.answers(chat)) == 2)
    assert "message 1 of" in telegram.answers(chat)[0]
    assert "message 2 of" in telegram.answers(chat)[1]


@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_a_bot_killed_before_it_confirmed_an_update_makes_no_second_turn(
    telegram, chat, start, environ, tmp_path, disk
):
    telegram.deaf = True
    async with start(signal.SIGKILL):
        update = telegram.say(chat, "hello")
        await until(telegram.confirmation_lost.is_set)
    assert telegram.confirmed == 0
    telegram.deaf = False
    if disk == "lost":
        (tmp_path / "telegram.db").unlink()
    async with start():
        await until(lambda: telegram.confirmed > update)
        await until(lambda: telegram.answers(chat))
        telegram.say(chat, "hello again")
        await until(lambda: any("message 2 of" in text for text in telegram.answers(chat)))
    assert record(environ, f"telegram:4711:{update}")["attempt"]["N"] == "1"
    first = [text for text in telegram.answers(chat) if "message 1 of" in text]
    assert len(first) == 1 or disk == "lost"


async def test_a_bot_that_was_killed_gives_the_answer_that_came_meanwhile(
    telegram, chat, start, bot
):
    async with start(signal.SIGKILL):
        update = telegram.say(chat, "hello [[delay 1]]")
        await until(lambda: telegram.confirmed > update)
    await bot.result(f"telegram:4711:{update}")
    assert not telegram.answers(chat)
    async with start():
        await until(lambda: telegram.answers(chat))
    assert len(telegram.answers(chat)) == 1


async def test_a_bot_that_is_asked_to_slow_down_waits_and_loses_nothing(telegram, chat, start):
    telegram.refusals.append(("sendMessage", RefusedError(429, "Too Many Requests", retry_after=2)))
    telegram.refusals.append(("sendMessage", RefusedError(502, "Bad Gateway")))
    async with start():
        telegram.say(chat, "hello")
        await until(lambda: telegram.answers(chat))
    refused, later, *_ = telegram.times("sendMessage")
    assert later - refused >= 2
    assert len(telegram.answers(chat)) == 1


async def test_a_long_answer_arrives_in_parts_that_telegram_takes(telegram, chat, start, bot):
    async with start():
        update = telegram.say(chat, "hello [[long 10000]]")
        await until(lambda: len(telegram.answers(chat)) == 3)
    whole = (await bot.result(f"telegram:4711:{update}")).data.response
    assert " ".join(telegram.answers(chat)) == whole


async def test_commands_start_over_help_and_do_not_reach_the_agent(telegram, chat, start):
    async with start():
        telegram.say(chat, "my name is Ada")
        telegram.say(chat, "/new@my_bot")
        telegram.say(chat, "what is my name?")
        telegram.say(chat, "/help")
        telegram.say(chat, "")  # a photo
        await until(lambda: len(telegram.answers(chat)) == 5)
    texts = telegram.answers(chat)
    assert "I don't know what your name is" in "".join(texts)
    assert sum("/cancel" in text for text in texts) == 2


async def test_progress_is_one_message_that_changes_and_goes_with_the_answer(telegram, chat, start):
    async with start():
        telegram.say(chat, "steps: run sleep 6; run sleep 6")
        await until(lambda: any(message.deleted for message in telegram.of(chat, silent=True)))
    [status] = telegram.of(chat, silent=True)
    assert "· Bash: sleep 6" in (status.earlier or [status.text])[0]
    assert status.text.count("· Bash: sleep 6") == 2
    assert "Bash returned" in telegram.answers(chat)[0]


async def test_what_is_under_way_is_stopped_by_a_command(telegram, chat, start):
    async with start():
        telegram.say(chat, "hello [[delay 60]]")
        await until(lambda: telegram.called("sendChatAction"))
        telegram.say(chat, "/cancel")
        await until(lambda: telegram.answers(chat))
    assert telegram.answers(chat) == ["(stopped)"]


async def test_a_chat_that_is_not_allowed_costs_nothing(telegram, chat, start):
    async with start(TELEGRAM_ALLOWED_CHATS=f"1, {chat}"):
        stranger = next(_chats)
        telegram.say(stranger, "hello")
        telegram.say(chat, "hello")
        await until(lambda: telegram.answers(chat))
    assert not telegram.answers(stranger)
    assert not telegram.of(stranger, silent=True)


async def test_bad_news_is_told_in_words(telegram, chat, start):
    async with start():
        telegram.say(chat, "hello [[status 400]]")
        telegram.say(chat, "x" * 2_000_000)
        await until(lambda: len(telegram.answers(chat)) == 2)
    assert sorted(text[:20] for text in telegram.answers(chat)) == [
        "I cannot send this: ",
        "I could not answer: ",
    ]
