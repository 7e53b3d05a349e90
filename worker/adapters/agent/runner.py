"""One turn: on a CLI of its own, on the one that the chat's last turn has left, or on one that was
started ahead.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKError, CLINotFoundError

from worker.adapters.agent.credentials import ModelEnvironment
from worker.adapters.agent.live import LiveAgent, Senses, explained
from worker.adapters.agent.process import agent_environment
from worker.adapters.agent.profile import Profile
from worker.adapters.agent.sandbox import Sandbox
from worker.adapters.transcript import Transcript
from worker.domain.policy import TurnSpec
from worker.domain.turn import AgentFailure, AgentOutcome
from worker.ports import Checkout, Turn

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line of the CLI's output: its default of 1 MB ends the turn on a large tool result."""


@dataclass(frozen=True)
class Place:
    """What a process is bound to besides its options: `resume` a session, or begin it."""

    directory: Path
    transcript: Transcript
    session_id: str
    resume: bool = False


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
        silence_seconds: float = 180.0,
        sandbox: Sandbox = Sandbox(),  # noqa: B008 - it is immutable
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._profile = profile
        self._model = model
        self._launcher = launcher
        self._project = project
        self._max_retries = max_retries
        self._silence = silence_seconds
        self._sandbox = sandbox
        self._environ = environ

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome:
        senses = Senses()
        try:
            live = await self._live(turn, checkout, senses)
        except CLINotFoundError as exc:
            return AgentFailure("start", str(exc))
        except ClaudeSDKError as exc:
            return AgentFailure("died", explained(exc, senses.stderr))
        try:
            return await live.run(turn, checkout, self._silence)
        except ClaudeSDKError as exc:
            return AgentFailure("died", live.explained(exc))
        finally:
            if live.good:
                checkout.leave(live)
            else:
                await live.end()

    async def _live(self, turn: Turn, checkout: Checkout, senses: Senses) -> LiveAgent:
        """The process that waits in the checkout, if it is as good as a new one."""
        place = Place(checkout.directory, checkout.transcript, turn.session_id, turn.resume)
        options = self._options(
            turn.spec, place, await self._environment(place, _traced(turn)), senses
        )
        left = checkout.found()
        if left is not None:
            if isinstance(left, LiveAgent) and left.serves(options):
                return left
            await left.end()
        self._offer_skills(checkout.directory)
        return await LiveAgent.start(options, senses, checkout.directory)

    async def start(
        self, spec: TurnSpec, session_id: str, directory: Path, transcript: Transcript
    ) -> LiveAgent:
        """A process for the first turn of a session, before there is one. Raises ClaudeSDKError,
        UnavailableError.
        """
        senses, place = Senses(), Place(directory, transcript, session_id)
        options = self._options(spec, place, await self._environment(place, {}), senses)
        self._offer_skills(directory)
        return await LiveAgent.start(options, senses, directory)

    async def _environment(self, place: Place, headers: Mapping[str, str]) -> dict[str, str]:
        return agent_environment(
            place.directory,
            self._project,
            {**await self._model.variables(), **headers},
            self._environ,
            self._max_retries,
            self._sandbox,
        )

    def _options(
        self, spec: TurnSpec, place: Place, environment: dict[str, str], senses: Senses
    ) -> ClaudeAgentOptions:
        profile, workspace = self._profile, place.directory / "workspace"
        offered = spec.extras
        skills = [*profile.skills] if offered or "Skill" in spec.tools else []
        agents = profile.agents if offered or "Agent" in spec.tools else {}
        servers = profile.mcp_servers if offered or _names_server(spec.tools) else {}
        added = [*(["Agent"] if agents else []), *(f"mcp__{name}" for name in servers)]
        return ClaudeAgentOptions(
            model=spec.model,
            system_prompt=_system_prompt(profile, workspace, spec.system_prompt),
            tools=[*spec.tools, *(["Agent"] if agents else []), *(["Skill"] if skills else [])],
            allowed_tools=[*spec.allowed_tools, *(added if offered else [])],
            permission_mode=spec.permission_mode,  # type: ignore[arg-type] # checked by the policy
            max_turns=spec.max_turns,
            max_budget_usd=spec.max_budget_usd,
            output_format=spec.output_schema
            and {"type": "json_schema", "schema": spec.output_schema},
            agents=dict(agents) or None,
            mcp_servers=dict(servers),
            strict_mcp_config=True,
            skills=skills,
            # Nothing that the workspace holds configures the agent; "user" is our own directory.
            setting_sources=["user"] if skills else [],
            # A prompt is data: no slash commands, no @file inlining by a stranger's message.
            verbatim_prompts=True,
            cwd=workspace,
            cli_path=self._launcher,
            env=environment,
            stderr=senses.hear,
            max_buffer_size=MAX_LINE_BYTES,
            session_store=place.transcript,  # type: ignore[arg-type] # without the optional methods
            session_store_flush="eager",
            hooks=senses.recorder.hooks(),
            # So that a model which is still writing does not look silent.
            include_partial_messages=True,
            session_id=None if place.resume else place.session_id,
            # As a flag of our own and not as `resume=`: the checkout has restored the files, so
            # the SDK need not load the transcript and write it a second time.
            extra_args={"resume": place.session_id} if place.resume else {},
        )

    def _offer_skills(self, directory: Path) -> None:
        link = directory / "config" / "skills"
        if self._profile.skills and self._profile.folder and not link.exists():
            link.symlink_to(self._profile.folder / "skills")


def _traced(turn: Turn) -> dict[str, str]:
    """A header of each model call. A process keeps its headers, so a traced turn has its own."""
    if turn.traceparent is None:
        return {}
    return {"ANTHROPIC_CUSTOM_HEADERS": f"traceparent: {turn.traceparent}"}


def _names_server(tools: Sequence[str]) -> bool:
    return any(tool.startswith("mcp__") for tool in tools)


def _system_prompt(profile: Profile, workspace: Path, added: str | None) -> str:
    prompt = profile.system_prompt.replace("{workspace}", str(workspace))
    return f"{prompt}\n\n{added}" if added else prompt
