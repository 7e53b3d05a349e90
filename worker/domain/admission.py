"""Is this message a job? Authorized, well-formed, in its own group, within the policy."""

from dataclasses import dataclass

from contracts import InvalidRequest, JobRequest, message_group_id, session_key
from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE, authorized
from worker.domain.job import Job
from worker.domain.message import InboundMessage
from worker.domain.policy import Policy, RefusedOptionError, narrow


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a message is not a job: `reason` is a code of the contract, `error` tells what to do.

    `request` is what could be read of it; None before it was authorized and parsed, so that a
    stranger's message can claim no job id and no chat.
    """

    job_id: str
    reason: str
    error: str
    request: JobRequest | None = None


def admit(message: InboundMessage, policy: Policy) -> Job | Rejection:
    """Authorize, parse, check the message group and the options, in this order."""
    if policy.auth_tokens is not None and not authorized(
        message.body,
        token=message.attributes.get(AUTH_TOKEN_ATTRIBUTE),
        signature=message.attributes.get(AUTH_SIGNATURE_ATTRIBUTE),
        secrets=policy.auth_tokens,
    ):
        return Rejection(
            f"sqs-{message.message_id}",
            "unauthorized",
            f"the message attribute {AUTH_TOKEN_ATTRIBUTE} or {AUTH_SIGNATURE_ATTRIBUTE} is "
            "missing or not valid; send a token of SDK_CLIENT_AUTH_TOKEN, or sign with it",
        )
    try:
        request = JobRequest.parse(message.body)
    except InvalidRequest as exc:
        return Rejection(message.fallback_job_id, exc.code, str(exc))
    job_id = request.job_id or message.fallback_job_id
    group = message_group_id(request.chat_id, request.thread_id, request.tenant_id)
    # A dead letter that SQS itself sends back has lost its place in the order, and the chat's lease
    # keeps its turn apart from others.
    if message.group_id != group and not message.is_dead_letter:
        return Rejection(
            job_id,
            "group_mismatch",
            f"MessageGroupId is {message.group_id!r} but this chat and thread belong to {group!r}: "
            "in another group the turn could run beside the chat's own; send it with that group",
            request,
        )
    try:
        spec = narrow(policy, request)
    except RefusedOptionError as exc:
        return Rejection(job_id, exc.code, str(exc), request)
    return Job(
        job_id=job_id,
        session_key=session_key(request.chat_id, request.thread_id, request.tenant_id),
        request=request,
        spec=spec,
        dead_letter_attempt=message.dead_letter_attempt,
    )
