"""A tool call is durable before it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from claude_agent_sdk import HookContext, HookInput, HookJSONOutput, HookMatcher
from claude_agent_sdk.types import HookEvent

from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.resume import READ_ONLY_TOOLS
from worker.ports import Checkout

RECORD_SECONDS = 30.0
"""How long a call may wait to be recorded; the CLI mirrors its transcript about every 100 ms."""


class CallRecorder:
    """A PreToolUse hook that returns when the call's transcript entry is in the bucket.

    So a call that ran is known to the attempt that takes over, which tells the model that its
    outcome is unknown instead of running it again. A call that cannot be recorded does not run:
    `failure` says why, and the turn is not committed. Nor does one run for a worker that has
    slept through its lease: the fence stands between the record and the call.
    """

    def __init__(self) -> None:
        self._checkout: Checkout | None = None
        self._fence: Callable[[], Awaitable[None]] | None = None
        self.failure: str | None = None

    def begin(self, checkout: Checkout, fence: Callable[[], Awaitable[None]]) -> None:
        """From now on calls are this turn's."""
        self._checkout, self._fence, self.failure = checkout, fence, None

    def end(self) -> None:
        """Between turns no call is anybody's, and none runs."""
        self._checkout = self._fence = None

    def hooks(self) -> dict[HookEvent, list[HookMatcher]]:
        matcher = HookMatcher(
            hooks=[self._before_tool], timeout=2 * RECORD_SECONDS, on_failure="block"
        )
        return {"PreToolUse": [matcher]}

    async def _before_tool(
        self, call: HookInput, tool_use_id: str | None, _context: HookContext
    ) -> HookJSONOutput:
        details: dict[str, Any] = dict(call)
        if details["tool_name"] in READ_ONLY_TOOLS:
            return {}
        if self._checkout is None or self._fence is None:
            self.failure = f"a call of {details['tool_name']} came outside of a turn"
            return _NOT_RUN
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                await self._checkout.transcript.has_call(tool_use_id or details["tool_use_id"])
                await self._checkout.record()
                await self._fence()
        except (TimeoutError, UnavailableError, LeaseLostError) as exc:
            self.failure = f"a call of {details['tool_name']} could not be recorded: {exc!r}"
            return _NOT_RUN
        return {}


_NOT_RUN: HookJSONOutput = {
    # Denied, for the next attempt to read; to stop alone would let this call run before.
    "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": "this call was not run: it could not be recorded",
    },
    "continue_": False,
    "stopReason": "the call could not be recorded",
}
