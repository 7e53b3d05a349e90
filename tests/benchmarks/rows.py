"""The rows: each measures one thing, beside what it is compared with, in the same run."""

import asyncio
import time
import uuid

from claude_agent_sdk import ClaudeSDKClient

from tests.benchmarks.history import as_lines, commit_history, conversation, real_turns
from tests.benchmarks.others import handmade, loop, reference_store
from tests.benchmarks.processes import cpu_seconds, cpu_since
from tests.benchmarks.stage import PROJECT, answer, cold_turn, host_process, our_host
from worker.bootstrap import build

SMALL, MEDIUM, LARGE = 10, 100, 1000
LENGTHS = (SMALL, MEDIUM, LARGE)


async def warm_and_cold(stage, repeats, report):
    """Short chats, no latency: the bare SDK, the common hand-made way, and ours."""
    chats = [f"chat-{n}" for n in range(4)]
    client = ClaudeSDKClient(stage.options(session_id=str(uuid.uuid4())))
    await client.connect()
    await answer(client, "hello")
    sessions = {}
    async with loop(stage, handmade(sessions)) as counts:
        for chat in chats:
            await stage.ask("hello", f"hand-{chat}")
        before = counts.copy()
        report.add("hand-made, cold", await asks(stage, repeats, [f"hand-{c}" for c in chats]))
        report.requests("hand-made, cold", counts.since(before), repeats)
    async with our_host(stage) as counts:
        for chat in chats:
            await stage.ask("hello", f"warm-{chat}")
        for _ in range(2):  # in turns with the bare client, so that a noisy minute hits both
            bare = [await answer(client, "hello again") for _ in range(repeats)]
            report.add("bare, warm client", bare)
            before = counts.copy()
            report.add("ours, warm", await asks(stage, repeats, [f"warm-{c}" for c in chats]))
            report.requests("ours, warm", counts.since(before), repeats)
    await client.disconnect()
    async with our_host(stage, WARM_CHATS="0") as counts:
        for chat in chats:
            await stage.ask("hello", f"cold-{chat}")
        for _ in range(2):
            report.add("bare, query(resume)", await bare_resumes(stage, repeats // 2))
            before = counts.copy()
            cold = await asks(stage, repeats // 2, [f"cold-{c}" for c in chats])
            report.add("ours, cold", cold)
            report.requests("ours, cold", counts.since(before), repeats // 2)


async def new_chats(stage, repeats, report):
    """The first turn of a chat: with a process that was started ahead, and with one of its own."""
    for ahead, name in ((1, "ours, new chat, a process waits"), (0, "ours, new chat, cold")):
        async with our_host(stage, WARM_CHATS="0", SPARE_AGENTS=str(ahead)) as counts:
            await stage.ask("hello", f"first-{uuid.uuid4().hex}")
            seconds = []
            for _ in range(repeats):
                while counts.checkouts.spares < ahead:
                    await asyncio.sleep(0.05)
                seconds.append(await stage.ask("hello", f"new-{uuid.uuid4().hex}"))
            report.add(name, seconds)


async def asks(stage, repeats, chats):
    return [await stage.ask(f"hello {n}", chats[n % len(chats)]) for n in range(repeats)]


async def bare_resumes(stage, repeats):
    session = str(uuid.uuid4())
    options = stage.options(session_id=session)
    await cold_turn(options, "hello")
    path = stage.transcript_path(options, session)
    kept = path.read_bytes()
    return [await bare_resume(stage, session, kept, n) for n in range(repeats)]


async def bare_resume(stage, session, transcript, number):
    options = stage.options(resume=session)
    stage.transcript_path(options, session).write_bytes(transcript)
    return await cold_turn(options, f"hello {number}")


async def by_length(stage, repeats, report, lengths=LENGTHS):
    """Cold turns of chats of different lengths, with latency on each AWS request."""
    turns = await real_turns(stage)
    worker = build(stage.environ(WARM_CHATS="0"))
    sessions = {}
    s3, bucket = stage.client("s3"), stage.resources["SESSION_BUCKET"]
    for length in lengths:
        session = str(uuid.uuid4())
        told = conversation(turns, session, length)
        await commit_history(worker, f"ours-{length}", told, session, PROJECT)
        sessions[f"hand-{length}"] = sessions[f"store-{length}"] = session
        lines = as_lines([entry for entries in told for entry in entries])
        s3.put_object(Bucket=bucket, Key=f"handmade/hand-{length}.jsonl", Body=lines.encode())
        await asyncio.to_thread(_reference_parts, s3, bucket, f"store-{length}", session, told)
        local = [await bare_resume(stage, session, lines.encode(), n) for n in range(repeats)]
        report.add(f"bare, query(resume), {length} turns", local)
    worker.aws.close()
    ways = (
        ("ours, cold", "ours", lambda: our_host(stage, delayed=True, WARM_CHATS="0"), repeats),
        ("ours, warm", "ours", lambda: our_host(stage, delayed=True), repeats),
        (
            "hand-made, cold",
            "hand",
            lambda: loop(stage, handmade(sessions), delayed=True),
            repeats,
        ),
        (
            "reference store, cold",
            "store",
            lambda: loop(stage, reference_store(sessions), delayed=True),
            max(repeats // 3, 2),
        ),
    )
    for name, chat, way, times in ways:
        async with way() as counts:
            for length in lengths:
                await stage.ask("a first one", f"{chat}-{length}")
                before = counts.copy()
                seconds = await asks(stage, times, [f"{chat}-{length}"])
                row = f"{name}, {length} turns, +{stage.delay_ms} ms"
                report.add(row, seconds)
                report.requests(row, counts.since(before), times)


def _reference_parts(s3, bucket, chat, session, told):
    """Two parts a turn, as the eager flush of two appends makes them."""
    for number, entries in enumerate(told):
        half = len(entries) // 2
        for part, some in enumerate((entries[:half], entries[half:])):
            key = f"reference/{chat}/{session}/main/part-{number:020d}-{part}.jsonl"
            s3.put_object(Bucket=bucket, Key=key, Body=as_lines(some).encode())


async def throughput(stage, report, profiled, chats=8, seconds=8.0):
    """Jobs per second with all chats busy: bare warm clients, and one host. Bot and subscriber are
    this process, which shares the cores with the host and is none of it.
    """
    clients = [ClaudeSDKClient(stage.options(session_id=str(uuid.uuid4()))) for _ in range(chats)]
    for client in clients:
        await client.connect()
        await answer(client, "hello")
    await _measured(report, "8 bare warm clients, jobs/s", answer, clients, seconds)
    for client in clients:
        await client.disconnect()
    names = [f"busy-{n}" for n in range(chats)]
    ask = lambda chat, text: stage.ask(text, chat)  # noqa: E731
    for row, changes in (
        ("ours, 8 chats, jobs/s", {"WARM_MEMORY_MB": "4096"}),
        ("ours, 8 chats, cold, jobs/s", {"WARM_CHATS": "0"}),
    ):
        async with host_process(stage, chats, **changes) as host:
            for _ in range(2):  # the first turns start the processes
                await asyncio.gather(*(stage.ask("hello", name) for name in names))
            with profiled(host.pid, row, seconds):
                await _measured(report, row, ask, names, seconds)


async def _measured(report, row, ask, places, seconds):
    """Jobs per second, and the CPU time a job takes, by process."""
    before = cpu_seconds()
    done, took = await _rate(ask, places, seconds)
    report.add(row, [done / took])
    report.cpu(row, cpu_since(before), done)


async def _rate(ask, places, seconds):
    done, end = 0, time.perf_counter() + seconds

    async def busy(place):
        nonlocal done
        while time.perf_counter() < end:
            await ask(place, "hello again")
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*map(busy, places))
    return done, time.perf_counter() - begun
