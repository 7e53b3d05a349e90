"""The composition root: settings in, ports out, once per process."""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.adapters.agent import ClaudeAgent, ModelAccess, load_profile
from worker.adapters.agent.credentials import ModelEnvironment
from worker.adapters.agent.process import bundled_cli, install_launcher
from worker.adapters.agent.profile import Profile, ProfileError
from worker.adapters.agent.sandbox import Limits as AgentLimits
from worker.adapters.agent.sandbox import Sandbox, port_of
from worker.adapters.attachments import S3Attachments
from worker.adapters.aws import Aws
from worker.adapters.checkouts import Ahead, S3Checkouts
from worker.adapters.clock import SystemClock
from worker.adapters.concealment import conceal, forget
from worker.adapters.filetree import Limits
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.ledger import DynamoLedger
from worker.adapters.metrics import metrics_wanted
from worker.adapters.objects import ObjectStore
from worker.adapters.owners import Owners, can_give_away
from worker.adapters.publisher import AwsPublisher
from worker.adapters.queue import SqsInbox
from worker.adapters.results import S3Results
from worker.adapters.rules import LiveRules
from worker.adapters.secrets import References
from worker.adapters.spans import exporters
from worker.adapters.tenantaccess import TenantAws
from worker.adapters.transcript import Transcript
from worker.adapters.usage import DynamoUsage
from worker.domain.errors import SettingsError
from worker.domain.policy import TurnSpec
from worker.ports import Journal, Ports, Resident
from worker.settings import Settings

SECRET_VARIABLES = (
    *("SDK_CLIENT_AUTH_TOKEN", "PRODUCERS", "ANTHROPIC_API_KEY", "BEDROCK_BEARER_TOKEN"),
    *("BEDROCK_ACCESS_KEY_ID", "BEDROCK_SECRET_ACCESS_KEY", "BEDROCK_SESSION_TOKEN"),
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
)

ASIDE_THREADS = 8
"""For events of running turns, which nobody waits for."""

SERVICES = ("sqs", "dynamodb", "s3", "sns", "events")
"""Whose clients a job needs, in this order."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is ready to process messages."""

    settings: Settings
    ports: Ports
    inbox: SqsInbox
    checkouts: S3Checkouts
    aws: Aws
    confinement: Mapping[str, object]
    """How the agent's process is confined on this machine, for the log."""


def build(environ: Mapping[str, str] = os.environ, *, threads: int = 32) -> Worker:
    """Read and check the configuration, and wire the adapters. No request is sent, except for
    secrets given by reference. Raises SettingsError.
    """
    references = References(environ)
    environ = references.resolve()
    settings = Settings.from_env(environ)
    try:
        profile = load_profile(settings.agent_profile, environ)
    except ProfileError as exc:
        raise SettingsError(exc.problems) from exc
    role = settings.tenant_role_arn
    aws = (
        TenantAws(role, threads=threads, region=settings.region)
        if role
        else Aws(threads=threads, region=settings.region)
    )
    clock = SystemClock()
    policy = settings.policy()
    metrics = metrics_wanted(settings.metrics, settings.metrics_namespace, environ)
    journal = PowertoolsJournal(settings.log_level, metrics, exporters(environ))
    sandbox, uid = _sandbox(settings, profile), _first_user(settings)
    rules = LiveRules(references, settings, clock, journal)
    inbox = SqsInbox(aws, settings.queue_url, settings.dlq_url)
    agent = ClaudeAgent(
        profile,
        ModelEnvironment(lambda: model_access(rules.settings), aws),
        install_launcher(settings.work_dir / "bin"),
        settings.project_path,
        max_retries=settings.model_max_retries,
        silence_seconds=settings.model_silence_seconds,
        sandbox=sandbox,
        environ=environ,
    )
    checkouts = S3Checkouts(
        ObjectStore(aws, settings.session_bucket),
        settings.work_dir,
        settings.project_path,
        clock,
        Limits(settings.max_workspace_files, settings.max_workspace_mb * 1024 * 1024),
        settings.warmth(),
        Owners(uid),
        _ahead(settings.spare_agents, agent, journal),
    )
    ports = Ports(
        policy=policy,
        clock=clock,
        inbox=inbox,
        ledger=DynamoLedger(
            aws, settings.job_table, settings.session_table, policy.job_ttl_seconds
        ),
        checkouts=checkouts,
        agent=agent,
        usage=DynamoUsage(aws, settings.session_table),
        rules=rules,
        attachments=S3Attachments(aws, settings.session_bucket),
        results=S3Results(aws, settings.session_bucket),
        publisher=AwsPublisher(
            aws,
            settings.result_topic_arn,
            settings.event_bus_name,
            aside=aws.aside(threads=ASIDE_THREADS, read_timeout=5),
        ),
        journal=journal,
        owner=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
    )
    confinement = {"landlock": sandbox.landlock, "own_users": uid is not None}
    return Worker(settings, ports, inbox, checkouts, aws, confinement)


def harden() -> None:
    """Close this process to others, and drop the secrets that `build` has read from what child
    processes inherit. For a process that is a worker and nothing else.
    """
    conceal()
    forget(SECRET_VARIABLES)


def _ahead(count: int, agent: ClaudeAgent, journal: Journal) -> Ahead:
    async def start(
        spec: TurnSpec, session_id: str, directory: Path, transcript: Transcript
    ) -> Resident:
        resident = await agent.start(spec, session_id, directory, transcript)
        journal.note("spare", memory=resident.memory)
        return resident

    return Ahead(count, start, lambda exc: journal.failure("spare_failed", exc))


def _sandbox(settings: Settings, profile: Profile) -> Sandbox:
    servers = profile.mcp_servers.values()
    urls = [server["url"] for server in servers if isinstance(server, dict) and "url" in server]
    folder = (str(profile.folder),) if profile.folder else ()
    ports = settings.connect_ports
    sandbox = Sandbox(
        settings.agent_sandbox,
        readable=(*settings.agent_readable, *folder),
        writable=settings.agent_writable,
        ports=None if ports is None else (*ports, *(port_of(str(url)) for url in urls)),
        limits=AgentLimits(
            settings.agent_max_processes,
            settings.agent_max_memory_mb,
            settings.agent_max_disk_mb,
            settings.agent_max_file_mb,
            settings.agent_max_open_files,
            settings.agent_max_cpu_seconds,
            settings.agent_max_output_characters,
        ),
    )
    if settings.agent_sandbox == "require" and not sandbox.landlock:
        raise SettingsError(
            ["AGENT_SANDBOX: is require, and this kernel has no Landlock; use auto or another host"]
        )
    return sandbox


def _first_user(settings: Settings) -> int | None:
    """The first of the chats' own users; None where they cannot have any."""
    possible = can_give_away(bundled_cli(), settings.work_dir.parent)
    return settings.agent_uid if possible and settings.agent_uid else None


def model_access(settings: Settings) -> ModelAccess:
    """How the agent reaches its model, as the settings say."""

    def secret(name: str) -> str | None:
        value = getattr(settings, name)
        return None if value is None else value.get_secret_value()

    models = {
        name.upper(): model
        for name in (
            "anthropic_default_sonnet_model",
            "anthropic_default_opus_model",
            "anthropic_default_haiku_model",
        )
        if (model := getattr(settings, name))
    }
    return ModelAccess(
        use_bedrock=settings.claude_code_use_bedrock,
        api_key=secret("anthropic_api_key"),
        base_url=settings.anthropic_base_url,
        region=settings.bedrock_region or settings.region or "us-east-1",
        bedrock_base_url=settings.anthropic_bedrock_base_url,
        bearer_token=secret("bedrock_bearer_token"),
        role_arn=settings.bedrock_role_arn,
        access_key_id=secret("bedrock_access_key_id"),
        secret_access_key=secret("bedrock_secret_access_key"),
        session_token=secret("bedrock_session_token"),
        models=models,
    )
