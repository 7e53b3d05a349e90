"""A Bash tool tries to reach what is not the agent's, under each defence and without it."""

import asyncio
import contextlib
import json
import os
import re
import uuid
from pathlib import Path

import pytest

from tests.integration.conftest import Bot, until
from tests.security.conftest import NOBODY, SYSTEM_PYTHON, UNDONE, command, importable, is_root
from worker.adapters.agent.confinement import landlock_version

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not is_root(), reason="starts workers as other users"),
    pytest.mark.skipif(SYSTEM_PYTHON is None, reason="no interpreter that every user can start"),
]
needs_landlock = pytest.mark.skipif(landlock_version() < 6, reason="an older kernel's Landlock")

PROBE = Path(__file__).with_name("probe.py")
OFF = {"AGENT_SANDBOX": "off", "AGENT_UID": "0"}

SAME_USER = {
    *("worker's environment", "launcher's environment", "worker's memory"),
    *("worker's descriptors", "ptrace"),
}
OTHERS = {
    *("signal to the worker", "signal to the launcher", "another chat", "the launcher's file"),
    "a link to another chat's file",
}
PORT = {"another port"}
INHERITED = {"inherited descriptors"}
EVERYTHING = SAME_USER | OTHERS | PORT | INHERITED

CASES = {
    # what is on: (how the worker runs, its settings, what an attack still gets)
    "nothing": ({"without": tuple(UNDONE)}, OFF, EVERYTHING),
    "a user of its own": ({"without": ["concealment"]}, {"AGENT_SANDBOX": "off"}, PORT),
    "Landlock": ({"without": ["concealment"]}, {"AGENT_UID": "0"}, set()),
    "both": ({}, {}, set()),
    "nothing, not root": (
        {"root": False, "without": tuple(UNDONE)},
        OFF,
        EVERYTHING - {"launcher's environment"},
    ),
    "concealment, not root": ({"root": False}, OFF, OTHERS | PORT),
    "Landlock and concealment, not root": ({"root": False}, {}, set()),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=[needs_landlock] if "both" in name or "Landlock" in name else [])
        for name in CASES
    ],
)
async def test_a_tool_reaches_only_what_no_defence_closes(case, own, ground, service):
    how, settings, expected = CASES[case]
    bot, work, held = Bot(own), ground / "work", ground / "held"
    work.mkdir()
    held.write_text("marked-secret-of-the-worker")
    held.chmod(0o600)
    for path in (ground, work, held):
        os.chown(path, *[NOBODY if how.get("root") is False else 0] * 2)
    changes = {
        "WORK_DIR": str(work),
        "AGENT_READABLE": str(PROBE.parent),
        "MY_SECRET": "marked-secret-of-the-worker",
        "HELD": str(held),
        **importable(),
        **settings,
    }
    async with worker_of(command(**how, hold=True), {**own, **changes}, ground / "log") as process:
        neighbour = bot.send("run echo mine > diary; exec tail -f /dev/null", chat=uuid.uuid4().hex)
        [diary] = await until(lambda: [*work.glob("*/workspace/diary")], 20)
        data = await bot.ask(f"run {SYSTEM_PYTHON} {PROBE} {process.pid} {work} {service} {diary}")
        assert "{" in data.response, (data.response, (ground / "log").read_text())
        got = json.loads(re.search(r"\{.*\}", data.response)[0])
    assert neighbour
    assert {attack for attack, succeeded in got.items() if succeeded} == expected


@contextlib.asynccontextmanager
async def worker_of(arguments, environ, log):
    """A worker that is started by these arguments, and killed at the end."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, env=environ, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
