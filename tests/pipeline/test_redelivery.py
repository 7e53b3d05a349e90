"""A delivery and a DLQ replay of a job in each state that it can be in; docs/guarantees.md has the
table. What was said once is in the conversation once, whichever way the message came again.
"""

import contextlib
from dataclasses import dataclass, replace

import pytest

from tests.pipeline.world import World, echo
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError
from worker.domain.turn import AgentFailure, AgentResult
from worker.pipeline import process


class Killed(BaseException):
    """A worker that ends at this very place."""


class Down:
    async def publish(self, event):
        raise UnavailableError("sns", "down")


async def killed(turn, checkout):
    raise Killed


async def died(turn, checkout):
    return AgentFailure("died", "the CLI ended")


async def refused(turn, checkout):
    return AgentResult(turn.session_id, "success", is_error=True, api_error_status=400)


@dataclass(frozen=True)
class Past:
    """What happened to the job before: its agent, whether its outcome could be published."""

    script: object = None
    published: bool = True
    cancelled: bool = False
    model: str = "sonnet"
    seconds: float = 0.0
    then_good: bool = False


PASTS = {
    "new": None,
    "running elsewhere": Past(killed),
    "cut off": Past(killed, seconds=121),
    "waiting for its next attempt": Past(died),
    "answered, not published": Past(echo, published=False),
    "published": Past(echo),
    "failed, not published": Past(refused, published=False),
    "failed": Past(refused),
    "rejected, not published": Past(model="gpt-4", published=False),
    "rejected": Past(model="gpt-4"),
    "rejected, now corrected": Past(model="gpt-4", then_good=True),
    "cancelled, not published": Past(cancelled=True, published=False),
    "cancelled": Past(cancelled=True),
}

RUNS = (Ack, 1, ["j-1/completed"])
ONLY_PUBLISHED = (Ack, 0, ["j-1/completed"])
NOTHING = (Ack, 0, [])

# What a delivery leads to: its disposition, the turns that it runs, the events that it sends.
DELIVERED = {
    "new": RUNS,
    "running elsewhere": (Retry, 0, []),
    "cut off": RUNS,
    "waiting for its next attempt": RUNS,
    "answered, not published": ONLY_PUBLISHED,
    "published": NOTHING,
    "failed, not published": (DeadLetter, 0, ["j-1/failed"]),
    "failed": (DeadLetter, 0, []),
    "rejected, not published": (DeadLetter, 0, ["j-1/rejected"]),
    "rejected": (DeadLetter, 0, ["j-1/rejected"]),
    "rejected, now corrected": RUNS,
    "cancelled, not published": (Ack, 0, ["j-1/cancelled"]),
    "cancelled": NOTHING,
}
# A replayed dead letter of the last attempt: the same, but that a failed job runs again.
REPLAYED = {**DELIVERED, "failed, not published": RUNS, "failed": RUNS}


async def in_state(past):
    """A world where the job has this past; returns the message that is to come again."""
    world = World()
    message = world.send("one", job_id="j-1", model=past.model if past else "sonnet")
    if past is None:
        return world, message
    if past.cancelled:
        world.cancel("j-1")
    world.agent.script = past.script or echo
    ports = world.ports if past.published else world.with_ports(publisher=Down())
    with contextlib.suppress(Killed):
        await process(message, ports)
    world.clock.advance(past.seconds)
    world.agent.script = echo
    if past.then_good:
        message = world.send("one", job_id="j-1")
    return world, message


async def replayed(world, message):
    """The dead letter of the job's last attempt, as the operator's replay sends it."""
    record = await world.ledger.get("j-1")
    attributes = {
        "job_id": "j-1",
        "dead_letter_reason": "why",
        "dead_letter_attempt": str(record.attempt if record else 0),
        "original_message_id": message.message_id,
    }
    return replace(message, message_id="m-9", attributes=attributes)


@pytest.mark.parametrize("way", ["delivered", "replayed"])
@pytest.mark.parametrize("state", PASTS)
async def test_what_comes_again_has_the_effect_that_its_state_asks_for(state, way):
    world, message = await in_state(PASTS[state])
    ran, told = len(world.agent.turns), len(world.events)
    if way == "replayed":
        message = await replayed(world, message)
    expected, turns, events = (DELIVERED if way == "delivered" else REPLAYED)[state]
    assert isinstance(await process(message, world.ports), expected)
    assert len(world.agent.turns) - ran == turns
    assert [event["id"] for event in world.events[told:]] == events
    # And however often it comes then, nothing more happens.
    if expected is not Retry:
        again = await process(message, world.ports)
        assert isinstance(again, expected)
        assert len(world.agent.turns) - ran == turns
        assert {event["id"] for event in world.events[told:]} == set(events)
    world.clock.advance(121)
    await process(world.send("later"), world.ports)
    completed = "j-1/completed" in [event["id"] for event in world.events]
    assert world.responses[-1] == ("one | later" if completed else "later")
