"""The webhooks' table, queues and rule, where webhooks are configured."""

import json

from worker.operations.doctor.finding import Finding, ok, problem, unchecked, warning
from worker.operations.doctor.probe import Caller, ask, reached
from worker.webhook_settings import WebhookSettings

AREA = "webhooks"


async def examine_webhooks(aws: Caller, settings: WebhookSettings) -> list[Finding]:
    """All of it; what is missing is named."""
    table = await ask(aws, "dynamodb", "describe_table", TableName=settings.webhook_table)
    found = [
        reached(table, AREA, settings.webhook_table, "WEBHOOK_TABLE", "dynamodb:DescribeTable")
        or ok(AREA, "table", "the table is there")
    ]
    arns: dict[str, str] = {}
    redrive: str | None = None
    for setting, url in (
        ("WEBHOOK_QUEUE_URL", settings.webhook_queue_url),
        ("WEBHOOK_DLQ_URL", settings.webhook_dlq_url),
    ):
        outcome = await ask(
            aws, "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"]
        )
        missing = reached(outcome, AREA, url, setting, "sqs:GetQueueAttributes")
        found.append(missing or ok(AREA, setting.lower(), f"the queue of {setting} is there"))
        if missing is None:
            attributes = outcome.answer.get("Attributes", {})
            arns[setting] = attributes.get("QueueArn", "")
            if setting == "WEBHOOK_QUEUE_URL":
                policy = json.loads(attributes.get("RedrivePolicy", "{}"))
                redrive = policy.get("deadLetterTargetArn")
    if len(arns) == 2:  # noqa: PLR2004 - both
        found.append(_redrive(redrive, arns["WEBHOOK_DLQ_URL"]))
    if "WEBHOOK_QUEUE_URL" in arns:
        found.append(await _rule(aws, settings.event_bus_name, arns["WEBHOOK_QUEUE_URL"]))
    return found


def _redrive(target: str | None, dead: str) -> Finding:
    if target == dead:
        return ok(AREA, "redrive", "redrives to WEBHOOK_DLQ_URL")
    return problem(
        AREA,
        "redrive",
        f"the webhook queue redrives to {target or 'no queue'}, not to that of WEBHOOK_DLQ_URL",
        "set its RedrivePolicy as infra/resources.yml has it",
    )


async def _rule(aws: Caller, bus: str, queue_arn: str) -> Finding:
    outcome = await ask(
        aws, "events", "list_rule_names_by_target", TargetArn=queue_arn, EventBusName=bus
    )
    if outcome.kind != "answer":
        return unchecked(AREA, "rule", f"whether events reach the queue: {outcome.text}")
    if outcome.answer.get("RuleNames"):
        return ok(AREA, "rule", "a rule of the bus sends events to the queue")
    return warning(
        AREA,
        "rule",
        "no rule of the bus sends events to the webhook queue: nothing is delivered",
        "deploy infra/resources.yml, which has the rule",
    )
