import asyncio

import pytest

from worker.adapters.agent.recorder import CallRecorder
from worker.domain.errors import LeaseLostError, UnavailableError


class Checkout:
    """Notes what is asked of it, in order; raises what it is given to raise."""

    def __init__(self, failure=None):
        self.steps, self.failure, self.transcript = [], failure, self

    async def has_call(self, tool_use_id):
        self.steps.append(f"has {tool_use_id}")

    async def record(self):
        self.steps.append("record")
        if self.failure:
            raise self.failure

    async def fence(self):
        self.steps.append("fence")


async def before(checkout, tool, fence=None):
    """What the hook answers to a call, and why it refused."""
    recorder = CallRecorder()
    recorder.begin(checkout, fence or checkout.fence)
    [matcher] = recorder.hooks()["PreToolUse"]
    call = {"tool_name": tool, "tool_use_id": "toolu_1", "tool_input": {}}
    return await matcher.hooks[0](call, "toolu_1", {"signal": None}), recorder.failure


async def test_a_call_is_recorded_and_then_fenced_before_it_runs():
    checkout = Checkout()
    assert await before(checkout, "Bash") == ({}, None)
    assert checkout.steps == ["has toolu_1", "record", "fence"]


async def test_a_call_that_only_reads_waits_for_nothing():
    checkout = Checkout()
    assert await before(checkout, "Read") == ({}, None)
    assert checkout.steps == []


@pytest.mark.parametrize(
    "failure", [UnavailableError("s3", "down"), LeaseLostError("default/1", 7), TimeoutError()]
)
async def test_a_call_that_cannot_be_recorded_does_not_run(failure):
    answer, reason = await before(Checkout(failure), "Bash")
    assert answer["continue_"] is False
    assert "Bash" in reason


async def test_a_call_of_a_worker_that_lost_its_lease_does_not_run():
    async def lost():
        await asyncio.sleep(0)
        raise LeaseLostError("default/1", 7)

    answer, reason = await before(Checkout(), "Bash", lost)
    assert answer["continue_"] is False
    assert "LeaseLost" in reason
