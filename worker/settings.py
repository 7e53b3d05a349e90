"""The configuration: read from the environment once, checked as a whole, never changed."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from contracts.request import PermissionMode
from worker.access_settings import MEBIBYTE, AttachmentType, read_producers, read_tenants
from worker.domain.access import Producer
from worker.domain.errors import SettingsError
from worker.domain.policy import AttachmentRules, Policy
from worker.domain.tenancy import TenantPolicy, policy_of, widenings
from worker.domain.usage import UsageLimits
from worker.domain.warm import Warmth
from worker.sandbox_settings import SandboxSettings
from worker.setting_types import Names, Secrets


class Environment(BaseModel):
    """Settings under the names of their environment variables. Unset means the default; a variable
    that is set to nothing counts as unset.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=str.upper)

    aws_region: str | None = None
    aws_default_region: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Raises SettingsError with every problem at once; no message holds a secret's value."""
        given = {
            name.upper(): environ[name.upper()]
            for name in cls.model_fields
            if environ.get(name.upper(), "").strip()
        }
        problems = cls._contradictions(given)
        try:
            settings = cls.model_validate(given)
        except ValidationError as exc:
            found = [_problem(error, cls.model_fields) for error in exc.errors()]
            raise SettingsError([*found, *problems]) from None
        problems += settings._inconsistencies()  # noqa: SLF001 - of the class itself
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def region(self) -> str | None:
        return self.aws_region or self.aws_default_region

    @classmethod
    def _contradictions(cls, given: Mapping[str, str]) -> list[str]:  # noqa: ARG003 - for subclasses
        """Settings checked against each other, as they were given."""
        return []

    def _inconsistencies(self) -> list[str]:
        """What only shows once the values are read."""
        return []


class Resources(Environment):
    """The stack's resources: what a command that looks after jobs and chats needs."""

    queue_url: str = Field(description="URL of the FIFO job queue")
    dlq_url: str = Field(description="URL of the FIFO dead-letter queue")
    session_table: str = Field(description="DynamoDB table of chats")
    job_table: str = Field(description="DynamoDB table of jobs")
    session_bucket: str = Field(description="S3 bucket of session files and large results")
    result_topic_arn: str = Field(description="SNS topic of result events", pattern=r"^arn:.+:.+")
    event_bus_name: str = Field(description="EventBridge bus of result events")

    @classmethod
    def _contradictions(cls, given: Mapping[str, str]) -> list[str]:
        return _queue_problems(given)


class Settings(SandboxSettings, Resources):
    """Every setting of a worker. Seconds unless a name says otherwise."""

    auth_mode: Literal["token", "open"] = Field(
        "token", description='"open" leaves authorization to the queue\'s access policy'
    )
    sdk_client_auth_token: Secrets = Field(
        (), description="tokens that producers send or sign with; several while rotating"
    )
    producers: Annotated[tuple[Producer, ...], BeforeValidator(read_producers)] = Field(
        (), description="keys that may write to some tenants and chats only"
    )
    signature_window_seconds: float | None = Field(
        None, gt=0, description="how far apart signing and sending may lie"
    )
    tenant_policies: Annotated[dict[str, TenantPolicy], BeforeValidator(read_tenants)] | None = (
        Field(None, description="what each tenant may do")
    )

    tenant_role_arn: str | None = Field(
        None,
        pattern=r"^arn:[\w-]+:iam::\d{12}:role/.+",
        description="role with whose keys, tagged with the tenant, a tenant's job is done",
    )

    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    claude_code_use_bedrock: bool = False
    bedrock_region: str | None = None
    bedrock_access_key_id: SecretStr | None = None
    bedrock_secret_access_key: SecretStr | None = None
    bedrock_session_token: SecretStr | None = None
    bedrock_role_arn: str | None = Field(None, pattern=r"^arn:[\w-]+:iam::\d{12}:role/.+")
    bedrock_bearer_token: SecretStr | None = None
    anthropic_bedrock_base_url: str | None = None
    anthropic_default_sonnet_model: str | None = None
    anthropic_default_opus_model: str | None = None
    anthropic_default_haiku_model: str | None = None

    project_path: str = Field(
        "-tmp-workspace",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="the CLI's project key, under which transcripts are kept",
    )
    agent_profile: Path | None = Field(None, description="folder of the agent profile")
    agent_tools: Names = Field(Policy().tools, description="the CLI's tools that a turn may use")
    allowed_models: Names = Field(Policy().models, description="aliases and id patterns")
    default_model: str = Policy().default_model
    allowed_permission_modes: Names = Field(
        Policy().permission_modes, description="the first one is the default"
    )
    max_turns: int = Field(Policy().max_turns, ge=1)
    max_budget_usd: float = Field(Policy().max_budget_usd, gt=0)
    job_timeout_seconds: float = Field(Policy().timeout_seconds, gt=0)
    chat_budget_usd: float | None = Field(None, gt=0)
    chat_daily_budget_usd: float | None = Field(None, gt=0)
    tenant_daily_budget_usd: float | None = Field(None, gt=0)
    chat_jobs_per_minute: int | None = Field(None, ge=1)
    tenant_jobs_per_minute: int | None = Field(None, ge=1)
    scan_results: bool = Field(
        False,
        description="remove what looks like a secret from answers",
    )
    attachment_types: Names = Field(Policy().attachments.types, description="of attachments")
    max_attachments: int = Field(Policy().attachments.count, ge=0)
    max_attachment_mb: float = Field(5, gt=0, le=32, description="size of one, in MiB")
    model_max_retries: int = Field(2, ge=0, le=10, description="the CLI's own retries of a call")

    max_attempts: int = Field(Policy().max_attempts, ge=1, le=50)
    max_slices: int = Field(
        Policy().max_slices, ge=1, le=100, description="how often a long turn is continued"
    )
    model_silence_seconds: float = Field(
        180.0, gt=0, description="a model that sends nothing for so long is given up on"
    )
    max_workspace_files: int = Field(10_000, ge=0, description="files that a chat may keep")
    max_workspace_mb: int = Field(200, ge=0, description="their size in all, in MiB")
    secrets_max_age_seconds: int = Field(
        300, ge=1, description="how old a value given by reference may be"
    )
    warm_chats: int = Field(
        Warmth().chats, ge=0, le=1000, description="chats whose agent process is kept after a turn"
    )
    warm_memory_mb: int = Field(
        Warmth().memory // 1024**2, ge=0, description="what these may take together, in MiB"
    )
    warm_idle_seconds: float = Field(
        Warmth().idle_seconds, gt=0, description="how long such a chat is kept without a message"
    )
    spare_agents: int = Field(
        1, ge=0, le=100, description="agent processes that are started ahead, for new chats"
    )
    lease_seconds: float = Field(Policy().lease_seconds, ge=3, le=43_200)
    session_ttl_days: float = Field(30, gt=0, le=60)
    job_ttl_days: float = Field(30, gt=0)
    work_dir: Path = Path("/tmp/agent-worker")  # noqa: S108 - Lambda's only writable place; mode 0700
    progress_seconds: float = Field(
        Policy().progress_seconds,
        ge=0.1,
        le=60,
        description="a running turn tells its progress at most so often",
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="how long a stopping host lets running turns go on"
    )
    poll_seconds: int = Field(10, ge=0, le=20, description="SQS long poll; bounds the drain too")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics: Literal["auto", "emf", "off"] = Field(
        "auto", description='CloudWatch metrics in the log; "auto": on Lambda only'
    )
    metrics_namespace: str = Field("AgentWorker", pattern=r"^[A-Za-z0-9._/#:-]{1,255}$")

    def warmth(self) -> Warmth:
        return Warmth(self.warm_chats, self.warm_memory_mb * 1024**2, self.warm_idle_seconds)

    def policy(self) -> Policy:
        return Policy(
            auth_tokens=tuple(token.get_secret_value() for token in self.sdk_client_auth_token)
            if self.auth_mode == "token"
            else None,
            producers=self.producers,
            signature_window_seconds=self.signature_window_seconds,
            models=self.allowed_models,
            default_model=self.default_model,
            tools=self.agent_tools,
            permission_modes=self.allowed_permission_modes,
            max_turns=self.max_turns,
            max_budget_usd=self.max_budget_usd,
            timeout_seconds=self.job_timeout_seconds,
            max_attempts=self.max_attempts,
            max_slices=self.max_slices,
            lease_seconds=self.lease_seconds,
            progress_seconds=self.progress_seconds,
            session_ttl_seconds=self.session_ttl_days * 86400,
            job_ttl_seconds=self.job_ttl_days * 86400,
            scan_results=self.scan_results,
            known_secrets=tuple(
                secret.get_secret_value()
                for secret in (
                    *self.sdk_client_auth_token,
                    self.anthropic_api_key,
                    self.bedrock_bearer_token,
                    self.bedrock_secret_access_key,
                )
                if secret is not None
            )
            + tuple(secret for producer in self.producers for secret in producer.secrets),
            attachments=AttachmentRules(
                self.attachment_types, self.max_attachments, int(self.max_attachment_mb * MEBIBYTE)
            ),
            usage=UsageLimits(
                self.chat_budget_usd,
                self.chat_daily_budget_usd,
                self.tenant_daily_budget_usd,
                self.chat_jobs_per_minute,
                self.tenant_jobs_per_minute,
            ),
            tenants=self.tenant_policies or {},
        )

    @classmethod
    def _contradictions(cls, given: Mapping[str, str]) -> list[str]:
        problems = []
        keys = {"SDK_CLIENT_AUTH_TOKEN", "PRODUCERS"}
        if given.get("AUTH_MODE", "token") == "token" and not keys.intersection(given):
            problems.append(
                "SDK_CLIENT_AUTH_TOKEN: is not set; set the token that producers send, or a key "
                "for each in PRODUCERS, or "
                "AUTH_MODE=open when the queue's access policy is the only guard you want"
            )
        if given.get("CLAUDE_CODE_USE_BEDROCK", "").lower() in {"1", "true", "yes", "on"}:
            problems += _bedrock_problems(given)
        elif "ANTHROPIC_API_KEY" not in given:
            problems.append(
                "ANTHROPIC_API_KEY: is not set; "
                "set it, or CLAUDE_CODE_USE_BEDROCK=1 and BEDROCK_* keys"
            )
        return problems + _queue_problems(given)

    def _inconsistencies(self) -> list[str]:
        problems = []
        if self.auth_mode == "token" and not self.sdk_client_auth_token and not self.producers:
            problems.append("SDK_CLIENT_AUTH_TOKEN: holds no token; give at least one")
        known = get_args(PermissionMode)
        wrong = [mode for mode in self.allowed_permission_modes if mode not in known]
        if wrong or not self.allowed_permission_modes:
            problems.append(
                f"ALLOWED_PERMISSION_MODES: {', '.join(wrong) or 'nothing'} is no permission "
                f"mode; choose from: {', '.join(known)}"
            )
        if not any(fnmatchcase(self.default_model, p) for p in self.allowed_models):
            problems.append(
                f"DEFAULT_MODEL: {self.default_model!r} is not among ALLOWED_MODELS "
                f"({', '.join(self.allowed_models)}); add it there or choose another"
            )
        problems += [
            f"AGENT_TOOLS: {tool!r} is not the name of a tool; a rule such as Bash(git *) belongs "
            "into a request's allowed_tools"
            for tool in self.agent_tools
            if not tool.isidentifier()
        ]
        unknown = set(self.attachment_types) - set(get_args(AttachmentType))
        if unknown:
            problems.append(
                f"ATTACHMENT_TYPES: {', '.join(sorted(unknown))} is none of "
                f"{', '.join(get_args(AttachmentType))}"
            )
        return problems + self.sandbox_problems() + self._of_access()

    def _of_access(self) -> list[str]:
        """PRODUCERS and TENANT_POLICIES against the rest."""
        policy, problems = self.policy(), []
        if self.auth_mode == "open" and self.producers:
            problems.append("PRODUCERS: has no effect with AUTH_MODE=open; unset one of them")
        shared = {token.get_secret_value() for token in self.sdk_client_auth_token}
        problems += [
            f"PRODUCERS: a token of {producer.name} is in SDK_CLIENT_AUTH_TOKEN, too, which may "
            "write to every tenant; give each tokens of its own"
            for producer in self.producers
            if shared.intersection(producer.secrets)
        ]
        problems += [f"TENANT_POLICIES: {line}" for line in widenings(policy, policy.tenants)]
        problems += [
            f"TENANT_POLICIES: {name}: the default model {theirs.default_model!r} is not among its "
            "models; add it there or name another default_model"
            for name, own in policy.tenants.items()
            if own.allowed
            and not (theirs := policy_of(policy, name)).allows_model(theirs.default_model)
        ]
        return problems


def _queue_problems(given: Mapping[str, str]) -> list[str]:
    problems = [
        f"{name}: {given[name]!r} is not the URL of a FIFO queue; it must end in .fifo"
        for name in ("QUEUE_URL", "DLQ_URL")
        if name in given and not re.match(r"^https?://.+\.fifo$", given[name])
    ]
    if "QUEUE_URL" in given and given["QUEUE_URL"] == given.get("DLQ_URL"):
        problems.append("DLQ_URL: is the same as QUEUE_URL; a dead letter would run again")
    return problems


def _bedrock_problems(given: Mapping[str, str]) -> list[str]:
    keys = {"BEDROCK_ACCESS_KEY_ID", "BEDROCK_SECRET_ACCESS_KEY"}
    if {"BEDROCK_BEARER_TOKEN", "BEDROCK_ROLE_ARN"}.intersection(given) or keys <= given.keys():
        return []
    missing = ", ".join(sorted(keys - given.keys()))
    return [
        (
            f"{missing}: is not set; Bedrock needs BEDROCK_ACCESS_KEY_ID and "
            "BEDROCK_SECRET_ACCESS_KEY, or BEDROCK_ROLE_ARN, or BEDROCK_BEARER_TOKEN, apart from "
            "the worker's own AWS identity"
        )
    ]


def _problem(error: Any, fields: Mapping[str, FieldInfo]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{name}: is not set; it is the {fields[name.lower()].description}"
    secret = any(part in name.lower() for part in ("token", "key", "producers", "policies"))
    shown = "" if secret else f" is {str(error['input'])[:80]!r}:"
    return f"{name}:{shown} {error['msg']}"
