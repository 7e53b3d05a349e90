"""One suite for every counter of usage: reserve, settle, count."""

import asyncio
import uuid

import pytest

from worker.adapters.aws import Aws
from worker.adapters.memory import MemoryUsage
from worker.adapters.usage import DynamoUsage
from worker.domain.usage import Account, Exhausted, Granted

NOW = 1_800_000_000.25
UNTIL = NOW + 600


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.integration)])
def usage(request):
    if request.param == "memory":
        return MemoryUsage()
    tables = request.getfixturevalue("resources")
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return DynamoUsage(aws, tables["SESSION_TABLE"])


def an_account(limit=100):
    return Account(f"acme/#budget/{uuid.uuid4().hex}", "test's budget", limit, int(NOW) + 86400)


async def room(usage, *accounts):
    """What is left: by reserving all of it for a moment."""
    outcome = await usage.reserve(accounts, "probe", 10**9, NOW, UNTIL)
    await usage.settle(accounts, "probe", 0)
    return outcome.amount if isinstance(outcome, Granted) else 0


async def test_what_is_reserved_is_not_there_for_others_until_it_is_settled(usage):
    account = an_account(100)
    assert await usage.reserve([account], "a", 60, NOW, UNTIL) == Granted(60)
    assert await room(usage, account) == 40
    await usage.settle([account], "a", 5)
    assert await room(usage, account) == 95


async def test_a_job_gets_what_is_left_and_the_next_one_nothing(usage):
    account = an_account(100)
    await usage.reserve([account], "a", 60, NOW, UNTIL)
    assert await usage.reserve([account], "b", 60, NOW, UNTIL) == Granted(40)
    assert await usage.reserve([account], "c", 60, NOW, UNTIL) == Exhausted(account, held=100)


async def test_a_limit_that_is_spent_is_not_held_by_anybody(usage):
    account = an_account(100)
    await usage.reserve([account], "a", 60, NOW, UNTIL)
    await usage.settle([account], "a", 130)  # the last model call went over it
    assert await usage.reserve([account], "b", 1, NOW, UNTIL) == Exhausted(account, held=0)


async def test_another_attempt_of_a_job_finds_its_reservation(usage):
    account = an_account(100)
    await usage.reserve([account], "a", 60, NOW, UNTIL)
    assert await usage.reserve([account], "a", 60, NOW + 100, UNTIL + 100) == Granted(60)
    assert await room(usage, account) == 40


async def test_settling_twice_counts_once_and_without_a_reservation_nothing(usage):
    account = an_account(100)
    await usage.settle([account], "a", 50)
    await usage.reserve([account], "a", 60, NOW, UNTIL)
    await usage.settle([account], "a", 10)
    await usage.settle([account], "a", 10)
    assert await room(usage, account) == 90


async def test_a_reservation_that_nobody_settles_ends(usage):
    account = an_account(100)
    await usage.reserve([account], "lost", 100, NOW, UNTIL)
    later = UNTIL + 1
    assert await usage.reserve([account], "b", 70, later, later + 600) == Granted(70)
    await usage.settle([account], "lost", 30)  # it is gone: too late to count
    assert await room(usage, account) == 30


async def test_a_reservation_that_is_prolonged_does_not_end(usage):
    account = an_account(100)
    await usage.reserve([account], "a", 100, NOW, UNTIL)
    await usage.reserve([account], "a", 100, UNTIL - 1, UNTIL + 600)
    outcome = await usage.reserve([account], "b", 1, UNTIL + 1, UNTIL + 700)
    assert outcome == Exhausted(account, held=100)


async def test_of_several_limits_the_fullest_counts_and_a_refusal_takes_from_none(usage):
    wide, narrow, empty = an_account(100), an_account(30), an_account(0)
    assert await usage.reserve([wide, narrow], "a", 50, NOW, UNTIL) == Granted(30)
    await usage.settle([wide, narrow], "a", 0)
    assert await usage.reserve([wide, empty], "b", 50, NOW, UNTIL) == Exhausted(empty, held=0)
    assert await room(usage, wide) == 100


async def test_parallel_jobs_cannot_overdraw(usage):
    account = an_account(100)
    outcomes = await asyncio.gather(
        *(usage.reserve([account], f"j-{n}", 30, NOW, UNTIL) for n in range(12))
    )
    granted = [outcome.amount for outcome in outcomes if isinstance(outcome, Granted)]
    assert sum(granted) == 100
    await asyncio.gather(*(usage.settle([account], f"j-{n}", 1) for n in range(12)))
    assert await room(usage, account) == 100 - len(granted)


async def test_jobs_in_a_minute_are_counted_up_to_the_limit(usage):
    tenant, chat = an_account(3), an_account(2)
    assert await usage.count([tenant, chat]) is None
    assert await usage.count([tenant, chat]) is None
    assert await usage.count([tenant, chat]) == chat
    assert await usage.count([tenant]) == tenant


async def test_of_parallel_jobs_no_more_than_the_limit_are_counted(usage):
    account = an_account(5)
    outcomes = await asyncio.gather(*(usage.count([account]) for _ in range(12)))
    assert outcomes.count(None) == 5
