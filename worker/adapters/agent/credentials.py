"""How the agent reaches its model: the only secrets that its process is given."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.adapters.aws import Aws

ROLE_SESSION_SECONDS = 3600
ROLE_REFRESH_MARGIN = 900 + 60
"""A role's keys are renewed while they are still good for a whole Lambda invocation."""

DEFAULT_BEDROCK_MODELS = {
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "global.anthropic.claude-sonnet-5",
    "ANTHROPIC_DEFAULT_OPUS_MODEL": "global.anthropic.claude-opus-5",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
}


@dataclass(frozen=True)
class ModelAccess:
    """The model settings; separate from the worker's own AWS identity.

    With `use_bedrock`, the first of these that is set is used: `bearer_token`, `role_arn` (assumed
    with the worker's identity, keys for an hour), `access_key_id` and `secret_access_key`.
    """

    use_bedrock: bool = False
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    region: str = "us-east-1"
    bedrock_base_url: str | None = None
    bearer_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    """Overrides of the ids behind the aliases: ANTHROPIC_DEFAULT_{SONNET,OPUS,HAIKU}_MODEL."""


class ModelEnvironment:
    """The model's part of the agent's environment, with a role's keys cached until they age.
    `access` gives the settings as they are now.
    """

    def __init__(self, access: Callable[[], ModelAccess], aws: Aws) -> None:
        self._access = access
        self._aws = aws
        self._role_keys: dict[str, str] = {}
        self._role_expires_at = 0.0

    async def variables(self) -> dict[str, str]:
        access = self._access()
        if not access.use_bedrock:
            return {
                **_present(ANTHROPIC_API_KEY=access.api_key, ANTHROPIC_BASE_URL=access.base_url),
                **access.models,
            }
        return {
            "CLAUDE_CODE_USE_BEDROCK": "1",
            "AWS_REGION": access.region,
            # Without all three, each fresh configuration directory starts with probe calls.
            **DEFAULT_BEDROCK_MODELS,
            **access.models,
            **_present(ANTHROPIC_BEDROCK_BASE_URL=access.bedrock_base_url),
            **await self._keys(access),
        }

    async def _keys(self, access: ModelAccess) -> dict[str, str]:
        if access.bearer_token:
            return {"AWS_BEARER_TOKEN_BEDROCK": access.bearer_token}
        if access.role_arn:
            return await self._assumed(access.role_arn)
        return _present(
            AWS_ACCESS_KEY_ID=access.access_key_id,
            AWS_SECRET_ACCESS_KEY=access.secret_access_key,
            AWS_SESSION_TOKEN=access.session_token,
        )

    async def _assumed(self, role_arn: str) -> dict[str, str]:
        if time.time() > self._role_expires_at - ROLE_REFRESH_MARGIN:
            answer = await self._aws.call(
                "sts",
                "assume_role",
                RoleArn=role_arn,
                RoleSessionName="agent-worker",
                DurationSeconds=ROLE_SESSION_SECONDS,
            )
            keys = answer["Credentials"]
            self._role_expires_at = keys["Expiration"].timestamp()
            self._role_keys = {
                "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
                "AWS_SESSION_TOKEN": keys["SessionToken"],
            }
        return self._role_keys


def _present(**variables: str | None) -> dict[str, str]:
    return {name: item for name, item in variables.items() if item}
