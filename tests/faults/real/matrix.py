"""Every step of a scenario, and every way in which it can go wrong; then the audit of the soak."""

import asyncio
import json
import os
import sys
import time

from tests.faults.real.case import ALL, PORTS, TOOL_FAULTS, Case, Place
from tests.faults.real.injector import Fault
from tests.faults.real.workers import Nursery
from tests.soak import state
from tests.soak.audit import Evidence, audit, outcome
from tests.soak.bot import bus_listener, topic_listener

AT_A_TIME = int(os.environ.get("FAULTS_AT_A_TIME", "10"))
"""Cases side by side: most of a case is waiting for a lease."""

ONE = os.environ.get("FAULTS_CASE", "")
"""To look at one case: a part of its name, as a failure prints it."""

HEARTBEAT = ("ledger.extend", "inbox.extend", "ledger.cancel_request")
ONCE = (*HEARTBEAT, "transcript.append")
"""Calls whose number depends on the time: only the first of them is a step."""


async def matrix(name, scenarios, environ, model, folder, *, least):
    """Run all cases of the scenarios, and see that nothing was broken. `least`: how many there must
    be, so that the matrix cannot become small unnoticed.

    A scenario comes with the port calls to go wrong: None means all that it has.
    """
    began = time.monotonic()
    topic = topic_listener(name, environ["RESULT_TOPIC_ARN"])
    bus = bus_listener(name, environ["EVENT_BUS_NAME"])
    async with Nursery.open() as nursery:
        with topic, bus:
            place = Place(folder, environ, nursery, model, topic, bus)
            plain = await _side_by_side(place, [Case(scenario) for scenario, _ in scenarios])
            cases = [
                Case(course.case.scenario, step, fault)
                for course, (_, wanted) in zip(plain, scenarios, strict=True)
                for step in _steps(course)
                if ALL or wanted is None or _call(step) in wanted
                for fault in _faults(step)
            ]
            cases = [case for case in cases if ONE in str(case)]
            courses = [*plain, *await _side_by_side(place, cases)]
            await asyncio.sleep(1.5)  # a repeat may come after the result
        found = await asyncio.to_thread(
            _violations, courses, place.ledger, topic.heard(), bus.heard(), environ, folder
        )
    seconds = time.monotonic() - began
    sys.__stderr__.write(
        f"\n{name}: {len(cases)} faults at {len({(c.scenario.name, c.step) for c in cases})} "
        f"steps of {len(scenarios)} scenarios, {seconds:.0f} s\n"
    )
    assert not found, "\n".join(found)
    assert ONE or len(courses) >= least


async def _side_by_side(place, cases):
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(case):
        async with room:
            return await place.run(case)

    return await asyncio.gather(*map(one, cases))


def _steps(course):
    """The steps of a course without a fault: from its job's receipt to the end of it."""
    scenario = course.case.scenario
    calls = list(dict.fromkeys(name for name, _ in course.workers[0].trace))
    first = 2 if scenario.history else 1
    end = calls.index(f"queue.delete#{first}")
    begin = calls.index("queue.delete#1") + 1 if scenario.history else 0
    found = [name for name in calls[begin : end + 1] if _is_step(name, scenario)]
    if ALL and f"queue.delete#{first}>sqs.delete_message#1" in calls:
        found.append(f"queue.delete#{first}>sqs.delete_message#1")
    return [*found, *(f"tool.{n}" for n in range(1, scenario.tools + 1))]


def _is_step(name, scenario):
    port, _, request = name.partition(">")
    call, _, number = port.partition("#")
    if call in HEARTBEAT and not scenario.heartbeats:
        return False
    if call in ONCE and number != "1":
        return False
    if not request:
        return call != "host"
    # What a turn records when it has been quiet for long is a matter of the machine's speed.
    return ALL and call not in {*ONCE, "host"} and "checkouts.open" not in port


def _call(step):
    """`ledger.commit`, or `tool`."""
    return "tool" if step.startswith("tool.") else step.partition("#")[0]


def _faults(step):
    if not PORTS:
        return [Fault.CRASH_AFTER]
    if step.startswith("tool."):
        return TOOL_FAULTS
    faults = [fault for fault in Fault if ALL or fault is not Fault.DRAIN]
    if step.startswith("queue.receive"):  # the message was handed out; there is no before
        return [f for f in faults if f not in {Fault.CRASH_BEFORE, Fault.ERROR_BEFORE}]
    if ">" in step:
        return [f for f in faults if f not in {Fault.FREEZE_LONG, Fault.DRAIN}]
    return faults


def _violations(courses, ledger, on_topic, on_bus, environ, folder):
    """What the audit finds, and what each case said itself, with the name of the case."""
    sent = {job_id: job for course in courses for job_id, job in course.bot.sent.items()}
    chats = tuple(course.chat for course in courses)
    keys = {chat.key for chat in chats}
    rows = {
        job_id: row
        for job_id, row in state.records(environ).items()
        if job_id in sent or row.session_key in keys
    }
    evidence = Evidence(
        seconds=1,
        messages=len(sent),
        sent=sent,
        chats=chats,
        on_topic={job_id: heard for job_id, heard in on_topic.items() if job_id in sent},
        on_bus={job_id: heard for job_id, heard in on_bus.items() if job_id in sent},
        letters={job_id: found for c in courses for job_id, found in c.letters.items()},
        left_in_queue=sum(course.left_in_queue for course in courses),
        ledger=ledger.read_text().split(),
        steps=[step for c in courses for worker in c.workers for step in worker.logged],
        chaos={},
        harm=(),
        orphans=[text for course in courses for text in course.orphans],
        unwell=(),
        disks=(),
    )
    findings = audit(evidence, rows, state.chats(chats, environ, folder))
    told = [f"{kind}: {text}" for kind, texts in findings.violations.items() for text in texts]
    told += [f"{c.case}: {text}" for c in courses for text in c.problems]
    for course in courses:
        told += [f"{course.case}: {text}" for text in _own(course, evidence)]
        for job_id, job in course.bot.sent.items():
            told = [
                text.replace(job_id, f"{job_id} [{course.case}]").replace(
                    course.chat.key, f"[{course.case}]"
                )
                if job_id in text or job.order.tag in text or course.chat.key in text
                else text
                for text in told
            ]
    return told


def _own(course, evidence):
    """What the audit does not ask: the fault, the ending, and the model's view."""
    case, jobs = course.case, list(course.bot.sent.values())
    if case.step and not course.reached and ">" not in case.step:
        yield f"the step was not reached: {[name for name, _ in course.workers[0].trace]}"
    for job in jobs:
        ended = outcome(evidence.on_topic.get(job.job_id, ()))
        if ended != job.order.kind:
            yield f"{job.job_id} ended as {ended}, not as {job.order.kind}"
    if case.asks:
        yield from _view(course.last_request, jobs, evidence.ledger)


def _view(request, jobs, ledger):
    """The conversation as the model was shown it with the chat's last message."""
    messages = request.get("messages", [])
    blocks = [b for m in messages if isinstance(m["content"], list) for b in m["content"]]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    results = {b["tool_use_id"]: json.dumps(b) for b in blocks if b["type"] == "tool_result"}
    if len({c["id"] for c in calls}) != len(calls) or set(results) != {c["id"] for c in calls}:
        yield f"the model sees {len(calls)} tool calls and {len(results)} results"
    for job in jobs:
        prompt = json.dumps(json.loads(job.order.body)["user_message"])[1:-1]
        times = sum(m["role"] == "user" and prompt in json.dumps(m) for m in messages)
        if times != (job.order.kind == "completed"):
            yield f"the model sees the prompt of {job.job_id} {times} times"
        for line in job.order.effects:
            known = [results.get(c["id"]) for c in calls if f" {line} " in json.dumps(c["input"])]
            if len(known) != 1:
                yield f"the model sees the call {line} {len(known)} times"
            elif line not in ledger and not _unknown(known[0] or ""):
                yield f"the call {line} did not run, and the model is told: {known}"


def _unknown(result):
    """Whether the model is told that a call's outcome is unknown, or that it was not run."""
    return any(word in result for word in ("unknown", "was not run", "interrupted"))
