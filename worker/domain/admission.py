"""Is this message a job? Authorized, well-formed, in its own group, within the policy."""

from dataclasses import dataclass

from contracts import InvalidRequest, JobRequest, message_group_id, session_key
from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE
from worker.domain.access import Producer, outside_window, senders
from worker.domain.attachment import check_request
from worker.domain.job import Job
from worker.domain.message import InboundMessage
from worker.domain.policy import Policy, RefusedOptionError, narrow
from worker.domain.tenancy import policy_of


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
    """Authorize, parse, check the sender's rights, the message group and the options, in this
    order.
    """
    sent_by = _senders(message, policy)
    if isinstance(sent_by, Rejection):
        return sent_by
    try:
        request = JobRequest.parse(message.body)
    except InvalidRequest as exc:
        return Rejection(message.fallback_job_id, exc.code, str(exc))
    if sent_by is not None and not any(
        sender.may_write(request.tenant_id, request.chat_id) for sender in sent_by
    ):
        # As a stranger's: a job id that it names may be another bot's.
        return Rejection(
            f"sqs-{message.message_id}",
            "chat_not_allowed",
            f"the producer {sent_by[0].name!r} may not write to chat {request.chat_id!r} of tenant "
            f"{request.tenant_id!r}; send it with a key that may, or add it to PRODUCERS",
        )
    job_id = request.job_id or message.fallback_job_id
    source = request.fork_of
    if (
        sent_by is not None
        and source is not None
        and not any(sender.may_write(request.tenant_id, source.chat_id) for sender in sent_by)
    ):
        return no_source(job_id, request)
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
        own = policy_of(policy, request.tenant_id)
        spec = narrow(own, request)
        check_request(request, own.attachments)
    except RefusedOptionError as exc:
        return Rejection(job_id, exc.code, str(exc), request)
    return Job(
        job_id=job_id,
        session_key=session_key(request.chat_id, request.thread_id, request.tenant_id),
        request=request,
        spec=spec,
        dead_letter_attempt=message.dead_letter_attempt,
    )


def no_source(job_id: str, request: JobRequest) -> Rejection:
    """There is nothing to fork. The same words for what is not there and for what is not the
    sender's: they do not tell which.
    """
    return Rejection(
        job_id,
        "session_not_found",
        "fork_of: the sender has no such session: it may have ended, never been there, or be "
        "in another chat; name a chat that has one, or send session new",
        request,
    )


def _senders(message: InboundMessage, policy: Policy) -> tuple[Producer, ...] | Rejection | None:
    """Who may have sent the message; None: whoever may write to the queue (AUTH_MODE=open)."""
    if policy.auth_tokens is None:
        return None
    known = (Producer("SDK_CLIENT_AUTH_TOKEN", policy.auth_tokens), *policy.producers)
    sent_by = senders(message, known)
    if not sent_by:
        return _unauthorized(
            message,
            f"the message attribute {AUTH_TOKEN_ATTRIBUTE} or {AUTH_SIGNATURE_ATTRIBUTE} is "
            "missing or not valid; send a token of SDK_CLIENT_AUTH_TOKEN or PRODUCERS, or sign "
            "with it",
        )
    apart = outside_window(message, policy.signature_window_seconds)
    if apart is not None:
        return _unauthorized(
            message,
            f"the message was sent {apart:.0f} s from the time in its {AUTH_SIGNATURE_ATTRIBUTE}, "
            f"and {policy.signature_window_seconds:g} s are allowed (SIGNATURE_WINDOW_SECONDS); "
            "sign each message anew when you send it",
        )
    return sent_by


def _unauthorized(message: InboundMessage, error: str) -> Rejection:
    return Rejection(f"sqs-{message.message_id}", "unauthorized", error)
