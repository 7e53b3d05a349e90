"""Talking to a connected CLI: ask, listen until the result, interrupt what takes too long."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeSDKClient,
    Message,
    MirrorErrorMessage,
    ResultMessage,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from worker.adapters.agent.narrator import Narrator
from worker.domain.turn import AgentFailure, AgentOutcome, AgentResult
from worker.ports import Turn

INTERRUPT_SECONDS = 10.0
"""How long an interrupted turn may take to report its result (measured: about 20 ms)."""


class Conversation:
    """One turn on one client. `silence` is in seconds: the CLI's own limits for a model that hangs
    are minutes per attempt, and none bounds a stream that stops. `workspace` is the directory that
    the agent works in.
    """

    def __init__(self, client: ClaudeSDKClient, turn: Turn, silence: float, workspace: str) -> None:
        self._client = client
        self._turn = turn
        self._silence = silence
        self._tools: set[str] = set()
        self._mirror_error: str | None = None
        self._narrator = turn.report and Narrator(turn.report, workspace)

    async def run(self) -> AgentOutcome:
        limit = self._turn.seconds
        if self._turn.cancelled.is_set():
            return AgentFailure("no_result", "the job was cancelled before the agent was asked")
        try:
            async with (
                asyncio.timeout(None if math.isinf(limit) else limit) as time,
                _ended_by(self._turn.cancelled, time),
            ):
                await self._client.query(_prompt(self._turn))
                return await self._watched()
        except TimeoutError:
            pass
        return await self._interrupted() or AgentFailure(
            "hung",
            f"the turn reached its time limit of {limit:g} s and did not stop when interrupted, "
            f"within {INTERRUPT_SECONDS:g} s",
        )

    async def _watched(self) -> AgentOutcome:
        """Listen, as long as something is heard or a tool is running."""
        loop = asyncio.get_running_loop()
        quiet = asyncio.timeout(self._silence)
        try:
            async with quiet:
                async for message in self._messages():
                    if isinstance(message, ResultMessage):
                        return self._outcome(message)
                    quiet.reschedule(None if self._tools else loop.time() + self._silence)
        except TimeoutError:
            if not quiet.expired():
                raise
            await self._interrupted()
            return AgentFailure(
                "stalled", f"the model sent nothing for {self._silence:g} s (MODEL_SILENCE_SECONDS)"
            )
        return AgentFailure("no_result", "the CLI ended its output without a result")

    async def _interrupted(self) -> AgentOutcome | None:
        """The result of an interrupted turn; None if it does not stop."""
        cancelled = self._turn.cancelled.is_set()
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await self._client.interrupt()
                async for message in self._messages():
                    if isinstance(message, ResultMessage):
                        outcome = self._outcome(message)
                        if isinstance(outcome, AgentFailure):
                            return outcome
                        # It may have been done just before; then it has its result.
                        cut = cancelled and outcome.is_error
                        return replace(outcome, cancelled=cut, timed_out=not cancelled)
        except TimeoutError:
            pass
        return None

    async def _messages(self) -> AsyncIterator[Message]:
        """Every message, after keeping the account of running tools and mirror errors."""
        async for message in self._client.receive_messages():
            match message:
                case MirrorErrorMessage():
                    self._mirror_error = message.error
                case AssistantMessage():
                    self._tools |= {b.id for b in message.content if isinstance(b, ToolUseBlock)}
                case UserMessage(content=list() as blocks):
                    self._tools -= {b.tool_use_id for b in blocks if isinstance(b, ToolResultBlock)}
                case _:
                    pass
            if self._narrator is not None:
                self._narrator.follow(message)
            yield message

    def _outcome(self, message: ResultMessage) -> AgentOutcome:
        if self._mirror_error is not None:
            return AgentFailure("mirror", f"the transcript is incomplete: {self._mirror_error}")
        if message.session_id != self._turn.session_id:
            return AgentFailure(
                "mirror",
                f"the CLI answered for session {message.session_id}, not {self._turn.session_id}",
            )
        return _result(message)


@contextlib.asynccontextmanager
async def _ended_by(event: asyncio.Event, time: asyncio.Timeout) -> AsyncIterator[None]:
    """The time is up as soon as the event is set."""

    async def end() -> None:
        await event.wait()
        if not time.expired():
            time.reschedule(asyncio.get_running_loop().time())

    ending = asyncio.create_task(end())
    try:
        yield
    finally:
        ending.cancel()


def _result(message: ResultMessage) -> AgentResult:
    return AgentResult(
        session_id=message.session_id,
        subtype=message.subtype,
        is_error=message.is_error,
        text=message.result or "",
        api_error_status=message.api_error_status,
        terminal_reason=message.terminal_reason,
        stop_reason=message.stop_reason,
        structured_output=message.structured_output,
        cost_usd=message.total_cost_usd or 0.0,
        num_turns=message.num_turns,
        duration_ms=message.duration_ms,
        usage=_usage(message),
        errors=tuple(message.errors or ()),
    )


def _usage(message: ResultMessage) -> dict[str, object]:
    """The token counts, by the names of the Messages API."""
    usage: Mapping[str, Any] = message.usage or {}
    return {name: count for name, count in usage.items() if isinstance(count, int)}


def _prompt(turn: Turn) -> str | AsyncIterator[dict[str, Any]]:
    """The prompt, behind the files that came with it."""
    if not turn.attachments:
        return turn.prompt

    async def message() -> AsyncIterator[dict[str, Any]]:
        content = [*turn.attachments, {"type": "text", "text": turn.prompt}]
        yield {
            "type": "user",
            "message": {"role": "user", "content": content},
            "parent_tool_use_id": None,
        }

    return message()
