"""A chat that begins with what another chat of its tenant has said so far."""

import pytest

from tests.pipeline.world import World, echo
from worker.adapters.memory import TOOL_LINE
from worker.domain.access import Producer
from worker.domain.disposition import DeadLetter
from worker.domain.turn import AgentFailure


def fork(world, chat="2", of="1", **fields):
    named = {} if fields.get("session_id") is None else {"session_id": fields.pop("session_id")}
    world.send("forked", chat, session="fork", fork_of={"chat_id": of, **named}, **fields)


async def with_a_past(script=echo, **policy):
    """Chat 1 has had a turn."""
    world = World(script, **policy)
    world.send("one", attributes={"auth_token": "master"})
    await world.drain()
    return world


async def test_a_fork_begins_with_the_other_chat_s_state_and_leaves_it_alone():
    world = await with_a_past()
    fork(world)
    world.send("two")
    world.send("more", "2")
    await world.drain()
    assert world.responses == ["one", "one | forked", "one | two", "one | forked | more"]
    statuses = [event["data"]["session_status"] for event in world.events]
    assert statuses == ["new", "forked", "continued", "continued"]
    first, forked, second, more = (event["data"]["session_id"] for event in world.events)
    assert first == second
    assert forked == more
    assert forked != first


async def test_a_fork_stays_when_the_other_chat_s_files_are_gone():
    world = await with_a_past()
    old = set(world.checkouts.segments)
    fork(world)
    await world.drain()
    for key in old:
        del world.checkouts.segments[key]
    world.send("more", "2")
    await world.drain()
    assert world.responses[-1] == "one | forked | more"


async def test_a_chat_that_had_a_session_begins_anew_with_the_other_s():
    world = await with_a_past()
    world.send("mine", "2")
    fork(world)
    await world.drain()
    assert world.responses[-1] == "one | forked"


async def test_the_session_that_is_named_must_be_the_one_that_is_there():
    world = await with_a_past()
    session = world.events[0]["data"]["session_id"]
    fork(world, session_id=session)
    await world.drain()
    assert world.responses[-1] == "one | forked"
    world.send("anew", session="new")
    await world.drain()
    fork(world, chat="3", session_id=session)
    assert isinstance(await world.step(), DeadLetter)


async def refused(world):
    """What is told of the message that is next: everything but its own names."""
    ended = await world.step()
    assert (ended.reason, world.events[-1]["type"]) == ("session_not_found", "agent.job.rejected")
    data = world.events[-1]["data"]
    own = {"job_id", "message_id", "chat_id", "tenant_id"}
    return {name: item for name, item in data.items() if name not in own}, (
        ended.error,
        ended.attempt,
    )


async def test_what_is_not_there_and_what_is_not_the_sender_s_are_told_in_the_same_words():
    """Neither a chat of another tenant, nor one that the key may not write to, shows itself."""
    bot = Producer("bot", ("key",), tenants=("default", "other"), chats=("2", "nobody"))
    world = await with_a_past(auth_tokens=("master",), producers=(bot,))
    own = {"attributes": {"auth_token": "key"}}
    fork(world, of="nobody", **own)  # never there
    unknown = await refused(world)
    fork(world, of="1", **own)  # there, and not this key's
    assert await refused(world) == unknown
    fork(world, of="1", attributes={"auth_token": "master"}, tenant_id="other", group="other/2")
    assert await refused(world) == unknown  # there, in another tenant
    world.clock.advance(40 * 86400)
    fork(world, of="1", attributes={"auth_token": "master"})  # expired
    assert await refused(world) == unknown
    assert len(world.agent.turns) == 1


async def test_a_refused_fork_runs_under_its_own_id_once_there_is_something_to_fork():
    world = World()
    fork(world, job_id="j")
    assert isinstance(await world.step(), DeadLetter)
    world.send("one")
    fork(world, job_id="j")
    await world.drain()
    assert world.responses[1:] == ["one", "one | forked"]


async def test_a_fork_that_is_delivered_again_has_one_effect():
    world = await with_a_past()
    for _ in range(2):
        fork(world, job_id="j")
    await world.drain()
    assert world.responses == ["one", "one | forked"]


async def test_a_fork_that_was_cut_off_goes_on_from_what_it_had_done():
    outcomes = iter([AgentFailure("died", "killed")])

    async def dies_once(turn, checkout):
        if turn.prompt == "forked":
            checkout.transcript += ["forked", f"{TOOL_LINE}sent"]
            await checkout.record()
        return next(outcomes, None) if turn.prompt == "forked" else await echo(turn, checkout)

    world = await with_a_past(dies_once)
    fork(world)
    await world.drain()
    assert world.responses[-1].startswith(f"one | forked | {TOOL_LINE}sent | ")
    assert world.events[-1]["data"]["session_status"] == "forked"


async def test_a_source_that_ends_between_two_attempts_is_told_and_not_made_up():
    outcomes = iter([AgentFailure("died", "killed")])

    async def dies_once(turn, checkout):
        failed = next(outcomes, None) if turn.prompt == "forked" else None
        return failed or await echo(turn, checkout)

    world = await with_a_past(dies_once)
    fork(world)
    await world.step()
    world.ledger.heads.pop("default/1")
    await world.drain()
    data = world.events[-1]["data"]
    assert (data["session_status"], data["response"]) == ("reset", "forked")
    assert "ended" in data["session_note"]


@pytest.mark.parametrize("of", ["1", "2"])
async def test_a_thread_forks_its_own_chat_or_another(of):
    world = World()
    world.send("one", of)
    world.send("forked", "1", thread_id="t", session="fork", fork_of={"chat_id": of})
    await world.drain()
    assert world.responses == ["one", "one | forked"]
