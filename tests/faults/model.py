"""A scripted agent that behaves as the CLI does.

A tool call is recorded, then fenced, then run. What an earlier attempt has recorded is history: a
call that is in it is not made again, unless the history says that it was not run.
"""

import asyncio

from worker.adapters.memory import TOOL_LINE
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.progress import ToolCall
from worker.domain.resume import CONTINUE_PROMPT
from worker.domain.turn import AgentFailure, AgentResult

THINKING_SECONDS = 25.0
"""Per model call: a turn outlasts the heartbeat's interval (40 s)."""

DOLLARS = 0.25
"""Per model call; a binary fraction, so that sums are exact."""

USER_LINE = "user:"
DENIED_LINE = "denied:"


class Resident:
    """The CLI's process, which stays for the chat's next turn when this one ended well."""

    memory = 1

    def __init__(self, process, *, ahead=False):
        self.ahead, self.chat = ahead, None
        self._running = process.residents
        self._running.add(self)

    async def end(self):
        self._running.discard(self)


async def model(process, turn, checkout):
    """Prompts: `<job>[ tools=N][ flaky][ poison][ large]`."""
    found = checkout.found()
    resident = found or Resident(process)
    process.system.ahead += resident.ahead and resident.chat is None
    if resident.chat not in {None, turn.session_key}:
        process.system.violated("G6", f"the CLI of {resident.chat} served {turn.session_key}")
    resident.chat = turn.session_key
    try:
        outcome = await _answer(process, turn, checkout)
    except BaseException:
        await resident.end()
        raise
    if isinstance(outcome, AgentResult) and not outcome.is_error:
        checkout.leave(resident)
    else:
        await resident.end()
    return outcome


async def _answer(process, turn, checkout):
    run = _Run(process, turn, checkout)
    process.denied = None
    if turn.prompt != CONTINUE_PROMPT:
        checkout.transcript.append(USER_LINE + turn.prompt)
    job, *words = next(
        line.removeprefix(USER_LINE).split()
        for line in reversed(checkout.transcript)
        if line.startswith(USER_LINE)
    )
    process.system.requests[job] += 1
    if "poison" in words and not process.system.healthy:
        await run.think()
        return AgentFailure("died", "exit code 137")
    tools = next((int(w.removeprefix("tools=")) for w in words if w.startswith("tools=")), 0)
    done = run.known_calls(job)
    for call in [f"{job}.{number}" for number in range(1, tools + 1)]:
        if call in done:
            continue
        if not await run.think():
            return run.cut_short()
        if not await run.use(call):
            return AgentFailure("mirror", "a call could not be recorded")
    for _ in range(2):
        if not await run.think():
            return run.cut_short()
    if "flaky" in words and process.system.requests[job] == 1:
        return run.result(is_error=True, api_error_status=529)
    checkout.transcript.append(f"answer:{job}")
    return run.result(padding=" " * 5000 if "large" in words else "")


class _Run:
    def __init__(self, process, turn, checkout):
        self._process, self._turn, self._checkout = process, turn, checkout
        self._seconds = self._calls = 0

    def known_calls(self, job):
        """Calls in the transcript, but for those that it says were not run."""
        known = set()
        for line in self._checkout.transcript:
            if line.startswith(f"{TOOL_LINE}{job}."):
                known.add(line.removeprefix(TOOL_LINE))
            elif line.startswith(DENIED_LINE):
                known.discard(line.removeprefix(DENIED_LINE))
        return known

    async def think(self):
        """One model call; False when there is no time left for it, or it was interrupted."""
        if self._seconds + THINKING_SECONDS > self._turn.seconds:
            return False
        thinking = asyncio.ensure_future(self._process.ports.clock.sleep(THINKING_SECONDS))
        stopping = asyncio.ensure_future(self._turn.cancelled.wait())
        try:
            await asyncio.wait({thinking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await self._process.running()
            if not thinking.done():
                return False
            await thinking
        finally:
            thinking.cancel()
            stopping.cancel()
        self._seconds += THINKING_SECONDS
        self._calls += 1
        return True

    async def use(self, call):
        """One tool call; False when it may not run."""
        process, checkout = self._process, self._checkout
        checkout.transcript.append(TOOL_LINE + call)
        process.calling = call
        if self._turn.report:
            self._turn.report(ToolCall("Bash", call, self._calls, 1))
        try:
            await checkout.record()
            await self._turn.fence()
            await process.call("tool.run", lambda: self._effect(call))
        except (UnavailableError, LeaseLostError) as exc:
            if isinstance(exc, LeaseLostError):  # who took over may have read the record
                process.system.in_doubt.add(call)
            if process.system.effects[call] == 0:
                checkout.transcript.append(DENIED_LINE + call)
                process.denied = call
            return False
        except asyncio.CancelledError:  # a drain, or the lease is lost: the CLI ends here
            process.system.in_doubt.add(call)
            raise
        finally:
            process.calling = None
        checkout.transcript.append(f"result:{call}")
        checkout.workspace[call] = "made"
        return True

    async def _effect(self, call):
        self._process.system.effects[call] += 1

    def cut_short(self):
        cancelled = self._turn.cancelled.is_set()
        return self.result(timed_out=not cancelled, cancelled=cancelled)

    def result(self, *, padding="", timed_out=False, cancelled=False, **error):
        prompts = [
            line.removeprefix(USER_LINE).split()[0]
            for line in self._checkout.transcript
            if line.startswith(USER_LINE)
        ]
        self._process.system.reported[self._turn.job_id] += DOLLARS * self._calls
        return AgentResult(
            session_id=self._turn.session_id,
            subtype="error_during_execution" if timed_out or cancelled else "success",
            timed_out=timed_out,
            cancelled=cancelled,
            text=" ".join(prompts) + " " + padding,
            cost_usd=DOLLARS * self._calls,
            num_turns=self._calls,
            duration_ms=int(self._seconds * 1000),
            **({"is_error": timed_out or cancelled} | error),
        )
