"""Conversations of any length, made of a real turn's transcript entries."""

import json
import uuid
from dataclasses import replace

from claude_agent_sdk import ClaudeSDKClient

from tests.benchmarks.stage import answer
from worker.adapters.transcript import Transcript

DROPPED = {"cost-state", "last-prompt"}


async def real_turns(stage):
    """The transcript entries of a first and of a second turn, as the CLI mirrors them."""
    transcript = Transcript()
    session = str(uuid.uuid4())
    client = ClaudeSDKClient(
        stage.options(session_id=session, session_store=transcript, session_store_flush="eager")
    )
    await client.connect()
    await answer(client, "hello, this is turn number 1 of a long conversation")
    first = entries_of(transcript)
    await answer(client, "hello, this is turn number 2 of a long conversation")
    second = entries_of(transcript)[len(first) :]
    await client.disconnect()
    return first, second


def entries_of(transcript):
    return [json.loads(line) for _, lines in transcript._appended for line in lines.splitlines()]


def conversation(turns, session_id, number):
    """`number` turns of one session: a list of entries for each."""
    first, second = turns
    last, told = None, []
    for n in range(1, number + 1):
        names, entries = {}, []
        for template in first if n == 1 else second:
            if template["type"] in DROPPED:
                continue
            text = json.dumps(template).replace("turn number 1 ", f"turn number {n} ")
            entry = json.loads(text.replace("turn number 2 ", f"turn number {n} "))
            if "sessionId" in entry:
                entry["sessionId"] = session_id
            if "uuid" in entry:
                fresh = names.setdefault(entry["uuid"], str(uuid.uuid4()))
                parent = entry.get("parentUuid")
                entry |= {"uuid": fresh, "parentUuid": names.get(parent, last)}
            entries.append(entry)
        last = next(e["uuid"] for e in reversed(entries) if "uuid" in e)
        told.append(entries)
    return told


def as_lines(entries):
    return "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)


async def commit_history(worker, chat, told, session_id, project, per_commit=10):
    """Commit a conversation as the worker would have, `per_commit` turns at a time."""
    from contracts import JobRequest, session_key
    from worker.domain.job import Job
    from worker.domain.policy import narrow
    from worker.ports import Commit

    ports = worker.ports
    key = {"project_key": project, "session_id": session_id}
    for start in range(0, len(told), per_commit):
        request = JobRequest(user_message="seed", chat_id=chat)
        spec = narrow(ports.policy, request)
        job = Job(f"seed-{uuid.uuid4().hex}", session_key(chat, None), request, spec)
        now = ports.clock.now()
        claim = await ports.ledger.claim(job, ports.owner, now, 60)
        if start == 0:
            claim = replace(claim, plan=replace(claim.plan, session_id=session_id))
        async with ports.checkouts.open(claim) as checkout:
            for entries in told[start : start + per_commit]:
                await checkout.transcript.append(key, entries)
            sealed = await checkout.seal()
            done = Commit(session_id, sealed.segments, sealed.files, "{}", 0.0, 1)
            record = await ports.ledger.commit(claim, done, ports.clock.now(), 86400.0)
            await ports.ledger.mark_published(record, ports.clock.now())
