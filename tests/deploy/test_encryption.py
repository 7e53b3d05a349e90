"""All that is stored is encrypted: under keys that AWS manages, or under one of the deployer's."""

import re

import pytest

from tests.deploy.templates import created, parameter

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
LOGS = ["WorkerLogGroup", "SweeperLogGroup", "WebhooksLogGroup", "WebhookSweeperLogGroup"]


def encryption(resource):
    """The encryption that a resource has, as one value; None for what stores nothing."""
    wanted = resource.get("Properties", {})
    match resource["Type"]:
        case "AWS::SQS::Queue":
            return wanted["SqsManagedSseEnabled"], wanted.get("KmsMasterKeyId")
        case "AWS::DynamoDB::Table":
            found = wanted["SSESpecification"]
            return found["SSEEnabled"], found.get("SSEType"), found.get("KMSMasterKeyId")
        case "AWS::S3::Bucket":
            [rule] = wanted["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            found = rule["ServerSideEncryptionByDefault"]
            key, bucket_key = found.get("KMSMasterKeyID"), rule.get("BucketKeyEnabled")
            return found["SSEAlgorithm"], key, bucket_key
        case "AWS::SNS::Topic":
            return wanted["KmsMasterKeyId"]
        case "AWS::Logs::LogGroup":
            return wanted.get("KmsKeyId", "by default")
    return None


def all_encryption(template, **parameters):
    resources = created(template, **parameters).items()
    found = {name: (resource["Type"], encryption(resource)) for name, resource in resources}
    # osls's own bucket, which holds the template.
    found.pop("ServerlessDeploymentBucket", None)
    return {kind for kind, how in found.values() if how is not None}, [
        (kind, how) for kind, how in found.values() if how is not None
    ]


def test_without_a_key_all_that_is_stored_is_under_keys_that_aws_manages(template):
    kinds, found = all_encryption(template)
    assert {"AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::S3::Bucket"} < kinds
    assert set(found) <= {
        ("AWS::SQS::Queue", (True, None)),
        ("AWS::DynamoDB::Table", (True, None, None)),
        ("AWS::S3::Bucket", ("AES256", None, None)),
        ("AWS::SNS::Topic", "alias/aws/sns"),
        ("AWS::Logs::LogGroup", "by default"),
    }


def test_with_a_key_all_that_is_stored_is_under_it(template):
    kinds, found = all_encryption(template, KmsKeyArn=KEY)
    assert kinds == all_encryption(template)[0]
    assert set(found) <= {
        ("AWS::SQS::Queue", (False, KEY)),
        ("AWS::DynamoDB::Table", (True, "KMS", KEY)),
        ("AWS::S3::Bucket", ("aws:kms", KEY, True)),
        ("AWS::SNS::Topic", KEY),
        ("AWS::Logs::LogGroup", KEY),
    }


def test_the_key_is_optional_and_an_arn(template):
    assert parameter(template, "KmsKeyArn") == ""
    pattern = template["Parameters"]["KmsKeyArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, KEY)
    assert re.fullmatch(pattern, "")
    # An alias would be taken by some services, and not be the key that the roles may use.
    assert not re.fullmatch(pattern, "alias/mine")


@pytest.mark.integration
def test_every_log_group_of_the_deployment_is_among_them(deployment):
    groups = {n for n, r in deployment["Resources"].items() if r["Type"] == "AWS::Logs::LogGroup"}
    assert groups == set(LOGS)


@pytest.mark.integration
def test_the_roles_may_use_the_key_only_through_their_services_and_only_when_there_is_one(
    deployment,
):
    assert "UseCustomerKey" not in created(deployment)
    assert "kms:" not in str(created(deployment)["WorkerRole"])
    wanted = created(deployment, KmsKeyArn=KEY)["UseCustomerKey"]["Properties"]
    assert wanted["Roles"] == [{"Ref": "WorkerRole"}, {"Ref": "WebhookRole"}]
    [statement] = wanted["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert statement["Resource"] == KEY
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert [service["Fn::Sub"].partition(".")[0] for service in services] == [
        *("dynamodb", "s3", "secretsmanager", "sns", "sqs")
    ]
