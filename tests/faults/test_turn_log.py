"""The turn log, when its writes meet a takeover, a lost answer, a replay or an edited prompt."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest

from tests.conformance.conftest import store
from tests.conformance.stores import S3Store, a_claim, new_plan
from tests.conformance.test_checkouts import cut_off, turn
from tests.integration.conftest import Bot, environ, own, running, until
from worker.adapters.aws import Aws
from worker.adapters.memory import TOOL_LINE
from worker.bootstrap import build
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.entrypoints.host import Host

__all__ = ["environ", "own", "store"]  # fixtures


def lines(path):
    return path.read_text().split() if path.exists() else []


async def test_what_a_zombie_records_after_its_takeover_does_not_count(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    zombie = store.checkouts.open(a_claim(plan, 7, plan.session_id, job_id))
    checkout = await zombie.__aenter__()
    await store.append(checkout, ["prompt"])
    await store.call_tool(checkout, "t-1")
    await checkout.record()
    async with store.checkouts.open(a_claim(plan, 8, plan.session_id, job_id, attempt=2)):
        pass  # cut off before it has done anything
    await store.call_tool(checkout, "never run")
    await checkout.record()
    await zombie.__aexit__(None, None, None)
    third = a_claim(plan, 9, plan.session_id, job_id, attempt=3)
    async with store.checkouts.open(third) as checkout:
        assert await store.read(checkout) == ["prompt", f"{TOOL_LINE}t-1"]


async def test_a_first_record_of_a_zombie_does_not_count_either(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    zombie = store.checkouts.open(a_claim(plan, 7, plan.session_id, job_id))
    checkout = await zombie.__aenter__()
    async with store.checkouts.open(a_claim(plan, 8, plan.session_id, job_id, attempt=2)):
        pass
    await store.call_tool(checkout, "never run")
    await checkout.record()
    await zombie.__aexit__(None, None, None)
    third = a_claim(plan, 9, plan.session_id, job_id, attempt=3)
    async with store.checkouts.open(third) as checkout:
        assert not checkout.cut_off


async def test_a_replayed_turn_goes_on_after_what_was_committed_in_between(store):
    _, plan = await turn(store, new_plan(), 1, ["before"])
    job_id = f"j-{uuid.uuid4()}"
    await cut_off(store, plan, job_id)
    _, plan = await turn(store, plan, 8, ["in between"])
    again = a_claim(plan, 9, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(again) as checkout:
        read = await store.read(checkout)
    assert read == ["before", "in between", "prompt", f"{TOOL_LINE}t-1"]


async def test_a_turn_goes_on_in_the_session_that_its_chat_has_by_then(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    await cut_off(store, plan, job_id)
    _, other = await turn(store, new_plan(), 8, ["a new session"])
    again = a_claim(other, 9, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(again) as checkout:
        assert checkout.cut_off
        assert await store.read(checkout) == ["a new session", "prompt", f"{TOOL_LINE}t-1"]


async def test_a_prompt_that_was_edited_before_its_replay_starts_anew(store):
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    await cut_off(store, plan, job_id)
    again = a_claim(plan, 8, plan.session_id, job_id, attempt=2)
    request = again.job.request.model_copy(update={"user_message": "edited"})
    edited = replace(again, job=replace(again.job, request=request))
    async with store.checkouts.open(edited) as checkout:
        assert not checkout.cut_off


@pytest.mark.integration
async def test_a_call_is_on_record_although_the_answer_to_the_record_before_it_was_lost(
    resources, tmp_path, request
):
    aws = Aws(threads=8)
    request.addfinalizer(aws.close)
    store = S3Store(aws, resources["SESSION_BUCKET"], tmp_path / "work")
    plan, job_id = new_plan(), f"j-{uuid.uuid4()}"
    async with store.checkouts.open(a_claim(plan, 1, plan.session_id, job_id)) as checkout:
        await store.append(checkout, ["prompt"])
        objects = checkout._log._store
        put = objects.put

        async def answer_lost(key, data):
            await put(key, data)
            raise UnavailableError("s3", "the answer was lost")

        objects.put = answer_lost
        with pytest.raises(UnavailableError):
            await checkout.record()
        objects.put = put
        await store.call_tool(checkout, "t-1")
        await checkout.record()
    again = a_claim(plan, 2, plan.session_id, job_id, attempt=2)
    async with store.checkouts.open(again) as checkout:
        assert await store.read(checkout) == ["prompt", f"{TOOL_LINE}t-1"]


@pytest.mark.integration
@pytest.mark.parametrize("first", ["remember alpha is 1", None])
async def test_a_replay_forgets_nothing_that_was_said_since_it_failed(own, tmp_path, first):
    bot, ledger = Bot(own), tmp_path / "ledger"
    steps = f"steps: run echo 1 >> {ledger}; run echo 2 >> {ledger}"
    async with running(own, MAX_ATTEMPTS="1"):
        if first:
            await bot.ask(first)
        job = bot.send(f"[[after 1]] [[status 529 times 1]] {steps}")
        assert (await bot.result(job)).type == "agent.job.failed"
        letter = await bot.dead_letter(job)
        await bot.ask("remember beta is 2")
        attributes = {name: text for name, text in letter.items() if name != "body"}
        bot.send_raw(letter["body"], attributes=attributes)
        await until(lambda: bot.record(job)["state"]["S"] == "published")
        beta = await bot.ask("what is beta")
        said = await bot.ask("hello")
    assert lines(ledger) == ["1", "2"]
    assert "beta is 2" in beta.response
    assert f"message {5 if first else 4} of our conversation" in said.response
    assert json.loads(bot.record(job)["event"]["S"])["data"]["attempt"] == 2


@pytest.mark.integration
@pytest.mark.parametrize("obstacle", [UnavailableError("s3", "down"), LeaseLostError("x", 1)])
async def test_a_call_that_may_not_run_does_not_run_in_the_real_cli(own, tmp_path, obstacle):
    bot, ledger = Bot(own), tmp_path / "ledger"
    seen = []

    class Fenced:
        """The second call meets an obstacle, once; `seen` is what had run by then, and later."""

        def __init__(self, agent):
            self._agent, self._calls = agent, 0

        async def run(self, turn, checkout):
            async def fence():
                self._calls += 1
                seen.append(lines(ledger))
                if self._calls == 2:
                    raise obstacle

            return await self._agent.run(replace(turn, fence=fence), checkout)

    worker = build(own)
    ports = replace(worker.ports, agent=Fenced(worker.ports.agent))
    host = Host(replace(worker, ports=ports), 1)
    task = asyncio.create_task(host.run())
    try:
        text = "; ".join(f"run echo {number} >> {ledger}" for number in (1, 2, 3))
        data = await bot.ask(f"steps: {text}")
    finally:
        host.stop()
        await task
        worker.aws.close()
    assert seen == [[], ["1"], ["1"]]  # the next attempt reads that the second was not run
    assert data.attempt == 2
    assert "was not run" in data.response
