"""The CloudFormation stack of the worker's resources, created on the emulator."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from worker.local.errors import LocalStackError
from worker.local.ministack import ACCESS_KEY, REGION

STACK_NAME = "agent-worker"
_COMPLETE = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
_CREATION_SECONDS = 60.0
_POLL_SECONDS = 0.1


def ensure_stack(
    endpoint_url: str, template: Path, parameters: Mapping[str, str]
) -> dict[str, str]:
    """Create the stack if it does not exist yet; return its outputs by name.

    Raises:
        LocalStackError: the template is missing or refused, or a resource could not be created.
    """
    try:
        body = template.read_text()
    except OSError as exc:
        raise LocalStackError(f"the template {template} cannot be read: {exc.strerror}") from exc
    client = _client(endpoint_url)
    if _described(client) is None:
        _create(client, body, template, parameters)
    deadline = time.monotonic() + _CREATION_SECONDS
    while (stack := _described(client) or {}).get("StackStatus") not in _COMPLETE:
        status = str(stack.get("StackStatus"))
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            raise LocalStackError(
                f"the stack of {template} could not be created ({status}):\n{_reasons(client)}"
            )
        time.sleep(_POLL_SECONDS)
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs") or []}
    if not outputs:
        raise LocalStackError(f"the template {template} has no outputs: the worker needs them")
    return outputs


def _create(client: BaseClient, body: str, template: Path, parameters: Mapping[str, str]) -> None:
    try:
        client.create_stack(
            StackName=STACK_NAME,
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    except (ClientError, ParamValidationError) as exc:
        raise LocalStackError(f"the template {template} was refused: {exc}") from exc


def _described(client: BaseClient) -> dict[str, Any] | None:
    try:
        stacks = client.describe_stacks(StackName=STACK_NAME)["Stacks"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] == "ValidationError":  # CloudFormation's "does not exist"
            return None
        raise
    return dict(stacks[0])


def _reasons(client: BaseClient) -> str:
    events = client.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    failed = [
        f"  {event['LogicalResourceId']} ({event['ResourceType']}): "
        f"{event.get('ResourceStatusReason') or 'no reason given'}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    return "\n".join(failed) or "  no resource failed"


def _client(endpoint_url: str) -> BaseClient:
    client: BaseClient = boto3.client(
        "cloudformation",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=ACCESS_KEY,
        config=Config(proxies={}),  # a proxy has no way to this loopback
    )
    return client
