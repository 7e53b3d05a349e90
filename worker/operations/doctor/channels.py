"""The bucket, the topic and the bus."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.operations.doctor.finding import Finding, ok, problem, unchecked, warning
from worker.operations.doctor.probe import Caller, Outcome, allowed, ask, reached

BUCKET, TOPIC, BUS = "bucket", "topic", "event bus"
PROBE_KEY = "sessions/doctor/probe"

REWRITTEN_DAYS = 30
"""A session's objects are written anew when they are so old (adapters/checkout.py)."""


async def examine_bucket(aws: Caller, bucket: str, session_days: float) -> list[Finding]:
    """`session_days` is SESSION_TTL_DAYS."""
    outcome = await ask(aws, "s3", "head_bucket", Bucket=bucket)
    finding = reached(outcome, BUCKET, bucket, "SESSION_BUCKET", "s3:ListBucket")
    if finding is not None and finding.level == "problem":
        return [finding]
    return [
        finding or ok(BUCKET, "reachable", "is there"),
        _lifecycle(
            await ask(aws, "s3", "get_bucket_lifecycle_configuration", Bucket=bucket), session_days
        ),
        _private(await ask(aws, "s3", "get_public_access_block", Bucket=bucket)),
        # Without s3:ListBucket a missing object is "AccessDenied", too.
        await allowed(
            aws,
            BUCKET,
            "s3:GetObject with s3:ListBucket",
            frozenset({"NoSuchKey", "404"}),
            ("s3", "get_object"),
            Bucket=bucket,
            Key=PROBE_KEY,
        ),
        # On condition that an object of this name is there, which it never is.
        await allowed(
            aws,
            BUCKET,
            "s3:PutObject",
            frozenset({"NoSuchKey", "404", "PreconditionFailed", "412"}),
            ("s3", "put_object"),
            Bucket=bucket,
            Key=PROBE_KEY,
            Body=b"",
            IfMatch='"none"',
        ),
    ]


def _lifecycle(outcome: Outcome, session_days: float) -> Finding:
    remedy = "deploy infra/resources.yml, which has rules for sessions/, turns/ and results/"
    if outcome.code == "NoSuchLifecycleConfiguration":
        return warning(
            BUCKET, "lifecycle", "nothing is ever removed: there is no lifecycle rule", remedy
        )
    if outcome.kind != "answer":
        return unchecked(
            BUCKET, "lifecycle", "its rules may not be read (s3:GetLifecycleConfiguration)"
        )
    days = _expiration(outcome.answer.get("Rules", []), PROBE_KEY)
    needed = session_days + REWRITTEN_DAYS
    if days is None:
        return warning(BUCKET, "lifecycle", "no rule removes what is below sessions/", remedy)
    if days <= needed:
        return problem(
            BUCKET,
            "lifecycle",
            f"a rule removes what is below sessions/ after {days} days, and a chat of "
            f"SESSION_TTL_DAYS={session_days:g} may need it for {needed:g}",
            "raise the rule's days, or lower SESSION_TTL_DAYS",
        )
    return ok(BUCKET, "lifecycle", f"sessions are removed after {days} days, when none needs them")


def _expiration(rules: Sequence[Mapping[str, Any]], key: str) -> int | None:
    """After how many days the first rule that fits removes an object of this name."""
    fitting = [
        int(rule["Expiration"]["Days"])
        for rule in rules
        if rule.get("Status") == "Enabled"
        and "Days" in rule.get("Expiration", {})
        and key.startswith(rule.get("Filter", {}).get("Prefix", rule.get("Prefix", "")))
    ]
    return min(fitting, default=None)


def _private(outcome: Outcome) -> Finding:
    block = outcome.answer.get("PublicAccessBlockConfiguration", {})
    if outcome.kind == "answer" and len(block) > 0 and all(block.values()):
        return ok(BUCKET, "private", "public access is blocked")
    if outcome.kind == "answer" or outcome.code == "NoSuchPublicAccessBlockConfiguration":
        return warning(
            BUCKET,
            "private",
            "public access is not blocked as a whole",
            "set all four of the bucket's public access blocks",
        )
    return unchecked(BUCKET, "private", "may not be asked (s3:GetBucketPublicAccessBlock)")


async def examine_channels(aws: Caller, topic_arn: str, bus: str) -> list[Finding]:
    """Where events are published."""
    topic = await ask(aws, "sns", "get_topic_attributes", TopicArn=topic_arn)
    events = await ask(aws, "events", "describe_event_bus", Name=bus)
    return [
        reached(topic, TOPIC, topic_arn, "RESULT_TOPIC_ARN", "sns:GetTopicAttributes")
        or ok(TOPIC, "reachable", "is there"),
        reached(events, BUS, bus, "EVENT_BUS_NAME", "events:DescribeEventBus")
        or ok(BUS, "reachable", "is there"),
        unchecked(
            TOPIC,
            "may publish",
            "sns:Publish and events:PutEvents: trying would reach subscribers",
        ),
    ]
