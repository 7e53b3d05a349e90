"""Field types and texts that requests and events share."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import from_json

from contracts.addressing import JOB_ID_PATTERN

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Size of an SQS message, body and attributes together (Amazon SQS quotas)."""

MAX_METADATA_BYTES: Final = 8 * 1024
MAX_OUTPUT_SCHEMA_BYTES: Final = 32 * 1024
MAX_JSON_DEPTH: Final = 32
"""Levels of nesting in metadata and schemas. Metadata comes back two levels deeper, inside an
event, which every reader must still be able to parse (many stop at about 100 or 200 levels)."""

TENANT_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
TRACEPARENT_PATTERN = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"

# Unicode's category Cc, without and with tab, newline and return.
_CONTROL_BUT_LAYOUT = r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
_CONTROL = r"[\u0000-\u001f\u007f-\u009f]"


def utf8(text: str | bytes) -> bytes:
    """The bytes of a text. A lone surrogate does not raise; what decodes them will refuse it."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def decode(body: bytes) -> object:
    """JSON text to Python, or ValueError for anything else: NaN, lone surrogates, nesting beyond
    200 levels and numbers of thousands of digits included. The last of duplicate keys counts.
    """
    return from_json(body, allow_inf_nan=False)


def kind(value: object) -> str:
    """What a JSON value is, in words, without showing it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"a string of {len(value)} characters"
        case Mapping():
            return "an object"
        case Sequence():
            return "an array"
        case _:
            return f"a {type(value).__name__}"


def shown(value: object, limit: int = 80) -> str:
    """The value's repr, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return kind(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def too_large(what: str, size: int) -> str:
    """The problem of a message that SQS would not take."""
    return (
        f"{what}: is {size} bytes, more than the {MAX_MESSAGE_BYTES} of an SQS message with its "
        "attributes; shorten user_message"
    )


def well_formed(text: object) -> object:
    """A string without lone surrogates: they cannot be written as UTF-8. Others pass unchanged."""
    if not isinstance(text, str):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _well_formed_json(value: object) -> object:
    return json.loads(str(well_formed(json.dumps(value, ensure_ascii=False))))


def _no_control(text: str) -> str:
    _refuse(_CONTROL, text)
    return text


def _readable(text: str) -> str:
    _refuse(_CONTROL_BUT_LAYOUT, text)
    if not text.strip():
        raise ValueError("is blank")
    return text


def _refuse(characters: str, text: str) -> None:
    if found := re.search(characters, text):
        raise ValueError(
            f"holds the control character U+{ord(found[0]):04X} at position {found.start()}"
        )


def _text_of_id(value: object) -> object:
    """Producers send ids as strings or integers; booleans are integers only to Python."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return str(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        raise ValueError("has too many digits") from None


def _bounded_json(limit: int) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if _deeper(value, MAX_JSON_DEPTH):
            raise ValueError(f"is nested deeper than {MAX_JSON_DEPTH} levels")
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (TypeError, ValueError) as exc:
            raise ValueError("holds a value that JSON does not have") from exc
        if size > limit:
            raise ValueError(f"is {size} bytes of JSON, more than {limit}")
        return value

    return AfterValidator(check)


def _deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_deeper(item, levels - 1) for item in value)


JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]
TenantId = Annotated[str, Field(pattern=TENANT_PATTERN)]
Traceparent = Annotated[str, Field(pattern=TRACEPARENT_PATTERN)]

ReadableText = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_readable),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "pattern": r"\S",
            "not": {"pattern": _CONTROL_BUT_LAYOUT},
        }
    ),
]
"""Text for the agent: not blank, no control characters but tab, newline and return."""

ConversationId = Annotated[
    str,
    Field(min_length=1, max_length=512),
    AfterValidator(_no_control),
    BeforeValidator(_text_of_id),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 512,
                    "not": {"pattern": _CONTROL},
                },
                {"type": "integer"},
            ]
        }
    ),
]
"""A chat's or thread's id: a string, or an integer that becomes its decimal string."""

Metadata = Annotated[dict[str, Any], _bounded_json(MAX_METADATA_BYTES)]
OutputSchema = Annotated[dict[str, Any], _bounded_json(MAX_OUTPUT_SCHEMA_BYTES)]

Text = Annotated[str, BeforeValidator(well_formed)]
"""Text that comes from outside, such as the model's: a lone surrogate becomes U+FFFD."""

Json = Annotated[Any, BeforeValidator(_well_formed_json)]
"""Any JSON value from outside, with the same repair."""
JsonObject = Annotated[dict[str, Any], BeforeValidator(_well_formed_json)]
