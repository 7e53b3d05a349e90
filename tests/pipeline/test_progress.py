"""What a turn tells while it runs; and that telling never costs it anything."""

import asyncio
import json

import pytest

from tests.pipeline.test_cancel import pass_time, settled
from tests.pipeline.world import World, echo
from worker.domain.disposition import Ack
from worker.domain.errors import UnavailableError
from worker.domain.progress import TextSoFar, ToolCall
from worker.domain.turn import AgentFailure
from worker.pipeline import process

TOOL = ToolCall("Read", "Read notes.txt", num_turns=1, tool_calls=1)


def told(world):
    return [json.loads(event) for event in world.publisher.told]


def a_turn(world, *course):
    """An agent that reports steps; numbers are seconds that pass meanwhile."""

    async def agent(turn, checkout):
        for step in course:
            if isinstance(step, int):
                await pass_time(world, step)
            else:
                turn.report(step)
        return await echo(turn, checkout)

    world.agent.script = agent


async def test_a_turn_tells_its_start_its_tools_and_its_text_in_order():
    world = World()
    a_turn(world, 1, TOOL, 1, TextSoFar("It", 2, 1), 1, TextSoFar("It is", 2, 1), 1)
    world.send("hello", job_id="j-1", progress="text", metadata={"user": 7})
    assert await world.step() == Ack()
    started, tool, first, second = told(world)
    assert [e["type"].rpartition(".")[2] for e in told(world)] == ["started", *["progress"] * 3]
    assert started["id"] == "j-1/started/000001000001"
    assert started["data"]["model"] == "sonnet"
    assert (tool["data"]["tool"], tool["data"]["summary"]) == ("Read", "Read notes.txt")
    assert [first["data"]["text"], second["data"]["text"]] == ["It", "It is"]
    assert (second["data"]["num_turns"], second["data"]["elapsed_ms"]) == (2, 3000)
    assert all(event["data"]["metadata"] == {"user": 7} for event in told(world))
    sequences = [event["sequence"] for event in [*told(world), *world.events]]
    assert sequences == sorted(set(sequences))


async def test_nothing_is_told_unless_it_is_asked_for():
    seen = []

    async def agent(turn, checkout):
        seen.append(turn.report)
        return await echo(turn, checkout)

    world = World(agent)
    world.send("hello")
    await world.step()
    assert seen == [None]
    assert world.publisher.told == []


async def test_steps_are_told_without_the_text():
    world = World()
    a_turn(world, TextSoFar("It", 1, 0), TOOL, 1)
    world.send("hello", progress="steps")
    await world.step()
    assert [event["data"].get("kind") for event in told(world)] == [None, "tool"]


async def test_a_text_is_told_at_most_once_in_progress_seconds_and_then_in_full():
    world = World(progress_seconds=2.0)
    course = [step for n in range(1, 21) for step in (TextSoFar("x" * n, 1, 0), 1)]
    a_turn(world, *course)
    world.send("hello", progress="text")
    await world.step()
    times = [event["data"]["elapsed_ms"] for event in told(world)[1:]]
    assert times == list(range(0, 21_000, 2000))
    assert [len(event["data"]["text"]) for event in told(world)[1:]] == [1, *range(2, 21, 2)]


async def test_a_long_text_is_told_by_its_end():
    world = World()
    a_turn(world, 1, TextSoFar("a" * 10_000 + "end", 1, 0), 1)
    world.send("hello", progress="text")
    await world.step()
    data = told(world)[1]["data"]
    assert len(data["text"]) == 8000
    assert data["text"].endswith("end")
    assert data["text_offset"] == 2003


class Hanging:
    """Answers to final events, and to nothing else."""

    def __init__(self, inner):
        self._inner, self.waiting = inner, 0

    async def publish(self, event):
        await self._inner.publish(event)

    async def tell(self, events):
        self.waiting += 1
        await asyncio.Event().wait()


class Failing(Hanging):
    async def tell(self, events):
        raise UnavailableError("sns", "down")


class Defect(Hanging):
    async def tell(self, events):
        raise KeyError(events[0])


@pytest.mark.parametrize("kind", [Hanging, Failing, Defect])
async def test_a_publisher_that_hangs_or_fails_neither_slows_nor_fails_the_turn(kind):
    world = World()
    a_turn(world, 1, TOOL, 1, *(TextSoFar("x" * n, 1, 1) for n in range(1, 100)), TOOL)
    begun = world.clock.now()
    world.ports = world.with_ports(publisher=kind(world.publisher))
    world.send("my secret", job_id="j-1", progress="text")
    assert await world.step() == Ack()
    assert world.clock.now() == begun + 2  # the agent's own
    assert [event["id"] for event in world.events] == ["j-1/completed"]
    assert "my secret" not in repr(world.ports.journal.steps)


async def test_what_is_left_when_the_turn_ends_is_told_while_it_is_committed():
    world = World()
    a_turn(world, *[TOOL] * 25, TextSoFar("not needed any more", 1, 1))
    commit = world.ledger.commit

    async def slow_commit(*arguments):
        await settled()
        return await commit(*arguments)

    world.ledger.commit = slow_commit
    world.send("hello", progress="text")
    await world.step()
    assert [event["data"].get("kind") for event in told(world)] == [None, *["tool"] * 25]


async def test_each_attempt_numbers_its_steps_behind_those_of_the_one_before():
    failures = iter([AgentFailure("died", "killed")])

    async def flaky(turn, checkout):
        turn.report(TOOL)
        await settled()
        return next(failures, None) or await echo(turn, checkout)

    world = World(flaky)
    world.send("one", job_id="j-1", progress="steps")
    await world.drain()
    events = [*told(world), *world.events]
    assert [event["sequence"][:6] for event in events] == ["000001"] * 2 + ["000002"] * 3
    assert max(event["sequence"] for event in events) == world.events[0]["sequence"]


async def test_a_queued_job_that_is_cancelled_tells_only_that():
    world = World()
    message = world.send("one", job_id="j-1", progress="text")
    world.cancel("j-1")
    await process(message, world.ports)
    assert told(world) == []
    assert [event["type"] for event in world.events] == ["agent.job.cancelled"]
