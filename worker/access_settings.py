"""PRODUCERS and TENANT_POLICIES, as a deployer writes them: JSON or YAML, or the path of a file."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from contracts.fields import TENANT_PATTERN
from worker.domain.access import Producer
from worker.domain.policy import AttachmentRules
from worker.domain.tenancy import TenantPolicy
from worker.domain.usage import UsageLimits

_FORM = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
MEBIBYTE = 1024 * 1024

AttachmentType = Literal["image", "pdf", "text"]


class ProducerForm(BaseModel):
    """One entry of PRODUCERS."""

    model_config = _FORM

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    tokens: tuple[SecretStr, ...] = Field(min_length=1)
    tenants: tuple[str, ...] = ("*",)
    chats: tuple[str, ...] = ("*",)

    def producer(self) -> Producer:
        secrets = tuple(token.get_secret_value().strip() for token in self.tokens)
        return Producer(self.name, secrets, self.tenants, self.chats)


class TenantForm(BaseModel):
    """One tenant's entry of TENANT_POLICIES. Names are those of the settings, without prefixes."""

    model_config = _FORM

    allowed: bool = True
    models: tuple[str, ...] | None = None
    default_model: str | None = None
    tools: tuple[str, ...] | None = None
    permission_modes: tuple[str, ...] | None = None
    max_turns: int | None = Field(None, ge=1)
    max_budget_usd: float | None = Field(None, gt=0)
    job_timeout_seconds: float | None = Field(None, gt=0)
    chat_budget_usd: float | None = Field(None, gt=0)
    chat_daily_budget_usd: float | None = Field(None, gt=0)
    tenant_daily_budget_usd: float | None = Field(None, gt=0)
    chat_jobs_per_minute: int | None = Field(None, ge=1)
    tenant_jobs_per_minute: int | None = Field(None, ge=1)
    attachment_types: tuple[AttachmentType, ...] | None = None
    max_attachments: int | None = Field(None, ge=0)
    max_attachment_mb: float | None = Field(None, gt=0)

    def policy(self) -> TenantPolicy:
        most = AttachmentRules(count=10**6, size=10**12)
        return TenantPolicy(
            allowed=self.allowed,
            models=self.models,
            default_model=self.default_model,
            tools=self.tools,
            permission_modes=self.permission_modes,
            max_turns=self.max_turns,
            max_budget_usd=self.max_budget_usd,
            timeout_seconds=self.job_timeout_seconds,
            attachments=AttachmentRules(
                types=most.types if self.attachment_types is None else self.attachment_types,
                count=most.count if self.max_attachments is None else self.max_attachments,
                size=int(self.max_attachment_mb * MEBIBYTE)
                if self.max_attachment_mb
                else most.size,
            ),
            usage=UsageLimits(
                self.chat_budget_usd,
                self.chat_daily_budget_usd,
                self.tenant_daily_budget_usd,
                self.chat_jobs_per_minute,
                self.tenant_jobs_per_minute,
            ),
        )


_TenantName = Annotated[str, Field(pattern=rf"{TENANT_PATTERN}|^\*$")]
_PRODUCERS: TypeAdapter[tuple[ProducerForm, ...]] = TypeAdapter(tuple[ProducerForm, ...])
_TENANTS: TypeAdapter[dict[str, TenantForm]] = TypeAdapter(dict[_TenantName, TenantForm])


def read_producers(given: object) -> tuple[Producer, ...]:
    """Raises ValueError with every problem; none shows a token."""
    forms = _checked(_PRODUCERS, given)
    producers = tuple(form.producer() for form in forms)
    seen: dict[str, str] = {}
    for producer in producers:
        for secret in producer.secrets:
            if not secret:
                raise ValueError(f"{producer.name}: a token is empty; give a random one")
            if secret in seen:
                raise ValueError(
                    f"{producer.name}: a token of it is {seen[secret]}'s, too; give each producer "
                    "tokens of its own"
                )
            seen[secret] = producer.name
    return producers


def read_tenants(given: object) -> dict[str, TenantPolicy]:
    """By tenant, "*" for every other. Raises ValueError with every problem."""
    return {name: form.policy() for name, form in _checked(_TENANTS, given).items()}


def _checked(form: TypeAdapter[Any], given: object) -> Any:  # noqa: ANN401 - what the adapter holds
    value = _loaded(given) if isinstance(given, str) else given
    try:
        return form.validate_python(value)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    lines = (f"{'.'.join(map(str, error['loc'])) or 'it'}: {error['msg']}" for error in errors)
    raise ValueError("; ".join(lines))


def _loaded(text: str) -> object:
    source = text.strip()
    if source.startswith(("/", "./")) and "\n" not in source:
        try:
            source = Path(source).read_text()
        except (OSError, ValueError) as exc:
            raise ValueError(f"{source} cannot be read ({type(exc).__name__})") from None
    import yaml  # noqa: PLC0415 - few workers have such a setting

    try:
        return yaml.safe_load(source)  # JSON is YAML
    except (yaml.YAMLError, RecursionError):
        # Without its cause, whose text quotes the line: it may hold a token.
        raise ValueError("is neither JSON nor YAML, nor the path of a file with either") from None
