"""What the emulator drops without a word is asserted on the template: infra/resources.yml as it
is written, and as it comes out of packaging."""

import pytest

from tests.deploy.templates import parameter, properties, resource
from worker.adapters.checkout import REFRESH_SECONDS
from worker.settings import Settings

DAY = 86400


def upper_limit(setting):
    [limit] = [m.le for m in Settings.model_fields[setting].metadata if hasattr(m, "le")]
    return limit


def test_each_output_is_named_like_a_setting(template):
    names = set(template["Outputs"]) - {"ServerlessDeploymentBucketName"}
    assert names == {
        "QueueUrl",
        "DlqUrl",
        "SessionTable",
        "JobTable",
        "SessionBucket",
        "ResultTopicArn",
        "EventBusName",
        "WebhookTable",
        "WebhookQueueUrl",
        "WebhookDlqUrl",
    }


@pytest.mark.parametrize("table", ["JobTable", "SessionTable", "WebhookTable"])
def test_tables_expire_items_and_can_be_restored_to_any_second(template, table):
    wanted = properties(template, table)
    assert wanted["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert wanted["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert wanted["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("table", ["JobTable", "SessionTable", "WebhookTable"])
def test_tables_of_production_refuse_deletion(template, table):
    assert template["Conditions"]["Production"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}
    protection = properties(template, table)["DeletionProtectionEnabled"]
    assert protection == {"Fn::If": ["Production", True, False]}


@pytest.mark.parametrize("name", ["JobTable", "SessionTable", "WebhookTable", "SessionBucket"])
def test_state_outlives_its_stack(template, name):
    assert resource(template, name)["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource(template, name)["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize(
    ("table", "key"), [("JobTable", "job_id"), ("SessionTable", "session_key")]
)
def test_tables_have_the_keys_that_the_ledger_uses(template, table, key):
    assert properties(template, table)["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]


def test_nothing_with_state_has_a_fixed_name(template):
    """A retained table would otherwise block the stack's next creation."""
    for name, attribute in {
        "JobTable": "TableName",
        "SessionTable": "TableName",
        "SessionBucket": "BucketName",
        "JobQueue": "QueueName",
        "DeadLetterQueue": "QueueName",
        "WebhookTable": "TableName",
        "WebhookQueue": "QueueName",
        "WebhookDeadLetterQueue": "QueueName",
    }.items():
        assert attribute not in properties(template, name)


def test_the_bucket_is_private_encrypted_and_owned(template):
    bucket = properties(template, "SessionBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert "VersioningConfiguration" not in bucket


def expiry_days(template, prefix):
    rules = properties(template, "SessionBucket")["LifecycleConfiguration"]["Rules"]
    [rule] = [rule for rule in rules if rule.get("Prefix") == prefix]
    assert rule["Status"] == "Enabled"
    return parameter(template, rule["ExpirationInDays"]["Ref"])


def test_a_segment_is_kept_longer_than_any_session_can_refer_to_it(template):
    """A chat may refer to a segment until it is rewritten (30 days after it was made at the
    latest commit) and then until the session expires."""
    kept = expiry_days(template, "sessions/")
    assert kept >= Settings.model_fields["session_ttl_days"].default + REFRESH_SECONDS / DAY
    longest = upper_limit("session_ttl_days")
    assert kept >= longest + REFRESH_SECONDS / DAY


def test_large_results_expire(template):
    assert expiry_days(template, "results/") == 30


@pytest.mark.parametrize(
    ("prefix", "days"),
    [("dead-letters/archive/", 90), ("dead-letters/replays/", 400), ("dead-letters/audit/", 400)],
)
def test_what_is_kept_of_dead_letters_expires(template, prefix, days):
    assert expiry_days(template, prefix) == days


def test_unfinished_uploads_are_removed_after_a_day(template):
    rules = properties(template, "SessionBucket")["LifecycleConfiguration"]["Rules"]
    assert {"DaysAfterInitiation": 1} in [r.get("AbortIncompleteMultipartUpload") for r in rules]


@pytest.mark.parametrize("queue", ["JobQueue", "DeadLetterQueue"])
def test_queues_are_fifo_with_the_throughput_of_their_groups(template, queue):
    wanted = properties(template, queue)
    assert wanted["FifoQueue"] is True
    assert wanted["DeduplicationScope"] == "messageGroup"
    assert wanted["FifoThroughputLimit"] == "perMessageGroupId"
    assert wanted["MessageRetentionPeriod"] == 14 * DAY


@pytest.mark.parametrize("queue", ["JobQueue", "DeadLetterQueue"])
def test_two_equal_messages_are_two_jobs(template, queue):
    assert properties(template, queue)["ContentBasedDeduplication"] is False


def test_sqs_dead_letters_only_long_after_the_worker_would(template):
    redrive = properties(template, "JobQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert redrive["maxReceiveCount"] == {"Ref": "MaxReceiveCount"}
    longest = upper_limit("max_attempts")
    assert parameter(template, "MaxReceiveCount") > longest


@pytest.mark.parametrize(
    ("policy", "targets"),
    [
        ("QueuePolicy", ["JobQueue", "DeadLetterQueue"]),
        ("WebhookQueuePolicy", ["WebhookQueue", "WebhookDeadLetterQueue"]),
        ("SessionBucketPolicy", ["SessionBucket"]),
        ("ResultTopicPolicy", ["ResultTopic"]),
    ],
)
def test_nothing_is_reached_without_tls(template, policy, targets):
    wanted = properties(template, policy)
    [statement] = [s for s in wanted["PolicyDocument"]["Statement"] if s["Sid"] == "OnlyTls"]
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    attached = wanted.get("Queues") or wanted.get("Topics") or [wanted["Bucket"]]
    assert attached == [{"Ref": name} for name in targets]


def test_every_event_of_the_bus_reaches_the_webhook_queue(template):
    rule = properties(template, "WebhookRule")
    assert rule["EventBusName"] == {"Ref": "EventBus"}
    assert rule["EventPattern"] == {"source": ["agent-worker"]}
    [target] = rule["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["WebhookQueue", "Arn"]}
    assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["WebhookDeadLetterQueue", "Arn"]}
    statements = properties(template, "WebhookQueuePolicy")["PolicyDocument"]["Statement"]
    [allowed] = [s for s in statements if s["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["WebhookRule", "Arn"]}}
    }


def test_a_webhook_waits_in_the_table_and_not_by_being_received_again(template):
    redrive = properties(template, "WebhookQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["WebhookDeadLetterQueue", "Arn"]}
    assert redrive["maxReceiveCount"] == 100
    indexes = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in properties(template, "WebhookTable")["LocalSecondaryIndexes"]
    }
    assert indexes == {"due": ["part", "due_at"], "recent": ["part", "updated_at"]}


def test_the_job_table_has_the_indexes_that_operators_read(template):
    from worker.adapters.jobindex import CHAT, ENDED, UNFINISHED

    indexes = {
        index["IndexName"]: (
            [key["AttributeName"] for key in index["KeySchema"]],
            index["Projection"]["ProjectionType"],
            index["Projection"].get("NonKeyAttributes", []),
        )
        for index in properties(template, "JobTable")["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        UNFINISHED: (["unfinished", "updated_at"], "KEYS_ONLY", []),
        # Nothing here changes after it was written: an end is one write.
        ENDED: (
            ["ended", "ended_at"],
            "INCLUDE",
            ["outcome", "error_code", "cost_usd", "session_key"],
        ),
        CHAT: (["session_key", "created_at"], "KEYS_ONLY", []),
    }
