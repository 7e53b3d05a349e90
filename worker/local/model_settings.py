"""Which model the worker of the local stack talks to: the scripted one, or a real one."""

from collections.abc import Mapping

from worker.local.errors import LocalStackError

_BEDROCK_ACCESS = (
    "BEDROCK_ACCESS_KEY_ID",
    "BEDROCK_SECRET_ACCESS_KEY",
    "BEDROCK_SESSION_TOKEN",
    "BEDROCK_BEARER_TOKEN",
    "BEDROCK_REGION",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
)
"""Not BEDROCK_ROLE_ARN: it would be assumed on the emulator."""
_DIRECT_ACCESS = ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")


def scripted_model_settings(url: str) -> dict[str, str]:
    """Settings for the scripted model.

    Bedrock is switched off explicitly: the caller's shell may have it on, and nothing of this
    stack may reach beyond loopback.
    """
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_USE_BEDROCK": "0",
    }


def real_model_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings for a real model, copied from the caller's environment because the caller asked.

    Raises:
        LocalStackError: the environment has no access to a model.
    """
    if environ.get("CLAUDE_CODE_USE_BEDROCK", "").lower() in {"1", "true", "yes", "on"}:
        access = {name: environ[name] for name in _BEDROCK_ACCESS if environ.get(name)}
        keys = {"BEDROCK_ACCESS_KEY_ID", "BEDROCK_SECRET_ACCESS_KEY"}
        if not keys <= access.keys() and "BEDROCK_BEARER_TOKEN" not in access:
            raise LocalStackError(
                "CLAUDE_CODE_USE_BEDROCK is set, but no access to Bedrock: set "
                "BEDROCK_ACCESS_KEY_ID and BEDROCK_SECRET_ACCESS_KEY, or BEDROCK_BEARER_TOKEN"
            )
        return {"CLAUDE_CODE_USE_BEDROCK": "1", **access}
    access = {name: environ[name] for name in _DIRECT_ACCESS if environ.get(name)}
    if "ANTHROPIC_API_KEY" not in access:
        raise LocalStackError(
            "a real model needs access: set ANTHROPIC_API_KEY, or CLAUDE_CODE_USE_BEDROCK=1 "
            "with BEDROCK_ACCESS_KEY_ID and BEDROCK_SECRET_ACCESS_KEY or BEDROCK_BEARER_TOKEN"
        )
    return {**access, "CLAUDE_CODE_USE_BEDROCK": "0"}
