"""Failures by kind, on the real CLI: each ends as an answer after all, or as a failure that says
why, and the chat goes on from its last commit.
"""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from tests.integration.conftest import Bot, running, until
from worker.adapters.agent import process
from worker.adapters.agent.process import bundled_cli
from worker.adapters.transcript import Transcript

pytestmark = pytest.mark.integration

# Passes everything on, but ends well instead of with the first result.
WITHOUT_A_RESULT = """\
#!{python} -IS
import os, subprocess, sys
cli = subprocess.Popen([{cli!r}, *sys.argv[1:]], stdout=subprocess.PIPE)
for line in cli.stdout:
    if b'"type":"result"' in line and not os.path.exists({flag!r}):
        open({flag!r}, "w").close()
        os._exit(0)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
sys.exit(cli.wait())
"""


async def test_a_turn_that_ends_without_a_result_is_run_again(own, tmp_path, monkeypatch, model):
    bot, cli = Bot(own), tmp_path / "cli"
    text = WITHOUT_A_RESULT.format(
        python=sys.executable, cli=str(bundled_cli()), flag=str(tmp_path / "ended")
    )
    cli.write_text(text)
    cli.chmod(0o755)
    monkeypatch.setattr(process, "bundled_cli", lambda: cli)
    async with running(own):
        job = bot.send("hello once")
        data = (await bot.result(job)).data
        after = await bot.ask("what did I say first")
    assert bot.ended(job) == ["agent_no_result"]
    assert (data.attempt, data.is_error) == (2, False)
    assert "hello once" in after.response
    assert times(model, "what did I say first", "hello once") == 1


async def test_a_transcript_that_was_not_mirrored_whole_is_not_committed(own, monkeypatch, model):
    bot, append = Bot(own), Transcript.append
    failing = []

    async def append_or_fail(transcript, key, entries):
        failing[:] = failing or [transcript]
        if transcript is failing[0] and any(entry["type"] == "assistant" for entry in entries):
            raise OSError("the mirror is out of reach")
        await append(transcript, key, entries)

    monkeypatch.setattr(Transcript, "append", append_or_fail)
    async with running(own):
        job = bot.send("hello mirror")
        data = (await bot.result(job)).data
        after = await bot.ask("what did I say first")
    assert bot.ended(job) == ["agent_mirror"]
    assert (data.attempt, data.is_error) == (2, False)
    assert "hello mirror" in after.response
    assert times(model, "what did I say first", "hello mirror") == 1


def times(model, asked, text):
    """How often the person says a text, in the latest request that holds `asked`."""
    messages = model.asked(asked)[-1]["messages"]
    return sum(m["role"] == "user" and text in json.dumps(m) for m in messages)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own that is soon full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("to make a small disk, one must be allowed to mount one")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    """Take all the room that a disk has; returns the file that does."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


async def test_a_full_disk_fails_the_job_by_its_name_and_the_chat_goes_on(own, small_disk):
    bot, work = Bot(own), str(small_disk / "work")
    async with running(own, WORK_DIR=work, MAX_ATTEMPTS="2", WARM_CHATS="0"):
        await bot.ask("my name is Ada")
        # What the first turn still removes would be room for the second.
        await until(lambda: {p.name for p in (small_disk / "work").iterdir()} <= {"bin", ".lock"})
        ballast = fill(small_disk)
        job = bot.send("hello full disk")
        failed = await bot.result(job)
        ballast.unlink()
        after = await bot.ask("what is my name")
        first = await bot.ask("what did I say last")
    assert failed.type == "agent.job.failed"
    assert (failed.data.error_code, failed.data.attempt) == ("disk_unavailable", 2)
    assert "No space left on device" in failed.data.error_message
    assert (await bot.dead_letter(job))["dead_letter_reason"] == "disk_unavailable"
    assert "Ada" in after.response
    assert "full disk" not in first.response


async def test_a_turn_that_fills_the_disk_is_committed_and_the_chat_goes_on(own, small_disk):
    bot, work = Bot(own), str(small_disk / "work")
    async with running(own, WORK_DIR=work, MAX_ATTEMPTS="2"):
        await bot.ask("my name is Ada")
        data = await bot.ask("run head -c 99000000 /dev/zero > $TMPDIR/large")
        after = await bot.ask("what is my name")
    assert (data.attempt, data.is_error) == (1, False)
    assert "No space left on device" in data.response
    assert "Ada" in after.response
