"""What arrives on the webhook queue: an event, or a wake. Read leniently: an event of a later
version is delivered as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from contracts.fields import decode, utf8
from worker.webhooks.errors import UnreadableMessageError

MAX_ID_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """A CloudEvent, as far as delivery depends on it. `body` is what every subscriber is sent."""

    event_id: str
    type: str
    tenant: str | None
    chat: str | None
    traceparent: str | None
    body: str = field(repr=False)

    @property
    def webhook_id(self) -> str:
        """The `webhook-id` header: the same whenever the event is sent, to whomever.

        It is the event's id, percent-encoded to printable ASCII without full stops, which Standard
        Webhooks forbids where a user has a say ("Signature scheme"); a job's id is its producer's.
        """
        encoded = quote(self.event_id, safe="/:~", errors="surrogatepass").replace(".", "%2E")
        if len(encoded) <= MAX_ID_CHARACTERS:
            return encoded
        digest = hashlib.sha256(utf8(self.event_id)).hexdigest()
        return f"{encoded[:200]}~{digest}"


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliveries of this subscription are due."""

    subscription_id: str


def wake_body(subscription_id: str) -> str:
    return json.dumps({"wake": subscription_id})


def read_message(body: str) -> IncomingEvent | Wake:
    """A message of the webhook queue: an EventBridge envelope, a bare event, or a wake.

    Raises UnreadableMessageError.
    """
    try:
        value = decode(utf8(body))
    except ValueError as exc:
        raise UnreadableMessageError("invalid_json", f"body: is not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise UnreadableMessageError("invalid_event", "body: is not an object")
    if isinstance(value.get("wake"), str):
        return Wake(value["wake"])
    return read_event(value.get("detail", value))


def read_event(event: object) -> IncomingEvent:
    """An event, from what EventBridge hands over as `detail`. Raises UnreadableMessageError."""
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise UnreadableMessageError("invalid_event", "detail: is not a CloudEvent 1.0")
    for name in ("id", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise UnreadableMessageError("invalid_event", f"{name}: is missing or not a text")
    data = event.get("data")
    chat = data.get("chat_id") if isinstance(data, Mapping) else None
    return IncomingEvent(
        event_id=event["id"],
        type=event["type"],
        tenant=_text(event, "tenantid"),
        chat=chat if isinstance(chat, str) else None,
        traceparent=_text(event, "traceparent"),
        body=json.dumps(event, ensure_ascii=False, separators=(",", ":")),
    )


def _text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return value if isinstance(value, str) else None
