"""The AsyncAPI 3 document: which messages travel where, made from the models."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE
from contracts.request import JobRequest
from contracts.webhook_events import WebhookTestEvent
from contracts.webhooks import (
    WEBHOOK_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
)

VERSION: Final = "1.0.0"
"""Of the messages: raised with their forms, not with each release."""

Json = dict[str, Any]

_ATTRIBUTES: Final = ("type", "tenant", "status")
"""SNS message attributes of an event, for filter policies."""

_WEBHOOK_HEADERS: Final = (
    WEBHOOK_ID_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
)

_NOT_PUBLISHED: Final = frozenset({WebhookTestEvent.__name__})
"""Sent to one subscription, and nowhere else."""


def document(events: Sequence[type[BaseModel]], generator: type[GenerateJsonSchema]) -> Json:
    """The document, from the worker's side: it receives requests and sends events."""
    schemas = _schemas(events, generator)
    event_types = {event.__name__: event.model_fields["type"].default for event in events}
    references = {name: {"$ref": f"#/components/messages/{name}"} for name in event_types}
    published = {name: ref for name, ref in references.items() if name not in _NOT_PUBLISHED}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "agent-worker",
            "version": VERSION,
            "description": "A bot sends chat messages as jobs; the worker runs an agent's turn for "
            "each, and tells what came of it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "jobs": {
                "address": None,
                "description": "The FIFO job queue (QUEUE_URL). One message group for each chat "
                "and thread; the deduplication id is the job's.",
                "messages": {"JobRequest": {"$ref": "#/components/messages/JobRequest"}},
                "bindings": {"sqs": {"queue": {"name": "jobs", "fifoQueue": True}}},
            },
            "resultTopic": {
                "address": None,
                "description": "The SNS topic of events (RESULT_TOPIC_ARN). The message attributes "
                f"{', '.join(_ATTRIBUTES)} are for filter policies.",
                "messages": published,
                "bindings": {"sns": {"name": "results"}},
            },
            "eventBus": {
                "address": None,
                "description": "The EventBridge bus of events (EVENT_BUS_NAME): the same body as "
                "`detail`; `detail-type` is the event's type.",
                "messages": published,
            },
            "webhooks": {
                "address": None,
                "description": "The URL of each webhook subscription that wants the event, signed "
                f"after Standard Webhooks: the headers {', '.join(_WEBHOOK_HEADERS)}.",
                "messages": references,
                "bindings": {"http": {}},
            },
        },
        "operations": {
            "takeJobs": {
                "action": "receive",
                "channel": {"$ref": "#/channels/jobs"},
                "summary": "Take a chat's messages, in the order sent.",
            },
            "publishEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/resultTopic"},
                "summary": "Tell each event at least once; a repeat has the same id.",
            },
            "putEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/eventBus"},
                "summary": "Tell each event at least once; a repeat has the same id.",
            },
            "deliverWebhooks": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhooks"},
                "summary": "Post each event until it is answered with 2xx, for about 75 hours.",
                "bindings": {"http": {"method": "POST"}},
            },
        },
        "components": {
            "messages": {
                "JobRequest": {
                    "title": "A chat message for the agent",
                    "contentType": "application/json",
                    "headers": _attributes(AUTH_TOKEN_ATTRIBUTE, AUTH_SIGNATURE_ATTRIBUTE),
                    "payload": {"$ref": "#/components/schemas/JobRequest"},
                },
                **{
                    name: {
                        "name": event_type,
                        "title": schemas[name]["description"],
                        "contentType": "application/cloudevents+json",
                        "headers": _attributes(*_ATTRIBUTES),
                        "payload": {"$ref": f"#/components/schemas/{name}"},
                    }
                    for name, event_type in event_types.items()
                },
            },
            "schemas": schemas,
        },
    }


def _schemas(events: Sequence[type[BaseModel]], generator: type[GenerateJsonSchema]) -> Json:
    """Every form by its name; requests as they are read, events as they are written."""
    _, defined = models_json_schema(
        [(JobRequest, "validation"), *((event, "serialization") for event in events)],
        ref_template="#/components/schemas/{model}",
        schema_generator=generator,
    )
    found: Json = defined["$defs"]
    return found


def _attributes(*names: str) -> Json:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}
