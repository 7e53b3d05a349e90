"""The settings of webhook deliveries. They are apart from a worker's: a delivery function has
neither its queue nor access to a model, and a worker delivers only where WEBHOOK_TABLE is set.
"""

from collections.abc import Mapping

from pydantic import Field

from worker.settings import Environment
from worker.webhooks.policy import Policy


class WebhookSettings(Environment):
    """Every setting of webhook deliveries. Seconds unless a name says otherwise."""

    webhook_table: str = Field(description="DynamoDB table of webhook subscriptions and deliveries")
    webhook_queue_url: str = Field(
        description="URL of the queue of events to be delivered", pattern=r"^https?://.+"
    )
    webhook_dlq_url: str = Field(
        description="URL of the dead-letter queue of webhooks", pattern=r"^https?://.+"
    )
    result_topic_arn: str = Field(description="SNS topic of result events", pattern=r"^arn:.+:.+")
    event_bus_name: str = Field(description="EventBridge bus of result events")

    webhook_timeout_seconds: float = Field(
        Policy().timeout_seconds, ge=1, le=60, description="for an attempt, from address to answer"
    )
    webhook_concurrency: int = Field(
        Policy().concurrency, ge=1, le=100, description="attempts to one subscriber at a time"
    )
    webhook_disable_after_days: float = Field(Policy().disable_after_days, gt=0)
    webhook_retention_days: float = Field(Policy().retention_days, ge=7, le=365)
    webhook_allow_loopback: bool = False
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    metrics: str = Field("auto", pattern="^(auto|emf|off)$")
    metrics_namespace: str = Field("AgentWorker", pattern=r"^[A-Za-z0-9._/#:-]{1,255}$")

    @staticmethod
    def wanted(environ: Mapping[str, str]) -> bool:
        """Whether webhooks are configured."""
        return bool(environ.get("WEBHOOK_TABLE", "").strip())

    def policy(self) -> Policy:
        return Policy(
            timeout_seconds=self.webhook_timeout_seconds,
            concurrency=self.webhook_concurrency,
            disable_after_days=self.webhook_disable_after_days,
            retention_days=self.webhook_retention_days,
            allow_loopback=self.webhook_allow_loopback,
        )

    @classmethod
    def _contradictions(cls, given: Mapping[str, str]) -> list[str]:
        if "WEBHOOK_QUEUE_URL" in given and (
            given["WEBHOOK_QUEUE_URL"] == given.get("WEBHOOK_DLQ_URL")
        ):
            return ["WEBHOOK_DLQ_URL: is the same as WEBHOOK_QUEUE_URL; name another queue"]
        return []
