"""What only shows in a process of its own: how it starts."""

import asyncio
import json
import subprocess
import sys
import time
import uuid

from tests.benchmarks.stage import ROOT
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
