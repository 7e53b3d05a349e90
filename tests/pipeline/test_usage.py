"""Limits over several jobs: what is reserved, settled and refused on a message's path."""

import asyncio
from dataclasses import replace

import pytest

from tests.pipeline.world import World, echo
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError
from worker.domain.turn import AgentFailure
from worker.domain.usage import UsageLimits, budgets


def world(script=echo, **limits):
    return World(script, usage=UsageLimits(**limits), max_budget_usd=1.0)


def spent(world, chat="1"):
    """Dollars in the day's account."""
    [account] = budgets(world.ports.policy.usage, f"default/{chat}", world.clock.now())
    return world.usage.used(account.key) / 1e6


async def test_a_job_counts_with_what_it_cost_and_not_with_what_it_might_have():
    w = world(tenant_daily_budget_usd=10)
    w.send()
    w.send(chat="2")
    await w.drain()
    assert spent(w) == pytest.approx(0.5)  # the agent says 0.25 each


async def test_while_it_runs_the_whole_of_it_is_reserved():
    seen = []

    async def look(turn, checkout):
        seen.append((spent(w), turn.spec.max_budget_usd))
        return await echo(turn, checkout)

    w = world(look, chat_daily_budget_usd=1.5)
    for _ in range(4):
        w.send()
    await w.drain()
    # The last ones get what is left: 0.75 and 0.5 dollars.
    assert seen == [(1.0, 1.0), (1.25, 1.0), (1.5, 1.0), (1.5, 0.75)]


async def test_an_exhausted_budget_is_a_failed_event_and_a_dead_letter_and_others_go_on():
    w = world(chat_daily_budget_usd=0.25)
    w.send()
    w.send()
    w.send(chat="2")
    await w.drain()
    kinds = [event["type"].rpartition(".")[2] for event in w.events]
    assert sorted(kinds) == ["completed", "completed", "failed"]
    [failed] = [event for event in w.events if event["type"] == "agent.job.failed"]
    assert failed["data"]["error_code"] == "budget_exceeded"
    assert "0.25 US dollars" in failed["data"]["error_message"]
    [(_, letter)] = w.inbox.dead_letters
    assert letter.reason == "budget_exceeded"
    assert len(w.agent.turns) == 2


async def test_the_next_day_has_its_own_budget():
    w = world(chat_daily_budget_usd=0.25)
    w.send()
    await w.drain()
    w.clock.advance(86400)
    w.send()
    await w.drain()
    assert len(w.agent.turns) == 2


async def test_a_failed_job_counts_with_what_its_attempts_cost():
    async def dies(turn, checkout):
        return AgentFailure("died", "killed")

    w = world(dies, tenant_daily_budget_usd=10)
    w.send()
    await w.drain()
    assert spent(w) == 0


async def test_a_crash_between_commit_and_settlement_is_settled_by_the_redelivery():
    w = world(tenant_daily_budget_usd=10)
    w.send()

    class Down:
        def __getattr__(self, name):
            return getattr(w.usage, name)

        async def settle(self, *arguments):
            raise UnavailableError("dynamodb", "down")

    assert isinstance(await w.step(w.with_ports(usage=Down())), Retry)
    assert spent(w) == 1.0  # still reserved
    w.clock.advance(30)
    assert isinstance(await w.step(), Ack)
    assert spent(w) == pytest.approx(0.25)
    assert len(w.agent.turns) == 1


async def test_a_job_that_is_retried_is_reserved_once():
    outcomes = iter([AgentFailure("died", "killed"), None])

    async def once(turn, checkout):
        return next(outcomes) or await echo(turn, checkout)

    w = world(once, tenant_daily_budget_usd=10)
    w.send()
    await w.step()
    assert spent(w) == 1.0
    await w.drain()
    assert spent(w) == pytest.approx(0.25)


async def test_parallel_jobs_of_a_tenant_cannot_overdraw():
    running = asyncio.Barrier(2)

    async def together(turn, checkout):
        await running.wait()
        return await echo(turn, checkout)

    w = world(together, tenant_daily_budget_usd=2)
    for chat in "123":
        w.send(chat=chat)
    outcomes = await asyncio.gather(*(w.step() for _ in range(3)))
    # Two dollars are reserved: the third waits for what is given back.
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Ack", "Ack", "Retry"]
    assert [o.reason for o in outcomes if isinstance(o, Retry)] == ["budget_held"]


async def test_too_many_jobs_in_a_minute_are_refused_and_the_next_minute_is_another():
    w = world(chat_jobs_per_minute=2)
    for _ in range(3):
        w.send()
    for _ in range(3):
        last = await w.step()
    assert isinstance(last, DeadLetter)
    assert last.reason == "rate_limited"
    w.clock.advance(60)
    w.send()
    assert isinstance(await w.step(), Ack)
    assert len(w.agent.turns) == 3


async def test_without_limits_the_counters_are_not_asked():
    w = World()
    w.send()
    assert isinstance(await w.step(w.with_ports(usage=None)), Ack)


async def test_a_policy_that_changes_holds_from_the_next_message_on():
    w = World(auth_tokens=("old",))
    w.send(attributes={"auth_token": "old"})
    assert isinstance(await w.step(), Ack)
    w.rules.policy = replace(w.rules.policy, auth_tokens=("new", "old"))
    w.send(attributes={"auth_token": "new"})
    assert isinstance(await w.step(), Ack)
    w.rules.policy = replace(w.rules.policy, auth_tokens=("new",))
    w.send(attributes={"auth_token": "old"})
    assert isinstance(await w.step(), DeadLetter)


async def test_a_conflict_over_a_job_id_does_not_tell_whose_it_is():
    w = World()
    w.send(chat="the-secret-chat", job_id="j-1")
    w.send(chat="2", job_id="j-1")
    await w.drain()
    assert "the-secret-chat" not in w.events[-1]["data"]["error_message"]


async def test_what_looks_like_a_secret_is_removed_from_an_answer_where_that_is_wanted():
    async def tells(turn, checkout):
        result = await echo(turn, checkout)
        text = "the key is AKIAABCDEFGHIJKLMNOP, the token hunter2-hunter2, and that is all"
        return replace(result, text=text, structured_output={"key": "AKIAABCDEFGHIJKLMNOP"})

    for scan in (True, False):
        w = World(tells, scan_results=scan, known_secrets=("hunter2-hunter2",))
        w.send()
        await w.drain()
        told = str(w.events[-1]["data"])
        assert ("AKIAABCDEFGHIJKLMNOP" in told) is not scan
        assert ("hunter2" in told) is not scan
        assert "and that is all" in told
