from worker.domain.dialogue import Remark, dialogue, entries_until, turn_starts
from worker.domain.resume import CONTINUE_PROMPT


def user(text, uuid="u", **flags):
    return {"type": "user", "uuid": uuid, "message": {"content": text}, **flags}


def agent(*blocks, uuid="a"):
    return {"type": "assistant", "uuid": uuid, "message": {"content": list(blocks)}}


def text(words):
    return {"type": "text", "text": words}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("notes")]}
QUEUED = {"type": "queue-operation", "operation": "enqueue"}


def test_a_turn_has_the_words_of_both_and_the_tools_between():
    entries = [
        QUEUED,
        user("look"),
        agent(text("I look."), CALL),
        user([RESULT]),
        agent(text("ok")),
    ]
    [turn] = dialogue(entries)
    assert (turn.number, turn.prompt) == (1, "look")
    assert turn.remarks == (
        Remark("text", "I look."),
        Remark("call", name="Bash", input={"command": "ls"}, call="toolu_1"),
        Remark("result", "notes", call="toolu_1"),
        Remark("text", "ok"),
    )


def test_what_continues_a_turn_or_is_no_message_of_the_user_begins_none():
    entries = [
        user("go"),
        agent(CALL),
        user([RESULT]),
        user(CONTINUE_PROMPT),
        agent(text("done")),
        user("a caveat", isMeta=True),
        user("of a subagent", isSidechain=True),
        user("so far: ...", isCompactSummary=True),
        user("next"),
    ]
    assert turn_starts(entries) == [0, 8]
    first, second = dialogue(entries)
    assert second.prompt == "next"
    assert [remark.kind for remark in first.remarks] == ["call", "result", "note", "text", "note"]


def test_a_cut_keeps_whole_turns_and_leaves_out_what_the_next_one_had_queued():
    entries = [QUEUED, user("1"), agent(text("one")), QUEUED, user("2"), agent(text("two")), QUEUED]
    assert entries_until(entries, 1) == tuple(entries[:3])
    assert entries_until(entries, 2) == tuple(entries)
    assert entries_until(entries, 9) == tuple(entries)


def test_images_and_unknown_blocks_are_named_and_not_lost():
    picture = {"type": "image", "source": {"data": "x" * 1000}}
    [turn] = dialogue([user([picture, text("what is this?")])])
    assert turn.prompt == "[image]\nwhat is this?"
    assert dialogue([user("a"), agent({"type": "novelty"}), {"type": "novelty"}])[0].remarks == ()
