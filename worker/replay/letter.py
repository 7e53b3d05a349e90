"""A dead letter as an operator sees it, whoever put it into the queue: the worker, with its
reason; or SQS's own redrive, without one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from contracts import InvalidRequest, JobRequest, message_group_id, session_key
from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE, authorized
from worker.domain.message import (
    DEAD_LETTER_ATTEMPT_ATTRIBUTE,
    DEAD_LETTER_ERROR_ATTRIBUTE,
    DEAD_LETTER_ORIGIN_ATTRIBUTE,
    DEAD_LETTER_REASON_ATTRIBUTE,
    JOB_ID_ATTRIBUTE,
    ORIGINAL_MESSAGE_ID_ATTRIBUTE,
    InboundMessage,
)

REDRIVEN = "redriven_by_sqs"
"""The reason of a letter that SQS itself moved here, after too many deliveries."""

UNTRUSTED = frozenset({"unauthorized", "chat_not_allowed"})
"""Reasons of letters whose sender had no right to send them."""

SECRET_ATTRIBUTES = frozenset({AUTH_TOKEN_ATTRIBUTE, AUTH_SIGNATURE_ATTRIBUTE})

_OF_A_LETTER = frozenset(
    {
        DEAD_LETTER_REASON_ATTRIBUTE,
        DEAD_LETTER_ERROR_ATTRIBUTE,
        DEAD_LETTER_ATTEMPT_ATTRIBUTE,
        DEAD_LETTER_ORIGIN_ATTRIBUTE,
        *SECRET_ATTRIBUTES,
    }
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a letter comes from, kept with it when it is put into the queue anew.

    `group` is the message group it was first sent to; `letter_id` and `since` (epoch seconds) are
    of its first copy in the dead-letter queue; `version` counts its edits. `authentic`: a worker
    found its sender authorized, or its own token is good.
    """

    group: str
    letter_id: str
    since: float
    version: int = 0
    authentic: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Letter:
    """One message of the dead-letter queue, without its token or signature.

    `message_id`, `group_id` and `sent_at` are SQS's, of this copy. A copy that was edited or put
    back from the archive has the `id` of the first one.
    """

    message_id: str
    group_id: str
    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)
    sent_at: float
    deduplication_id: str = ""
    receipt_handle: str = field(default="", repr=False, compare=False)
    moved: bool = False
    token_good: bool = False

    @classmethod
    def of(
        cls, message: InboundMessage, *, moved: bool = False, tokens: tuple[str, ...] | None = None
    ) -> Self:
        """A message as it was read. `tokens` are those that are valid; None: none is needed."""
        return cls(
            message_id=message.message_id,
            group_id=message.group_id,
            body=message.body,
            attributes={
                name: text
                for name, text in message.attributes.items()
                if name not in SECRET_ATTRIBUTES
            },
            sent_at=message.sent_at,
            deduplication_id=message.deduplication_id,
            receipt_handle=message.receipt_handle,
            moved=moved,
            token_good=tokens is None
            or authorized(
                message.body,
                token=message.attributes.get(AUTH_TOKEN_ATTRIBUTE),
                signature=message.attributes.get(AUTH_SIGNATURE_ATTRIBUTE),
                secrets=tokens,
            ),
        )

    @cached_property
    def origin(self) -> Origin:
        text = "" if self.moved else self.attributes.get(DEAD_LETTER_ORIGIN_ATTRIBUTE, "")
        given = _object(text)
        since, version = given.get("since"), given.get("version")
        authentic = self.token_good if self.redriven else self.reason not in UNTRUSTED
        return Origin(
            group=str(given.get("group") or self.group_id),
            letter_id=str(given.get("letter_id") or self.message_id),
            since=float(since) if isinstance(since, int | float) else self.sent_at,
            version=version if isinstance(version, int) else 0,
            authentic=given.get("authentic", authentic) is True,
        )

    @property
    def id(self) -> str:
        return self.origin.letter_id

    @property
    def since(self) -> float:
        """When it became a dead letter, in epoch seconds."""
        return self.origin.since

    @property
    def redriven(self) -> bool:
        """Moved here by SQS itself, or once moved and put back since."""
        return self.moved or DEAD_LETTER_REASON_ATTRIBUTE not in self.attributes

    @property
    def reason(self) -> str:
        return REDRIVEN if self.redriven else self.attributes[DEAD_LETTER_REASON_ATTRIBUTE]

    @property
    def error(self) -> str:
        if self.redriven:
            return "too many deliveries: no worker has finished it"
        return self.attributes.get(DEAD_LETTER_ERROR_ATTRIBUTE, "")

    @property
    def attempt(self) -> int | None:
        """The attempt that failed; 0: it never ran; None: unknown."""
        return self.as_message().dead_letter_attempt

    @cached_property
    def request(self) -> JobRequest | InvalidRequest:
        """The body as the contract reads it, or what is wrong with it."""
        try:
            return JobRequest.parse(self.body)
        except InvalidRequest as exc:
            return exc

    @property
    def job_id(self) -> str:
        """The job that the message would run as."""
        return self.job_ids[0]

    @cached_property
    def job_ids(self) -> tuple[str, ...]:
        """The job ids it may have: the second, if any, is another candidate of a redriven one.

        SQS's own move gives a message a new id and keeps the old one as its deduplication id; a
        producer may have chosen a deduplication id that looks alike.
        """
        if isinstance(self.request, JobRequest) and self.request.job_id:
            return (self.request.job_id,)
        message = self.as_message()
        earlier = message.earlier_job_id if self.redriven else None
        own = message.fallback_job_id
        return (own,) if earlier is None else (earlier, own)

    @property
    def recorded_job_id(self) -> str:
        """The job that the worker recorded the failure for. Another than `job_id` when the message
        claims an id that belongs to another chat.
        """
        return self.attributes.get(JOB_ID_ATTRIBUTE) or self.job_id

    @property
    def names(self) -> frozenset[str]:
        """What an operator may call it by: its ids, and those of the jobs it was or would be."""
        claimed = _object(self.body).get("job_id")
        named = {self.id, self.message_id, self.job_id, self.recorded_job_id}
        return frozenset(named | ({claimed} if isinstance(claimed, str) else set()))

    @property
    def chat(self) -> str:
        """The message group of its chat, such as "123" or "acme/123:456"."""
        request = self.request
        if isinstance(request, JobRequest):
            return message_group_id(request.chat_id, request.thread_id, request.tenant_id)
        return self.origin.group

    @property
    def session_key(self) -> str | None:
        """The key of its chat's row; None when the chat cannot be read."""
        request = self.request
        if isinstance(request, JobRequest):
            return session_key(request.chat_id, request.thread_id, request.tenant_id)
        return None

    @property
    def tenant(self) -> str | None:
        return self.request.tenant_id if isinstance(self.request, JobRequest) else None

    def as_message(self) -> InboundMessage:
        return InboundMessage(
            self.message_id,
            self.group_id,
            self.body,
            self.attributes,
            deduplication_id=self.deduplication_id,
        )

    def as_job(self, job_id: str) -> "Letter":
        """The same letter, known to be of this job."""
        if job_id == self.job_id:
            return self
        return replace(self, attributes={**self.attributes, JOB_ID_ATTRIBUTE: job_id})

    def edited(self, body: str) -> "Letter":
        """Its next version."""
        return replace(self, body=body).stamped(version=self.origin.version + 1)

    def stamped(self, version: int | None = None) -> "Letter":
        """Itself with all of its origin in an attribute, so that another copy tells it, too."""
        origin = self.origin if version is None else replace(self.origin, version=version)
        ids = {
            JOB_ID_ATTRIBUTE: self.recorded_job_id,
            ORIGINAL_MESSAGE_ID_ATTRIBUTE: self.attributes.get(
                ORIGINAL_MESSAGE_ID_ATTRIBUTE, self.message_id
            ),
        }
        own = self.attributes
        if self.moved:  # a stranger could have written a reason into them
            own = {name: text for name, text in own.items() if name not in _OF_A_LETTER}
        attributes = {**ids, **own, DEAD_LETTER_ORIGIN_ATTRIBUTE: origin.to_json()}
        return replace(self, attributes=attributes)

    def outgoing_attributes(self, job_id: str, attempt: int | None) -> dict[str, str]:
        """Attributes of the message that replays it: the producer's own, the job, and the attempt
        that the replay is for, without which a failed job does not run again.
        """
        kept = {n: text for n, text in self.attributes.items() if n not in _OF_A_LETTER}
        kept[JOB_ID_ATTRIBUTE] = job_id
        kept.setdefault(ORIGINAL_MESSAGE_ID_ATTRIBUTE, self.message_id)
        if attempt is not None:
            kept[DEAD_LETTER_ATTEMPT_ATTRIBUTE] = str(attempt)
        return kept


def fingerprint(reason: str, error: str) -> str:
    """A short name of a kind of failure: equal for errors that differ only in ids, numbers and
    quoted values.
    """
    return hashlib.sha256(f"{reason}\n{_shape(error)}".encode()).hexdigest()[:6]


_VARYING = (
    (re.compile(r"'[^']*'|\"[^\"]*\""), "'…'"),
    (re.compile(r"\b(?=[\w.:-]*\d)[\w.:-]+"), "#"),
)


def _shape(error: str) -> str:
    for pattern, stand_in in _VARYING:
        error = pattern.sub(stand_in, error)
    return error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
