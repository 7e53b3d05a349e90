"""What this deployment allows. A request can only narrow it."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from contracts import JobRequest


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and permissions of the deployment.

    Money is in US dollars, times in seconds. `auth_tokens` None means that the queue's own access
    policy is the only guard (AUTH_MODE=open); none in the tuple would let nobody in.
    """

    auth_tokens: tuple[str, ...] | None = field(default=None, repr=False)
    models: tuple[str, ...] = (
        "sonnet",
        "opus",
        "haiku",
        "claude-*",
        "anthropic.claude-*",
        "*.anthropic.claude-*",
    )
    default_model: str = "sonnet"
    tools: tuple[str, ...] = ("Read", "Write", "Edit", "Glob", "Grep")
    permission_modes: tuple[str, ...] = ("dontAsk", "acceptEdits", "plan", "default")
    max_turns: int = 50
    max_budget_usd: float = 5.0
    timeout_seconds: float = 3600.0
    max_attempts: int = 5
    max_slices: int = 10
    lease_seconds: float = 120.0
    session_ttl_seconds: float = 30 * 86400.0
    job_ttl_seconds: float = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class TurnSpec:
    """What the agent may do in one turn: the request's options within the policy."""

    model: str
    permission_mode: str
    tools: tuple[str, ...]
    allowed_tools: tuple[str, ...]
    max_turns: int
    max_budget_usd: float
    timeout_seconds: float
    extras: bool = True
    """Whether the profile's subagents, skills and MCP servers are offered as a whole: not when the
    request lists its tools."""
    system_prompt: str | None = None
    output_schema: dict[str, object] | None = field(default=None, hash=False)


class RefusedOptionError(Exception):
    """A request asks for more than the policy allows.

    Attributes:
        code: "model_not_allowed" or "option_not_allowed".
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def narrow(policy: Policy, request: JobRequest) -> TurnSpec:
    """The turn's permissions; raises RefusedOptionError where the request asks for more."""
    options = request.options
    model = request.model or policy.default_model
    if not any(fnmatchcase(model, pattern) for pattern in policy.models):
        allowed = ", ".join(policy.models)
        raise RefusedOptionError(
            "model_not_allowed",
            f"model: {model!r} is not allowed here; use one of: {allowed}, or leave it out "
            f"for {policy.default_model!r}",
        )
    mode = options.permission_mode or policy.permission_modes[0]
    if mode not in policy.permission_modes:
        allowed = ", ".join(policy.permission_modes)
        raise RefusedOptionError(
            "option_not_allowed",
            f"options.permission_mode: {mode!r} is not allowed here; use one of: {allowed}",
        )
    rules = policy.tools if options.allowed_tools is None else tuple(options.allowed_tools)
    tools = tuple(dict.fromkeys(rule.partition("(")[0] for rule in rules))
    unknown = [t for t in tools if t not in policy.tools and not _of_profile(t)]
    if unknown:
        raise RefusedOptionError(
            "option_not_allowed",
            f"options.allowed_tools: {', '.join(unknown)} is not allowed here; "
            f"choose from: {', '.join(policy.tools) or 'none'}",
        )
    return TurnSpec(
        model=model,
        permission_mode=mode,
        tools=tools,
        allowed_tools=rules,
        max_turns=int(_within("max_turns", options.max_turns, policy.max_turns)),
        max_budget_usd=_within("max_budget_usd", options.max_budget_usd, policy.max_budget_usd),
        timeout_seconds=_within("timeout_seconds", options.timeout_seconds, policy.timeout_seconds),
        extras=options.allowed_tools is None,
        system_prompt=options.system_prompt,
        output_schema=options.output_schema,
    )


def _of_profile(tool: str) -> bool:
    """Tools that the deployer's profile brings; without one there is none of that name."""
    return tool in {"Agent", "Skill"} or tool.startswith("mcp__")


def _within(name: str, asked: float | None, limit: float) -> float:
    if asked is None:
        return limit
    if asked > limit:
        raise RefusedOptionError(
            "option_not_allowed",
            f"options.{name}: {asked:g} is above this deployment's limit of {limit:g}; "
            "ask for less or leave it out",
        )
    return asked
