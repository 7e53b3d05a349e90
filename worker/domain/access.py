"""Who sent a message, and into which chats they may write."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from contracts.auth import (
    AUTH_SIGNATURE_ATTRIBUTE,
    AUTH_TOKEN_ATTRIBUTE,
    authorized,
    signed_at,
)
from worker.domain.message import InboundMessage


@dataclass(frozen=True, slots=True)
class Producer:
    """A bot that may send. Any of its `secrets` is its token, or signs for it; several are valid at
    once, for rotation. `tenants` and `chats` are patterns (fnmatch) of what it may write to.
    """

    name: str
    secrets: tuple[str, ...] = field(repr=False)
    tenants: tuple[str, ...] = ("*",)
    chats: tuple[str, ...] = ("*",)

    def may_write(self, tenant_id: str, chat_id: str) -> bool:
        return _matches(tenant_id, self.tenants) and _matches(chat_id, self.chats)


def senders(message: InboundMessage, known: Sequence[Producer]) -> tuple[Producer, ...]:
    """Those of the known producers whose token or signature the message carries. Every one is
    compared, so that the time taken tells nothing.
    """
    token = message.attributes.get(AUTH_TOKEN_ATTRIBUTE)
    signature = message.attributes.get(AUTH_SIGNATURE_ATTRIBUTE)
    return tuple(
        producer
        for producer in known
        if authorized(message.body, token=token, signature=signature, secrets=producer.secrets)
    )


def outside_window(message: InboundMessage, seconds: float | None) -> float | None:
    """By how many seconds the signing and the sending of a message lie apart, if that is more than
    the replay window allows; None when it is fine.

    Measured against the time at which SQS took the message (SentTimestamp) and not against now: a
    message may rightly wait in the queue for days, but a copy that is sent again is sent later.
    """
    signature = message.attributes.get(AUTH_SIGNATURE_ATTRIBUTE)
    if seconds is None or signature is None:
        return None
    apart = abs(message.sent_at - (signed_at(signature) or 0))
    return apart if apart > seconds else None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
