"""The composition root of webhook deliveries. It is apart from the worker's, which imports an agent
SDK that deliveries have no use for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.aws import Aws
from worker.adapters.clock import SystemClock
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.metrics import metrics_wanted
from worker.adapters.publisher import AwsPublisher
from worker.adapters.secrets import References
from worker.adapters.spans import exporters
from worker.adapters.webhook_queue import SqsWebhookQueue
from worker.adapters.webhook_store import DynamoWebhookStore
from worker.ports import Journal
from worker.webhook_settings import WebhookSettings
from worker.webhooks.policy import Answer, Policy
from worker.webhooks.ports import WebhookPorts

if TYPE_CHECKING:
    from worker.adapters.webhook_sender import HttpSender


class LateSender:
    """The sender on httpx, made when something is sent: a host's start has better uses for a tenth
    of a second.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._made: HttpSender | None = None

    @property
    def _sender(self) -> "HttpSender":
        if self._made is None:
            from worker.adapters.webhook_sender import HttpSender  # noqa: PLC0415 - as it says

            policy = self._policy
            self._made = HttpSender(policy.timeout_seconds, allow_loopback=policy.allow_loopback)
        return self._made

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        return await self._sender.send(url, headers, body)

    async def check(self, url: str) -> None:
        await self._sender.check(url)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Deliveries that are ready to be made."""

    settings: WebhookSettings
    ports: WebhookPorts
    queue: SqsWebhookQueue
    sender: LateSender
    aws: Aws

    async def check(self, url: str) -> None:
        """Raises NotSentError or InvalidSubscriptionError for where nothing would be sent."""
        await self.sender.check(url)

    async def close(self) -> None:
        await self.sender.close()
        self.aws.close()


def build_webhooks(
    environ: Mapping[str, str] = os.environ,
    *,
    threads: int = 32,
    journal: Journal | None = None,
    beside: Aws | None = None,
) -> Webhooks:
    """Read and check the settings of webhooks, and wire the adapters. Raises SettingsError.
    `beside` are the worker's clients, in a process that has a worker, too.
    """
    given = {
        name: text
        for name, text in environ.items()
        if name.lower() in _NAMES or name.startswith("OTEL_")
    }
    resolved = References(given).resolve()
    settings = WebhookSettings.from_env(resolved)
    policy = settings.policy()
    aws = Aws(threads=threads, region=settings.region, beside=beside)
    queue = SqsWebhookQueue(aws, settings.webhook_queue_url, settings.webhook_dlq_url)
    sender = LateSender(policy)
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
