"""`osls deploy`, a second deploy and `osls remove`, against the emulator."""

import json
import os

import boto3
import pytest

from tests.deploy.conftest import run
from tests.deploy.templates import ROOT

pytestmark = pytest.mark.integration

STAGE = "deploytest"  # a stack of its own on the emulator that all tests share
OSLS = str(ROOT / "node_modules" / ".bin" / "osls")
OTHER_IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/agent-worker@sha256:" + "1" * 64


def osls(command, *options):
    return run(OSLS, command, "--stage", STAGE, *options, SLS_AWS_MONITORING_FREQUENCY="200")


def outputs():
    [stack] = boto3.client("cloudformation").describe_stacks(StackName=f"agent-worker-{STAGE}")[
        "Stacks"
    ]
    return {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}


def deployed_function():
    return boto3.client("lambda").get_function(FunctionName=f"agent-worker-{STAGE}-worker")


def deploy(package):
    """Without the alarms on a calculated metric, which the emulator does not take (it does take the
    others); test_observability.py looks at them in the template.
    """
    path = package / "serverless-state.json"
    state = json.loads(path.read_text())
    template = state["service"]["provider"]["compiledCloudFormationTemplate"]
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if "Metrics" not in resource.get("Properties", {})
    }
    path.write_text(json.dumps(state))
    osls("deploy", "--package", str(package))


def test_deploy_redeploy_and_remove(packaged, emulator):
    assert os.environ["AWS_ENDPOINT_URL"] == emulator
    deploy(packaged(STAGE))
    first = outputs()
    variables = deployed_function()["Configuration"]["Environment"]["Variables"]
    assert variables["QUEUE_URL"] == first["QueueUrl"]
    assert variables["JOB_TABLE"] == first["JobTable"]
    assert variables["SDK_CLIENT_AUTH_TOKEN"] == f"secretsmanager://agent-worker/{STAGE}/auth-token"
    assert "ANTHROPIC_API_KEY" not in variables
    assert ":role/" in variables["BEDROCK_ROLE_ARN"]

    deploy(packaged(STAGE, IMAGE_URI=OTHER_IMAGE))
    assert deployed_function()["Code"]["ImageUri"] == OTHER_IMAGE
    assert outputs() == first

    osls("remove")
    tables = boto3.client("dynamodb").list_tables()["TableNames"]
    assert {first["JobTable"], first["SessionTable"]} <= set(tables)
    buckets = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert first["SessionBucket"] in buckets
