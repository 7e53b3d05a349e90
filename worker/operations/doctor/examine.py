"""The whole examination, in the order in which one thing needs another."""

import asyncio
from collections.abc import Awaitable, Mapping

from worker.adapters.agent.credentials import ModelEnvironment
from worker.adapters.agent.profile import ProfileError, load_profile
from worker.adapters.aws import Aws
from worker.adapters.secrets import References
from worker.bootstrap import model_access
from worker.domain.errors import SettingsError
from worker.operations.doctor.channels import examine_bucket, examine_channels
from worker.operations.doctor.finding import Finding, ok, problem
from worker.operations.doctor.machine import examine_aws_access, examine_cli, examine_disk
from worker.operations.doctor.model import examine_model
from worker.operations.doctor.probe import Caller
from worker.operations.doctor.queues import Wanted, examine_queues
from worker.operations.doctor.tables import examine_tables
from worker.operations.doctor.webhooks import examine_webhooks
from worker.settings import Resources, Settings
from worker.webhook_settings import WebhookSettings

CONFIGURATION = "configuration"
REMEDY = "docs/configuration.md has every setting with an example"


async def examine(environ: Mapping[str, str], aws: Aws) -> list[Finding]:
    """Everything that can be found out with this environment. What the configuration does not tell
    is not examined: it is a problem of the configuration then.
    """
    resolved, settings, found = _configuration(environ)
    resources = settings or _resources(resolved)
    work: list[Awaitable[list[Finding]]] = [examine_aws_access(aws), examine_cli()]
    if resources is not None:
        work += _of_resources(aws, resources, settings)
    if settings is not None:
        access = model_access(settings)
        work += [
            examine_disk(settings.work_dir, settings.max_workspace_mb),
            examine_model(access, ModelEnvironment(lambda: access, aws)),
        ]
    if WebhookSettings.wanted(resolved):
        try:
            webhooks = WebhookSettings.from_env(resolved)
        except SettingsError as exc:
            found += [problem("webhooks", "settings", text, REMEDY) for text in exc.problems]
        else:
            work.append(examine_webhooks(aws, webhooks))
    return found + [finding for part in await asyncio.gather(*work) for finding in part]


def _of_resources(
    aws: Caller, resources: Resources, settings: Settings | None
) -> list[Awaitable[list[Finding]]]:
    wanted = Wanted(settings.lease_seconds, settings.max_attempts) if settings else None
    unset = Settings.model_fields["session_ttl_days"].default
    days = settings.session_ttl_days if settings else unset
    return [
        examine_queues(aws, resources.queue_url, resources.dlq_url, wanted),
        examine_tables(aws, resources.job_table, resources.session_table),
        examine_bucket(aws, resources.session_bucket, days),
        examine_channels(aws, resources.result_topic_arn, resources.event_bus_name),
    ]


def _configuration(
    environ: Mapping[str, str],
) -> tuple[Mapping[str, str], Settings | None, list[Finding]]:
    """The environment with its references read, the settings if they can be used, and what is
    wrong with them.
    """

    def problems(exc: SettingsError) -> list[Finding]:
        return [problem(CONFIGURATION, "settings", text, REMEDY) for text in exc.problems]

    found: list[Finding] = []
    resolved = environ
    try:
        resolved = References(environ).resolve()
        settings = Settings.from_env(resolved)
    except SettingsError as exc:
        return resolved, None, problems(exc)
    found.append(ok(CONFIGURATION, "settings", "every setting is sound"))
    try:
        load_profile(settings.agent_profile, resolved)
    except ProfileError as exc:
        found += [
            problem(CONFIGURATION, "profile", text, "docs/agent.md tells the profile's form")
            for text in exc.problems
        ]
    else:
        where = settings.agent_profile or "none, which is as good"
        found.append(ok(CONFIGURATION, "profile", f"the agent's profile: {where}"))
    return resolved, settings, found


def _resources(environ: Mapping[str, str]) -> Resources | None:
    try:
        return Resources.from_env(environ)
    except SettingsError:
        return None
