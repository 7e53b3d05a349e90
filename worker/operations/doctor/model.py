"""The model: can it be reached, with the access that the agent is given. No prompt is sent."""

import asyncio

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from worker.adapters.agent import ModelAccess
from worker.adapters.agent.credentials import ModelEnvironment
from worker.domain.errors import WorkerError
from worker.operations.doctor.finding import Finding, ok, problem, unchecked
from worker.operations.doctor.probe import DENIED

MODEL = "model"
ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
SECONDS = 20.0

_UNAUTHORIZED = frozenset({401, 403})


async def examine_model(access: ModelAccess, environment: ModelEnvironment) -> list[Finding]:
    """Anthropic's API, or Amazon Bedrock."""
    if access.use_bedrock:
        return [await _bedrock(access, environment)]
    return [await _anthropic(access.base_url or ANTHROPIC_URL, access.api_key or "")]


async def _anthropic(base_url: str, key: str) -> Finding:
    """It lists the models, which costs nothing."""
    url = f"{base_url.rstrip('/')}/v1/models"
    headers = {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}
    try:
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            answer = await client.get(url, headers=headers, params={"limit": 1})
    except httpx.HTTPError as exc:
        return problem(
            MODEL,
            "reachable",
            f"{url} does not answer: {type(exc).__name__}",
            "check the network's way there, and ANTHROPIC_BASE_URL if it is set",
        )
    if answer.status_code in _UNAUTHORIZED:
        return problem(
            MODEL,
            "reachable",
            f"{base_url} refuses the key: HTTP {answer.status_code}",
            "set ANTHROPIC_API_KEY to a key that is valid there",
        )
    if answer.is_success:
        return ok(MODEL, "reachable", f"{base_url} answers, and accepts the key")
    return unchecked(
        MODEL,
        "reachable",
        f"{base_url} answers, but not about its models (HTTP {answer.status_code}): whether it "
        "accepts the key is not known",
        "--model-call tries it",
    )


async def _bedrock(access: ModelAccess, environment: ModelEnvironment) -> Finding:
    """It lists the inference profiles, as the CLI does at each start."""
    try:
        keys = await environment.variables()
    except WorkerError as exc:
        return problem(
            MODEL,
            "reachable",
            f"the role for Bedrock cannot be assumed: {exc}",
            "let the worker's role assume BEDROCK_ROLE_ARN, and that role trust it",
        )
    if "AWS_BEARER_TOKEN_BEDROCK" in keys or access.bedrock_base_url:
        return unchecked(
            MODEL,
            "reachable",
            "access by a bearer token, or at an address of its own, shows only in a model call",
            "--model-call tries it",
        )
    return await asyncio.to_thread(_profiles, access.region, keys)


def _profiles(region: str, keys: dict[str, str]) -> Finding:
    client = boto3.client(
        "bedrock",
        region_name=region,
        aws_access_key_id=keys.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=keys.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=keys.get("AWS_SESSION_TOKEN"),
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=SECONDS),
    )
    try:
        client.list_inference_profiles(maxResults=1)
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code in DENIED:
            return problem(
                MODEL,
                "reachable",
                f"Bedrock in {region} does not let these keys list its profiles ({code})",
                "allow bedrock:ListInferenceProfiles and bedrock:InvokeModel* (infra/worker.yml)",
            )
        return problem(
            MODEL,
            "reachable",
            f"Bedrock in {region} refuses: {code}",
            "check the BEDROCK_* keys and BEDROCK_REGION",
        )
    except BotoCoreError as exc:
        return problem(
            MODEL,
            "reachable",
            f"Bedrock in {region} does not answer: {exc}",
            "check the network's way there, and BEDROCK_REGION",
        )
    return ok(MODEL, "reachable", f"Bedrock in {region} answers to these keys")
