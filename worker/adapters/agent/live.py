"""A connected CLI of one chat: from its start, over one turn or more, to its end."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

from worker.adapters.agent.conversation import Conversation
from worker.adapters.agent.process import PIDFILE, to_the_end
from worker.adapters.agent.recorder import CallRecorder
from worker.adapters.agent.tree import descendants, resident_bytes
from worker.domain.turn import AgentFailure, AgentOutcome, AgentResult
from worker.ports import Checkout, Turn

QUIET_TRIES = 5
QUIET_SECONDS = 0.01
"""A tool that has just ended is gone from the process table a moment later."""

STDERR_TAIL = 20


@dataclass
class Senses:
    """What a CLI is bound to from its start on, whichever turn it is in: parts of its options that
    say nothing about what it may do.
    """

    recorder: CallRecorder = field(default_factory=CallRecorder)
    stderr: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        self.stderr.append(line[:500])
        del self.stderr[:-STDERR_TAIL]


class LiveAgent:
    """A running CLI. Its options cannot change, and `max_budget_usd` counts from its start."""

    def __init__(
        self, client: ClaudeSDKClient, options: ClaudeAgentOptions, senses: Senses, launcher: int
    ) -> None:
        self._client = client
        self._options = options
        self._senses = senses
        self._launcher = launcher
        self._processes = descendants(launcher) if launcher else frozenset()
        self._turns = 0
        self._spent = 0.0
        self._good = True

    @classmethod
    async def start(
        cls, options: ClaudeAgentOptions, senses: Senses, directory: Path
    ) -> "LiveAgent":
        """Raises ClaudeSDKError."""
        client = ClaudeSDKClient(options)
        try:
            await to_the_end(client.connect())  # one that is broken off leaves its process behind
            return cls(client, options, senses, _read_pid(directory / PIDFILE))
        except BaseException:
            await to_the_end(client.disconnect())
            raise

    @property
    def memory(self) -> int:
        try:
            return resident_bytes(self._launcher)
        except OSError:
            return 0

    def serves(self, options: ClaudeAgentOptions) -> bool:
        """Whether it is alive and well, and was started with these options: all of them, except
        for what it is bound to anyway. Half of its budget must be left, so that a turn seldom
        reaches the end of it before its own.
        """
        return (
            self._good
            and self._senses.recorder.failure is None
            and _bare(options) == _bare(self._options)
            and options.session_store is self._options.session_store
            and self._spent <= (options.max_budget_usd or 0.0) / 2
            and self._unchanged()
        )

    async def run(self, turn: Turn, checkout: Checkout, silence: float) -> AgentOutcome:
        """One turn. Raises ClaudeSDKError when the CLI has died."""
        recorder, self._good = self._senses.recorder, False
        written = checkout.transcript.length
        recorder.begin(checkout, turn.fence)
        try:
            workspace = str(checkout.directory / "workspace")
            outcome = await Conversation(self._client, turn, silence, workspace).run()
        finally:
            recorder.end()
        if recorder.failure is not None:
            return AgentFailure("mirror", recorder.failure)
        if not isinstance(outcome, AgentResult):
            return outcome
        if checkout.transcript.length == written:
            return AgentFailure("mirror", "the CLI gave a result and no transcript of its turn")
        outcome, self._spent = self._charged(outcome, turn), outcome.cost_usd
        self._turns += 1
        self._good = not outcome.is_error and not outcome.timed_out and await self._quiet()
        return outcome

    @property
    def good(self) -> bool:
        """Whether its last turn, if it has had any, ended well and left nothing running."""
        return self._good

    async def end(self) -> None:
        await to_the_end(self._client.disconnect())

    def explained(self, exc: Exception) -> str:
        return explained(exc, self._senses.stderr)

    def _charged(self, outcome: AgentResult, turn: Turn) -> AgentResult:
        """The CLI tells what it has cost since its start, and its limit is for all of that."""
        cost = max(outcome.cost_usd - self._spent, 0.0)
        short = (
            self._turns > 0
            and outcome.subtype == "error_max_budget_usd"
            and cost < turn.spec.max_budget_usd
        )
        return replace(outcome, cost_usd=cost, cut_short=short)

    async def _quiet(self) -> bool:
        """Nothing that a tool started still runs: it could change files after the commit."""
        for _ in range(QUIET_TRIES):
            if self._unchanged():
                return True
            await asyncio.sleep(QUIET_SECONDS)
        return False

    def _unchanged(self) -> bool:
        try:
            return bool(self._processes) and descendants(self._launcher) == self._processes
        except OSError:
            return False


def explained(exc: Exception, stderr: list[str]) -> str:
    """Why the CLI ended, with the last that it said."""
    tail = " | ".join(stderr)
    return f"the CLI ended: {exc}" + (f"; it said: {tail}" if tail else "")


def _bare(options: ClaudeAgentOptions) -> ClaudeAgentOptions:
    return replace(
        options, session_id=None, extra_args={}, hooks=None, stderr=None, session_store=None
    )


def _read_pid(pidfile: Path) -> int:
    try:
        return int(pidfile.read_text())
    except (OSError, ValueError):
        return 0
