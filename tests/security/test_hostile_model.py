"""A model that wants harm: each attack ends as a bounded, clear result, the worker lives, and the
next chat is clean. With the limit off, the same attack gets as far as its own cap."""

import asyncio
import contextlib
import json
import uuid
from pathlib import Path

import pytest

from tests.integration.conftest import Bot, until
from tests.security.conftest import SYSTEM_PYTHON, command, importable, is_root

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not is_root(), reason="gives chats users of their own"),
    pytest.mark.skipif(SYSTEM_PYTHON is None, reason="no interpreter that every user can start"),
]

SCRIPT = Path(__file__).with_name("hostile.py")
LIMITS = {
    "AGENT_MAX_PROCESSES": "40",
    "AGENT_MAX_MEMORY_MB": "250",
    "AGENT_MAX_DISK_MB": "150",
    "AGENT_MAX_FILE_MB": "50",
    "AGENT_MAX_OPEN_FILES": "400",
    "AGENT_MAX_CPU_SECONDS": "2",
}
ATTACKS = {
    # the setting that stops it, and what the model then reads
    "many_processes": ("AGENT_MAX_PROCESSES", "Bash failed|stopped at"),
    "much_memory": ("AGENT_MAX_MEMORY_MB", "Bash failed"),
    "full_disk": ("AGENT_MAX_DISK_MB", "Bash failed"),
    "large_file": ("AGENT_MAX_FILE_MB", "File too large"),
    "many_open_files": ("AGENT_MAX_OPEN_FILES", "Too many open files"),
    "much_cpu": ("AGENT_MAX_CPU_SECONDS", "Bash failed"),
    "much_output": ("AGENT_MAX_FILE_MB", "outcome: No such file"),
}
ENDLESS = "steps: " + "; ".join(["run true"] * 30)
TALKING = "hello [[slow 0.1]] [[long 1600]]"
"""A model that calls tools without end, and one that talks on; here for 30 calls and 8 seconds."""


class Ground:
    """A worker on a disk of its own."""

    def __init__(self, bot, process, work, log):
        self.bot, self.process, self.work, self.log = bot, process, work, log

    async def attack(self, name, *arguments, **options):
        """What the tool said, as the model quotes it."""
        text = " ".join(["run", SYSTEM_PYTHON, str(SCRIPT), name, *map(str, arguments)])
        if name == "much_output":
            text = f"steps: {text}; run cat outcome"
        return await self.ask(text, **options)

    async def ask(self, text, **options):
        """In a chat of its own."""
        return await self.bot.ask(text, chat=uuid.uuid4().hex, options=options)

    async def is_well(self):
        """Another chat is answered, and nothing of an attack runs any more."""
        data = await self.bot.ask("hello", chat=uuid.uuid4().hex)
        assert "'hello'" in data.response
        assert self.process.returncode is None
        await until(lambda: not running_attacks(), 20)


def running_attacks():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(SCRIPT).encode() in path.read_bytes():
                found.append(path)
    return found


@contextlib.asynccontextmanager
async def worker_on(ground, own, **changes):
    work, log = ground / "work", ground / "log"
    environ = {
        **own,
        **importable(),
        **LIMITS,
        "WORK_DIR": str(work),
        "AGENT_READABLE": str(SCRIPT.parent),
        "MAX_ATTEMPTS": "2",
        **changes,
    }
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command(concurrency=10), env=environ, stdout=output, stderr=output
        )
    try:
        yield Ground(Bot(own), process, work, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_each_attack_on_the_machine_ends_as_a_result_and_the_next_chat_is_clean(own, ground):
    async with worker_on(ground, own) as worker:
        *datas, endless, stuck, talking = await asyncio.gather(
            *(worker.attack(name) for name in ATTACKS),
            worker.ask(ENDLESS, max_turns=5),
            worker.attack("never_end", timeout_seconds=4),
            worker.ask(TALKING, timeout_seconds=4),
        )
        for (name, (_, says)), data in zip(ATTACKS.items(), datas, strict=True):
            assert "succeeded" not in data.response, (name, data.response)
            assert any(part in data.response for part in says.split("|")), (name, data.response)
            assert data.stop_reason == "end_turn", name  # the turn went on: the model was told
            assert len(json.dumps(data.model_dump(mode="json"))) < 100_000
        assert peak_mebibytes(worker.process.pid) < 500
        assert (endless.stop_reason, endless.is_error) == ("max_turns", True)
        for late in (stuck, talking):
            assert (late.stop_reason or late.error_code, late.is_error) == ("timeout", True)
            assert "succeeded" not in late.response
        await worker.is_well()


async def test_without_the_limits_each_attack_succeeds(own, ground):
    off = {setting: "0" for setting, _ in ATTACKS.values()}
    async with worker_on(ground, own, **off) as worker:
        *datas, endless, talking = await asyncio.gather(
            *(worker.attack(name) for name in [*ATTACKS, "never_end"]),
            worker.ask(ENDLESS),
            worker.ask(TALKING),
        )
        for name, data in zip([*ATTACKS, "never_end"], datas, strict=True):
            assert "succeeded" in data.response, (name, data.response)
        assert endless.num_turns == 31
        assert len(talking.response) == 1600
        await worker.is_well()


def peak_mebibytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no peak")


@pytest.mark.parametrize("confined", [True, False])
async def test_killing_all_its_parents_ends_its_turn_and_not_the_worker(own, ground, confined):
    changes = {} if confined else {"AGENT_SANDBOX": "off", "AGENT_UID": "0"}
    async with worker_on(ground, own, **changes) as worker:
        pid = worker.process.pid
        text = f"run {SYSTEM_PYTHON} {SCRIPT} kill_ancestors {pid}"
        job = worker.bot.send(text, chat=uuid.uuid4().hex)
        if not confined:
            await asyncio.wait_for(worker.process.wait(), 30)
            return
        event = await worker.bot.result(job)
        assert event.data.attempt == 2
        await worker.is_well()
