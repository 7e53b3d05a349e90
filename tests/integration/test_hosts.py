"""The long-running host as a process: drained, killed, and taken over from."""

import asyncio
import contextlib
import json
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

from contracts import JobRequest
from tests.integration.conftest import Bot, running, until, worker_process
from worker.adapters.journal import PowertoolsJournal
from worker.domain.job import Job
from worker.domain.policy import Policy, narrow
from worker.entrypoints import host
from worker.ports import Commit

pytestmark = pytest.mark.integration


def running_turn(model, text):
    """Whether the model has been asked something that holds this text."""
    return lambda: bool(model.asked(text))


def descendants(pid):
    """Every process below `pid`."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


async def test_sigterm_lets_a_running_turn_finish_and_takes_no_other(own, model, tmp_path):
    bot = Bot(own)
    async with worker_process(own, tmp_path / "log", "--concurrency", "2") as process:
        job = bot.send("drain me [[delay 2]]")
        await until(running_turn(model, "drain me"))
        process.send_signal(signal.SIGTERM)
        later = bot.send("too late", chat="another")
        assert await process.wait() == 0
        event = await bot.result(job, 5)
        assert "drain me" in event.data.response
        assert bot.waiting() == 1
    async with worker_process(own, tmp_path / "log"):
        assert "too late" in (await bot.result(later)).data.response


async def test_a_killed_worker_s_turn_is_taken_over_after_its_lease(own, model, tmp_path):
    bot = Bot(own)
    environ = {**own, "LEASE_SECONDS": "4"}
    async with worker_process(environ, tmp_path / "log") as first:
        await bot.ask("my name is Ada")
        job = bot.send("what is my name? take over [[hang]]", options={"timeout_seconds": 100})
        await until(running_turn(model, "take over"))
        first.kill()
        await first.wait()
    model.recorder.clear()
    async with worker_process(environ, tmp_path / "log"):
        await until(running_turn(model, "take over"))
        # The second worker is in the same turn now; what it asks holds the prompt once.
        [request] = model.asked("take over")
        assert json.dumps(request["messages"]).count("take over") == 1
        assert "Ada" in json.dumps(request["messages"])
    record = bot.record(job)
    assert record["attempt"]["N"] == "2"


async def test_killing_the_worker_ends_its_cli_and_the_tools_of_that(own, tmp_path):
    bot = Bot(own)
    pid_file = tmp_path / "tool.pid"
    async with worker_process(own, tmp_path / "log") as process:
        bot.send(f"run echo $$ > {pid_file}; exec tail -f /dev/null")
        await until(lambda: pid_file.exists() and pid_file.read_text().strip())
        below = descendants(process.pid)
        tool = int(pid_file.read_text())
        assert tool in below
        process.kill()
        await process.wait()
        await until(lambda: not [pid for pid in below if alive(pid)], what="no orphan")


async def test_killing_the_cli_ends_its_tools_and_the_turn_is_tried_again(own, tmp_path):
    bot = Bot(own)
    pid_file, flag = tmp_path / "tool.pid", tmp_path / "second"
    async with worker_process(own, tmp_path / "log"):
        command = (
            f"test -e {flag} || {{ touch {flag}; echo $$ > {pid_file}; exec tail -f /dev/null; }}"
        )
        job = bot.send(f"run {command}")
        await until(lambda: pid_file.exists() and pid_file.read_text().strip())
        tool = int(pid_file.read_text())
        parent = int(Path(f"/proc/{tool}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        await until(lambda: not alive(tool), what="the tool to end with its CLI")
        event = await bot.result(job)
    assert event.type == "agent.job.completed"
    assert (event.data.attempt, event.data.is_error) == (2, False)
    assert bot.ended(job) == ["agent_died"]


async def test_a_wrong_configuration_ends_the_host_with_every_problem(own, tmp_path):
    environ = {**own, "LEASE_SECONDS": "soon", "QUEUE_URL": "", "AUTH_MODE": "token"}
    async with worker_process(environ, tmp_path / "log") as process:
        assert await process.wait() == 2
    text = (tmp_path / "log").read_text()
    for name in ("LEASE_SECONDS", "QUEUE_URL", "SDK_CLIENT_AUTH_TOKEN"):
        assert name in text
    assert "Traceback" not in text


async def test_a_queue_that_is_out_of_reach_is_waited_for(own, tmp_path):
    log = tmp_path / "log"
    environ = {**own, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    async with worker_process(environ, log) as process:
        await until(lambda: "unavailable" in log.read_text())
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_host_publishes_what_a_dead_worker_had_committed_and_names_what_is_stuck(
    own, monkeypatch
):
    monkeypatch.setattr(host, "SWEEP_SECONDS", 0.1)
    noted = []
    monkeypatch.setattr(PowertoolsJournal, "note", lambda _, step, **f: noted.append((step, f)))
    bot, then = Bot(own), time.time() - 10 * 3600
    async with running(own) as worker:
        ledger = worker.ports.ledger
        claim = await ledger.claim(a_job(), "dead", then, 120)
        event = json.dumps({"type": "agent.job.completed", "data": {}})
        await ledger.commit(claim, Commit("s", (), (), event, 0.5, 1), then, 86400)
        stuck = await ledger.claim(a_job(), "dead", then, 120)
        job_id = claim.job.job_id
        await until(lambda: bot.record(job_id)["state"]["S"] == "published", seconds=10)
        await until(lambda: ("stuck", stuck.job.job_id) in [(s, f.get("job_id")) for s, f in noted])
        await end(stuck, ledger)


def a_job():
    request = JobRequest(user_message="hi", chat_id="1")
    return Job(f"j-{uuid.uuid4().hex}", uuid.uuid4().hex, request, narrow(Policy(), request))


async def end(claim, ledger):
    """Not to be stuck for other tests."""
    failed = await ledger.fail(claim, "{}", "ended", "by the test", time.time())
    await ledger.mark_published(failed, time.time())
