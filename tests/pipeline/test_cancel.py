"""A job is cancelled: while it waits, while it runs, between two attempts, after it has ended."""

import asyncio

import pytest

from tests.pipeline.world import World, echo
from worker.adapters.memory import TOOL_LINE
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError
from worker.domain.job import JobState
from worker.domain.turn import AgentFailure, AgentResult
from worker.pipeline import process


def interrupted(turn, cost=0.125):
    """What the CLI reports of a turn that was interrupted."""
    return AgentResult(
        turn.session_id, "error_during_execution", is_error=True, cancelled=True, cost_usd=cost
    )


async def until_cancelled(turn, checkout):
    checkout.transcript.append(turn.prompt)
    await turn.cancelled.wait()
    checkout.transcript.append("[interrupted]")
    return interrupted(turn)


async def cancelled_while_running(world, message):
    """Process the message; somebody asks for its end while its turn runs."""
    running = asyncio.create_task(process(message, world.ports))
    while not world.agent.turns:
        await asyncio.sleep(0)
    world.cancel("j-1")
    await pass_time(world, 1)
    return await running


async def pass_time(world, seconds):
    """Second by second, as those who sleep see it."""
    for _ in range(seconds):
        await settled()
        world.clock.advance(1)
    await settled()


async def settled():
    """Every task goes on until it waits for something outside."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_running_turn_is_interrupted_and_the_next_one_knows_of_it():
    world = World(until_cancelled)
    message = world.send("one", job_id="j-1", metadata={"user": 7})
    assert await cancelled_while_running(world, message) == Ack()
    await world.inbox.delete(message)
    [event] = world.events
    assert (event["id"], event["type"]) == ("j-1/cancelled", "agent.job.cancelled")
    data = event["data"]
    assert (data["started"], data["cancelled_by"], data["cost_usd"]) == (True, "ada", 0.125)
    assert data["metadata"] == {"user": 7}
    record = await world.ledger.get("j-1")
    assert (record.state, record.error_code) == (JobState.CANCELLED, "cancelled")
    assert record.published_at is not None
    world.agent.script = echo
    world.send("two")
    await world.drain()
    assert world.responses[1] == "one | [interrupted] | two"
    assert world.ledger.heads["default/1"].cost_usd == 0.375


async def test_a_queued_job_is_skipped_without_being_run():
    world = World()
    world.send("one", job_id="j-1")
    world.send("two", job_id="j-2")
    world.cancel("j-1")
    await world.drain()
    assert [turn.job_id for turn in world.agent.turns] == ["j-2"]
    assert [event["id"] for event in world.events] == ["j-1/cancelled", "j-2/completed"]
    data = world.events[0]["data"]
    assert (data["started"], data["cost_usd"], data["session_id"]) == (False, 0.0, None)
    assert world.responses[1] == "two"


async def test_a_turn_that_is_done_before_it_could_be_interrupted_keeps_its_result():
    async def done_already(turn, checkout):
        await turn.cancelled.wait()
        return await echo(turn, checkout)

    world = World(done_already)
    message = world.send("one", job_id="j-1")
    assert await cancelled_while_running(world, message) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/completed"]


@pytest.mark.parametrize(
    "failure",
    [AgentFailure("hung", "it did not stop"), AgentFailure("died", "exit code 137")],
    ids=lambda failure: failure.kind,
)
async def test_a_turn_that_fails_while_it_is_cancelled_is_not_run_again(failure):
    async def fails(turn, checkout):
        await turn.cancelled.wait()
        return failure

    world = World(fails, max_attempts=1)
    message = world.send("one", job_id="j-1")
    assert await cancelled_while_running(world, message) == Retry(0, "cancelled")
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/cancelled"]
    assert len(world.agent.turns) == 1
    assert world.ledger.heads["default/1"].version == 0


async def test_a_job_that_waits_for_its_next_attempt_ends_there():
    async def flaky(turn, checkout):
        checkout.transcript.append("half a sentence")
        return AgentFailure("died", "x")

    world = World(flaky)
    message = world.send("one", job_id="j-1")
    assert isinstance(await process(message, world.ports), Retry)
    world.cancel("j-1")
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/cancelled"]
    assert len(world.agent.turns) == 1
    assert world.ledger.heads["default/1"].segments == ()


async def test_what_a_tool_did_in_an_earlier_attempt_stays_and_the_chat_knows_of_it():
    async def killed_after_its_tool(turn, checkout):
        checkout.transcript += [turn.prompt, f"{TOOL_LINE}deploy"]
        checkout.workspace["made"] = "by deploy"
        await checkout.record()
        return AgentFailure("died", "x")

    world = World(killed_after_its_tool)
    assert isinstance(await process(world.send("one", job_id="j-1"), world.ports), Retry)
    world.cancel("j-1")
    assert await world.step() == Ack()
    assert world.events[0]["data"]["started"]
    world.agent.script = echo
    world.send("two")
    await world.drain()
    assert world.responses[1] == f"one | {TOOL_LINE}deploy | two"


async def test_cancelling_a_job_that_has_its_result_changes_nothing():
    world = World()
    message = world.send("one", job_id="j-1")
    await world.drain()
    world.cancel("j-1")
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/completed"]
    assert (await world.ledger.get("j-1")).state is JobState.PUBLISHED


async def test_what_was_asked_of_a_failed_job_does_not_stop_its_replay():
    healthy = False

    async def sick(turn, checkout):
        return await echo(turn, checkout) if healthy else AgentFailure("died", "x")

    world = World(sick, max_attempts=1)
    world.send("one", job_id="j-1")
    await world.drain()
    world.cancel("j-1")
    healthy = True
    replayed = world.send("one", job_id="j-1", attributes={"dead_letter_attempt": "1"})
    assert await process(replayed, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/failed", "j-1/completed"]


async def test_a_cancelled_job_that_comes_again_is_only_acknowledged():
    world = World()
    message = world.send("one", job_id="j-1")
    world.cancel("j-1")
    assert await process(message, world.ports) == Ack()
    world.ledger.controls.clear()
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/cancelled"]
    assert world.agent.turns == []


async def test_a_cancelled_job_that_was_not_published_is_only_published():
    class Down:
        async def publish(self, event):
            raise UnavailableError("sns", "down")

    world = World()
    message = world.send("one", job_id="j-1")
    world.cancel("j-1")
    assert isinstance(await process(message, world.with_ports(publisher=Down())), Retry)
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/cancelled"]


async def test_a_job_that_was_cut_off_in_every_attempt_can_still_be_cancelled():
    class Killed(BaseException):
        pass

    async def killed(turn, checkout):
        raise Killed

    world = World(killed, max_attempts=1)
    message = world.send("one", job_id="j-1")
    with pytest.raises(Killed):
        await process(message, world.ports)
    world.clock.advance(121)
    world.cancel("j-1")
    assert await process(message, world.ports) == Ack()
    assert [event["id"] for event in world.events] == ["j-1/cancelled"]


async def test_a_message_that_is_no_job_is_refused_and_not_cancelled():
    world = World(models=("sonnet",))
    world.send("one", job_id="j-1", model="gpt-4")
    world.cancel("j-1")
    assert isinstance(await world.step(), DeadLetter)
    assert [event["type"] for event in world.events] == ["agent.job.rejected"]


async def test_a_short_turn_is_not_watched_and_a_long_one_about_each_second():
    looks = []

    class Counting(type(World().ledger)):
        async def cancel_request(self, job_id, now):
            looks.append(now - begun)

    async def five_seconds(turn, checkout):
        await pass_time(world, 5)
        return await echo(turn, checkout)

    world = World()
    begun = world.clock.now()
    world.ports = world.with_ports(ledger=Counting())
    world.send("one")
    await world.step()
    assert looks == []
    world.agent.script = five_seconds
    world.send("two")
    await world.step()
    assert looks == [1, 2, 3, 4, 5]


async def test_a_table_that_is_out_of_reach_for_the_watch_does_not_end_the_turn():
    class Deaf(type(World().ledger)):
        async def cancel_request(self, job_id, now):
            raise UnavailableError("dynamodb", "down")

    async def long(turn, checkout):
        await pass_time(world, 1)
        return await echo(turn, checkout)

    world = World(long)
    world.ports = world.with_ports(ledger=Deaf())
    world.send("one", job_id="j-1")
    assert await world.step() == Ack()
    assert [step for step, _ in world.ports.journal.steps].count("cancel_unknown") == 1
    assert [event["id"] for event in world.events] == ["j-1/completed"]
