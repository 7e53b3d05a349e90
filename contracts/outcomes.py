"""How a job ends: completed, failed, rejected or cancelled, and the events that tell so."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from contracts.envelope import DATASCHEMA, READER, TYPE, JobData, JobEvent, Time
from contracts.fields import Json, JsonObject, Text

_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
SessionStatus = Literal["new", "continued", "forked", "reset"]
_Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ResponseRef(BaseModel):
    """Where the whole response is, when it is too large to travel in the event."""

    model_config = READER

    bucket: str = Field(description="S3 bucket.")
    key: str = Field(description="S3 key.")
    size: _Count = Field(description="Bytes of the whole response in UTF-8.")
    url: str | None = Field(
        default=None, description="Presigned URL; it stops working long before the object goes."
    )


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
    session_status: SessionStatus | None = Field(
        default=None,
        description="Whether the turn began a session, continued one, forked one, or had to "
        "replace one.",
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
    session_status: SessionStatus = Field(
        description="Whether the turn began a session, continued one, forked one, or had to "
        "replace one.",
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
        description="Why: invalid_json, invalid_request, unauthorized, chat_not_allowed, "
        "tenant_not_allowed, group_mismatch, model_not_allowed, option_not_allowed, "
        "attachment_not_allowed, session_not_found or job_id_conflict.",
        examples=["invalid_request"],
    )
    message_id: str = Field(description="The SQS message's id.")


class JobCancelled(JobOutcome):
    """The job was cancelled before it had a result. What it did before, the session holds."""

    is_error: Literal[True] = Field(default=True, description="Always true: there is no answer.")
    error_message: Text = Field(description="That it was cancelled, for people.")
    response: Text = Field(
        default="", repr=False, description="What the agent had said when it was interrupted."
    )
    started: bool = Field(description="Whether the agent had begun to work on it.")
    cancelled_by: Text | None = Field(default=None, description="Who asked for it, if told.")
    requested_at: Time | None = Field(default=None, description="When it was asked for.")


class JobCompletedEvent(JobEvent[JobCompleted]):
    """A turn took place: `data.response` is the agent's answer."""

    type: Literal["agent.job.completed"] = Field(default="agent.job.completed", description=TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-completed:1", description=DATASCHEMA
    )


class JobFailedEvent(JobEvent[JobFailed]):
    """A job ran and failed for good."""

    type: Literal["agent.job.failed"] = Field(default="agent.job.failed", description=TYPE)
    dataschema: str = Field(default="urn:agent-worker:schema:job-failed:1", description=DATASCHEMA)


class JobRejectedEvent(JobEvent[JobRejected]):
    """A message was refused before anything ran."""

    type: Literal["agent.job.rejected"] = Field(default="agent.job.rejected", description=TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-rejected:1", description=DATASCHEMA
    )


class JobCancelledEvent(JobEvent[JobCancelled]):
    """A job was cancelled: no result will come."""

    type: Literal["agent.job.cancelled"] = Field(default="agent.job.cancelled", description=TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-cancelled:1", description=DATASCHEMA
    )
