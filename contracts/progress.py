"""What a job tells while it runs, if its request asks for it: `progress` is "steps" or "text".

Progress is best effort: an event may be late, or missing; the one that ends the job is not. Each
text is whole, so a reader needs no earlier one.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from contracts.envelope import DATASCHEMA, TYPE, JobData, JobEvent
from contracts.fields import Text

MAX_PROGRESS_TEXT: Final = 8000
"""Characters of text in one progress event: with 4 bytes each, one unit of SNS's and EventBridge's
prices (64 KB)."""

MAX_SUMMARY: Final = 120

_Count = Annotated[int, Field(ge=0)]


class _Running(JobData):
    """A job that is on its way."""

    tenant_id: str = Field(description="The request's tenant.")
    chat_id: str = Field(description="The request's chat.")
    is_error: Literal[False] = Field(default=False, description="Always false.")
    attempt: int = Field(ge=1, description="Which attempt this is, counted from 1.")


class JobStarted(_Running):
    """A worker has taken the job. One for each attempt, and for each slice of a long turn."""

    model: str = Field(description="The model that was asked for.")


class JobProgress(_Running):
    """The agent called a tool (kind "tool"), or has written more of its text (kind "text")."""

    kind: Literal["tool", "text"] = Field(description="Which of the two.")
    tool: Text | None = Field(default=None, description="Name of the tool; null for a text.")
    summary: Text | None = Field(
        default=None,
        description="The call in a few words, such as Read notes.txt. Neither contents nor what "
        "looks like a secret; null for a text.",
    )
    text: Text | None = Field(
        default=None,
        repr=False,
        description="What the agent has written in this model call so far; its end, if it is long; "
        "null for a tool.",
    )
    text_offset: _Count = Field(
        default=0, description="Characters of the same text that are left out before `text`."
    )
    num_turns: _Count = Field(description="Model calls of this attempt so far, this one included.")
    tool_calls: _Count = Field(description="Tool calls of this attempt so far.")
    elapsed_ms: _Count = Field(description="Milliseconds since this attempt began.")


class JobStartedEvent(JobEvent[JobStarted]):
    """A worker has begun with a job."""

    type: Literal["agent.job.started"] = Field(default="agent.job.started", description=TYPE)
    dataschema: str = Field(default="urn:agent-worker:schema:job-started:1", description=DATASCHEMA)


class JobProgressEvent(JobEvent[JobProgress]):
    """How far a job has come."""

    type: Literal["agent.job.progress"] = Field(default="agent.job.progress", description=TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:job-progress:1", description=DATASCHEMA
    )
