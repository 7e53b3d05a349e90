"""The guarantees, checked from outside when all is quiet. Returns what is violated, in words."""

from collections import Counter, defaultdict

from tests.faults.model import USER_LINE
from worker.adapters.memory import TOOL_LINE
from worker.domain.job import JobState
from worker.domain.usage import MICRO

ENDS = {
    "completed": JobState.PUBLISHED,
    "failed": JobState.FAILED,
    "rejected": JobState.REJECTED,
    "cancelled": JobState.CANCELLED,
}


def violations(system):
    """What the course of a system has broken, once its queue is empty."""
    jobs = {job_id: (chat, text) for chat, job_id, text, _ in system.sent}
    return [
        *system.violations,
        *_nothing_is_lost(system, jobs),
        *_one_effect_per_job(system, jobs),
        *_cancelled(system, jobs),
        *_steps(system, jobs),
        *_order(system),
        *_nothing_is_torn(system, jobs),
        *_each_job_is_counted_once(system),
    ]


def outcomes(system, job_id):
    """The kinds of the job's events: completed, failed, rejected."""
    return {event["type"].rpartition(".")[2] for event in system.events_of(job_id)}


def is_committed(event):
    """Whether the chat knows of the turn that this event ends."""
    kind, data = event["type"], event["data"]
    return kind == "agent.job.completed" or (
        kind == "agent.job.cancelled" and data["session_status"] is not None
    )


def committed_lines(system, chat):
    """The chat's transcript, as the next turn would see it."""
    head = system.ledger.heads.get(f"default/{chat}")
    segments = head.segments if head else ()
    return [line for segment in segments for line in system.checkouts.segments[segment.key]]


def prompts(lines):
    return [line.removeprefix(USER_LINE) for line in lines if line.startswith(USER_LINE)]


def _nothing_is_lost(system, jobs):
    if system.inbox.waiting:
        yield f"G3: still in the queue: {system.inbox.waiting}"
    letters = {letter.job_id for _, letter in system.inbox.dead_letters}
    for job_id in jobs:
        ended = outcomes(system, job_id)
        if not ended:
            yield f"G3: {job_id} has no result"
        if ended & {"failed", "rejected"} and job_id not in letters:
            yield f"G3: {job_id} is {ended} and not in the dead-letter queue"
        record = system.ledger.jobs.get(job_id)
        if record is None:
            yield f"G3: {job_id} has no record"
        elif record.state not in {ENDS[kind] for kind in ended} or record.published_at is None:
            yield f"G3: {job_id} is {record.state} after {ended}"
    for key, head in system.ledger.heads.items():
        if head.lease is not None:
            yield f"G5: {key} is still leased"


def _one_effect_per_job(system, jobs):
    for job_id, (chat, text) in jobs.items():
        completed = "completed" in outcomes(system, job_id)
        committed = any(map(is_committed, system.events_of(job_id)))
        if len(outcomes(system, job_id)) > 1 and not _came_again(system, job_id):
            yield f"G2: {job_id} has {outcomes(system, job_id)}"
        times = prompts(committed_lines(system, chat)).count(text)
        if times != committed:
            yield f"G2: the transcript of chat {chat} has {text!r} {times} times"
        calls = _calls(text)
        for call in calls:
            ran = system.effects[call]
            doubtful = call in system.in_doubt or not completed
            if ran > 1 or (ran == 0 and not doubtful):
                yield f"G2: {call} ran {ran} times"
        lines = Counter(committed_lines(system, chat))
        known = [call for call in calls if completed or (committed and system.effects[call])]
        if any(lines[TOOL_LINE + call] == 0 for call in known):
            yield f"G2: the transcript does not know what {job_id} has done"
        for event in system.events_of(job_id):
            if event["id"] != f"{job_id}/{event['type'].rpartition('.')[2]}":
                yield f"G2: {job_id} has an event {event['id']}"


def _cancelled(system, jobs):
    """What was to be cancelled before it began has not run."""
    for job_id in jobs.keys() & system.cancelled_unbegun:
        if "rejected" in outcomes(system, job_id):
            continue  # with that it had ended; corrected, it began anew
        if system.requests[job_id] or outcomes(system, job_id) != {"cancelled"}:
            yield f"G2: {job_id} was cancelled before it began, and is {outcomes(system, job_id)}"


def _steps(system, jobs):
    """A step has an id and a place of its own; the last of a job's events is its final one."""
    for job_id in jobs:
        steps = {}
        for event in system.publisher.steps:
            if event["data"]["job_id"] == job_id and steps.setdefault(event["id"], event) != event:
                yield f"G2: {event['id']} was told with two contents"
        places = Counter(event["sequence"] for event in steps.values())
        ends = {event["sequence"] for event in system.events_of(job_id)}
        if max(places.values(), default=1) > 1 or not ends.isdisjoint(places):
            yield f"G1: two events of {job_id} have one place: {places}, {ends}"
        if places and (not ends or max(places) > max(ends)):
            yield f"G1: the last event of {job_id} is no final one: {max(places)}, {ends}"


def _order(system):
    first_sent = {}
    for chat, job_id, text, _ in system.sent:
        if not _came_again(system, job_id):
            first_sent.setdefault(chat, {}).setdefault(text)
    for chat, texts in first_sent.items():
        told = [text for text in prompts(committed_lines(system, chat)) if text in texts]
        if told != [text for text in texts if text in told]:
            yield f"G1: chat {chat} was told {told}"


def _nothing_is_torn(system, jobs):
    results = defaultdict(dict)
    for job_id, (chat, _) in jobs.items():
        for event in system.events_of(job_id):
            if is_committed(event):
                results[chat][job_id] = event["data"]
    for key, head in system.ledger.heads.items():
        chat = key.removeprefix("default/")
        cost = sum(data["cost_usd"] for data in results[chat].values())
        if head.cost_usd != cost:
            yield f"G2: chat {chat} cost {head.cost_usd}, its results {cost}"
        if not head.version == head.turns == len(results[chat]):
            yield f"G4: chat {chat} has {head.turns} turns, {len(results[chat])} results"
        yield from _one_history(system, head, chat, results[chat])


def _one_history(system, head, chat, results):
    """Each answer was given from what the chat had been told until then, and in its session."""
    told = [text.split()[0] for text in prompts(committed_lines(system, chat))]
    for job_id, data in results.items():
        if data["session_id"] != head.session_id:
            yield f"G4: {job_id} ran in another session"
        if "cancelled" in outcomes(system, job_id):
            continue
        ref = data["response_ref"]
        seen = (system.results.texts[ref["key"]] if ref else data["response"]).split()
        if seen != told[: told.index(job_id) + 1] if job_id in told else True:
            yield f"G4: {job_id} was answered from {seen}, the chat was told {told}"


def _calls(text):
    job, *words = text.split()
    numbers = [int(word.removeprefix("tools=")) for word in words if word.startswith("tools=")]
    return [f"{job}.{n}" for number in numbers for n in range(1, number + 1)]


def _came_again(system, job_id):
    """Whether the job was replayed from the dead-letter queue, or corrected."""
    messages = [message for _, sent, _, message in system.sent if sent == job_id]
    replayed = any("dead_letter_attempt" in message.attributes for message in messages)
    return replayed or len({message.body for message in messages}) > 1


def _each_job_is_counted_once(system):
    """Each account holds what its jobs have cost, and nothing is reserved when all have ended."""
    if not system.usage.counters:
        return
    costs = Counter()
    for event in {event["data"]["job_id"]: event for event in system.publisher.seen}.values():
        data = event["data"]
        costs[data["chat_id"]] += round((data.get("cost_usd") or 0) * MICRO)
    for key, counter in system.usage.counters.items():
        _, _, chat = key.partition("/#budget/")[2].partition("/")
        expected = costs[chat] if chat else costs.total()
        if counter.holds:
            yield f"budgets: {key} still holds {counter.holds}"
        if counter.used != expected:
            yield f"budgets: {key} counts {counter.used}, its jobs cost {expected}"
