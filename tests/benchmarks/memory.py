"""How much memory the worker takes: for a large conversation, and after many jobs."""

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.benchmarks.history import commit_history, conversation, real_turns
from tests.benchmarks.stage import PROJECT, ROOT, our_host
from worker.adapters.agent.tree import descendants
from worker.bootstrap import build

TURN_BYTES = 100_000
TURNS_IN_A_ROW = 9
KINDS = {
    # The least that JSON allows: base64 of random bytes still compresses to three quarters.
    "does not compress": lambda size: base64.b64encode(os.urandom(size * 3 // 4)).decode(),
    "compresses well": lambda size: ("what was said before is said again; " * size)[:size],
}

RESTORE = """
import asyncio, json, os, sys, time
from pathlib import Path
from contracts import JobRequest, session_key
from worker.adapters.agent.live import LiveAgent
from worker.bootstrap import build
from worker.domain.job import Job
from worker.domain.policy import narrow
from worker.domain.turn import AgentFailure
from worker.ports import Turn

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024

async def connected_and_no_more(live, *_):
    return AgentFailure("start", "connected")

async def fence():
    pass

LiveAgent.run = connected_and_no_more

async def restored(worker, chat):
    '''From the claim to the moment at which the CLI has the conversation and could be asked.'''
    request = JobRequest(user_message="hello", chat_id=chat)
    spec = narrow(worker.ports.policy, request)
    job = Job("restore-" + chat, session_key(chat, None), request, spec)
    claim = await worker.ports.ledger.claim(job, "bench", worker.ports.clock.now(), 60)
    begun = time.perf_counter()
    async with worker.checkouts.open(claim) as checkout:
        laid_out = time.perf_counter() - begun
        projects = checkout.directory / "config" / "projects"
        size = sum(path.stat().st_size for path in projects.rglob("*.jsonl"))
        stored = sum(path.stat().st_size for path in (checkout.directory / "segments").iterdir())
        session = claim.plan.session_id
        turn = Turn(job.job_id, job.session_key, "hello", spec, session, True, 60.0, fence)
        outcome = await worker.ports.agent.run(turn, checkout)
        assert outcome.message == "connected", outcome
        return {"size": size, "stored": stored, "restore": laid_out,
                "connected": time.perf_counter() - begun}

async def main():
    worker = build(os.environ)
    await restored(worker, sys.argv[1])
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    told = await restored(worker, sys.argv[2])
    print(json.dumps({**told, "peak": status("VmHWM") - before}))

asyncio.run(main())
"""


async def restore_memory(stage, report, megabytes=50):
    """Peak memory of a worker's process while it restores a large conversation, until its CLI is
    connected, beyond that of the same with a small one: imports, clients and the SDK are there.
    """
    turns = await real_turns(stage)
    worker = build(stage.environ(WARM_CHATS="0"))
    for kind, text in KINDS.items():
        begun = time.perf_counter()
        small, chat = (f"memory-{size}-{kind.partition(' ')[0]}" for size in ("small", "large"))
        await _seeded(worker, small, turns, 2, text)
        await _seeded(worker, chat, turns, megabytes * 1_000_000 // TURN_BYTES, text)
        seeded = time.perf_counter() - begun
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RESTORE, small, chat),
            env=stage.environ(WARM_CHATS="0"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        found = json.loads(told)
        report.note(f"restore of what {kind}: transcript, MB", round(found["size"] / 1e6, 1))
        report.note(f"restore of what {kind}: as stored, MB", round(found["stored"] / 1e6, 1))
        report.note(f"restore of what {kind}: peak beyond, MB", round(found["peak"] / 1e6, 1))
        report.note(
            f"restore of what {kind}: peak against transcript",
            round(found["peak"] / found["size"], 3),
        )
        report.note(f"restore of what {kind}: seconds to restore", round(found["restore"], 2))
        report.note(f"restore of what {kind}: seconds to connected", round(found["connected"], 2))
        report.note(f"restore of what {kind}: seconds to seed", round(seeded, 1))
    worker.aws.close()


async def _seeded(worker, chat, turns, number, text):
    session = str(uuid.uuid4())
    told = conversation(turns, session, number)
    for entries in told:
        for entry in entries:
            if entry["type"] == "assistant":
                entry["message"]["content"] = [{"type": "text", "text": text(TURN_BYTES)}]
    await commit_history(worker, chat, told, session, PROJECT, per_commit=100)


async def many_jobs(stage, report, jobs):
    """What grows over many jobs of one host: memory, descriptors, threads, processes, files."""
    chats = [f"many-{n}" for n in range(20)]
    shared = Path(tempfile.gettempdir())
    before = _shared_leftovers(shared)
    rows = []
    async with our_host(stage, 4, WARM_CHATS="6"):
        for done in range(0, jobs, 100):
            await asyncio.gather(*(_several(stage, chats[n::4], 25) for n in range(4)))
            rows.append({"jobs": done + 100, **_state(stage)})
            report.note(f"after {done + 100} jobs", rows[-1])
            sys.stderr.write(f"{rows[-1]}\n")
    memory = [row["MB"] for row in rows]
    report.note("many, memory first, last and peak, MB", [memory[0], memory[-1], max(memory)])
    # In the first hundreds a host starts what it has: threads, clients, connections.
    half = memory[len(memory) // 2 - 1] if len(memory) > 1 else memory[0]
    report.note("many, memory of the second half's end against its beginning", memory[-1] / half)
    left = [p for p in stage.folder.glob("work-*/*") if p.name not in {"bin", ".lock"}]
    report.note("many, left in the work directories", sorted(p.name for p in left))
    report.note("many, left in shared places", sorted(_shared_leftovers(shared) - before))


async def _several(stage, chats, number):
    """Some turns of a chat, then of the next: one in nine or so is a cold one."""
    for n in range(number):
        await stage.ask(f"hello {n}", chats[n // TURNS_IN_A_ROW % len(chats)])


def _state(stage):
    works = list(stage.folder.glob("work-*"))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    # Not by glob: a chat may be removed meanwhile.
    files = sum(len(names) for work in works for _, _, names in os.walk(work))
    return {
        "MB": round(pages * 4096 / 1e6, 1),
        "open files": _entries("/proc/self/fd"),
        "threads": _entries("/proc/self/task"),
        "processes": len(descendants(os.getpid())),
        "files in work": files,
    }


def _entries(folder):
    return sum(1 for _ in Path(folder).iterdir())


def _shared_leftovers(shared):
    """What a CLI of any turn could leave outside its own directories."""
    places = [shared, Path.home(), shared / f"claude-{os.getuid()}"]
    return {
        str(path)
        for place in places
        if place.is_dir()
        for path in place.iterdir()
        if not path.name.startswith(("bench-", "work-"))  # of benches and their workers
    }
