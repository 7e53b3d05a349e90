"""The scripted model's rules."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.model.conversation import MalformedRequestError
from worker.local.model.directives import Fault, FaultKind
from worker.local.model.plan import Use
from worker.local.model.script import HELP, Reply, Say, reply

TOOLS = [{"name": name, "input_schema": {}} for name in ("Bash", "Read", "Write")]
ENVIRONMENT = {
    "role": "system",
    "content": [
        {"type": "text", "text": "# Environment\n - Primary working directory: /srv/chat\n"}
    ],
}


def user(*texts: str) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def tool_turn(number: int, result: str, *, failed: bool = False) -> list[dict]:
    """A tool call of the model and its result."""
    name = f"toolu_{number}"
    return [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": name, "name": "Bash", "input": {}}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": name,
                    "content": result,
                    "is_error": failed,
                }
            ],
        },
    ]


def request(*messages: dict, **fields: object) -> dict:
    return {"model": "m", "messages": list(messages), "tools": TOOLS, **fields}


def text_of(answer: Reply) -> str:
    (block,) = answer.content
    assert isinstance(block, Say)
    return block.text


def tool_of(answer: Reply) -> Use:
    (use,) = (block for block in answer.content if isinstance(block, Use))
    return use


def test_a_plain_message_is_quoted():
    assert text_of(reply(request(user("hi there")))) == (
        "Hello! This is message 1 of our conversation. You said: 'hi there'"
    )


def test_messages_are_counted_and_the_first_is_quoted_so_that_lost_history_shows():
    answer = reply(request(user("one"), assistant("x"), user("two"), assistant("y"), user("three")))
    assert text_of(answer) == (
        "Hello! This is message 3 of our conversation; the first was 'one'. You said: 'three'"
    )


def test_two_texts_in_one_message_are_two_messages_as_after_an_interruption():
    answer = reply(request(user("one", "[Request interrupted by user]", "two")))
    assert "message 2 of our conversation; the first was 'one'" in text_of(answer)


def test_what_the_cli_adds_is_not_counted():
    reminder = "<system-reminder>\nmy name is Nobody\n</system-reminder>"
    answer = reply(request(user(reminder, "hello"), ENVIRONMENT))
    assert "message 1 of our conversation. You said: 'hello'" in text_of(answer)


@pytest.mark.parametrize(
    ("told", "asked", "answer"),
    [
        ("remember the colour is blue", "what is the colour?", "the colour is blue."),
        ("Remember that COLOUR is blue!", "What is colour", "colour is blue."),
        ("my name is Ada.", "what is my name?", "your name is Ada."),
        ("Hello, my name is Ada Lovelace", "What's my name?", "your name is Ada Lovelace."),
        ("my name is Ada", "Hello! What is my name??", "your name is Ada."),
        ("my favourite colour is green", "what is my favourite colour", "your favourite colour is"),
    ],
)
def test_a_fact_is_found_in_the_history(told, asked, answer):
    assert answer in text_of(reply(request(user(told), assistant("ok"), user(asked))))


def test_the_latest_of_two_facts_counts():
    answer = reply(request(user("my name is Ada"), user("my name is Bob"), user("what is my name")))
    assert "Bob" in text_of(answer)


def test_a_fact_is_acknowledged():
    assert text_of(reply(request(user("my name is Ada")))) == "I will remember: my name is Ada."


def test_a_fact_that_only_the_assistant_mentioned_is_not_known():
    answer = reply(request(assistant("my name is Claude"), user("what is my name?")))
    assert text_of(answer).startswith("I don't know what your name is")


@pytest.mark.parametrize(("which", "quoted"), [("first", "one"), ("last", "two")])
def test_earlier_messages_are_recalled(which, quoted):
    answer = reply(request(user("one"), user("two"), user(f"what did I say {which}?")))
    assert text_of(answer) == f"You said {which}: '{quoted}'"


def test_nothing_is_recalled_in_a_new_conversation():
    assert "first thing" in text_of(reply(request(user("what did I say first?"))))


def test_help_is_the_grammar():
    assert text_of(reply(request(user("help")))) == HELP


def test_run_calls_bash():
    use = tool_of(reply(request(user("run ls -l | wc -l"))))
    assert use == Use("Bash", {"command": "ls -l | wc -l"})


def test_write_uses_the_working_directory_that_the_cli_tells():
    use = tool_of(reply(request(user("write a/notes.txt: two words"), ENVIRONMENT)))
    assert use == Use("Write", {"file_path": "/srv/chat/a/notes.txt", "content": "two words\n"})


def test_write_of_an_absolute_path_needs_no_working_directory():
    use = tool_of(reply(request(user("write /tmp/x: y"))))
    assert use == Use("Write", {"file_path": "/tmp/x", "content": "y\n"})


def test_without_a_working_directory_bash_writes_and_reads():
    written = tool_of(reply(request(user("write it's.txt: $HOME"))))
    assert written == Use("Bash", {"command": """printf %s '$HOME\n' | tee 'it'"'"'s.txt'"""})
    assert tool_of(reply(request(user("read f")))) == Use("Bash", {"command": "cat f"})


def test_talking_about_a_working_directory_does_not_move_there():
    answer = reply(request(ENVIRONMENT, user("Primary working directory: /etc"), user("read f")))
    assert tool_of(answer).input == {"file_path": "/srv/chat/f"}


def test_any_tool_is_called_by_its_name():
    body = request(user('call mcp__bank__pay {"amount": 3}'), tools=[{"name": "mcp__bank__pay"}])
    assert tool_of(reply(body)) == Use("mcp__bank__pay", {"amount": 3})


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("run ls", "I have no tool for 'run ls'. The tools I am offered: Read."),
        ("call Nope", "I have no tool for 'call Nope'. The tools I am offered: Read."),
        ('call Read {"a"}', "I cannot read the tool's input as JSON"),
        ("steps: dance; run ls", "I do not understand the step 'dance'"),
    ],
)
def test_what_cannot_be_done_is_said(message, answer):
    assert answer in text_of(reply(request(user(message), tools=[{"name": "Read"}])))


def test_a_tool_result_is_quoted():
    answer = reply(request(user("run date"), *tool_turn(1, "Monday")))
    assert text_of(answer) == "Bash returned: Monday"


def test_a_failed_tool_result_is_reported_as_failed():
    answer = reply(request(user("run date"), *tool_turn(1, "not allowed", failed=True)))
    assert text_of(answer) == "Bash failed: not allowed"


def test_a_long_tool_result_is_shortened():
    answer = text_of(reply(request(user("run yes"), *tool_turn(1, "y" * 5000))))
    assert len(answer) < 700
    assert "5000 characters" in answer


def test_steps_are_taken_one_after_another():
    messages = [user("steps: run a; b; write f: c; read f")]
    expected = [
        Use("Bash", {"command": "a; b"}),
        Use("Write", {"file_path": "/srv/chat/f", "content": "c\n"}),
        Use("Read", {"file_path": "/srv/chat/f"}),
    ]
    for number, use in enumerate(expected):
        assert tool_of(reply(request(ENVIRONMENT, *messages))) == use
        messages += tool_turn(number, f"result {number}")
    assert text_of(reply(request(ENVIRONMENT, *messages))) == (
        "Bash returned: result 0\nBash returned: result 1\nBash returned: result 2"
    )


@pytest.mark.parametrize("said", ["continue", "Continue where you left off."])
def test_continue_goes_on_with_the_steps_that_are_left(said):
    messages = [user("steps: run a; run b"), *tool_turn(1, "interrupted", failed=True)]
    answer = reply(request(*messages, assistant("No response requested."), user(said)))
    assert tool_of(answer) == Use("Bash", {"command": "b"})


def test_a_new_message_ends_the_steps_of_the_one_before():
    answer = reply(request(user("steps: run a; run b"), *tool_turn(1, "x"), user("hello")))
    assert "message 2" in text_of(answer)


def test_structured_output_fills_the_schema_with_the_answer():
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "count": {"type": "integer"}},
    }
    tools = [*TOOLS, {"name": "StructuredOutput", "input_schema": schema}]
    (use,) = reply(request(user("my name is Ada"), tools=tools)).content
    assert use == Use(
        "StructuredOutput", {"answer": "I will remember: my name is Ada.", "count": 1}
    )


def test_structured_output_comes_after_the_tools():
    tools = [*TOOLS, {"name": "StructuredOutput", "input_schema": {"type": "object"}}]
    messages = [user("run date")]
    assert tool_of(reply(request(*messages, tools=tools))).name == "Bash"
    messages += tool_turn(1, "Monday")
    assert tool_of(reply(request(*messages, tools=tools))).name == "StructuredOutput"


def test_an_output_format_is_answered_in_json():
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(text_of(reply(request(user("hi"), output_config=config)))) == {
        "title": "example title"
    }


def test_a_compaction_keeps_what_the_person_said():
    asked = user("Your task is to create a detailed summary of the conversation so far.")
    summary = text_of(reply(request(user('remember k is "v"'), user("hello\nyou"), asked)))
    compacted = user(f"This session is being continued from a previous conversation.\n{summary}")
    assert "'remember k is \"v\"'" in text_of(
        reply(request(compacted, user("what did I say first")))
    )
    assert "message 3 of" in text_of(reply(request(compacted, user("and now"))))


@pytest.mark.parametrize(
    ("directive", "fault"),
    [
        ("[[status 529]]", Fault(FaultKind.STATUS, 529)),
        ("[[status 429 times 2]]", Fault(FaultKind.STATUS, 429, 2)),
        ("[[status 200]]", Fault(FaultKind.STATUS, 500)),
        ("[[hang]]", Fault(FaultKind.HANG)),
        ("[[stall times 1]]", Fault(FaultKind.STALL, times=1)),
        ("[[disconnect]]", Fault(FaultKind.DISCONNECT)),
    ],
)
def test_a_directive_is_a_fault(directive, fault):
    assert reply(request(user(f"hello {directive} you"))).faults == (fault,)


def test_directives_set_the_pace_and_are_not_quoted():
    answer = reply(request(user("hello [[delay 0.5]] [[slow 0.02]]")))
    assert (answer.delay, answer.slow) == (0.5, 0.02)
    assert text_of(answer).endswith("You said: 'hello'")


def test_long_is_in_characters():
    assert len(text_of(reply(request(user("[[long 12345]]"))))) == 12345


def test_only_the_last_message_directs():
    assert reply(request(user("[[status 529]]"), assistant("x"), user("hello"))).faults == ()
    assert reply(request(user("[[hang]] steps: run a; run b"), user("continue"))).faults == ()


def test_a_tool_result_never_directs():
    assert reply(request(user("run x"), *tool_turn(1, "[[status 529]]"))).faults == ()


def test_after_waits_for_tool_results():
    asked = user("run x [[status 529]] [[after 1]]")
    assert reply(request(asked)).faults == ()
    assert reply(request(asked, *tool_turn(1, "y"))).faults == (Fault(FaultKind.STATUS, 529),)


@pytest.mark.parametrize("text", ["[[nothing]]", "[[status]", "[[long -3]]", "[[status 5x]]"])
def test_what_only_looks_like_a_directive_is_text(text):
    assert text in text_of(reply(request(user(text))))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (None, "body: expected a JSON object"),
        ([], "body: expected a JSON object"),
        ({}, "messages: expected a list"),
        ({"messages": []}, "messages: expected a list"),
        ({"messages": "hello"}, "messages: expected a list"),
        ({"messages": [{"role": "user", "content": "x"}, 3]}, "messages.1: expected an object"),
    ],
)
def test_a_malformed_request_is_refused_with_the_place(body, problem):
    with pytest.raises(MalformedRequestError, match=problem):
        reply(body)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["remember ", "my a", "<system-reminder>", "what is ", "what is a??", "[[long 1]]"]
)
def test_a_text_made_to_backtrack_is_answered_at_once(text):
    assert reply(request(user(text * 20_000), user("what is this?"))).content


words = st.sampled_from(
    ["run", "steps:", ";", "write", "f:", "my name", "is", "what", "[[long 3]]", "[[after 1]]",
     "remember", "continue", "help", "<system-reminder>", "\n", "call", "{"]
)  # fmt: skip
texts = st.lists(words | st.text(max_size=8), max_size=8).map(" ".join)
block = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(
        lambda number, name: {"type": "tool_use", "id": str(number), "name": name, "input": {}},
        st.integers(0, 3),
        st.sampled_from(["Bash", "StructuredOutput"]),
    ),
    st.builds(
        lambda number, text: {"type": "tool_result", "tool_use_id": str(number), "content": text},
        st.integers(0, 3),
        texts,
    ),
    st.dictionaries(st.text(max_size=3), st.none() | st.integers(), max_size=2),
)
message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": texts | st.lists(block, max_size=3) | st.none(),
    }
)
tools = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["Bash", "Read", "Write", "StructuredOutput"])},
        optional={"input_schema": st.dictionaries(st.text(max_size=4), st.text(max_size=4))},
    ),
    max_size=3,
)


@given(
    st.fixed_dictionaries(
        {"messages": st.lists(message, min_size=1, max_size=6)},
        optional={"tools": tools | st.none(), "system": texts | st.none()},
    )
)
def test_every_well_formed_request_gets_an_answer(body):
    answer = reply(body)
    offered = {tool["name"] for tool in body.get("tools") or []}
    assert answer.content
    for block in answer.content:
        assert isinstance(block, Say) or block.name in offered
    assert answer == reply(body)
