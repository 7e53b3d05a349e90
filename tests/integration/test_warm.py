"""The CLI of a chat stays for its next turn, and no turn can tell, but by the time it takes."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import Bot, running, until

pytestmark = pytest.mark.integration


async def cli_of(bot, **fields):
    """The process id of the CLI that runs the chat's tools."""
    data = await bot.ask("run echo pid=$PPID", **fields)
    return int(re.search(r"pid=(\d+)", data.response)[1])


def ended(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


async def test_the_second_turn_runs_in_the_process_of_the_first(own):
    bot = Bot(own)
    async with running(own):
        first = await cli_of(bot)
        assert await cli_of(bot) == first
        assert await cli_of(bot, chat="another") != first
    assert ended(first)


async def test_a_job_s_cost_and_model_calls_are_its_own(own):
    bot = Bot(own)
    async with running(own):
        costs = [(await bot.ask(f"hello {n}")) for n in range(3)]
    assert [data.num_turns for data in costs] == [1, 1, 1]
    assert all(0 < data.cost_usd < 0.007 for data in costs), [data.cost_usd for data in costs]


async def test_files_and_words_of_warm_turns_are_there_on_another_machine(own, tmp_path):
    bot = Bot(own)
    async with running(own, WORK_DIR=str(tmp_path / "one")):
        for n in range(4):
            await bot.ask(f"write notes{n}.txt: number {n}")
        await bot.ask("run rm notes1.txt")
    async with running(own, WORK_DIR=str(tmp_path / "two")):
        listed = await bot.ask("run cat *.txt")
        first = await bot.ask("what did I say first")
    assert [f"number {n}" in listed.response for n in range(4)] == [True, False, True, True]
    assert "write notes0.txt: number 0" in first.response


async def test_what_another_worker_has_done_meanwhile_is_seen(own, tmp_path):
    bot, other = Bot(own), {**own, "WORK_DIR": str(tmp_path / "other")}
    async with running(own) as worker:
        first = await cli_of(bot)
        held = worker.inbox.receive  # it takes no message for a while

        async def nothing(*_arguments):
            await asyncio.sleep(0.05)

        worker.inbox.receive = nothing
        await asyncio.sleep(1.1)  # the long poll that is under way ends
        async with running(other):
            await bot.ask("run echo elsewhere > there.txt")
        worker.inbox.receive = held
        data = await bot.ask("run cat there.txt; echo pid=$PPID")
        said = await bot.ask("what did I say first")
    assert "elsewhere" in data.response
    assert f"pid={first}" not in data.response
    assert "echo pid" in said.response
    assert ended(first)


async def test_what_a_tool_leaves_running_ends_with_its_turn(own, tmp_path):
    bot, beat = Bot(own), tmp_path / "beat"
    loop = f"while true; do date +%s%N > {beat}; sleep 0.05; done"
    async with running(own):
        first = await cli_of(bot)
        begun = f"until [ -e {beat} ]; do sleep 0.01; done"
        await bot.ask(f"run nohup sh -c '{loop}' >/dev/null 2>&1 & {begun}")
        last = beat.read_text()
        second = await cli_of(bot)
        assert second != first
        assert beat.read_text() == last


async def test_after_an_error_an_interrupt_or_other_options_the_process_is_a_new_one(own):
    bot = Bot(own)
    async with running(own, JOB_TIMEOUT_SECONDS="60"):
        pids = [await cli_of(bot)]
        pids.append(await cli_of(bot, model="haiku"))
        pids.append(await cli_of(bot, options={"max_turns": 7}))
        limited = {"max_turns": 2}
        pids.append(await cli_of(bot, options=limited))
        failed = await bot.ask("steps: run echo a; run echo b; run echo c", options=limited)
        pids.append(await cli_of(bot, options=limited))
        late = await bot.ask("[[delay 9]] hello", options={"timeout_seconds": 1})
        pids.append(await cli_of(bot))
        pids.append(await cli_of(bot, session="new"))
    assert failed.stop_reason == "max_turns"
    assert late.stop_reason == "timeout"
    assert len(set(pids)) == len(pids)


async def test_a_process_that_died_between_two_turns_is_not_missed(own):
    bot = Bot(own)
    async with running(own):
        await bot.ask("my name is Ada")
        first = await cli_of(bot)
        os.kill(first, signal.SIGKILL)
        data = await bot.ask("what is my name")
    assert (data.attempt, "Ada" in data.response) == (1, True)


async def test_a_process_that_was_frozen_between_two_turns_goes_on(own):
    bot = Bot(own)
    async with running(own):
        await bot.ask("my name is Ada")
        first = await cli_of(bot)
        os.kill(first, signal.SIGSTOP)
        job = bot.send("what is my name")
        await asyncio.sleep(0.5)
        os.kill(first, signal.SIGCONT)
        data = (await bot.result(job)).data
        assert await cli_of(bot) == first
    assert (data.attempt, "Ada" in data.response) == (1, True)


async def test_a_budget_is_the_job_s_though_the_process_counts_on(own):
    bot, options = Bot(own), {"max_budget_usd": 0.2}
    many = "steps: " + "; ".join(f"run echo {n}" for n in range(30))
    async with running(own):
        data = [await bot.ask(f"hello {n}", options=options) for n in range(9)]
        over = await bot.ask(many, options=options)
    assert [job.is_error for job in data] == [False] * 9
    assert over.stop_reason == "max_budget_usd"
    assert 0.2 <= over.cost_usd < 0.25


async def test_only_so_many_chats_are_kept(own):
    bot = Bot(own)
    async with running(own, WARM_CHATS="1"):
        first = await cli_of(bot, chat="a")
        second = await cli_of(bot, chat="b")
        await until(lambda: ended(first))
        assert not ended(second)
        assert await cli_of(bot, chat="b") == second


async def test_nothing_is_kept_when_it_is_switched_off(own, tmp_path):
    bot = Bot(own)
    async with running(own, WARM_CHATS="0"):
        await bot.ask("hello")
        names = await until(
            lambda: (
                (found := sorted(p.name for p in (tmp_path / "work").iterdir())) == [".lock", "bin"]
                and found
            )
        )
    assert names == [".lock", "bin"]


async def test_the_model_is_shown_the_same_conversation_warm_and_cold(own, model):
    """But for what the CLI says of the process itself: paths of the chat, and its budget."""

    async def seen(chat, **changes):
        bot = Bot(own)
        async with running(own, **changes):
            for text in ("my name is Ada", "write a.txt: one", "run cat a.txt", f"end {chat}"):
                await bot.ask(text, chat=chat)
        [request] = model.asked(f"end {chat}")
        return bot, request

    _, warm = await seen("warm-chat")
    _, cold = await seen("cold-chat", WARM_CHATS="0")
    assert told(warm, "warm-chat") == told(cold, "cold-chat")


def told(request, chat):
    text = json.dumps(request["messages"]).replace(chat, "CHAT")
    text = re.sub(r"/[0-9a-f]{24}/", "/DIR/", text)
    text = re.sub(r"toolu_\w+", "TOOL", text)
    return re.sub(r"USD budget: [^\"\\]*", "BUDGET", text)
