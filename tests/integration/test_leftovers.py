"""What the CLI leaves behind stays within its chat's directory, does not grow, and goes with it."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.integration.conftest import Bot, running

pytestmark = pytest.mark.integration

KEPT = {"bin", ".lock"}
"""Of a worker, not of a chat."""


def of_the_cli(directory):
    """Its own files: not the agent's, nor what is stored."""
    return {
        str(path.relative_to(directory))
        for part in ("home", "tmp", "config")
        for path in (directory / part).rglob("*")
    }


def in_shared_places(work):
    """What names this worker's directory, in the ways of the CLI, or is in its home."""
    shared, mine = Path(tempfile.gettempdir()), str(work).replace("/", "-")
    places = (shared, shared / f"claude-{os.getuid()}", Path.home())
    return [
        str(path)
        for place in places
        if place.is_dir()
        for path in place.iterdir()
        if mine in path.name
    ]


async def test_a_kept_process_leaves_no_more_files_with_each_turn(own):
    bot, work = Bot(own), Path(own["WORK_DIR"])
    async with running(own):
        counts = []
        for n in range(8):
            await bot.ask(f"run echo {n}")
            [directory] = [path for path in work.iterdir() if path.name not in KEPT]
            counts.append(len(of_the_cli(directory)))
    assert len(set(counts[1:])) == 1, counts
    assert {path.name for path in work.iterdir()} == KEPT


async def test_many_processes_leave_nothing_when_they_have_ended(own):
    bot, work = Bot(own), Path(own["WORK_DIR"])
    async with running(own, WARM_CHATS="0"):
        for n in range(4):
            await bot.ask(f"run echo {n}", chat=f"chat-{n % 2}")
            # The directory goes after the job's event.
    assert {path.name for path in work.iterdir()} == KEPT
    assert in_shared_places(work) == []
