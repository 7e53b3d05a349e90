"""The reply on the wire, read by public readers."""

import base64
import json

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from worker.local.model.plan import Use
from worker.local.model.script import Reply, Say
from worker.local.model.wire import event_stream_chunk, event_stream_frame, events, message

REPLY = Reply((Say("I call Bash."), Use("Bash", {"command": "echo 'ä' " + "x" * 100})))


def rebuilt(stream: list[dict]) -> list[dict]:
    """The content blocks that a client puts together from a stream."""
    content: list[dict] = []
    for event in stream:
        if event["type"] == "content_block_start":
            content.append({**event["content_block"], "pieces": ""})
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            content[event["index"]]["pieces"] += delta.get("text", delta.get("partial_json"))
    return content


def test_the_deltas_of_a_stream_make_the_reply():
    text, tool = rebuilt(list(events(REPLY, "m", 10)))
    assert text["pieces"] == "I call Bash."
    assert json.loads(tool["pieces"]) == dict(REPLY.content[1].input)


def test_a_tool_call_stops_the_turn_for_its_result():
    assert message(REPLY, "m", 10)["stop_reason"] == "tool_use"
    assert message(Reply((Say("x"),)), "m", 10)["stop_reason"] == "end_turn"


def test_usage_is_counted():
    usage = message(Reply((Say("x" * 400),)), "m", 10)["usage"]
    assert usage["input_tokens"] == 10
    assert usage["output_tokens"] > 100


@given(
    st.dictionaries(st.text("abc-:", min_size=1, max_size=20), st.text(max_size=50), max_size=4),
    st.binary(max_size=500),
)
def test_botocore_reads_the_frames(headers, payload):
    buffer = EventStreamBuffer()  # checks both checksums
    buffer.add_data(event_stream_frame(headers, payload))
    (decoded,) = list(buffer)
    assert decoded.headers == headers
    assert decoded.payload == payload


def test_a_chunk_carries_its_event():
    buffer = EventStreamBuffer()
    stream = list(events(REPLY, "m", 10))
    buffer.add_data(b"".join(map(event_stream_chunk, stream)))
    decoded = [json.loads(base64.b64decode(json.loads(one.payload)["bytes"])) for one in buffer]
    assert [one["type"] for one in decoded] == [one["type"] for one in stream]
