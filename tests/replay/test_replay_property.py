"""Any content of the dead-letter queue, any states of the jobs, killed at any calls: nothing is
lost, nothing has a second effect, each chat keeps its order, and everything is explained.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pipeline.world import echo
from tests.replay.bench import Bench, Killed, run
from worker.domain.job import JobState
from worker.domain.turn import AgentResult
from worker.replay.case import Selection
from worker.replay.journal import ReplayJournal
from worker.replay.run import Manner, Replayer

ALL = Selection()
RUNS = {"failed", "rejected", "running", "forgotten", "moved", "moved unknown", "copied"}
UNKNOWN = {"forgotten", "moved unknown", "unauthorized"}
"""Of these nobody knows when they were sent."""
STAYS = {"failed since", "cancelled", "unreadable", "unauthorized"}
DONE = {"answered", "published"}


@dataclass(frozen=True)
class Kill:
    """When an operator's process is killed, and what happens until the next one begins."""

    at: int
    after: bool = False
    seconds: int = 0
    works: bool = False
    resume: bool = False


letters = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(sorted(RUNS | STAYS | DONE))), max_size=9
)
kills = st.lists(
    st.builds(
        Kill,
        at=st.integers(1, 50),
        after=st.booleans(),
        seconds=st.sampled_from([0, 10, 40, 400]),
        works=st.booleans(),
        resume=st.booleans(),
    ),
    max_size=3,
)
refused = st.sets(st.integers(0, 8), max_size=3)


LATE = Kill(8, after=True, seconds=400, works=True)
"""After the first letter was sent, before that was written down; SQS forgets in between."""

UNWRITTEN = Kill(9, seconds=40, works=True)
"""Sent, and that was not written down; its job fails as before, in the same attempt."""
BEFORE_IT_BEGAN = Kill(6)
"""The next replay was planned, and is killed before its first letter."""


@given(letters, kills, refused, st.randoms(use_true_random=False))
@settings(max_examples=300)
@example([("a", "failed"), ("a", "failed")], [LATE], set(), None)
@example([("a", "failed")], [LATE], {0}, None)
@example([("a", "copied")], [LATE, replace(LATE, resume=True)], set(), None)
@example([("a", "moved")], [LATE], {0}, None)
@example([("a", "forgotten")], [UNWRITTEN, BEFORE_IT_BEGAN], {0}, None)
@example([("a", "forgotten")], [UNWRITTEN, replace(BEFORE_IT_BEGAN, seconds=400)], {0}, None)
def test_a_replay_loses_nothing_doubles_nothing_and_keeps_the_order(dead, deaths, refusals, dice):
    run(_course(dead, deaths, {f"j-{n}" for n in refusals}, dice))


async def _course(dead, deaths, refusals, dice):
    answered = Counter()

    async def agent(turn, checkout):
        if turn.job_id in refusals:
            return AgentResult(turn.session_id, "success", is_error=True, api_error_status=400)
        answered[turn.job_id] += 1
        return await echo(turn, checkout)

    bench = Bench(agent)
    numbers = list(range(len(dead)))
    if dice is not None:
        dice.shuffle(numbers)  # they need not have died in the order sent
    for number in numbers:
        chat, kind = dead[number]
        job = f"j-{number}"
        _die(bench, job, chat, kind)
        if job in bench.ledger.jobs:
            sent = replace(bench.ledger.jobs[job], created_at=1000.0 + number)
            bench.ledger.jobs[job] = sent
        await bench.clock.sleep(1)
    first = list(bench.letters.letters)

    for death in deaths:
        await _die_trying(bench, death)
        await bench.clock.sleep(death.seconds)
        if death.works:
            await bench.work()
    last = bench.operator()
    for name in (await ReplayJournal(last.ports).names())[-1:]:
        await Replayer(last).resume(name, Manner())
    await bench.clock.sleep(40)
    await Replayer(last).begin(ALL, Manner())
    await bench.work()

    _nothing_is_lost(bench, dead, refusals)
    _nothing_has_two_effects(bench, dead, refusals, answered)
    _each_chat_keeps_its_order(bench, dead)
    await _everything_is_explained(bench, last, first)
    assert bench.letters.hidden == 0


def _die(bench, job, chat, kind):
    match kind:
        case "failed":
            bench.fail(job, chat)
        case "copied":
            letter = bench.fail(job, chat)
            bench.letters.add(replace(letter, message_id=f"{letter.message_id}-copy"))
        case "failed since":
            bench.know(job, JobState.FAILED, attempt=8, chat=chat)
            bench.die(job, chat)
        case "rejected":
            bench.know(job, JobState.REJECTED, attempt=0, chat=chat)
            bench.die(job, chat, attempt=0, reason="model_not_allowed")
        case "unreadable":
            bench.know(job, JobState.REJECTED, attempt=0, session_key="")
            bench.die(job, chat, attempt=0, reason="invalid_json", body=f'{{"job_id": "{job}"')
        case "unauthorized":
            bench.die(job, chat, attempt=0, reason="unauthorized")
        case "forgotten":
            bench.die(job, chat)
        case "moved":
            bench.know(job, JobState.RUNNING, attempt=3, chat=chat)
            bench.move(job, chat)
        case "moved unknown":
            bench.move(job, chat)
        case _:
            state = JobState(kind)
            bench.know(job, state, chat=chat)
            bench.die(job, chat)


async def _die_trying(bench, death):
    desk = bench.operator(kill_at=death.at, after=death.after)
    try:
        names = await ReplayJournal(desk.ports).names()
        if death.resume and names:
            await Replayer(desk).resume(names[-1], Manner())
        else:
            await Replayer(desk).begin(ALL, Manner())
    except Killed:
        pass


def _kinds(dead):
    return {f"j-{number}": kind for number, (_, kind) in enumerate(dead)}


def _nothing_is_lost(bench, dead, refusals):
    left = {letter.as_message().attributes.get("job_id") for letter in bench.letters.letters}
    for job, kind in _kinds(dead).items():
        record = bench.ledger.jobs.get(job)
        if kind in STAYS:
            assert job in left, f"{job} ({kind}) is gone"
        elif kind in RUNS and job in refusals:
            assert record.state is JobState.FAILED
            assert job in left, f"{job} failed again and has no letter"
        else:
            assert record.state is JobState.PUBLISHED, f"{job} ({kind}) is {record.state}"


def _nothing_has_two_effects(bench, dead, refusals, answered):
    for job, kind in _kinds(dead).items():
        wanted = 1 if kind in RUNS and job not in refusals else 0
        assert answered[job] == wanted, f"{job} ({kind}) was answered {answered[job]} times"
    runs = Counter(turn.job_id for turn in bench.agent.turns)
    replayed = Counter(job for job, _ in bench.sent)
    assert all(runs[job] <= replayed[job] for job in runs), "a letter ran twice"
    turns = {key: head.turns for key, head in bench.ledger.heads.items()}
    chats = Counter()
    for number, (chat, _) in enumerate(dead):
        chats[f"default/{chat}"] += answered[f"j-{number}"]
    assert all(turns.get(key, 0) == number for key, number in chats.items())


def _each_chat_keeps_its_order(bench, dead):
    told = list(dict.fromkeys(turn.job_id for turn in bench.agent.turns))
    for chat in "abc":
        mine = [f"j-{n}" for n, (of, kind) in enumerate(dead) if of == chat and kind not in UNKNOWN]
        seen = [job for job in told if job in mine]
        assert seen == [job for job in mine if job in seen], f"chat {chat}: {seen}"


async def _everything_is_explained(bench, desk, first):
    journal = ReplayJournal(desk.ports)
    done = {}
    for name in await journal.names():
        done |= await journal.logged(name)
    there = {letter.message_id for letter in bench.letters.letters}
    for letter in first:
        if letter.message_id not in there:
            assert letter.message_id in done, f"nobody says where {letter.message_id} went"
    begun = [entry for entry in await desk.audits() if entry["what"].startswith("replay")]
    assert all(entry["by"] == "ada" and entry["at"] for entry in begun)
    assert json.dumps(begun)
