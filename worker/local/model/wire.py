"""A reply on the wire: as one JSON message, as server-sent events, or as AWS event stream frames.

Anthropic's Messages API for the first two; Bedrock's InvokeModelWithResponseStream for the third,
whose frames are the `application/vnd.amazon.eventstream` encoding.
"""

import base64
import binascii
import json
import struct
import uuid
from collections.abc import Iterator, Mapping

from worker.local.model.plan import Use
from worker.local.model.script import Reply, Say

JSON = dict[str, object]

_FEWEST_CHARACTERS = 20  # of a streamed piece
_MOST_PIECES = 200  # of a streamed block
_JSON_PIECES = 8
_STRING_HEADER = 7  # the event stream's type number of a string
_CRC_BYTES = 4
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_BEDROCK_ERROR_TYPES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def tokens(byte_count: int) -> int:
    """A plausible number of tokens: four bytes each."""
    return max(1, byte_count // 4)


def message(reply: Reply, model: str, input_tokens: int) -> JSON:
    """The reply as a complete message."""
    content = [_block(block) for block in reply.content]
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if reply.calls_tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens(len(json.dumps(content))),
        },
    }


def events(reply: Reply, model: str, input_tokens: int) -> Iterator[JSON]:
    """The reply as the events of a stream, each with its `type`."""
    whole = message(reply, model, input_tokens)
    usage = whole["usage"]
    assert isinstance(usage, dict)  # noqa: S101 - told to the type checker
    started = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": started}
    yield {"type": "ping"}
    for index, block in enumerate(reply.content):
        empty: JSON = {"text": ""} if isinstance(block, Say) else {"input": {}}
        yield {
            "type": "content_block_start",
            "index": index,
            "content_block": {**_block(block), **empty},
        }
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    yield {"type": "message_stop"}


def json_pieces(value: JSON) -> Iterator[bytes]:
    """A JSON document in several pieces, so that it can be broken off."""
    raw = json.dumps(value).encode()
    size = max(1, len(raw) // _JSON_PIECES)
    return (raw[start : start + size] for start in range(0, len(raw), size))


def server_sent_event(event: JSON) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def event_stream_chunk(event: JSON) -> bytes:
    """A frame of Bedrock's stream: the event, in base64, in a JSON object."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    return event_stream_frame(
        {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"},
        payload,
    )


def event_stream_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Lengths, their CRC, headers, payload, and the CRC of all of it."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    total = struct.calcsize("!II") + _CRC_BYTES + len(encoded) + len(payload) + _CRC_BYTES
    prelude = struct.pack("!II", total, len(encoded))
    frame = prelude + struct.pack("!I", binascii.crc32(prelude)) + encoded + payload
    return frame + struct.pack("!I", binascii.crc32(frame))


def error(status: int, text: str) -> JSON:
    """The body of a Messages API error."""
    kind = _ERROR_TYPES.get(status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": text},
        "request_id": f"req_{uuid.uuid4().hex[:24]}",
    }


def bedrock_error_type(status: int) -> str:
    """What Bedrock puts into `x-amzn-errortype`."""
    return _BEDROCK_ERROR_TYPES.get(status, "InternalServerException")


def _block(block: Say | Use) -> JSON:
    if isinstance(block, Say):
        return {"type": "text", "text": block.text}
    return {
        "type": "tool_use",
        "id": f"toolu_{uuid.uuid4().hex[:24]}",
        "name": block.name,
        "input": dict(block.input),
    }


def _deltas(block: Say | Use) -> Iterator[JSON]:
    if isinstance(block, Say):
        for piece in _pieces(block.text):
            yield {"type": "text_delta", "text": piece}
    else:
        for piece in _pieces(json.dumps(dict(block.input))):
            yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> Iterator[str]:
    size = max(_FEWEST_CHARACTERS, -(-len(text) // _MOST_PIECES))
    return (text[start : start + size] for start in range(0, len(text), size))


def _header(name: str, value: str) -> bytes:
    raw, text = name.encode(), value.encode()
    return struct.pack(f"!B{len(raw)}sBH", len(raw), raw, _STRING_HEADER, len(text)) + text
