"""A cut-off turn is continued, not repeated: the real CLI, real kills."""

import asyncio
import json
from collections import defaultdict
from dataclasses import replace

import pytest

from tests.integration.conftest import Bot, running, until, worker_process
from worker.bootstrap import build
from worker.domain.disposition import Ack, Retry
from worker.domain.turn import AgentResult
from worker.pipeline import process

pytestmark = pytest.mark.integration


def lines(path):
    return path.read_text().split() if path.exists() else []


def three_calls(ledger):
    return "steps: " + "; ".join(f"run echo {n} >> {ledger}" for n in (1, 2, 3))


async def test_a_turn_killed_after_each_of_its_tool_calls_runs_each_of_them_once(
    own, model, tmp_path
):
    bot, ledger = Bot(own), tmp_path / "ledger"
    environ = {**own, "LEASE_SECONDS": "3", "MAX_ATTEMPTS": "9"}
    steps = "; ".join(f"run echo {n} >> {ledger}" for n in range(1, 5))
    job = bot.send(f"steps: {steps}")
    for killed in range(1, 5):
        async with worker_process(environ, tmp_path / "log") as process:
            await until(lambda n=killed: len(lines(ledger)) >= n)
            process.kill()
            await process.wait()
    async with worker_process(environ, tmp_path / "log"):
        event = await bot.result(job)
        after = await bot.ask("what did I say first")
    assert lines(ledger) == ["1", "2", "3", "4"]
    assert event.type == "agent.job.completed"
    assert "steps: run echo 1" in after.response
    # What the model saw at last: the prompt once, each call once, each with a result.
    text = json.dumps(model.asked("what did I say first")[-1]["messages"])
    assert text.count('"type": "tool_use"') == 4
    assert text.count('"type": "tool_result"') == 4
    assert "unknown" in text


async def test_files_of_the_workspace_follow_the_chat_to_another_machine(own, tmp_path):
    bot = Bot(own)
    async with running(own, WORK_DIR=str(tmp_path / "one")):
        await bot.ask("write notes.txt: buy milk")
        await bot.ask("run mkdir -p src; echo 'print(1)' > src/a.py; chmod +x src/a.py")
    async with running(own, WORK_DIR=str(tmp_path / "two")):
        shown = await bot.ask("run cat notes.txt src/a.py; test -x src/a.py && echo executable")
        await bot.ask("run rm notes.txt")
        listed = await bot.ask("run ls")
    assert "buy milk" in shown.response
    assert "print(1)" in shown.response
    assert "executable" in shown.response
    assert "notes.txt" not in listed.response


async def test_a_workspace_over_its_limit_is_a_result_and_the_chat_goes_on(own):
    bot = Bot(own)
    async with running(own, MAX_WORKSPACE_FILES="5"):
        await bot.ask("write keep.txt: this")
        over = await bot.ask("run for n in $(seq 20); do echo $n > $n; done")
        listed = await bot.ask("run ls")
    assert over.is_error
    assert over.stop_reason == "workspace_limit"
    assert "5 files" in over.error_message
    assert "keep.txt" in listed.response
    assert "20" not in listed.response.split()


async def test_a_turn_that_fails_half_way_goes_on_and_does_not_repeat_its_calls(own, tmp_path):
    bot, ledger = Bot(own), tmp_path / "ledger"
    text = f"[[after 2]] [[status 529 times 1]] {three_calls(ledger)}"
    async with running(own):
        data = await bot.ask(text)
    assert lines(ledger) == ["1", "2", "3"]
    assert data.attempt == 2
    assert not data.is_error


async def test_a_model_that_falls_silent_is_given_up_on_and_asked_again(own):
    bot = Bot(own)
    async with running(own, MODEL_SILENCE_SECONDS="2"):
        before = await bot.ask("hello [[hang times 1]]")
        within = await bot.ask("hello again [[stall times 1]]")
    assert (before.attempt, within.attempt) == (2, 2)
    assert not before.is_error
    assert "message 2" in within.response


async def test_a_long_tool_is_not_silence(own, tmp_path):
    bot, script = Bot(own), tmp_path / "slow.sh"
    script.write_text("sleep 2.5; echo done")
    async with running(own, MODEL_SILENCE_SECONDS="1"):
        data = await bot.ask(f"run sh {script}")
    assert data.attempt == 1
    assert not data.is_error


async def test_a_drain_records_a_running_turn_and_the_next_worker_continues_it(
    own, model, tmp_path
):
    bot, ledger = Bot(own), tmp_path / "ledger"
    text = f"{three_calls(ledger)} [[after 2]] [[hang times 1]]"
    environ = {**own, "DRAIN_SECONDS": "1"}
    async with worker_process(environ, tmp_path / "log") as process:
        job = bot.send(text)
        await until(lambda: len(lines(ledger)) == 2)
        process.terminate()
        assert await process.wait() == 0
    async with worker_process(environ, tmp_path / "log"):
        data = (await bot.result(job)).data
    assert lines(ledger) == ["1", "2", "3"]
    assert not data.is_error


class Observed:
    """The real agent, and what each of its turns came to, by job."""

    def __init__(self, agent):
        self._agent, self.outcomes = agent, defaultdict(list)

    async def run(self, turn, checkout):
        outcome = await self._agent.run(turn, checkout)
        if isinstance(outcome, AgentResult):
            self.outcomes[turn.job_id].append(outcome)
        return outcome


async def invoked(environ, jobs, seconds=2.0):
    """Invocations of so many seconds, as on Lambda, until the jobs have ended; two at a time."""
    worker = build(environ)
    agent = Observed(worker.ports.agent)
    worker = replace(worker, ports=replace(worker.ports, agent=agent))
    left = set(jobs)

    async def invocations():
        while left:
            message = await worker.inbox.receive(1, 120)
            if message is None:
                continue
            match await process(message, worker.ports, seconds=seconds):
                case Ack():
                    await worker.inbox.delete(message)
                    left.discard(json.loads(message.body)["job_id"])
                case Retry(after):
                    await worker.inbox.extend(message, after)

    try:
        await asyncio.gather(invocations(), invocations())
    finally:
        await worker.checkouts.close()
        worker.aws.close()
    return agent.outcomes


def hanging(ledger, calls):
    """A turn of tool calls that never end by themselves, and a last one that does."""
    hang = "; ".join(f"run echo {n} >> {ledger} && exec tail -f /dev/null" for n in range(calls))
    return f"steps: {hang}; run echo end >> {ledger}"


async def test_a_turn_longer_than_the_host_s_time_ends_as_one_result_in_order(own, tmp_path):
    bot, ledger = Bot(own), tmp_path / "ledger"
    # Each of the first three calls takes up an invocation, whatever the machine.
    job = bot.send(hanging(ledger, 3))
    later = bot.send("after that")
    out_of_time = bot.send(
        hanging(tmp_path / "other", 9), chat="another", options={"timeout_seconds": 3}
    )
    environ = {**own, "MAX_SLICES": "50", "MAX_ATTEMPTS": "20"}
    outcomes = await invoked(environ, [job, later, out_of_time])
    data, after = (await bot.result(job)).data, (await bot.result(later)).data
    assert int(bot.record(job)["slices"]["N"]) >= 3
    # A call that a slice cut off has an unknown outcome: it ran once or was stopped, never twice.
    assert len(lines(ledger)) == len(set(lines(ledger)))
    assert lines(ledger)[-1] == "end"
    assert not data.is_error
    turns = outcomes[job]
    assert data.num_turns == sum(turn.num_turns for turn in turns)
    assert data.cost_usd == pytest.approx(sum(turn.cost_usd for turn in turns))
    assert data.cost_usd > max(turn.cost_usd for turn in turns)
    # What was sent meanwhile came after it, and knows it whole.
    assert "after that" in after.response
    assert "message 2" in after.response
    assert (await bot.result(out_of_time)).data.stop_reason == "timeout"


async def test_slices_are_bounded_in_number(own, tmp_path):
    bot = Bot(own)
    job = bot.send(hanging(tmp_path / "ledger", 9))
    await invoked({**own, "MAX_SLICES": "2", "MAX_ATTEMPTS": "20"}, [job])
    data = (await bot.result(job)).data
    assert (data.is_error, data.stop_reason) == (True, "max_slices")
    assert int(bot.record(job)["slices"]["N"]) == 1
