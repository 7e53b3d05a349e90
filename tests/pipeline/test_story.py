"""The story of a message, and each of its endings, on the in-memory twins."""

import asyncio
import contextlib
import uuid
from dataclasses import replace

import pytest

from tests.pipeline.world import World, echo
from worker.adapters.memory import TOOL_LINE
from worker.domain.disposition import Ack, DeadLetter, Retry
from worker.domain.errors import UnavailableError, WorkspaceLimitError
from worker.domain.job import JobState
from worker.domain.resume import CONTINUE_PROMPT
from worker.domain.turn import AgentFailure, AgentResult
from worker.pipeline import process
from worker.sweeper import Sweep, sweep


async def test_a_message_becomes_a_published_result_and_is_acknowledged():
    world = World()
    world.send("hello", job_id="j-1", metadata={"user": 7})
    assert await world.step() == Ack()
    [event] = world.events
    assert (event["id"], event["type"]) == ("j-1/completed", "agent.job.completed")
    data = event["data"]
    assert data["response"] == "hello"
    assert data["metadata"] == {"user": 7}
    assert (data["cost_usd"], data["num_turns"], data["is_error"]) == (0.25, 1, False)
    assert data["session_status"] == "new"
    assert (await world.ledger.get("j-1")).state is JobState.PUBLISHED
    assert world.inbox.waiting == []


async def test_the_second_turn_remembers_the_first():
    world = World()
    world.send("one")
    world.send("two")
    await world.drain()
    assert world.responses == ["one", "one | two"]
    assert world.events[1]["data"]["session_status"] == "continued"
    assert world.events[0]["data"]["session_id"] == world.events[1]["data"]["session_id"]


class Resident:
    memory = 1

    async def end(self):
        self.ended = True


async def stays(turn, checkout):
    """An agent whose process is kept, and which answers how many turns it has had."""
    resident = checkout.found() or Resident()
    resident.turns = getattr(resident, "turns", 0) + 1
    checkout.leave(resident)
    return replace(await echo(turn, checkout), num_turns=resident.turns)


async def test_a_chat_s_process_is_used_again_and_what_others_did_is_remembered():
    world = World(stays)
    elsewhere = world.with_ports(checkouts=world.checkouts.of_another_process(), owner="worker-b")
    for text, ports in [("a", None), ("b", None), ("c", elsewhere), ("d", None), ("e", None)]:
        world.send(text)
        await world.step(ports)
    assert world.responses[-1] == "a | b | c | d | e"
    assert [event["data"]["num_turns"] for event in world.events] == [1, 2, 1, 1, 2]


async def test_a_turn_that_its_process_s_limit_cut_short_is_continued():
    async def limited(turn, checkout):
        checkout.transcript.append(f"{TOOL_LINE}x")
        first = len(world.agent.turns) == 1
        return AgentResult(turn.session_id, "success", first, cost_usd=0.25, cut_short=first)

    world = World(limited)
    world.send("hello")
    assert await world.step() == Retry(0, "sliced")
    assert await world.step() == Ack()
    assert world.agent.turns[1].prompt == CONTINUE_PROMPT
    assert world.events[-1]["data"]["cost_usd"] == 0.5


async def test_chats_and_threads_have_memories_of_their_own():
    world = World()
    world.send("a", chat="1")
    world.send("b", chat="2")
    world.send("c", chat="1", thread_id="9")
    await world.drain()
    assert sorted(world.responses) == ["a", "b", "c"]


async def test_a_new_session_forgets_on_request():
    world = World()
    world.send("one")
    world.send("two", session="new")
    world.send("three")
    await world.drain()
    assert world.responses == ["one", "two", "two | three"]


async def test_a_job_sent_twice_has_one_effect():
    world = World()
    world.send("one", job_id="j-1")
    world.send("one", job_id="j-1")
    await world.drain()
    assert world.responses == ["one"]
    assert len(world.agent.turns) == 1


async def test_two_equal_texts_without_job_ids_are_two_jobs():
    world = World()
    world.send("yes")
    world.send("yes")
    await world.drain()
    assert world.responses == ["yes", "yes | yes"]


async def test_a_malformed_message_lands_in_the_dlq_with_its_reason_while_its_chat_goes_on():
    world = World()
    world.send(body="not json", group="1")
    world.send("hello")
    await world.drain()
    [(message, letter)] = world.inbox.dead_letters
    assert message.body == "not json"
    assert letter.reason == "invalid_json"
    assert [event["type"] for event in world.events] == [
        "agent.job.rejected",
        "agent.job.completed",
    ]
    assert world.events[0]["data"]["message_id"] == "m-1"


async def test_a_message_in_another_group_is_refused_because_it_could_run_beside_the_chat():
    world = World()
    world.send("hello", chat="1", group="other")
    assert isinstance(await world.step(), DeadLetter)
    [event] = world.events
    assert event["data"]["reason"] == "group_mismatch"
    assert "'1'" in event["data"]["error_message"]
    assert world.agent.turns == []


async def test_an_unauthorized_message_claims_no_job_id():
    world = World(auth_tokens=("secret",))
    world.send("evil", job_id="j-1", attributes={"auth_token": "wrong"})
    world.send("good", job_id="j-1", attributes={"auth_token": "secret"})
    await world.drain()
    assert [event["id"] for event in world.events] == ["sqs-m-1/rejected", "j-1/completed"]
    assert "secret" not in "".join(world.publisher.events)


async def test_a_model_outside_the_policy_is_refused_with_the_allowed_ones():
    world = World(models=("sonnet",))
    world.send("hello", model="gpt-4")
    await world.drain()
    data = world.events[0]["data"]
    assert data["reason"] == "model_not_allowed"
    assert "'gpt-4'" in data["error_message"]
    assert "sonnet" in data["error_message"]


async def test_a_job_id_of_another_chat_is_refused_and_leaves_that_job_alone():
    world = World()
    world.send("one", chat="1", job_id="j-1")
    world.send("two", chat="2", job_id="j-1")
    await world.drain()
    assert [event["id"] for event in world.events] == ["j-1/completed", "sqs-m-2/rejected"]
    assert (await world.ledger.get("j-1")).state is JobState.PUBLISHED


async def test_a_failure_that_may_pass_is_retried_with_nothing_committed_in_between():
    failures = iter([AgentFailure("died", "killed"), AgentFailure("no_result", "silence")])

    async def flaky(turn, checkout):
        checkout.transcript.append("garbage of a failed attempt")
        failure = next(failures, None)
        if failure:
            return failure
        checkout.transcript.pop()
        return await echo(turn, checkout)

    world = World(flaky)
    world.send("one", job_id="j-1")
    await world.drain()
    assert world.responses == ["one"]
    assert (await world.ledger.get("j-1")).attempt == 3


async def test_a_job_whose_attempts_are_used_up_fails_and_its_chat_goes_on_from_the_last_commit():
    async def poison(turn, checkout):
        if turn.prompt == "poison":
            return AgentFailure("died", "exit code 137")
        return await echo(turn, checkout)

    world = World(poison, max_attempts=3)
    world.send("one")
    world.send("poison", job_id="j-p")
    world.send("two")
    await world.drain()
    assert world.responses[0] == "one"
    assert world.responses[2] == "one | two"
    failed = world.events[1]
    assert (failed["type"], failed["data"]["error_code"]) == ("agent.job.failed", "agent_died")
    [(_, letter)] = world.inbox.dead_letters
    assert (letter.job_id, letter.reason, letter.attempt) == ("j-p", "agent_died", 3)


async def test_a_replayed_dead_letter_runs_again_as_the_same_job():
    healthy = False

    async def sick(turn, checkout):
        return await echo(turn, checkout) if healthy else AgentFailure("died", "x")

    world = World(sick, max_attempts=1)
    world.send("one", job_id="j-1")
    await world.drain()
    healthy = True
    world.send("one", job_id="j-1", attributes={"dead_letter_attempt": "1"})
    world.send("one", job_id="j-1", attributes={"dead_letter_attempt": "1"})
    await world.drain()
    assert [event["id"] for event in world.events] == ["j-1/failed", "j-1/completed"]
    assert (await world.ledger.get("j-1")).attempt == 2


async def test_a_session_whose_files_are_gone_starts_anew_and_the_result_says_so():
    world = World()
    world.send("one")
    await world.drain()
    world.checkouts.segments.clear()
    world.send("two")
    world.send("three")
    await world.drain()
    reset = world.events[1]["data"]
    assert (reset["session_status"], reset["response"]) == ("reset", "two")
    assert "missing" in reset["session_note"]
    assert world.responses[2] == "two | three"


async def test_a_corrupt_segment_resets_the_session_and_the_result_says_so():
    world = World()
    world.send("one")
    await world.drain()
    for lines in world.checkouts.segments.values():
        lines[0] = "tampered"
    world.send("two")
    await world.drain()
    assert world.events[1]["data"]["session_status"] == "reset"
    assert "corrupt" in world.events[1]["data"]["session_note"]


async def test_a_mapping_that_has_expired_starts_a_new_session():
    world = World(session_ttl_seconds=100.0)
    world.send("one")
    await world.drain()
    world.clock.advance(101)
    world.send("two")
    await world.drain()
    assert world.events[1]["data"]["session_status"] == "reset"
    assert world.responses == ["one", "two"]


async def test_the_mapping_is_refreshed_by_every_turn():
    world = World(session_ttl_seconds=100.0)
    for text in ("one", "two", "three"):
        world.send(text)
        await world.drain()
        world.clock.advance(60)
    assert world.responses[-1] == "one | two | three"


async def test_a_live_lease_elsewhere_is_waited_for_and_not_taken():
    world = World()
    message = world.send("one", job_id="j-1")
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(turn, checkout):
        started.set()
        await finish.wait()
        return await echo(turn, checkout)

    world.agent.script = slow
    first = asyncio.create_task(process(message, world.ports))
    await started.wait()
    second = await process(message, world.with_ports(owner="worker-b"))
    assert second == Retry(120.0, "busy")
    finish.set()
    assert await first == Ack()
    assert world.responses == ["one"]


async def test_a_zombie_whose_lease_was_taken_over_commits_nothing():
    world = World()
    message = world.send("one", job_id="j-1")
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def frozen(turn, checkout):
        asleep.set()
        await wake.wait()
        return await echo(turn, checkout)

    zombie_ports = world.with_ports(
        agent=type(world.agent)(frozen), clock=type(world.clock)(world.clock.now())
    )
    zombie = asyncio.create_task(process(message, zombie_ports))
    await asleep.wait()
    world.clock.advance(121)  # the zombie's own clock stands still: it does not renew
    assert await process(message, world.with_ports(owner="worker-b")) == Ack()
    wake.set()
    assert await zombie == Retry(None, "lease_lost")
    assert world.responses == ["one"]
    assert world.ledger.heads["default/1"].version == 1


async def test_the_heartbeat_keeps_a_long_turn_its_lease():
    world = World()
    message = world.send("one")
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(turn, checkout):
        started.set()
        await finish.wait()
        return await echo(turn, checkout)

    world.agent.script = slow
    running = asyncio.create_task(process(message, world.ports))
    await started.wait()
    for _ in range(10):
        world.clock.advance(40)
        for _ in range(5):
            await asyncio.sleep(0)
    assert world.ledger.heads["default/1"].lease.live(world.clock.now() + 100)
    assert world.inbox.receive(120) is None
    finish.set()
    assert await running == Ack()


async def test_a_lost_lease_stops_the_turn_at_the_next_heartbeat():
    world = World()
    message = world.send("one")
    started, stopped = asyncio.Event(), asyncio.Event()

    async def endless(turn, checkout):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    world.agent.script = endless
    running = asyncio.create_task(process(message, world.ports))
    await started.wait()
    head = world.ledger.heads["default/1"]
    world.ledger.heads["default/1"] = type(head)("default/1", generation=99)
    world.clock.advance(40)
    assert await running == Retry(None, "lease_lost")
    assert stopped.is_set()


async def test_a_drained_turn_frees_its_chat_and_does_not_count_as_an_attempt():
    world = World(max_attempts=1)
    message = world.send("one", job_id="j-1")
    started = asyncio.Event()

    async def endless(turn, checkout):
        started.set()
        await asyncio.Event().wait()

    world.agent.script = endless
    running = asyncio.create_task(process(message, world.ports))
    await started.wait()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert world.ledger.heads["default/1"].lease is None
    world.agent.script = echo
    assert await process(message, world.ports) == Ack()
    assert world.responses == ["one"]


async def test_a_result_that_was_committed_and_not_published_is_only_published():
    world = World()
    message = world.send("one", job_id="j-1")

    class Down:
        async def publish(self, event):
            raise UnavailableError("sns", "down")

    disposition = await process(message, world.with_ports(publisher=Down()))
    assert isinstance(disposition, Retry)
    assert (await world.ledger.get("j-1")).state is JobState.ANSWERED
    assert await process(message, world.ports) == Ack()
    assert world.responses == ["one"]
    assert len(world.agent.turns) == 1


async def test_a_dead_letter_is_not_written_before_its_event_is_published():
    async def refused(turn, checkout):
        return AgentResult(turn.session_id, "success", is_error=True, api_error_status=400)

    world = World(refused)
    world.send("one", job_id="j-1")

    class Down:
        async def publish(self, event):
            raise UnavailableError("sns", "down")

    await world.step(world.with_ports(publisher=Down()))
    assert world.inbox.dead_letters == []
    await world.drain()
    assert [event["type"] for event in world.events] == ["agent.job.failed"]
    assert [letter.job_id for _, letter in world.inbox.dead_letters] == ["j-1"]


async def test_a_worker_that_is_cut_off_in_every_attempt_ends_in_the_dlq():
    world = World(max_attempts=2)
    message = world.send("one", job_id="j-1")

    async def killed(turn, checkout):
        raise Killed

    world.agent.script = killed
    for _ in range(2):
        try:
            await process(message, world.ports)
        except Killed:
            world.clock.advance(121)
    disposition = await process(message, world.ports)
    assert isinstance(disposition, DeadLetter)
    assert disposition.reason == "attempts_exhausted"


async def test_a_defect_in_the_worker_retries_the_message_and_does_not_quote_it():
    async def defect(turn, checkout):
        message = f"cannot handle {turn.prompt}"
        raise KeyError(message)

    world = World(defect, max_attempts=1)
    world.send("my secret", job_id="j-1")
    disposition = await world.step()
    assert isinstance(disposition, DeadLetter)
    assert disposition.reason == "internal_error"
    assert "my secret" not in disposition.error


async def test_a_large_result_travels_as_a_pointer():
    async def long(turn, checkout):
        answer = await echo(turn, checkout)
        return AgentResult(
            session_id=answer.session_id, subtype="success", is_error=False, text="ä" * 300_000
        )

    world = World(long)
    world.send("one", job_id="j-1")
    await world.drain()
    [event] = world.publisher.events
    assert len(event.encode()) < 256 * 1024
    data = world.events[0]["data"]
    assert data["response_ref"]["size"] == 600_000
    assert data["response"].startswith("äää")
    assert len(world.ports.results.texts[data["response_ref"]["key"]]) == 300_000


class Killed(BaseException):
    """A worker that ends at this very place."""


def steps(*lines, kill_after=None):
    """A turn of several tool calls, each recorded before it "runs"; `effects` is what they did."""
    effects = []

    async def script(turn, checkout):
        if turn.prompt != CONTINUE_PROMPT:
            checkout.transcript.append(turn.prompt)
        done = [line for line in checkout.transcript if line.startswith(TOOL_LINE)]
        for line in lines[len(done) :]:
            checkout.transcript.append(f"{TOOL_LINE}{line}")
            await checkout.record()
            effects.append(line)
            checkout.workspace[line] = "made"
            if line in kill_after:
                kill_after.remove(line)
                raise Killed
        return AgentResult(
            session_id=turn.session_id,
            subtype="success",
            is_error=False,
            text=" | ".join(checkout.transcript),
            cost_usd=0.5,
        )

    script.effects = effects
    return script


async def test_a_turn_that_was_killed_after_each_tool_call_runs_each_of_them_once():
    script = steps("a", "b", "c", kill_after=["a", "b", "c"])
    world = World(script)
    message = world.send("go", job_id="j-1")
    for _ in range(3):
        try:
            await process(message, world.ports)
        except Killed:
            world.clock.advance(121)
    assert await process(message, world.ports) == Ack()
    assert script.effects == ["a", "b", "c"]
    assert world.responses == ["go | tool:a | tool:b | tool:c"]


async def test_a_turn_longer_than_the_host_allows_is_one_result_with_summed_cost():
    left = ["slice"] * 3

    async def long(turn, checkout):
        checkout.transcript.append(turn.prompt)
        checkout.transcript.append(f"{TOOL_LINE}{len(left)}")
        late = bool(left) and bool(left.pop())
        return AgentResult(
            session_id=turn.session_id,
            subtype="error_during_execution" if late else "success",
            is_error=late,
            timed_out=late,
            text=" | ".join(checkout.transcript),
            cost_usd=0.25,
            num_turns=2,
            duration_ms=1000,
        )

    world = World(long, timeout_seconds=600)
    first = world.send("go", job_id="j-1")
    world.send("later")
    for _ in range(3):
        message = world.inbox.receive(120)
        assert message.message_id == first.message_id  # its place is the head of its group
        disposition = await process(message, world.ports, seconds=10)
        assert disposition == Retry(0, "sliced")
        await world.carry_out(message, disposition)
        assert world.events == []
    await world.drain()
    [event, after] = world.events
    assert event["data"]["num_turns"] == 8
    assert event["data"]["cost_usd"] == 1.0
    assert event["data"]["duration_ms"] == 4000
    assert not event["data"]["is_error"]
    assert event["data"]["response"].startswith(f"go | tool:3 | {CONTINUE_PROMPT}")
    assert "later" in after["data"]["response"]
    assert world.ledger.heads["default/1"].cost_usd == 1.25


async def test_slices_are_bounded_in_number():
    async def endless(turn, checkout):
        checkout.transcript.append(f"{TOOL_LINE}x")
        return AgentResult(session_id=turn.session_id, subtype="x", is_error=True, timed_out=True)

    world = World(endless, max_slices=3)
    message = world.send("go")
    for _ in range(2):
        assert await process(message, world.ports, seconds=10) == Retry(0, "sliced")
    assert await process(message, world.ports, seconds=10) == Ack()
    assert world.events[0]["data"]["stop_reason"] == "max_slices"


async def test_slices_are_bounded_by_the_job_s_own_time():
    async def endless(turn, checkout):
        checkout.transcript.append(f"{TOOL_LINE}x")
        return AgentResult(
            session_id=turn.session_id,
            subtype="x",
            is_error=True,
            timed_out=True,
            duration_ms=int(turn.seconds * 1000),
        )

    world = World(endless)
    message = world.send("go", options={"timeout_seconds": 25})
    for _ in range(2):
        assert await process(message, world.ports, seconds=10) == Retry(0, "sliced")
    assert await process(message, world.ports, seconds=10) == Ack()
    assert world.agent.turns[-1].seconds == 5
    assert world.events[0]["data"]["stop_reason"] == "timeout"


async def test_a_drained_turn_is_recorded_and_continued():
    started = asyncio.Event()

    async def endless(turn, checkout):
        checkout.transcript.extend([turn.prompt, f"{TOOL_LINE}a"])
        started.set()
        await asyncio.Event().wait()

    world = World(endless)
    message = world.send("go")
    running = asyncio.create_task(process(message, world.ports))
    await started.wait()
    running.cancel()
    await asyncio.wait({running})
    world.agent.script = echo
    assert await process(message, world.ports) == Ack()
    assert world.responses == [f"go | tool:a | {CONTINUE_PROMPT}"]


async def test_a_workspace_over_its_limit_is_a_result_that_says_so():
    world = World()
    world.send("one")

    class Full:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        async def seal(self, *, with_files=True):
            if with_files:
                raise WorkspaceLimitError("the workspace holds more than 5 files")
            return await self._inner.seal(with_files=False)

    async def run(turn, checkout):
        return await echo(turn, checkout)

    checkouts = world.checkouts

    class Checkouts:
        @contextlib.asynccontextmanager
        async def open(self, claim):
            async with checkouts.open(claim) as checkout:
                yield Full(checkout)

    await world.step(world.with_ports(checkouts=Checkouts()))
    data = world.events[0]["data"]
    assert (data["is_error"], data["stop_reason"]) == (True, "workspace_limit")
    assert "more than 5 files" in data["error_message"]
    assert data["response"] == "one"


async def test_a_message_that_sqs_itself_dead_lettered_keeps_its_job_when_it_comes_back():
    original = "0f8fad5b-d9cb-469f-a165-70867728950e"

    async def killed(turn, checkout):
        raise Killed

    world = World(killed)
    first = replace(world.send("one"), message_id=original)
    with contextlib.suppress(Killed):
        await process(first, world.ports)
    world.clock.advance(121)
    world.agent.script = echo
    back = replace(first, message_id="another-id", deduplication_id=original)
    assert await process(back, world.ports) == Ack()
    assert (await world.ledger.get(f"sqs-{original}")).state is JobState.PUBLISHED
    producer_s_own = replace(first, message_id="m-9", deduplication_id=str(uuid.uuid4()))
    await process(producer_s_own, world.ports)
    assert (await world.ledger.get("sqs-m-9")).state is JobState.PUBLISHED


async def test_the_sweeper_publishes_what_a_dead_worker_left_and_names_what_is_stuck():
    world = World()
    message = world.send("one", job_id="j-1")

    class Dies:
        async def publish(self, event):
            raise Killed

    with contextlib.suppress(Killed):
        await process(message, world.with_ports(publisher=Dies()))

    async def hangs(turn, checkout):
        raise Killed

    world.agent.script = hangs
    stuck = world.send("two", chat="2", job_id="j-2")
    with contextlib.suppress(Killed):
        await process(stuck, world.ports)
    assert await sweep(world.ports) == Sweep(0, 0, 0)  # a live worker may be about to
    world.clock.advance(61)
    assert await sweep(world.ports) == Sweep(published=1, failed=0, stuck=0)
    assert world.responses == ["one"]
    assert await process(message, world.ports) == Ack()
    assert world.responses == ["one"]
    world.clock.advance(5000)
    assert await sweep(world.ports) == Sweep(0, 0, stuck=1)
    assert ("stuck", "j-2") in [(step, f.get("job_id")) for step, f in world.ports.journal.steps]


async def test_a_row_that_cannot_be_published_stops_the_sweeper_for_no_other():
    world = World()

    class Dies:
        async def publish(self, event):
            raise Killed

    for chat in ("1", "2"):
        message = world.send("hello", chat=chat, job_id=f"j-{chat}")
        with contextlib.suppress(Killed):
            await process(message, world.with_ports(publisher=Dies()))
    world.clock.advance(61)
    publisher = world.ports.publisher

    class Reads:
        async def publish(self, event):
            if "j-1" in event:
                raise KeyError("type")
            await publisher.publish(event)

    assert await sweep(world.with_ports(publisher=Reads())) == Sweep(1, failed=1, stuck=0)
    assert (await world.ledger.get("j-2")).state is JobState.PUBLISHED


async def test_a_zombie_s_tool_call_does_not_run_once_another_worker_may_have_the_chat():
    world = World()
    message = world.send("one", job_id="j-1")
    asleep, wake = asyncio.Event(), asyncio.Event()
    effects = []

    async def acts(turn, checkout):
        checkout.transcript.extend([turn.prompt, f"{TOOL_LINE}a"])
        await checkout.record()
        if turn.prompt != CONTINUE_PROMPT:
            asleep.set()
            await wake.wait()  # frozen between the record and the call
        await turn.fence()
        effects.append("a")
        return await echo(turn, checkout)

    frozen = type(world.clock)(world.clock.now())
    zombie = asyncio.create_task(
        process(message, world.with_ports(agent=type(world.agent)(acts), clock=frozen))
    )
    await asleep.wait()
    world.clock.advance(121)
    world.agent.script = echo
    assert await process(message, world.with_ports(owner="worker-b")) == Ack()
    frozen._now += 125  # it wakes; its heartbeat has not run yet
    wake.set()
    assert await zombie == Retry(None, "lease_lost")
    assert effects == []


async def test_the_fence_costs_nothing_while_the_lease_is_good():
    world = World()
    world.send("one")
    asked = []

    class Counting:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(world.ledger, name)

    async def acts(turn, checkout):
        for _ in range(50):
            await turn.fence()
        return await echo(turn, checkout)

    world.agent.script = acts
    await world.step(world.with_ports(ledger=Counting()))
    assert "extend" not in asked


async def test_a_rejected_message_that_was_corrected_runs_under_its_job_id():
    world = World()
    world.send("hello", job_id="j-1", model="gpt-4")
    world.send("hello", job_id="j-1")
    await world.drain()
    assert [event["id"] for event in world.events] == ["j-1/rejected", "j-1/completed"]


async def test_a_defect_at_the_claim_is_retried_and_stops_nobody():
    world = World()
    world.send("one")

    class Defect:
        async def claim(self, *_arguments):
            raise KeyError("secret text")

        get = world.ledger.get

    disposition = await world.step(world.with_ports(ledger=Defect()))
    assert isinstance(disposition, Retry)
    assert disposition.reason == "internal_error"
    await world.drain()
    assert world.responses == ["one"]


async def test_the_limits_of_turns_and_money_are_shared_by_the_slices_of_a_job():
    async def endless(turn, checkout):
        checkout.transcript.append(f"{TOOL_LINE}x")
        return AgentResult(
            session_id=turn.session_id,
            subtype="x",
            is_error=True,
            timed_out=True,
            num_turns=3,
            cost_usd=0.5,
        )

    world = World(endless)
    message = world.send("go", options={"max_turns": 10, "max_budget_usd": 2})
    await process(message, world.ports, seconds=10)
    await process(message, world.ports, seconds=10)
    limits = [(turn.spec.max_turns, turn.spec.max_budget_usd) for turn in world.agent.turns]
    assert limits == [(10, 2), (7, 1.5)]


@pytest.mark.parametrize("system", ["disk", "dynamodb", "s3", "sts"])
async def test_what_fails_for_now_is_retried_and_in_the_end_dead_lettered_by_its_name(system):
    async def fails(turn, checkout):
        raise UnavailableError(system, "no space left on device")

    world = World(fails, max_attempts=2)
    world.send("one", job_id="j-1")
    world.send("two", job_id="j-2")
    await world.drain()
    assert [letter.reason for _, letter in world.inbox.dead_letters] == [
        f"{system}_unavailable"
    ] * 2
    assert (await world.ledger.get("j-1")).attempt == 2
