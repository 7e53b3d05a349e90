"""The agent on Bedrock, against a scripted server that answers as Bedrock's runtime does.

Each kind of access is the agent's own, apart from the worker's AWS identity.
"""

import json
import re

import boto3
import pytest

from tests.integration.conftest import Bot, running

pytestmark = pytest.mark.integration

KEYS = {"BEDROCK_ACCESS_KEY_ID": "AKIABEDROCK", "BEDROCK_SECRET_ACCESS_KEY": "bedrock-secret"}


@pytest.fixture
def bedrock(own, model):
    direct = {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}
    return {name: item for name, item in own.items() if name not in direct} | {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": model.url,
        "BEDROCK_REGION": "eu-west-1",
    }


async def aws_variables(environ, **access):
    """The AWS variables that the agent's tools see, by name."""
    bot = Bot(environ)
    async with running(environ, **access):
        data = await bot.ask("run env | grep ^AWS_ | sort")
    assert not data.is_error, data.error_message
    return dict(re.findall(r"(AWS_\w+)=(\S+)", data.response))


async def test_a_conversation_on_bedrock_is_remembered(bedrock, model):
    bot = Bot(bedrock)
    model.recorder.clear()
    async with running(bedrock, **KEYS):
        await bot.ask("my name is Ada")
        data = await bot.ask("what is my name", model="opus")
    assert "Ada" in data.response
    assert data.cost_usd > 0
    paths = {request["path"] for request in model.requests}
    assert any("sonnet" in path and "invoke-with-response-stream" in path for path in paths)
    assert any("opus" in path and "invoke-with-response-stream" in path for path in paths)
    assert "/v1/messages" not in paths
    bodies = json.dumps([request["body"] for request in model.requests])
    assert "bedrock-secret" not in bodies


async def test_own_access_keys_are_used_and_not_the_worker_s(bedrock):
    shown = await aws_variables(bedrock, **KEYS)
    assert shown["AWS_ACCESS_KEY_ID"] == "AKIABEDROCK"
    assert shown["AWS_REGION"] == "eu-west-1"
    assert "AWS_ENDPOINT_URL" not in shown
    assert "local" not in shown.values()  # the worker's own key


async def test_a_role_is_assumed_with_the_worker_s_identity_and_its_keys_handed_over(bedrock):
    role = boto3.client("iam").create_role(
        RoleName="bedrock-only", AssumeRolePolicyDocument='{"Version": "2012-10-17"}'
    )["Role"]["Arn"]
    shown = await aws_variables(bedrock, BEDROCK_ROLE_ARN=role)
    assert shown["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert shown["AWS_SESSION_TOKEN"]


async def test_a_bearer_token_replaces_keys(bedrock):
    shown = await aws_variables(bedrock, BEDROCK_BEARER_TOKEN="bedrock-api-key")
    assert shown["AWS_BEARER_TOKEN_BEDROCK"] == "bedrock-api-key"
    assert "AWS_ACCESS_KEY_ID" not in shown


async def test_throttling_by_bedrock_is_retried(bedrock):
    bot = Bot(bedrock)
    async with running(bedrock, **KEYS):
        data = await bot.ask("hello [[status 429 times 1]]")
    assert not data.is_error
    assert data.attempt == 2
