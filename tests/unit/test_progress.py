"""The queue of steps that wait to be told, and the CLI's messages as steps."""

from claude_agent_sdk import AssistantMessage, TextBlock, ToolUseBlock
from claude_agent_sdk.types import StreamEvent
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.agent.narrator import Narrator
from worker.domain.progress import BATCH, MAX_BACKLOG, Backlog, Started, TextSoFar, ToolCall


def tool(number=1):
    return ToolCall("Read", f"Read {number}", 1, number)


def text(words, call=1):
    return TextSoFar(words, call, 0)


def taken(backlog):
    return [numbered.step for numbered in backlog.take()]


def test_of_a_text_only_the_latest_waits():
    backlog = Backlog("text")
    for words in ("a", "a b", "a b c"):
        backlog.add(text(words))
    assert taken(backlog) == [text("a b c")]


def test_a_text_does_not_replace_one_of_another_model_call_or_before_a_tool():
    backlog = Backlog("text")
    steps = [text("a"), tool(), text("a b"), text("c", 2)]
    assert all(backlog.add(step) for step in steps)
    assert taken(backlog) == [text("a"), tool()]
    assert taken(backlog) == [text("a b")]
    assert taken(backlog) == [text("c", 2)]


def test_texts_are_left_out_unless_they_are_wanted():
    backlog = Backlog("steps")
    assert not backlog.add(text("a"))
    assert backlog.add(tool())
    assert taken(backlog) == [tool()]


def test_what_is_over_needs_no_text():
    backlog = Backlog("text")
    backlog.add(tool())
    backlog.add(text("a"))
    backlog.drop_texts()
    assert taken(backlog) == [tool()]
    assert not backlog


steps = st.one_of(
    st.just(Started()),
    st.builds(tool, st.integers(1, 9)),
    st.builds(text, st.text(max_size=5), st.integers(1, 3)),
)


@given(st.lists(st.one_of(steps, st.none()), max_size=200))
def test_numbers_go_up_by_one_order_is_kept_and_the_queue_is_bounded(course):
    """None: whoever tells takes a batch."""
    backlog, added, told = Backlog("text"), [], []
    for step in [*course, *[None] * MAX_BACKLOG]:
        if step is not None:
            added.append(step)
            backlog.add(step)
            assert len(backlog._steps) <= MAX_BACKLOG
            continue
        batch = backlog.take()
        assert len(batch) <= BATCH
        assert sum(isinstance(numbered.step, TextSoFar) for numbered in batch) <= 1
        told += batch
    assert [numbered.number for numbered in told] == list(range(1, len(told) + 1))
    assert not backlog
    rest = iter(added)
    assert all(any(step is other for other in rest) for step in (n.step for n in told))
    if added:
        assert told[-1].step is added[-1]


def stream(kind, parent=None, **fields):
    return StreamEvent("u", "s", {"type": kind, **fields}, parent)


def delta(words, parent=None):
    return stream("content_block_delta", parent, delta={"type": "text_delta", "text": words})


def narrated(*messages):
    told = []
    narrator = Narrator(told.append, "/w")
    for message in messages:
        narrator.follow(message)
    return told


def test_text_grows_within_a_model_call_and_begins_anew_with_the_next():
    told = narrated(
        stream("message_start"),
        stream("content_block_start", content_block={"type": "text"}),
        delta("He"),
        delta("llo"),
        stream("content_block_start", content_block={"type": "text"}),
        delta("again"),
        stream("message_start"),
        delta("Next"),
    )
    assert told == [
        TextSoFar("He", 1, 0),
        TextSoFar("Hello", 1, 0),
        TextSoFar("Hello\n\nagain", 1, 0),
        TextSoFar("Next", 2, 0),
    ]


def test_a_tool_call_is_told_once_with_its_counts():
    call = ToolUseBlock("t-1", "Read", {"file_path": "/w/notes.txt"})
    message = AssistantMessage([TextBlock("Let me look."), call], "sonnet")
    told = narrated(stream("message_start"), message, message)
    assert told == [ToolCall("Read", "Read notes.txt", 1, 1)]


def test_of_a_subagent_its_tools_are_told_and_its_text_is_not():
    call = ToolUseBlock("t-2", "Bash", {"command": "ls"})
    told = narrated(
        stream("message_start"),
        stream("message_start", "t-1"),
        delta("private", "t-1"),
        AssistantMessage([call], "haiku", parent_tool_use_id="t-1"),
    )
    assert told == [ToolCall("Bash", "Bash: ls", 1, 1)]
