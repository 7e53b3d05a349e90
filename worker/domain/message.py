"""A message as the queue delivered it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.addressing import JOB_ID_PATTERN

_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

JOB_ID_ATTRIBUTE = "job_id"
DEAD_LETTER_REASON_ATTRIBUTE = "dead_letter_reason"
DEAD_LETTER_ERROR_ATTRIBUTE = "dead_letter_error"
DEAD_LETTER_ATTEMPT_ATTRIBUTE = "dead_letter_attempt"
DEAD_LETTER_ORIGIN_ATTRIBUTE = "dead_letter_origin"
ORIGINAL_MESSAGE_ID_ATTRIBUTE = "original_message_id"


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One delivery of one SQS message.

    Body and attributes stay out of `repr`: they carry the user's text and the auth token.
    `sent_at` is SQS's SentTimestamp in epoch seconds.
    """

    message_id: str
    group_id: str
    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    receipt_handle: str = field(default="", repr=False)
    receive_count: int = 1
    sent_at: float = 0.0
    deduplication_id: str = ""

    @property
    def fallback_job_id(self) -> str:
        """The job id of a message whose producer gave none: kept through the DLQ and back,
        because the quarantine writes the original id into an attribute.
        """
        original = self.attributes.get(ORIGINAL_MESSAGE_ID_ATTRIBUTE, self.message_id)
        given = self.attributes.get(JOB_ID_ATTRIBUTE, "")
        return given if re.fullmatch(JOB_ID_PATTERN, given) else f"sqs-{original}"[:100]

    @property
    def earlier_job_id(self) -> str | None:
        """The job id that this message would have had before SQS itself dead-lettered it.

        SQS's own move to a dead-letter queue gives a message a new id and puts the original one
        into its deduplication id. A producer's deduplication id may look alike, so this is a
        candidate: it holds if there is such a job.
        """
        if JOB_ID_ATTRIBUTE in self.attributes or self.deduplication_id == self.message_id:
            return None
        return f"sqs-{self.deduplication_id}" if _UUID.match(self.deduplication_id) else None

    @property
    def is_dead_letter(self) -> bool:
        """A dead letter that SQS's own redrive has sent back: it still says why it died, and has
        the message group that it had in the dead-letter queue.
        """
        return DEAD_LETTER_REASON_ATTRIBUTE in self.attributes

    @property
    def dead_letter_attempt(self) -> int | None:
        """For a replayed dead letter: the attempt that failed; None for any other message."""
        value = self.attributes.get(DEAD_LETTER_ATTEMPT_ATTRIBUTE, "")
        return int(value) if re.fullmatch(r"[0-9]{1,6}", value) else None
