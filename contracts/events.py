"""The events: what the worker tells about a job, as CloudEvents 1.0 in structured JSON.

Readers ignore fields that they do not know, so that a later version may add some.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import to_json

from contracts.addressing import event_id
from contracts.errors import InvalidEvent
from contracts.fields import Json, JsonObject, Text, decode, utf8

EVENT_SOURCE = "/agent-worker"

_READER = ConfigDict(
    strict=True,
    frozen=True,
    extra="ignore",
    hide_input_in_errors=True,
    json_schema_serialization_defaults_required=True,
)

_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[
    AwareDatetime, Field(strict=False), AfterValidator(lambda time: time.astimezone(UTC))
]
_Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ResponseRef(BaseModel):
    """Where the whole response is, when it is too large to travel in the event."""

    model_config = _READER

    bucket: str = Field(description="S3 bucket.")
    key: str = Field(description="S3 key.")
    size: _Count = Field(description="Bytes of the whole response in UTF-8.")
    url: str | None = Field(
        default=None, description="Presigned URL; it stops working long before the object goes."
    )


class JobData(BaseModel):
    """What every event tells about its job."""

    model_config = _READER

    job_id: str = Field(description="The job's id: of the request, or given by the worker.")
    tenant_id: str | None = Field(description="The request's tenant; null if it was not readable.")
    chat_id: str | None = Field(description="The request's chat; null if it was not readable.")
    thread_id: str | None = Field(default=None, description="The request's thread, or null.")
    is_error: bool = Field(description="Whether something is wrong; then error_message says what.")
    error_message: Text | None = Field(
        default=None, description="What was wrong and what to do, for people; null if nothing."
    )
    metadata: JsonObject = Field(default_factory=dict, description="The request's, unchanged.")


class JobOutcome(JobData):
    """What a turn's result tells, whether it completed or failed."""

    tenant_id: str = Field(description="The request's tenant.")
    chat_id: str = Field(description="The request's chat.")
    response: Text = Field(
        default="",
        repr=False,
        description="The agent's answer; its beginning only if there is a response_ref.",
    )
    response_ref: ResponseRef | None = Field(
        default=None, description="Where the whole response is, if it was too large; else null."
    )
    session_id: str | None = Field(default=None, description="The agent's session of the chat.")
    session_status: Literal["new", "continued", "reset"] | None = Field(
        default=None,
        description="Whether the turn began a session, continued one, or had to replace one.",
    )
    session_note: Text | None = Field(
        default=None, description="Why the session was reset; null if it was not."
    )
    model: str | None = Field(default=None, description="The model that was asked for.")
    cost_usd: _Cost = Field(default=0.0, description="Cost of the turn in US dollars.")
    num_turns: _Count = Field(default=0, description="Model calls in the turn.")
    stop_reason: Text | None = Field(
        default=None, description="Why the turn ended: end_turn, max_turns, timeout, ..."
    )
    structured_output: Json = Field(
        default=None, description="The answer in the form of options.output_schema, or null."
    )
    usage: JsonObject = Field(default_factory=dict, description="Tokens, as the model counts them.")
    duration_ms: _Count = Field(default=0, description="Length of the turn in milliseconds.")
    attempt: int = Field(ge=1, description="Which attempt this was, counted from 1.")


class JobCompleted(JobOutcome):
    """The turn took place and the session holds it. With is_error it ended early, at a limit."""

    is_error: bool = Field(default=False, description="Whether the turn ended early.")
    session_id: str = Field(description="The agent's session of the chat.")
    session_status: Literal["new", "continued", "reset"] = Field(
        description="Whether the turn began a session, continued one, or had to replace one."
    )
    model: str = Field(description="The model that was asked for.")


class JobFailed(JobOutcome):
    """All attempts failed. The session is as it was before; the message is in the DLQ."""

    is_error: Literal[True] = Field(default=True, description="Always true.")
    error_message: Text = Field(description="What went wrong, for people.")
    error_code: _Code = Field(
        description="What went wrong: model_unavailable, timeout, attempts_exhausted, ...",
        examples=["model_unavailable"],
    )


class JobRejected(JobData):
    """The message is not a job that this worker takes. Nothing ran; the message is in the DLQ."""

    is_error: Literal[True] = Field(default=True, description="Always true.")
    tenant_id: str | None = Field(
        default=None, description="The request's tenant; null if it was not readable."
    )
    chat_id: str | None = Field(
        default=None, description="The request's chat; null if it was not readable."
    )
    error_message: Text = Field(description="What is wrong and what to do, for people.")
    reason: _Code = Field(
        description="Why: invalid_json, invalid_request, unauthorized, group_mismatch, "
        "model_not_allowed, option_not_allowed or job_id_conflict.",
        examples=["invalid_request"],
    )
    message_id: str = Field(description="The SQS message's id.")


Data = TypeVar("Data", bound=JobData)

# CloudEvents has no null attributes: one without a value is left out.
_Extension = Annotated[
    str | None,
    Field(
        exclude_if=lambda value: value is None,
        json_schema_extra=lambda schema: schema.pop("default"),
    ),
    WithJsonSchema({"type": "string"}),
]


_TYPE = "What happened."
_DATASCHEMA = "Name and version of the form of `data`."


class CloudEvent(BaseModel, Generic[Data]):
    """A CloudEvents 1.0 envelope around one kind of data."""

    model_config = _READER

    specversion: Literal["1.0"] = Field(default="1.0", description="Version of CloudEvents.")
    id: Annotated[str, Field(min_length=1)] = Field(
        description="job_id/outcome. The same event published again has the same id."
    )
    source: str = Field(default=EVENT_SOURCE, description="Who says so.")
    type: str = Field(description=_TYPE)
    subject: str = Field(description="The job's id.")
    time: _Time = Field(description="When the outcome was committed: RFC 3339, UTC.")
    datacontenttype: str = Field(default="application/json", description="Media type of data.")
    dataschema: str = Field(description=_DATASCHEMA)
    tenantid: _Extension = Field(default=None, description="The tenant, if known.")
    traceparent: _Extension = Field(
        default=None, description="W3C Trace Context of the request, if it had one."
    )
    data: Data = Field(description="The outcome.")

    @classmethod
    def of(cls, data: Data, *, time: datetime, traceparent: str | None = None) -> Self:
        """The event that tells `data`, which became true at `time` (with a time zone).

        The same arguments give the same event, byte for byte.
        """
        event_type: str = cls.model_fields["type"].default
        return cls(
            id=event_id(data.job_id, event_type),
            type=event_type,
            subject=data.job_id,
            time=time,
            dataschema=cls.model_fields["dataschema"].default,
            tenantid=data.tenant_id,
            traceparent=traceparent,
            data=data,
        )

    def to_json(self) -> str:
        """The event in CloudEvents' structured JSON form."""
        return self.model_dump_json()


class JobCompletedEvent(CloudEvent[JobCompleted]):
    """A turn took place: `data.response` is the agent's answer."""

    type: Literal["agent.job.completed"] = Field(default="agent.job.completed", description=_TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-completed:1", description=_DATASCHEMA
    )


class JobFailedEvent(CloudEvent[JobFailed]):
    """A job ran and failed for good."""

    type: Literal["agent.job.failed"] = Field(default="agent.job.failed", description=_TYPE)
    dataschema: str = Field(default="urn:agent-worker:schema:job-failed:1", description=_DATASCHEMA)


class JobRejectedEvent(CloudEvent[JobRejected]):
    """A message was refused before anything ran."""

    type: Literal["agent.job.rejected"] = Field(default="agent.job.rejected", description=_TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-rejected:1", description=_DATASCHEMA
    )


Event = JobCompletedEvent | JobFailedEvent | JobRejectedEvent

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


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
