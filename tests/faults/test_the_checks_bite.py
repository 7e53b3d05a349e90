"""Each guarantee is broken on purpose, and the check that is to notice does."""

import asyncio
import json
from dataclasses import replace

import pytest

from contracts import envelope
from tests.faults.guarantees import violations
from tests.faults.process import ERRORS, Fault
from tests.faults.scenarios import SCENARIOS
from tests.faults.simulation import runner, simulate
from tests.faults.system import WatchedInbox
from worker import attempt, pipeline
from worker.adapters.memory import MemoryCheckout, MemoryLedger, MemoryUsage
from worker.adapters.memory import ledger as memory
from worker.domain import claim
from worker.domain.claim import Busy, Run
from worker.domain.job import JobState
from worker.entrypoints.host import Host
from worker.lease import HeldLease


def a_ledger_without_a_fence(patch):
    patch(MemoryLedger, "_fenced", lambda self, claim, *_: self.heads[claim.job.session_key])


def a_lease_that_is_never_seen(patch):
    decide = memory.decide_claim

    def greedy(job, record, head, now, *asked):
        return decide(job, record, replace(head, lease=None), now, *asked)

    patch(memory, "decide_claim", greedy)


def a_lease_that_never_ends(patch):
    decide = memory.decide_claim

    def waits(job, record, head, now, *asked):
        return Busy(60) if head.lease is not None else decide(job, record, head, now, *asked)

    patch(memory, "decide_claim", waits)


def a_job_that_runs_at_each_delivery(patch):
    decide = memory.decide_claim

    def again(job, record, head, now, *asked):
        if record is not None and record.state is JobState.PUBLISHED:
            return Run(record.attempt + 1, record.attempt + 1, head.generation + 1, takeover=False)
        return decide(job, record, head, now, *asked)

    patch(memory, "decide_claim", again)


def an_event_that_is_published_before_its_commit(patch):
    commit = attempt._sized

    async def hasty(claim, event, ports):
        text = await commit(claim, event, ports)
        await ports.publisher.publish(text)
        return text

    patch(attempt, "_sized", hasty)


def an_event_that_is_built_anew_for_each_publication(patch):
    deliver = pipeline._deliver

    async def fresh(record, ports):
        event = json.loads(record.event) | {"time": str(ports.clock.now())}
        return await deliver(replace(record, event=json.dumps(event)), ports)

    patch(pipeline, "_deliver", fresh)


def an_outcome_that_is_not_published(patch):
    async def silent(record, ports):
        await ports.ledger.mark_published(record, ports.clock.now())
        return pipeline._ending(record)

    patch(pipeline, "_deliver", silent)


def a_dead_letter_that_is_not_written(patch):
    async def careless(host, message, disposition):
        await host._worker.inbox.delete(message)

    patch(Host, "_carry_out", careless)


def a_turn_that_is_not_recorded(patch):
    async def forgets(checkout):
        await asyncio.sleep(0)

    patch(MemoryCheckout, "record", forgets)


def a_tool_that_no_fence_stands_before(patch):
    async def open_gate(lease):
        await asyncio.sleep(0)

    patch(HeldLease, "ensure", open_gate)


def a_cost_that_is_counted_twice(patch):
    commit = MemoryLedger.commit

    async def greedy(ledger, claim, result, now, ttl):
        record = await commit(ledger, claim, result, now, ttl)
        head = ledger.heads[claim.job.session_key]
        ledger.heads[head.session_key] = replace(head, cost_usd=head.cost_usd + result.cost_usd)
        return record

    patch(MemoryLedger, "commit", greedy)


def a_reservation_that_nobody_ends(patch):
    async def forgets(*_):
        await asyncio.sleep(0)

    patch(pipeline, "settle", forgets)


def a_late_reservation_that_nobody_ends(patch):
    async def forgets(*_):
        await asyncio.sleep(0)

    patch(attempt, "forgo", forgets)


def a_job_that_is_counted_at_each_settlement(patch):
    async def greedy(usage, accounts, job_id, amount):
        await asyncio.sleep(0)
        for account in accounts:
            counter = usage.counters[account.key]
            counter.used += amount - counter.holds.pop(job_id, (0, 0))[0]

    patch(MemoryUsage, "settle", greedy)


def a_chat_that_is_restored_from_half_of_its_state(patch):
    opened = claim.plan_session

    def half(*arguments):
        plan = opened(*arguments)
        return replace(plan, segments=plan.segments[1:])

    patch(claim, "plan_session", half)


def a_queue_without_order(patch):
    receive = WatchedInbox.receive

    def newest(inbox, lease):
        inbox._queue.reverse()
        message = receive(inbox, lease)
        inbox._queue.reverse()
        return message

    patch(WatchedInbox, "receive", newest)


def a_final_event_that_is_not_the_last(patch):
    place = envelope.sequence
    patch(envelope, "sequence", lambda attempt, number=1: place(attempt, number))


def a_cancel_that_is_only_heeded_while_the_turn_runs(patch):
    decide = memory.decide_claim
    patch(
        memory,
        "decide_claim",
        lambda job, record, head, now, asked, source: decide(job, record, head, now, None, source),
    )


FREEZES = (Fault.FREEZE, Fault.FREEZE_LONG)

SABOTAGE = [
    (a_ledger_without_a_fence, "a plain turn", FREEZES, "G4"),
    (a_lease_that_is_never_seen, "a queue that does not keep a message hidden", ERRORS, "G2"),
    (a_lease_that_never_ends, "a plain turn", (Fault.CRASH_AFTER,), "G5"),
    (a_job_that_runs_at_each_delivery, "a job sent twice", (), "G2"),
    (an_event_that_is_published_before_its_commit, "a plain turn", (), "G4"),
    (an_event_that_is_built_anew_for_each_publication, "a plain turn", (Fault.CRASH_AFTER,), "G2"),
    (an_outcome_that_is_not_published, "a plain turn", (), "G3"),
    (a_dead_letter_that_is_not_written, "a rejected message", (), "G3"),
    (a_turn_that_is_not_recorded, "three tool calls", (Fault.CRASH_AFTER,), "G2"),
    (a_tool_that_no_fence_stands_before, "three tool calls", FREEZES, "G2"),
    (a_cost_that_is_counted_twice, "a plain turn", (), "G2"),
    (a_reservation_that_nobody_ends, "chats with budgets", (), "budgets"),
    (a_late_reservation_that_nobody_ends, "chats with budgets", FREEZES, "budgets"),
    (
        a_job_that_is_counted_at_each_settlement,
        "chats with budgets",
        (Fault.ERROR_AFTER,),
        "budgets",
    ),
    (
        a_chat_that_is_restored_from_half_of_its_state,
        "two messages of a chat beside one of another",
        (),
        "G4",
    ),
    (a_final_event_that_is_not_the_last, "a turn that tells its steps", (), "G1"),
    (
        a_cancel_that_is_only_heeded_while_the_turn_runs,
        "a job that is cancelled before it begins",
        (),
        "G2",
    ),
    (a_queue_without_order, "two messages of a chat beside one of another", (), "G1"),
]


@pytest.mark.parametrize(
    ("sabotage", "name", "faults", "guarantee"),
    SABOTAGE,
    ids=[case[0].__name__ for case in SABOTAGE],
)
def test_it_is_noticed(monkeypatch, sabotage, name, faults, guarantee):
    [scenario] = [scenario for scenario in SCENARIOS if scenario.name == name]
    with runner() as run:
        calls = len(run.run(simulate(scenario, {})).calls)
        sabotage(monkeypatch.setattr)
        cases = [{}, *({step: fault} for fault in faults for step in range(1, calls + 1))]
        courses = (run.run(simulate(scenario, case)) for case in cases)
        found = (what for course in courses for what in violations(course.system))
        assert any(what.startswith(guarantee) for what in found)
