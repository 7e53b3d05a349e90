"""What a tenant may do: the deployment's policy, narrowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from worker.domain.policy import AttachmentRules, Policy, RefusedOptionError
from worker.domain.usage import UsageLimits

EVERY_OTHER = "*"
"""The name under which the policy of tenants that have none of their own is written."""


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """The part of the policy that is a tenant's; None leaves the deployment's. `allowed` False
    takes none of its messages.
    """

    allowed: bool = True
    models: tuple[str, ...] | None = None
    default_model: str | None = None
    tools: tuple[str, ...] | None = None
    permission_modes: tuple[str, ...] | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    timeout_seconds: float | None = None
    attachments: AttachmentRules | None = None
    usage: UsageLimits | None = None


def policy_of(policy: Policy, tenant_id: str) -> Policy:
    """The policy that holds for a tenant. Raises RefusedOptionError when it is not served here."""
    own = policy.tenants.get(tenant_id) or policy.tenants.get(EVERY_OTHER)
    if own is None:
        return policy
    if not own.allowed:
        raise RefusedOptionError(
            "tenant_not_allowed",
            f"tenant_id: {tenant_id!r} is not served here; send another, or have it added to "
            "TENANT_POLICIES",
        )
    return _narrowed(policy, own)


def usage_of(policy: Policy, tenant_id: str) -> UsageLimits:
    """The limits over several jobs that hold for a tenant, served or not."""
    own = policy.tenants.get(tenant_id) or policy.tenants.get(EVERY_OTHER)
    return policy.usage if own is None else _narrowed(policy, own).usage


def widenings(policy: Policy, tenants: Mapping[str, TenantPolicy]) -> Iterable[str]:
    """What tenants' policies ask for beyond the deployment's; a line each."""
    for name, own in tenants.items():
        for part in ("tools", "permission_modes"):
            more = set(getattr(own, part) or ()) - set(getattr(policy, part))
            if more:
                yield f"{name}.{part}: {', '.join(sorted(more))} is not allowed by the deployment"
        for part in ("max_turns", "max_budget_usd", "timeout_seconds"):
            asked, limit = getattr(own, part), getattr(policy, part)
            if asked is not None and asked > limit:
                yield f"{name}.{part}: {asked:g} is above the deployment's {limit:g}"
        if own.permission_modes == ():
            yield f"{name}.permission_modes: is empty; name at least one"


def _narrowed(policy: Policy, own: TenantPolicy) -> Policy:
    given = {
        field.name: value
        for field in fields(TenantPolicy)
        if field.name not in {"allowed", "models", "usage", "attachments"}
        and (value := getattr(own, field.name)) is not None
    }
    narrowed = replace(policy, **given)
    if own.models is not None:
        narrowed = replace(narrowed, also_models=own.models)
    if own.attachments is not None:
        narrowed = replace(narrowed, attachments=policy.attachments.narrowed(own.attachments))
    if own.usage is not None:
        narrowed = replace(narrowed, usage=_stricter(policy.usage, own.usage))
    return narrowed


def _stricter(ours: UsageLimits, theirs: UsageLimits) -> UsageLimits:
    """The smaller of two limits, each."""
    pairs = {f.name: (getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(UsageLimits)}
    return UsageLimits(
        **{
            name: min((limit for limit in pair if limit is not None), default=None)
            for name, pair in pairs.items()
        }
    )
