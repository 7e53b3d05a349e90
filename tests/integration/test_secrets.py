"""Secrets by reference, and rotating them while the worker runs."""

import uuid

import boto3
import pytest

from tests.integration.conftest import Bot, running

pytestmark = pytest.mark.integration


@pytest.fixture
def secret(resources):
    """A secret of the test's own, holding the token "old"."""
    manager, name = boto3.client("secretsmanager"), f"token-{uuid.uuid4().hex}"
    manager.create_secret(Name=name, SecretString="old")
    yield lambda text: manager.put_secret_value(SecretId=name, SecretString=text), name
    manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


async def test_a_rotated_token_counts_without_a_restart(own, secret):
    rotate, name = secret
    bot = Bot(own)

    async def sent_with(token):
        body = {"user_message": "hi", "chat_id": uuid.uuid4().hex}
        job = bot.send_raw(body, body["chat_id"], {"auth_token": token})
        return (await bot.result(job)).type.rpartition(".")[2]

    changes = {
        "AUTH_MODE": "token",
        "SDK_CLIENT_AUTH_TOKEN": f"secretsmanager://{name}",
        "SECRETS_MAX_AGE_SECONDS": "1",
    }
    async with running(own, **changes):
        assert await sent_with("old") == "completed"
        assert await sent_with("new") == "rejected"
        rotate("old,new")
        while await sent_with("new") != "completed":  # the test's own timeout ends it
            pass
        assert await sent_with("old") == "completed"
        rotate("new")
        while await sent_with("old") != "rejected":
            pass
        assert await sent_with("new") == "completed"


async def test_while_a_secret_cannot_be_read_the_last_good_one_holds(own, secret):
    rotate, name = secret
    bot = Bot(own)
    changes = {
        "AUTH_MODE": "token",
        "SDK_CLIENT_AUTH_TOKEN": f"secretsmanager://{name}",
        "SECRETS_MAX_AGE_SECONDS": "1",
    }
    async with running(own, **changes) as worker:
        rotate(" , ")  # no token at all: not a good configuration
        rules = worker.ports.rules
        while not rules._not_before:
            assert (await rules.current()).auth_tokens == ("old",)
        job = bot.send_raw({"user_message": "hi", "chat_id": bot.chat}, None, {"auth_token": "old"})
        assert (await bot.result(job)).type == "agent.job.completed"
