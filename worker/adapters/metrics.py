"""CloudWatch metrics as log lines (embedded metric format), through Powertools.

They follow from the journal's steps, by the table below: nothing else in the worker counts
anything. A line costs no request; CloudWatch makes metrics of it, from Lambda's log or an agent's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aws_lambda_powertools.metrics import EphemeralMetrics

SERVICE = "agent-worker"

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Metric:
    """`value` is a field's name, or 1 for a count; `by` a field that becomes a dimension."""

    name: str
    value: str | int = 1
    unit: str = "Count"
    by: str | None = None
    when: Callable[[Fields], bool] = lambda _: True


METRICS: Mapping[str, tuple[Metric, ...]] = {
    "claim": (
        Metric("QueueWait", "waited", "Seconds", when=lambda f: f.get("result") == "Claim"),
        Metric("Takeovers", when=lambda f: f.get("takeover") is True),
    ),
    "restore": (
        Metric("RestoreTime", "seconds", "Seconds"),
        Metric("WarmTurns", when=lambda f: f.get("warm") is True),
        Metric("ColdTurns", when=lambda f: f.get("warm") is False),
    ),
    "run": (
        Metric("AgentTime", "seconds", "Seconds"),
        Metric("CostUSD", "cost_usd", "None"),
        Metric("Retries", by="code", when=lambda f: f.get("verdict") == "Again"),
    ),
    "commit": (Metric("CommitTime", "seconds", "Seconds"),),
    "publish": (
        Metric("PublishTime", "seconds", "Seconds"),
        Metric("JobsEnded"),
        Metric("JobsFailed", when=lambda f: f.get("state") == "failed"),
        Metric("JobsRejected", when=lambda f: f.get("state") == "rejected"),
    ),
    "lease_lost": (Metric("LeasesLost"),),
    "swept": (Metric("SweptEvents"),),
    "stuck": (Metric("StuckJobs"),),
    "unavailable": (Metric("Unavailable"),),
    "webhook_attempt": (
        Metric("WebhookAttempts"),
        Metric("WebhookTime", "seconds", "Seconds"),
        Metric("WebhookFailures", when=lambda f: f.get("outcome") != "delivered"),
    ),
    "webhook_disabled": (Metric("WebhooksDisabled"),),
    "webhooks_unavailable": (Metric("Unavailable"),),
    "webhooks_broken": (Metric("Defects"),),
    "internal_error": (Metric("Defects"),),
    "refused": (Metric("Defects"),),
}


def metrics_wanted(mode: str, namespace: str, environ: Mapping[str, str]) -> "Metrics | None":
    """METRICS: "emf" always, "auto" on Lambda, "off" never."""
    on = mode == "emf" or (mode == "auto" and "AWS_LAMBDA_FUNCTION_NAME" in environ)
    return Metrics(namespace) if on else None


class Metrics:
    """Writes to standard output, a line for each set of dimensions."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def count(self, step: str, fields: Fields) -> None:
        """Whatever the table has for this step."""
        due = [metric for metric in METRICS.get(step, ()) if metric.when(fields)]
        for by in dict.fromkeys(metric.by for metric in due):
            self._write([metric for metric in due if metric.by == by], by, fields)

    def _write(self, metrics: list[Metric], by: str | None, fields: Fields) -> None:
        line = EphemeralMetrics(namespace=self._namespace, service=SERVICE)
        some = False
        for metric in metrics:
            value = metric.value if isinstance(metric.value, int) else fields.get(metric.value)
            if isinstance(value, int | float):
                line.add_metric(name=metric.name, unit=metric.unit, value=float(value))
                some = True
        if not some:
            return
        if by is not None:
            line.add_dimension(name=by, value=str(fields.get(by) or "unknown"))
        for name in ("job_id", "trace"):  # to find a figure's job; no dimension, so it is free
            if name in fields:
                line.add_metadata(key=name, value=fields[name])
        line.flush_metrics()
