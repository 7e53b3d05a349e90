"""The envelope of every event: CloudEvents 1.0, with the extensions that the worker's events carry.

`sequence` is CloudEvents' Sequence extension: text whose alphabetical order is the order of a job's
events, over all its attempts.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from contracts.addressing import event_id
from contracts.fields import JsonObject, Text

EVENT_SOURCE = "/agent-worker"

READER = ConfigDict(
    defer_build=True,  # a worker's start needs no event yet
    strict=True,
    frozen=True,
    extra="ignore",
    hide_input_in_errors=True,
    json_schema_serialization_defaults_required=True,
)
"""Of every model inside an event: what a later version has added is ignored."""

Time = Annotated[
    AwareDatetime, Field(strict=False), AfterValidator(lambda time: time.astimezone(UTC))
]

LAST_NUMBER: Final = 999_999
"""The number, within its attempt, of the event that ends a job. Others count from 1."""

SEQUENCE_PATTERN: Final = r"^[0-9]{12}$"


def sequence(attempt: int, number: int = LAST_NUMBER) -> str:
    """The place of an event among its job's: six digits of the attempt, six of its number there.

    Each delivery that runs, and each slice of a long turn, is an attempt of its own, so the order
    of these texts (and of the numbers that they are) is the order of the events. Without a number
    it is the last of its attempt.
    """
    return f"{min(attempt, LAST_NUMBER):06d}{min(number, LAST_NUMBER):06d}"


Data = TypeVar("Data", bound=BaseModel)

# CloudEvents has no null attributes: one without a value is left out.
_Extension = Annotated[
    str | None,
    Field(
        exclude_if=lambda value: value is None,
        json_schema_extra=lambda schema: schema.pop("default"),
    ),
]
_Text = Annotated[_Extension, WithJsonSchema({"type": "string"})]
_Sequence = Annotated[_Extension, WithJsonSchema({"type": "string", "minLength": 1})]

TYPE = "What happened."
DATASCHEMA = "Name and version of the form of `data`."


class CloudEvent(BaseModel, Generic[Data]):
    """A CloudEvents 1.0 envelope around one kind of data."""

    model_config = READER

    specversion: Literal["1.0"] = Field(default="1.0", description="Version of CloudEvents.")
    id: Annotated[str, Field(min_length=1)] = Field(
        description="job_id/outcome, or job_id/kind/sequence on the way there. The same event "
        "published again has the same id."
    )
    source: str = Field(default=EVENT_SOURCE, description="Who says so.")
    type: str = Field(description=TYPE)
    subject: str = Field(description="What it is about: the job's id.")
    time: Time = Field(description="When it became true: RFC 3339, UTC.")
    datacontenttype: str = Field(default="application/json", description="Media type of data.")
    dataschema: str = Field(description=DATASCHEMA)
    tenantid: _Text = Field(default=None, description="The tenant, if known.")
    traceparent: _Text = Field(
        default=None, description="W3C Trace Context of the request, if it had one."
    )
    sequence: _Sequence = Field(
        default=None,
        description="Its place among the job's events (CloudEvents' Sequence extension): "
        "compare as text. The event that ends the job has the greatest.",
    )
    data: Data = Field(description="What is told.")

    def to_json(self) -> str:
        """The event in CloudEvents' structured JSON form."""
        return self.model_dump_json()


class JobData(BaseModel):
    """What every event tells about its job."""

    model_config = READER

    job_id: str = Field(description="The job's id: of the request, or given by the worker.")
    tenant_id: str | None = Field(description="The request's tenant; null if it was not readable.")
    chat_id: str | None = Field(description="The request's chat; null if it was not readable.")
    thread_id: str | None = Field(default=None, description="The request's thread, or null.")
    is_error: bool = Field(description="Whether something is wrong; then error_message says what.")
    error_message: Text | None = Field(
        default=None, description="What was wrong and what to do, for people; null if nothing."
    )
    metadata: JsonObject = Field(default_factory=dict, description="The request's, unchanged.")


OfJob = TypeVar("OfJob", bound=JobData)


class JobEvent(CloudEvent[OfJob], Generic[OfJob]):
    """An event about a job."""

    @classmethod
    def of(
        cls,
        data: OfJob,
        *,
        time: datetime,
        traceparent: str | None = None,
        number: int | None = None,
    ) -> Self:
        """The event that tells `data`, which became true at `time` (with a time zone).

        `number` is its place in the job's attempt, counted from 1; None for what ends the job. The
        same arguments give the same event, byte for byte.
        """
        event_type: str = cls.model_fields["type"].default
        attempt = getattr(data, "attempt", 0)
        place = sequence(attempt) if number is None else sequence(attempt, number)
        name = event_id(data.job_id, event_type)
        return cls(
            id=name if number is None else f"{name}/{place}",
            type=event_type,
            subject=data.job_id,
            time=time,
            dataschema=cls.model_fields["dataschema"].default,
            tenantid=data.tenant_id,
            traceparent=traceparent,
            sequence=place,
            data=data,
        )
