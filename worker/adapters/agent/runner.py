"""One turn: connect, ask, listen until the result, disconnect."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    CLINotFoundError,
    MirrorErrorMessage,
    ResultMessage,
)

from worker.adapters.agent.credentials import ModelEnvironment
from worker.adapters.agent.process import agent_environment
from worker.adapters.agent.profile import Profile
from worker.domain.turn import AgentFailure, AgentOutcome, AgentResult
from worker.ports import Checkout, Turn

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line of the CLI's output: its default of 1 MB ends the turn on a large tool result."""

INTERRUPT_SECONDS = 10.0
"""How long an interrupted turn may take to report its result (measured: about 20 ms)."""

STDERR_TAIL = 20


class ClaudeAgent:
    """The agent port on the real CLI."""

    def __init__(
        self,
        profile: Profile,
        model: ModelEnvironment,
        launcher: Path,
        project: str,
        *,
        max_retries: int = 2,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._profile = profile
        self._model = model
        self._launcher = launcher
        self._project = project
        self._max_retries = max_retries
        self._environ = environ

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome:
        stderr: list[str] = []
        environment = agent_environment(
            checkout.directory,
            self._project,
            await self._model.variables(),
            self._environ,
            self._max_retries,
        )
        self._offer_skills(checkout.directory)
        options = self._options(turn, checkout, environment, stderr)
        client = ClaudeSDKClient(options)
        try:
            await client.connect()
            try:
                return await _converse(client, turn)
            finally:
                await client.disconnect()
        except CLINotFoundError as exc:
            return AgentFailure("start", str(exc))
        except ClaudeSDKError as exc:
            return AgentFailure("died", _explained(exc, stderr))

    def _options(
        self, turn: Turn, checkout: Checkout, environment: dict[str, str], stderr: list[str]
    ) -> ClaudeAgentOptions:
        spec, plan, profile = turn.spec, turn.plan, self._profile
        workspace = checkout.directory / "workspace"
        skills = [*profile.skills] or None
        tools = [*spec.tools, *(["Agent"] if profile.agents else [])]
        servers = [f"mcp__{name}" for name in profile.mcp_servers]
        resumed = plan.status == "continued"
        return ClaudeAgentOptions(
            model=spec.model,
            system_prompt=_system_prompt(profile, workspace, spec.system_prompt),
            tools=[*tools, *(["Skill"] if skills else [])],
            allowed_tools=[
                *spec.allowed_tools,
                *(["Agent"] if profile.agents else []),
                *servers,
            ],
            permission_mode=spec.permission_mode,  # type: ignore[arg-type] # checked by the policy
            max_turns=spec.max_turns,
            max_budget_usd=spec.max_budget_usd,
            output_format=spec.output_schema
            and {"type": "json_schema", "schema": spec.output_schema},
            agents=dict(profile.agents) or None,
            mcp_servers=dict(profile.mcp_servers),
            strict_mcp_config=True,
            skills=skills,
            # Nothing that the workspace holds configures the agent; "user" is our own directory.
            setting_sources=["user"] if skills else [],
            # A prompt is data: no slash commands, no @file inlining by a stranger's message.
            verbatim_prompts=True,
            cwd=workspace,
            cli_path=self._launcher,
            env=environment,
            stderr=lambda line: _keep_tail(stderr, line),
            max_buffer_size=MAX_LINE_BYTES,
            session_store=checkout.transcript,
            session_id=None if resumed else plan.session_id,
            # As a flag of our own and not as `resume=`: the checkout has restored the files, so
            # the SDK need not load the transcript and write it a second time.
            extra_args={"resume": plan.session_id} if resumed else {},
        )

    def _offer_skills(self, directory: Path) -> None:
        link = directory / "config" / "skills"
        if self._profile.skills and self._profile.folder and not link.exists():
            link.symlink_to(self._profile.folder / "skills")


async def _converse(client: ClaudeSDKClient, turn: Turn) -> AgentOutcome:
    try:
        async with asyncio.timeout(None if turn.seconds == float("inf") else turn.seconds):
            await client.query(turn.prompt)
            return await _listen(client, turn.plan.session_id)
    except TimeoutError:
        pass
    try:
        async with asyncio.timeout(INTERRUPT_SECONDS):
            await client.interrupt()
            return await _listen(client, turn.plan.session_id, timed_out=True)
    except TimeoutError:
        return AgentFailure(
            "hung",
            f"the turn reached its time limit of {turn.seconds:g} s and did not stop when "
            f"interrupted, within {INTERRUPT_SECONDS:g} s",
        )


async def _listen(
    client: ClaudeSDKClient, session_id: str, *, timed_out: bool = False
) -> AgentOutcome:
    mirror_error: str | None = None
    async for message in client.receive_messages():
        if isinstance(message, MirrorErrorMessage):
            mirror_error = message.error
        if isinstance(message, ResultMessage):
            if mirror_error is not None:
                return AgentFailure("mirror", f"the transcript is incomplete: {mirror_error}")
            if message.session_id != session_id:
                return AgentFailure(
                    "mirror",
                    f"the CLI answered for session {message.session_id}, not {session_id}",
                )
            return _result(message, timed_out=timed_out)
    return AgentFailure("no_result", "the CLI ended its output without a result")


def _result(message: ResultMessage, *, timed_out: bool) -> AgentResult:
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
        timed_out=timed_out,
    )


def _usage(message: ResultMessage) -> dict[str, object]:
    """The token counts, by the names of the Messages API."""
    usage: Mapping[str, Any] = message.usage or {}
    return {name: count for name, count in usage.items() if isinstance(count, int)}


def _system_prompt(profile: Profile, workspace: Path, added: str | None) -> str:
    prompt = profile.system_prompt.replace("{workspace}", str(workspace))
    return f"{prompt}\n\n{added}" if added else prompt


def _explained(exc: Exception, stderr: list[str]) -> str:
    tail = " | ".join(stderr)
    return f"the CLI ended: {exc}" + (f"; it said: {tail}" if tail else "")


def _keep_tail(lines: list[str], line: str) -> None:
    with contextlib.suppress(IndexError):
        lines.append(line[:500])
        del lines[:-STDERR_TAIL]
