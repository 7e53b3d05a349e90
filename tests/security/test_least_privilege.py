"""The worker's role has the rights for the calls that the worker makes: none is missing, and none
is there that no call needs. Seen on a worker that goes all its ways, not read from its code."""

import threading
import uuid

import boto3
import botocore.client
import pytest

from tests.deploy.templates import ROOT, identity_statements, load
from tests.integration.conftest import Bot, running
from worker.adapters.agent.credentials import ModelAccess, ModelEnvironment
from worker.adapters.secrets import References
from worker.sweeper import sweep

pytestmark = pytest.mark.integration

BY_LAMBDA = {
    # The service that polls the queue for the function, the one that keeps its log, and X-Ray's
    # daemon beside it use the function's role.
    *("sqs:GetQueueAttributes", "logs:CreateLogStream", "logs:PutLogEvents"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
}
OF_A_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "ConditionCheck": "ConditionCheckItem",
}
OTHERWISE = {
    "ListObjectsV2": "ListBucket",
    "PublishBatch": "Publish",
    "TransactGetItems": "GetItem",
}
"""Operations that are authorized as another action (Service Authorization Reference)."""


def actions(service, operation, arguments):
    """The IAM actions of a call."""
    if operation == "TransactWriteItems":
        kinds = {kind for item in arguments["TransactItems"] for kind in item}
        return {f"dynamodb:{OF_A_TRANSACTION[kind]}" for kind in kinds}
    return {f"{service}:{OTHERWISE.get(operation, operation)}"}


@pytest.fixture
def seen(monkeypatch):
    """The actions of every call that is made by a thread of the worker's."""
    found, plain = set(), botocore.client.BaseClient._make_api_call

    def noted(client, operation, arguments):
        if threading.current_thread().name.startswith(("aws", "asyncio")):
            found.update(actions(client.meta.service_model.service_name, operation, arguments))
        return plain(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
    return found


async def test_the_worker_s_rights_are_those_of_its_calls(own, seen):
    manager, secret = boto3.client("secretsmanager"), f"rights-{uuid.uuid4().hex}"
    manager.create_secret(Name=secret, SecretString="token")
    key = f"attachments/default/{uuid.uuid4().hex}"
    boto3.client("s3").put_object(Bucket=own["SESSION_BUCKET"], Key=key, Body=b"a note")
    changes = {
        "AUTH_MODE": "token",
        "SDK_CLIENT_AUTH_TOKEN": f"secretsmanager://{secret}",
        "TENANT_DAILY_BUDGET_USD": "1000",
        "CHAT_JOBS_PER_MINUTE": "1000",
        "SECRETS_MAX_AGE_SECONDS": "1",
    }
    bot = Bot({**own, "SDK_CLIENT_AUTH_TOKEN": "token"})
    async with running(own, **changes) as worker:
        await bot.ask("hello", progress="steps", attachments=[{"key": key}])
        await bot.ask("write notes.txt: x")
        await bot.ask(f"hello {key} [[status 529 times 1]]")
        await bot.ask("[[long 400000]]")
        await bot.result(bot.send("hello", model="not-allowed"))
        await sweep(worker.ports)
        role = ModelAccess(use_bedrock=True, role_arn="arn:aws:iam::000000000000:role/bedrock")
        await ModelEnvironment(lambda: role, worker.aws).variables()
        await worker.aws.run(References({"A": f"secretsmanager://{secret}"}).resolve)
    template = load(ROOT / "infra" / "worker.yml")
    granted = {
        action
        for statement in identity_statements(template)
        if statement.at in {"WorkerRole", "AssumeBedrockRole"}
        for action in statement.actions
    }
    assert granted - BY_LAMBDA - seen == set(), "granted, and never used"
    assert seen - granted == set(), "used, and not granted"
