"""One suite for every store of sessions: a process that was started ahead serves one new chat, and
nobody else.
"""

import asyncio
from dataclasses import replace

import pytest

from tests.conformance.stores import Resident, a_claim, new_plan
from worker.domain.errors import UnavailableError
from worker.domain.policy import Policy, usual_turn
from worker.domain.session import SessionPlan
from worker.domain.warm import Warmth, startable
from worker.ports import Commit

USUAL = usual_turn(Policy())


async def until(store, condition):
    """Time passes, a little, until something has happened."""
    async with asyncio.timeout(30):
        while not condition():
            store.clock.advance(0.1)
            await asyncio.sleep(0.002)


async def one_waits(store):
    await until(store, lambda: store.checkouts.spares)


@pytest.fixture
async def ahead(store):
    """A store in which a process waits."""
    store.with_spares()
    store.checkouts.expect(USUAL)
    await one_waits(store)
    yield store
    await store.checkouts.close()


async def begin(store, claim, work=None):
    """The first turn of a claim; what it found, and the plan of its chat's next one."""
    async with store.checkouts.open(claim) as checkout:
        found, warm = checkout.found(), checkout.warm
        seen = await store.read(checkout), store.files(checkout)
        await store.append(checkout, ["one"])
        store.write(checkout, "a.txt", "1")
        if work is not None:
            await work(checkout)
        if found is not None:
            checkout.leave(found)
        sealed = await checkout.seal()
        session_id = checkout.plan.session_id
        checkout.committed(Commit(session_id, sealed.segments, sealed.files, "", 0.0, 1))
    assert not warm  # what was found is not there to be found again
    assert seen == ([], {})
    return found, SessionPlan(session_id, "continued", sealed.segments, sealed.files)


async def test_a_new_chat_finds_the_process_that_waits(ahead):
    claim = a_claim(new_plan(), 1)
    found, plan = await begin(ahead, claim)
    assert found is ahead.started[0]
    assert found.spec == startable(USUAL)
    assert not found.ended
    assert plan.session_id != claim.plan.session_id  # the session is the one it was started with


async def test_the_chat_goes_on_in_the_session_of_that_process_on_any_machine(ahead):
    _, plan = await begin(ahead, a_claim(new_plan(), 1))
    await ahead.checkouts.close()
    async with ahead.checkouts.open(a_claim(plan, 2)) as checkout:
        assert await ahead.read(checkout) == ["one"]
        assert ahead.files(checkout) == {"a.txt": "1"}
        assert checkout.plan == plan


async def test_the_process_stays_for_the_chat_s_second_turn(ahead):
    found, plan = await begin(ahead, a_claim(new_plan(), 1))
    claim = a_claim(plan, 2)
    head = replace(
        claim.head,
        generation=1,
        version=1,
        session_id=plan.session_id,
        segments=plan.segments,
        files=plan.files,
    )
    async with ahead.checkouts.open(replace(claim, head=head)) as checkout:
        assert checkout.found() is found


async def test_it_serves_one_chat_and_the_next_gets_another(ahead):
    first, _ = await begin(ahead, a_claim(new_plan(), 1, chat="a"))
    none, _ = await begin(ahead, a_claim(new_plan(), 1, chat="b"))
    await one_waits(ahead)
    third, _ = await begin(ahead, a_claim(new_plan(), 1, chat="c"))
    assert none is None
    assert [first, third] == ahead.started[:2]


async def test_of_chats_that_begin_at_once_one_finds_it(ahead):
    chats = [a_claim(new_plan(), 1, chat=f"{n}") for n in range(5)]
    begun = await asyncio.gather(*(begin(ahead, claim) for claim in chats))
    assert [found for found, _ in begun if found] == ahead.started[:1]
    assert len({plan.session_id for _, plan in begun}) == len(chats)


@pytest.mark.parametrize(
    "change",
    [
        lambda claim: replace(claim, plan=replace(claim.plan, status="continued")),
        lambda claim: replace(claim, plan=replace(claim.plan, status="reset")),
        lambda claim: replace(claim, attempt=2),
    ],
    ids=["a chat that goes on", "a session that was reset", "a second attempt"],
)
async def test_who_does_not_begin_a_session_leaves_it_alone(ahead, change):
    found, _ = await begin(ahead, change(a_claim(new_plan(), 1)))
    assert found is None
    assert (ahead.checkouts.spares, ahead.started[0].ended) == (1, False)


async def test_a_turn_with_other_options_leaves_it_alone(ahead):
    claim = a_claim(new_plan(), 1)
    other = replace(claim.job.spec, model="haiku")
    found, _ = await begin(ahead, replace(claim, job=replace(claim.job, spec=other)))
    assert found is None
    assert (ahead.checkouts.spares, ahead.started[0].ended) == (1, False)


async def test_one_that_has_waited_for_too_long_is_not_used(ahead):
    ahead.clock.advance(Warmth().idle_seconds + 1)
    found, _ = await begin(ahead, a_claim(new_plan(), 1))
    assert found is None
    await until(ahead, lambda: ahead.started[0].ended)


async def test_one_whose_turn_was_not_committed_ends(ahead):
    async with ahead.checkouts.open(a_claim(new_plan(), 1)) as checkout:
        checkout.leave(checkout.found())
    assert ahead.started[0].ended


async def test_one_that_nobody_asked_for_ends_with_its_turn(ahead):
    async with ahead.checkouts.open(a_claim(new_plan(), 1)) as checkout:
        assert checkout.warm
    assert ahead.started[0].ended


async def test_closing_ends_it_and_leaves_nothing(ahead):
    await ahead.checkouts.close()
    assert ahead.started[0].ended
    assert ahead.checkouts.spares == 0
    if hasattr(ahead, "work_dir"):
        assert not any(ahead.work_dir.iterdir())


async def test_an_attempt_that_was_cut_off_goes_on_in_the_session_it_began(ahead):
    claim = a_claim(new_plan(), 1, job_id="j")

    async def is_cut_off(checkout):
        await ahead.call_tool(checkout, "t-1")
        await checkout.record()
        begun.append(checkout.plan.session_id)
        raise ConnectionError

    begun = []
    with pytest.raises(ConnectionError):
        await begin(ahead, claim, is_cut_off)
    again = replace(claim, attempt=2, generation=2)
    async with ahead.checkouts.open(again) as checkout:
        assert (checkout.cut_off, checkout.plan.session_id) == (True, begun[0])
        assert ahead.files(checkout) == {"a.txt": "1"}
    async with ahead.checkouts.open(replace(again, attempt=3, generation=3)) as checkout:
        assert (checkout.cut_off, checkout.plan.session_id) == (True, begun[0])


@pytest.mark.integration
async def test_the_path_of_a_session_is_the_same_wherever_it_goes_on(s3_store, tmp_path):
    places = []

    async def look(checkout):
        places.append(checkout.directory)

    s3_store.with_spares()
    s3_store.checkouts.expect(USUAL)
    await one_waits(s3_store)
    _, plan = await begin(s3_store, a_claim(new_plan(), 1), look)
    await s3_store.checkouts.close()
    s3_store.with_spares(work_dir=tmp_path / "another")
    async with s3_store.checkouts.open(a_claim(plan, 2)) as checkout:
        await look(checkout)
    assert [place.parent.name for place in places] == ["work", "another"]
    assert places[0].name == places[1].name


@pytest.mark.integration
async def test_one_that_cannot_be_started_is_told_and_leaves_nothing_and_the_chat_starts_its_own(
    s3_store,
):
    async def fails(*_arguments):
        raise UnavailableError("sts", "no keys")

    s3_store.with_spares(start=fails)
    s3_store.checkouts.expect(USUAL)
    await until(s3_store, lambda: s3_store.failures)
    assert not any(s3_store.work_dir.iterdir())
    found, _ = await begin(s3_store, a_claim(new_plan(), 1))
    assert found is None
    await s3_store.checkouts.close()


@pytest.mark.integration
async def test_closing_while_one_is_being_started_leaves_nothing(s3_store):
    begun, resident = asyncio.Event(), Resident()

    async def slow(*_arguments):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await resident.end()

    s3_store.with_spares(start=slow)
    s3_store.checkouts.expect(USUAL)
    await until(s3_store, begun.is_set)
    await s3_store.checkouts.close()
    assert resident.ended
    assert not any(s3_store.work_dir.iterdir())
