from hypothesis import given
from hypothesis import strategies as st

from worker.domain.resume import recorded_part, tool_calls

PROMPT = {"type": "user", "uuid": "u", "message": {"role": "user", "content": "go"}}
TEXT = {"type": "assistant", "uuid": "t", "message": {"content": [{"type": "text", "text": "a"}]}}
CALL = {
    "type": "assistant",
    "uuid": "c",
    "message": {"content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash"}]},
}
RESULT = {
    "type": "user",
    "uuid": "r",
    "message": {"content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
}
API_ERROR = {**TEXT, "isApiErrorMessage": True}
NOTE = {"type": "last-prompt"}


def test_a_prompt_saved_without_a_reply_starts_again():
    assert recorded_part([PROMPT]) == ()


def test_a_reply_without_a_tool_call_starts_again():
    assert recorded_part([PROMPT, TEXT]) == ()


def test_a_call_without_a_result_is_kept_for_the_cli_to_close():
    assert recorded_part([PROMPT, CALL]) == (PROMPT, CALL)


def test_a_call_with_its_result_is_kept():
    assert recorded_part([PROMPT, CALL, RESULT]) == (PROMPT, CALL, RESULT)


def test_what_the_cli_wrote_about_a_failed_model_call_is_left_out():
    entries = [PROMPT, CALL, RESULT, API_ERROR, NOTE]
    assert recorded_part(entries) == (PROMPT, CALL, RESULT)


def test_the_calls_of_an_entry_are_found_by_id():
    assert tool_calls(CALL) == ("toolu_1",)
    assert tool_calls(RESULT) == ()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "message", "content", "id", "uuid"]), inner)
    ),
    max_leaves=10,
)
entry = st.sampled_from([PROMPT, TEXT, CALL, RESULT, API_ERROR, NOTE]) | st.fixed_dictionaries(
    {"type": st.sampled_from(["assistant", "user", "x"]), "message": anything}
)


@given(st.lists(entry, max_size=12))
def test_what_is_kept_is_a_beginning_that_holds_every_call(entries):
    kept = recorded_part(entries)
    assert list(kept) == entries[: len(kept)]
    calls = [call for item in entries for call in tool_calls(item) if "uuid" in item]
    if calls:
        assert [call for item in kept for call in tool_calls(item) if "uuid" in item] == calls
