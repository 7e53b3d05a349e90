"""The CLI that was started ahead of its chat, with the real CLI and the real kills."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import Bot, running, until, worker_process
from worker.adapters.agent.process import PIDFILE
from worker.adapters.agent.tree import descendants

pytestmark = pytest.mark.integration


@pytest.fixture
def ahead(own):
    return {**own, "SPARE_AGENTS": "1"}


def started(environ):
    """The CLIs that run below a work directory, by the name of their directory."""
    found = {}
    for pidfile in Path(environ["WORK_DIR"]).glob(f"*/{PIDFILE}"):
        try:
            [cli] = descendants(int(pidfile.read_text()))
        except (ValueError, OSError):  # it is just starting, or ending
            continue
        found[pidfile.parent.name] = cli
    return found


async def waiting(worker):
    """The process id of the CLI that waits for a new chat, once it does."""
    await until(lambda: worker.checkouts.spares)
    directory = worker.checkouts._spares._waiting[0].item.directory
    [pid] = descendants(int((directory / PIDFILE).read_text()))
    return pid


async def of_turn(bot, **fields):
    """The CLI that runs a turn's tools, and the session it was in."""
    data = await bot.ask("run echo pid=$PPID", **fields)
    return int(re.search(r"pid=(\d+)", data.response)[1]), data


async def test_a_new_chat_is_served_by_the_process_that_waits_and_the_next_by_another(ahead):
    bot = Bot(ahead)
    async with running(ahead, WARM_CHATS="0") as worker:
        first = await waiting(worker)
        served, data = await of_turn(bot, chat=f"{bot.chat}-a")
        second = await waiting(worker)
        then, other = await of_turn(bot, chat=f"{bot.chat}-b")
    assert (served, then) == (first, second)
    assert first != second
    assert data.session_id != other.session_id
    assert (data.session_status, data.num_turns) == ("new", 2)


async def test_the_chat_goes_on_in_that_process_and_later_on_another_machine(ahead, tmp_path):
    bot = Bot(ahead)
    async with running(ahead) as worker:
        pid = await waiting(worker)
        data = await bot.ask("write notes.txt: buy milk")
        again, second = await of_turn(bot)
    async with running(ahead, WORK_DIR=str(tmp_path / "other")):
        shown = await bot.ask("run cat $PWD/notes.txt; pwd")
        said = await bot.ask("what did I say first")
    assert again == pid
    assert {data.session_id, second.session_id} == {shown.session_id}
    assert "buy milk" in shown.response
    assert "write notes.txt" in said.response


async def test_a_turn_with_other_options_is_served_cold_and_the_process_waits_on(ahead):
    bot = Bot(ahead)
    async with running(ahead) as worker:
        pid = await waiting(worker)
        cold, _ = await of_turn(bot, chat=f"{bot.chat}-a", model="haiku")
        limited, _ = await of_turn(bot, chat=f"{bot.chat}-b", options={"max_turns": 7})
        served, _ = await of_turn(bot, chat=f"{bot.chat}-c")
    assert pid not in {cold, limited}
    assert served == pid


async def test_one_that_was_started_with_other_keys_is_not_used(ahead, monkeypatch):
    bot = Bot(ahead)
    async with running(ahead) as worker:
        pid = await waiting(worker)
        variables = worker.ports.agent._model.variables

        async def rotated():
            return {**await variables(), "ANTHROPIC_API_KEY": "rotated"}

        monkeypatch.setattr(worker.ports.agent._model, "variables", rotated)
        served, data = await of_turn(bot)
        again, _ = await of_turn(bot)
    assert served != pid
    assert (again, data.attempt) == (served, 1)


async def test_one_that_died_while_it_waited_is_not_missed(ahead):
    bot = Bot(ahead)
    async with running(ahead) as worker:
        pid = await waiting(worker)
        os.kill(pid, signal.SIGKILL)
        served, data = await of_turn(bot)
    assert served != pid
    assert data.attempt == 1


async def test_the_model_is_shown_the_same_as_by_a_process_of_the_chat_s_own(ahead, model):
    seen = []
    for chat, spares in (("of-its-own", "0"), ("ahead-of-it", "1")):
        bot = Bot(ahead)
        async with running(ahead, SPARE_AGENTS=spares) as worker:
            if spares == "1":
                await waiting(worker)
            await bot.ask(f"hello from {chat}", chat=chat)
        [request] = [
            r["body"]
            for r in model.requests
            if f"hello from {chat}" in json.dumps(r["body"]["messages"])
        ]
        text = json.dumps({k: request[k] for k in ("system", "messages", "tools", "model")})
        text = re.sub(r"/[0-9a-f]{24}/", "/DIR/", text.replace(chat, "CHAT"))
        seen.append(re.sub(r"cc_version=[\w.]+|cch=\w+", "", text))  # a digest of the prompt
    assert seen[0] == seen[1]


async def test_a_killed_worker_leaves_none_and_no_directory_after_the_next_start(ahead, tmp_path):
    async with worker_process(ahead, tmp_path / "log") as process:
        await until(lambda: '"spare"' in (tmp_path / "log").read_text())
        [pid] = started(ahead).values()
        process.kill()
        await process.wait()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    async with running(ahead, SPARE_AGENTS="0"):
        pass
    assert {path.name for path in Path(ahead["WORK_DIR"]).iterdir()} == {"bin", ".lock"}


async def test_a_drained_host_leaves_none(ahead):
    async with running(ahead) as worker:
        pid = await waiting(worker)
    assert not Path(f"/proc/{pid}").exists()
    assert {path.name for path in Path(ahead["WORK_DIR"]).iterdir()} == {"bin", ".lock"}


async def test_a_first_turn_that_is_cut_off_goes_on_in_its_session_and_directory(ahead, tmp_path):
    bot, ledger = Bot(ahead), tmp_path / "ledger"
    environ = {**ahead, "LEASE_SECONDS": "3"}
    calls = "; ".join(f"run pwd >> {ledger}" for _ in range(3))
    async with worker_process(environ, tmp_path / "log") as process:
        await until(lambda: '"spare"' in (tmp_path / "log").read_text())
        [name] = started(ahead)
        job = bot.send(f"steps: {calls}")
        await until(lambda: ledger.exists() and ledger.read_text())
        process.kill()
        await process.wait()
    async with worker_process({**environ, "SPARE_AGENTS": "0"}, tmp_path / "log"):
        data = (await bot.result(job)).data
        after = await bot.ask("run pwd")
    places = set(ledger.read_text().split())
    assert {Path(place).parent.name for place in places} == {name}
    assert places.pop() in after.response
    assert (data.attempt, after.session_id) == (2, data.session_id)
