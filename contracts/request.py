"""The request: what a producer puts on the queue, as a model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from contracts.addressing import DEFAULT_TENANT
from contracts.attachments import MAX_ATTACHMENTS, Attachment
from contracts.errors import InvalidRequest
from contracts.fields import (
    MAX_MESSAGE_BYTES,
    ConversationId,
    JobId,
    Metadata,
    OutputSchema,
    ReadableText,
    TenantId,
    Traceparent,
    decode,
    kind,
    shown,
    too_large,
    utf8,
)

PermissionMode = Literal["default", "acceptEdits", "plan", "dontAsk", "auto", "bypassPermissions"]

MAX_PROBLEMS = 20
"""Problems that an InvalidRequest lists; the text travels in events and message attributes."""

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)

# A letter or digit first: it becomes an argument of a command line, where "-" begins an option.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,255}$")]

# A name and an optional argument. No parentheses or commas can smuggle in a second rule: the agent
# is given all of them as one comma-separated list.
ToolRule = Annotated[
    str,
    Field(
        max_length=256, pattern=r"^[A-Za-z][A-Za-z0-9_-]*(\([^()\u0000-\u001f\u007f-\u009f]+\))?$"
    ),
]

SessionId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]

# The first sentence of each description follows "send" in error texts. `repr=False` marks
# what is private: it is never shown, in a repr or in an error.


_REASONS = {
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "string_pattern_mismatch": "does not have the right form",
    "tuple_type": "should be an array",
}


class JobOptions(BaseModel):
    """How the turn runs. The worker's own limits can only be narrowed."""

    model_config = _STRICT

    permission_mode: PermissionMode | None = Field(
        default=None,
        description="One of the agent's permission modes, if the worker allows it.",
    )
    max_turns: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="A whole number of model calls from 1 to 10000. Reaching it ends the turn.",
    )
    max_budget_usd: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="An amount in US dollars above 0 and up to 10000. Reaching it ends the turn.",
    )
    allowed_tools: Annotated[tuple[ToolRule, ...], Field(strict=False)] | None = Field(
        default=None,
        max_length=64,
        description="A list of at most 64 tool rules, each like Read or Bash(git log:*). "
        "Only these tools exist in the turn; an empty list means none.",
    )
    system_prompt: ReadableText | None = Field(
        default=None,
        # It is one argument of the agent's command line: 128 KiB on Linux, 4 bytes a character.
        max_length=32_000,
        repr=False,
        description="A text of at most 32000 characters without control characters other than "
        "newline, return and tab. It is added to the deployment's system prompt.",
    )
    output_schema: OutputSchema | None = Field(
        default=None,
        repr=False,
        description="A JSON Schema as an object, at most 32 KiB and 32 levels deep. "
        "The result then has structured_output.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=43_200,
        description="A number of seconds above 0 and up to 43200. "
        "At this age the turn is interrupted and its result says so.",
    )


class ForkOf(BaseModel):
    """Another conversation of the same tenant, whose committed state a fork begins with."""

    model_config = _STRICT

    chat_id: ConversationId = Field(description="The other chat's id, of the same form as chat_id.")
    thread_id: ConversationId | None = Field(
        default=None, description="The thread's id within the other chat, or null."
    )
    session_id: SessionId | None = Field(
        default=None,
        description="The session_id of a result, or null. The other chat must still be in this "
        "session; null takes the one it is in.",
    )


class JobRequest(BaseModel):
    """One chat message for the agent: the JSON body of an SQS message.

    Its MessageGroupId is `message_group_id(chat_id, thread_id, tenant_id)`, and the whole message,
    attributes included, has at most 1 MiB.
    """

    model_config = _STRICT

    user_message: ReadableText = Field(
        repr=False,
        description="The user's text: at least one visible character, no control characters other "
        "than newline, return and tab.",
    )
    chat_id: ConversationId = Field(
        description="The chat's id: a string of 1 to 512 characters without control characters, "
        "or an integer. The turns of one chat run in order, one at a time.",
    )
    thread_id: ConversationId | None = Field(
        default=None,
        description="The thread's id within the chat, of the same form as chat_id, or null. "
        "Each thread is a conversation of its own.",
    )
    model: ModelName | None = Field(
        default=None,
        description="A model's alias (sonnet, opus, haiku) or full id, or null for the default.",
        examples=["sonnet", "claude-sonnet-4-5-20250929"],
    )
    job_id: JobId | None = Field(
        default=None,
        description="A name for this job of 1 to 100 ASCII letters, digits or ._:- characters. "
        "It is the idempotency key: however often the job is sent, it has one effect.",
    )
    tenant_id: TenantId = Field(
        default=DEFAULT_TENANT,
        description="The tenant's name of 1 to 64 ASCII letters, digits or ._- characters. "
        "Chats of different tenants are different chats.",
    )
    options: JobOptions = Field(
        default=JobOptions(), description="An object with the options of the turn."
    )
    attachments: Annotated[tuple[Attachment, ...], Field(strict=False)] = Field(
        default=(),
        max_length=MAX_ATTACHMENTS,
        repr=False,
        description="A list of at most 20 files, each an object with name, and data or key.",
    )
    session: Literal["continue", "new", "fork"] = Field(
        default="continue",
        description="Continue, new or fork. The turn continues the chat's session, starts a new "
        "one, or starts one with the state of another chat, which fork_of names.",
    )
    fork_of: ForkOf | None = Field(
        default=None,
        validate_default=True,
        description="An object with the chat_id and thread_id of another conversation, for "
        "session fork, or null. That one stays as it is.",
    )
    progress: Literal["none", "steps", "text"] = Field(
        default="none",
        description="None, steps or text. What is told while the turn runs: nothing, the tools "
        "that are called, or these and the text as it is written.",
    )
    metadata: Metadata = Field(
        default_factory=dict,
        repr=False,
        description="A JSON object of at most 8 KiB and 32 levels. The result echoes it.",
    )
    traceparent: Traceparent | None = Field(
        default=None,
        description="The W3C Trace Context of the sender, "
        "like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
    )

    @field_validator("fork_of")
    @classmethod
    def _a_fork_of_another_chat(cls, fork_of: ForkOf | None, info: ValidationInfo) -> ForkOf | None:
        given = info.data
        if given.get("session") == "fork" and fork_of is None:
            raise ValueError("is missing")
        if given.get("session") in {"continue", "new"} and fork_of is not None:
            raise ValueError("has no effect without session fork")
        here = (given.get("chat_id"), given.get("thread_id"))
        if fork_of is not None and (fork_of.chat_id, fork_of.thread_id) == here:
            raise ValueError("is this chat itself")
        return fork_of

    @classmethod
    def parse(cls, body: str | bytes) -> "JobRequest":
        """Read a message body. Raises InvalidRequest, and nothing else, whatever the body is."""
        raw = utf8(body)
        if len(raw) > MAX_MESSAGE_BYTES:
            _refuse(too_large("body", len(raw)))
        try:
            value = decode(raw)
        except ValueError as exc:
            raise InvalidRequest(
                "invalid_json", [f"body: is not JSON ({exc}); send one JSON object in UTF-8"]
            ) from exc
        if not isinstance(value, dict):
            _refuse(f"body: is {kind(value)}; send one JSON object with user_message and chat_id")
        return cls.from_fields(value)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "JobRequest":
        """Check the fields of a request. Raises InvalidRequest with every problem."""
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as exc:
            errors = exc.errors(include_url=False)
        problems = [_problem(error) for error in errors[:MAX_PROBLEMS]]
        if len(errors) > MAX_PROBLEMS:
            problems.append(
                f"body: has {len(errors) - MAX_PROBLEMS} more problems; fix these first"
            )
        raise InvalidRequest("invalid_request", problems)


def _refuse(problem: str) -> NoReturn:
    raise InvalidRequest("invalid_request", [problem])


def _problem(error: ErrorDetails) -> str:
    """One line of an InvalidRequest: field, what is wrong, with which value, what to do."""
    path = error["loc"]
    where = ".".join(shown(step, 60).strip("'") for step in path)
    model, field = _field(path)
    if error["type"] == "extra_forbidden":
        return f"{where}: is not a known field; remove it, or use: {', '.join(model.model_fields)}"
    description = (field and field.description) or "A known field."
    hint = description[0].lower() + description[1:].split(". ")[0].rstrip(".")
    if error["type"] == "missing":
        return f"{where}: is missing; send {hint}"
    reason = (
        error.get("ctx", {}).get("error")
        or _REASONS.get(error["type"])
        or error["msg"].removeprefix("Input ").removeprefix("String ").removeprefix("Tuple ")
    )
    value = error["input"]
    got = shown(value) if field is None or field.repr else kind(value)
    return f"{where}: {reason}, got {got}; send {hint}"


def _field(path: tuple[int | str, ...]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The model and field that an error's location points to."""
    for name, model in (("options", JobOptions), ("fork_of", ForkOf)):
        if path[0] == name and len(path) > 1:
            return model, model.model_fields.get(str(path[1]))
    return JobRequest, JobRequest.model_fields.get(str(path[0]))
