"""The agent profile: the folder that a deployer fills to make the agent their own.

    <AGENT_PROFILE>/
        system_prompt.md       replaces the default system prompt
        agents/<name>.md       subagents: front matter (description, tools, model) and a prompt
        mcp.json               {"mcpServers": {...}}; ${NAME} is replaced from the environment
        skills/<name>/SKILL.md skills, as Claude Code reads them

Everything is optional. A mistake is found when the worker starts, not in a chat.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_agent_sdk import AgentDefinition

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant in a chat. Answer in the language of the message, briefly and "
    "plainly. Your working directory is {workspace}; use it for files."
)


@dataclass(frozen=True)
class Profile:
    """A profile as it was loaded. `{workspace}` in the system prompt is replaced per turn."""

    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    agents: Mapping[str, AgentDefinition] = field(default_factory=dict)
    mcp_servers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    skills: tuple[str, ...] = ()
    folder: Path | None = None


class ProfileError(Exception):
    """The profile cannot be used. Attributes: problems, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


def load_profile(folder: Path | None, environ: Mapping[str, str]) -> Profile:
    """Read the folder; raises ProfileError with every problem found."""
    if folder is None:
        return Profile()
    if not folder.is_dir():
        raise ProfileError([f"AGENT_PROFILE: {folder} is not a folder; create it or unset it"])
    problems: list[str] = []
    prompt = folder / "system_prompt.md"
    profile = Profile(
        system_prompt=prompt.read_text().strip() if prompt.is_file() else DEFAULT_SYSTEM_PROMPT,
        agents=_agents(folder / "agents", problems),
        mcp_servers=_mcp_servers(folder / "mcp.json", environ, problems),
        skills=_skills(folder / "skills", problems),
        folder=folder.resolve(),
    )
    if problems:
        raise ProfileError(problems)
    return profile


def _agents(folder: Path, problems: list[str]) -> dict[str, AgentDefinition]:
    agents: dict[str, AgentDefinition] = {}
    for path in sorted(folder.glob("*.md")):
        head, prompt = _front_matter(path, problems)
        if not head.get("description") or not prompt:
            problems.append(f"{path}: needs a description in its front matter, and a prompt below")
            continue
        tools = head.get("tools")
        agents[str(head.get("name", path.stem))] = AgentDefinition(
            description=str(head["description"]),
            prompt=prompt,
            tools=[t.strip() for t in tools.split(",")] if isinstance(tools, str) else tools,
            model=head.get("model"),
        )
    return agents


def _front_matter(path: Path, problems: list[str]) -> tuple[dict[str, Any], str]:
    import yaml  # noqa: PLC0415 - few profiles have agents

    text = path.read_text()
    match = re.match(r"\A---\n(.*?)\n---\n?(.*)\Z", text, re.DOTALL)
    if not match:
        problems.append(f"{path}: has no front matter; begin it with --- and description: ...")
        return {}, text.strip()
    try:
        head = yaml.safe_load(match[1])
    except yaml.YAMLError as exc:
        problems.append(f"{path}: the front matter is not YAML: {exc}")
        return {}, match[2].strip()
    return head if isinstance(head, dict) else {}, match[2].strip()


def _mcp_servers(path: Path, environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in environ:
            problems.append(f"{path}: names ${{{match[1]}}}, which is not set in the environment")
        # The value stands inside a JSON string.
        return json.dumps(environ.get(match[1], ""))[1:-1]

    try:
        servers = json.loads(re.sub(r"\$\{(\w+)\}", replaced, path.read_text()))["mcpServers"]
    except (ValueError, KeyError, TypeError) as exc:
        problems.append(f'{path}: must be JSON of the form {{"mcpServers": {{...}}}}: {exc!r}')
        return {}
    if not isinstance(servers, dict):
        problems.append(f"{path}: mcpServers must be an object, name to server")
        return {}
    return servers


def _skills(folder: Path, problems: list[str]) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    problems.extend(
        f"{folder / name}: has no SKILL.md; add it or remove the folder"
        for name in names
        if not (folder / name / "SKILL.md").is_file()
    )
    return tuple(names)
