"""A request as the message that SQS takes."""

import json
from typing import Any

from contracts.addressing import deduplication_id, message_group_id
from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE, sign
from contracts.errors import InvalidRequest
from contracts.fields import MAX_MESSAGE_BYTES, too_large
from contracts.request import JobRequest


def build_message(
    request: JobRequest,
    *,
    timestamp: int,
    token: str | None = None,
    hmac_secret: str | None = None,
) -> dict[str, Any]:
    """The arguments of SQS SendMessage for a request that has a job_id, without QueueUrl.

    `timestamp` is the time of signing in Unix seconds. Raises InvalidRequest when the message,
    attributes included, is larger than SQS takes.
    """
    if request.job_id is None:
        raise ValueError("the request has no job_id; give it one")
    body = _encoded(request)
    attributes = {}
    if token:
        attributes[AUTH_TOKEN_ATTRIBUTE] = token
    if hmac_secret:
        attributes[AUTH_SIGNATURE_ATTRIBUTE] = sign(body, hmac_secret, timestamp)
    size = len(body.encode()) + sum(
        len(f"{name}String{value}".encode()) for name, value in attributes.items()
    )
    if size > MAX_MESSAGE_BYTES:
        raise InvalidRequest("invalid_request", [too_large("message", size)])
    return {
        "MessageBody": body,
        "MessageGroupId": message_group_id(request.chat_id, request.thread_id, request.tenant_id),
        "MessageDeduplicationId": deduplication_id(request.job_id),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }


def _encoded(request: JobRequest) -> str:
    """The request as JSON, without what is at its default: a worker older than this client knows
    all that it is sent. U+FFFE and U+FFFF are escaped: SQS takes no message that holds them.
    """
    fields = request.model_dump(mode="json", exclude_defaults=True)
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
