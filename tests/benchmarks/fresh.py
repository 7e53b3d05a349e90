"""What only shows in a process of its own: how it starts, and how much memory it takes."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid

from tests.benchmarks.history import commit_history, conversation, real_turns
from tests.benchmarks.stage import PROJECT, ROOT
from worker.bootstrap import build
from worker.local.model import ScriptedModel

BARE = """
import asyncio, json, sys
from pathlib import Path
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
given = json.loads(sys.argv[1])
async def main():
    client = ClaudeSDKClient(ClaudeAgentOptions(**given))
    await client.connect()
    await client.query("hello")
    async for message in client.receive_response():
        pass
    await client.disconnect()
asyncio.run(main())
"""

RESTORE = """
import asyncio, json, os, sys
from pathlib import Path
from contracts import JobRequest, session_key
from worker.bootstrap import build
from worker.domain.job import Job
from worker.domain.policy import narrow

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024

async def opened(worker, chat):
    request = JobRequest(user_message="hello", chat_id=chat)
    spec = narrow(worker.ports.policy, request)
    job = Job("restore-" + chat, session_key(chat, None), request, spec)
    claim = await worker.ports.ledger.claim(job, "bench", worker.ports.clock.now(), 60)
    async with worker.checkouts.open(claim) as checkout:
        projects = checkout.directory / "config" / "projects"
        return sum(path.stat().st_size for path in projects.rglob("*.jsonl"))

async def main():
    worker = build(os.environ)
    await opened(worker, sys.argv[1])
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    size = await opened(worker, sys.argv[2])
    print(json.dumps({"size": size, "peak": status("VmHWM") - before}))

asyncio.run(main())
"""


async def starts(stage, repeats, report):
    """Process start to the model's first request: the bare SDK, and `agent-worker run`."""
    with ScriptedModel() as model:
        for n in range(repeats):
            options = stage.options(session_id=str(uuid.uuid4()))
            names = ("model", "system_prompt", "tools", "allowed_tools", "permission_mode")
            given = {name: getattr(options, name) for name in names}
            given |= {
                "cwd": str(options.cwd),
                "session_id": options.session_id,
                "env": {**options.env, "ANTHROPIC_BASE_URL": model.url},
            }
            seconds = await _until_asked(
                model, [sys.executable, "-c", BARE, json.dumps(given)], stage.environ()
            )
            report.add("bare, process start to model request", [seconds])
            chat = f"start-{n}"
            await asyncio.to_thread(stage.send, "hello", chat)
            environ = stage.environ(ANTHROPIC_BASE_URL=model.url, POLL_SECONDS="1")
            seconds = await _until_asked(
                model, [sys.executable, "-m", "worker", "run", "--concurrency", "1"], environ
            )
            report.add("ours, process start to model request", [seconds])


async def _until_asked(model, command, environ):
    before, begun = model.recorder.total, time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while model.recorder.total == before:
                await asyncio.sleep(0.001)
        return time.perf_counter() - begun
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def restore_memory(stage, report, megabytes=50):
    """Peak memory of a process while it restores a large conversation, beyond that of a small."""
    turns = await real_turns(stage)
    worker = build(stage.environ(WARM_CHATS="0"))
    for chat, size in (("memory-small", 10_000), ("memory-large", megabytes * 1_000_000)):
        session = str(uuid.uuid4())
        told = conversation(turns, session, 2)
        one = len(json.dumps(told[1]))
        padded = conversation(turns, session, max(size // 100_000, 2))
        for entries in padded:
            for entry in entries:
                if entry["type"] == "assistant":
                    text = os.urandom((100_000 - one) // 2).hex()
                    entry["message"]["content"] = [{"type": "text", "text": text}]
        await commit_history(worker, chat, padded, session, PROJECT)
        del padded
    worker.aws.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RESTORE,
        "memory-small",
        "memory-large",
        env=stage.environ(WARM_CHATS="0"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    told, _ = await process.communicate()
    measured = json.loads(told)
    report.note("restore, transcript in MB", round(measured["size"] / 1e6, 1))
    report.note("restore, peak beyond before in MB", round(measured["peak"] / 1e6, 1))
    report.note("restore, peak against transcript", measured["peak"] / measured["size"])
