"""The agent: claude-agent-sdk and the real Claude Code CLI, a process per chat."""

import worker.adapters.agent.lean  # noqa: F401 - before anything imports the SDK
from worker.adapters.agent.credentials import ModelAccess
from worker.adapters.agent.profile import Profile, load_profile
from worker.adapters.agent.runner import ClaudeAgent

__all__ = ["ClaudeAgent", "ModelAccess", "Profile", "load_profile"]
