"""The composition root of webhook deliveries. It is apart from the worker's, which imports an agent
SDK that deliveries have no use for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from worker.adapters.aws import Aws
from worker.adapters.clock import SystemClock
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.metrics import metrics_wanted
from worker.adapters.publisher import AwsPublisher
from worker.adapters.secrets import References
from worker.adapters.spans import exporters
from worker.adapters.webhook_queue import SqsWebhookQueue
from worker.adapters.webhook_sender import HttpSender
from worker.adapters.webhook_store import DynamoWebhookStore
from worker.ports import Journal
from worker.webhook_settings import WebhookSettings
from worker.webhooks.ports import WebhookPorts


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Deliveries that are ready to be made."""

    settings: WebhookSettings
    ports: WebhookPorts
    queue: SqsWebhookQueue
    sender: HttpSender
    aws: Aws

    async def check(self, url: str) -> None:
        """Raises NotSentError or InvalidSubscriptionError for where nothing would be sent."""
        await self.sender.check(url)

    async def close(self) -> None:
        await self.sender.close()
        self.aws.close()


def build_webhooks(
    environ: Mapping[str, str] = os.environ, *, threads: int = 32, journal: Journal | None = None
) -> Webhooks:
    """Read and check the settings of webhooks, and wire the adapters. Raises SettingsError."""
    given = {
        name: text
        for name, text in environ.items()
        if name.lower() in _NAMES or name.startswith("OTEL_")
    }
    resolved = References(given).resolve()
    settings = WebhookSettings.from_env(resolved)
    policy = settings.policy()
    aws = Aws(threads=threads, region=settings.region)
    queue = SqsWebhookQueue(aws, settings.webhook_queue_url, settings.webhook_dlq_url)
    sender = HttpSender(policy.timeout_seconds, allow_loopback=policy.allow_loopback)
    ports = WebhookPorts(
        policy=policy,
        clock=SystemClock(),
        store=DynamoWebhookStore(aws, settings.webhook_table),
        queue=queue,
        sender=sender,
        publisher=AwsPublisher(aws, settings.result_topic_arn, settings.event_bus_name),
        journal=journal
        or PowertoolsJournal(
            settings.log_level,
            metrics_wanted(settings.metrics, settings.metrics_namespace, environ),
            exporters({**environ, **resolved}),
        ),
    )
    return Webhooks(settings, ports, queue, sender, aws)


_NAMES = frozenset(WebhookSettings.model_fields)
