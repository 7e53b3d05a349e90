"""The events: what the worker tells, as CloudEvents 1.0 in structured JSON.

Readers ignore fields that they do not know, so that a later version may add some.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from contracts.errors import InvalidEvent
from contracts.fields import decode, utf8
from contracts.outcomes import (
    JobCancelledEvent,
    JobCompletedEvent,
    JobFailedEvent,
    JobRejectedEvent,
)
from contracts.progress import JobProgressEvent, JobStartedEvent
from contracts.webhook_events import WebhookDisabledEvent, WebhookTestEvent

FinalEvent = JobCompletedEvent | JobFailedEvent | JobRejectedEvent | JobCancelledEvent
"""What ends a job: each has exactly one of them."""

StreamEvent = FinalEvent | JobStartedEvent | JobProgressEvent
"""What tells about one job, as `Producer.stream` shows it."""

Event = StreamEvent | WebhookDisabledEvent | WebhookTestEvent
"""Every event. A new one is added here, and to contracts/examples/events."""

EVENTS: Final = get_args(Event)
"""Their models."""

_EVENT: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)


def parse_event(event: str | bytes | Mapping[str, Any]) -> Event:
    """Read an event: its JSON text, or the object that EventBridge hands over as `detail`.

    Raises InvalidEvent, with code "unknown_type" for an event of a later version.
    """
    raw = utf8(event) if isinstance(event, str | bytes) else to_json(event)
    try:
        value = decode(raw)
    except ValueError as exc:
        raise InvalidEvent("invalid_json", [f"event: is not JSON ({exc})"]) from exc
    try:
        return _EVENT.validate_python(value)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    unknown = errors[0]["type"] == "union_tag_invalid"
    raise InvalidEvent(
        "unknown_type" if unknown else "invalid_event",
        [f"{'.'.join(map(str, error['loc'])) or 'event'}: {error['msg']}" for error in errors],
    )
