"""What this deployment allows. A tenant's policy can only narrow it, and a request that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from contracts import JobRequest
from worker.domain.access import Producer
from worker.domain.usage import UsageLimits

if TYPE_CHECKING:
    from worker.domain.tenancy import TenantPolicy


@dataclass(frozen=True, slots=True)
class AttachmentRules:
    """Which files a message may bring: `types` of "image", "pdf" and "text", how many, and how
    many bytes each.
    """

    types: tuple[str, ...] = ("image", "pdf", "text")
    count: int = 10
    size: int = 5 * 1024 * 1024

    def narrowed(self, other: "AttachmentRules") -> "AttachmentRules":
        return AttachmentRules(
            tuple(kind for kind in self.types if kind in other.types),
            min(self.count, other.count),
            min(self.size, other.size),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and permissions of the deployment.

    Money is in US dollars, times in seconds. `auth_tokens` may write to every chat of every tenant;
    None means that the queue's own access policy is the only guard (AUTH_MODE=open), and none in
    the tuple leaves the `producers`.
    """

    auth_tokens: tuple[str, ...] | None = field(default=None, repr=False)
    producers: tuple[Producer, ...] = ()
    signature_window_seconds: float | None = None
    """How far apart signing and sending of a message may lie; None: signatures do not age."""
    models: tuple[str, ...] = (
        "sonnet",
        "opus",
        "haiku",
        "claude-*",
        "anthropic.claude-*",
        "*.anthropic.claude-*",
    )
    also_models: tuple[str, ...] = ("*",)
    """A tenant's patterns: a model must match one of both."""
    default_model: str = "sonnet"
    tools: tuple[str, ...] = ("Read", "Write", "Edit", "Glob", "Grep")
    permission_modes: tuple[str, ...] = ("dontAsk", "acceptEdits", "plan", "default")
    max_turns: int = 50
    max_budget_usd: float = 5.0
    timeout_seconds: float = 3600.0
    max_attempts: int = 5
    max_slices: int = 10
    lease_seconds: float = 120.0
    cancel_poll_seconds: float = 1.0
    progress_seconds: float = 1.0
    session_ttl_seconds: float = 30 * 86400.0
    job_ttl_seconds: float = 30 * 86400.0
    scan_results: bool = False
    """Whether what looks like a secret is removed from answers (domain/scan.py)."""
    known_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Besides the tokens: what else must not leave, such as the model's key."""
    attachments: AttachmentRules = field(default_factory=AttachmentRules)
    usage: UsageLimits = field(default_factory=UsageLimits)
    tenants: Mapping[str, "TenantPolicy"] = field(default_factory=dict, hash=False)
    """Policies by tenant; "*" is for those that have none of their own."""

    def allows_model(self, model: str) -> bool:
        return all(
            any(fnmatchcase(model, pattern) for pattern in patterns)
            for patterns in (self.models, self.also_models)
        )


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
    if not policy.allows_model(model):
        allowed = ", ".join(policy.models if policy.also_models == ("*",) else policy.also_models)
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


def usual_turn(policy: Policy) -> TurnSpec:
    """Of a request that asks for nothing special."""
    return narrow(policy, JobRequest(user_message="-", chat_id="-"))


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
