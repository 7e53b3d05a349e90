"""A cut-off turn is continued, not repeated: the real CLI, real kills."""

import json

import boto3
import pytest

from tests.integration.conftest import Bot, running, until, worker_process
from worker.bootstrap import build
from worker.domain.disposition import Ack, Retry
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
    [final] = [r for r in model.requests if "what did I say first" in json.dumps(r["body"])][-1:]
    text = json.dumps(final["body"]["messages"])
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


async def test_a_turn_longer_than_the_host_s_time_ends_as_one_result_in_order(own, tmp_path):
    bot, ledger = Bot(own), tmp_path / "ledger"
    script = tmp_path / "slow.sh"
    script.write_text(f"sleep 1.2; echo $1 >> {ledger}")
    job = bot.send("steps: " + "; ".join(f"run sh {script} {n}" for n in range(1, 9)))
    later = bot.send("after that")
    worker = build(own)
    slices = 0
    try:
        while True:
            message = await worker.inbox.receive(5, 120)
            disposition = await process(message, worker.ports, seconds=3.5)
            if isinstance(disposition, Retry):
                # A loaded machine may be too slow to stop in time; then it is another attempt.
                assert disposition.reason in {"sliced", "agent_hung"}
                slices += disposition.reason == "sliced"
                await worker.inbox.extend(message, 0)
                continue
            assert disposition == Ack()
            await worker.inbox.delete(message)
            break
    finally:
        worker.aws.close()
    async with running(own):
        data, after = (await bot.result(job)).data, (await bot.result(later)).data
    assert slices >= 1
    # A call that a slice cut off has an unknown outcome: it ran once or was stopped, never twice.
    assert len(lines(ledger)) == len(set(lines(ledger)))
    assert data.num_turns > slices
    assert not data.is_error
    assert "after that" in after.response
    head = boto3.client("dynamodb").get_item(
        TableName=own["JOB_TABLE"], Key={"job_id": {"S": job}}
    )["Item"]
    assert int(head["slices"]["N"]) == slices
